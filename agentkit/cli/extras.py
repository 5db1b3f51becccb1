"""Parts behind an extra, loaded when they are wanted."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from agentkit.errors import UsageError


def load_extra(name: str, extra: str) -> Any:
    """A part of agentkit. Raises UsageError where what it takes is not installed."""
    # the command's one door: only those wait for a part who want it
    try:
        return import_module(f"agentkit.{name}")
    except ImportError as error:
        raise UsageError(f"this needs an extra: pip install 'agentkit[{extra}]' ({error})") from error
