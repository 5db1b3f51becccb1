"""The command `agentkit`: chat with an agent, run it once, serve it, look at its tools and transcripts."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_run: Callable[[], None] | None = None
_missing: str | None = None
try:
    from agentkit.cli.app import run_app
except ModuleNotFoundError as error:
    _missing = (error.name or "").partition(".")[0]
    if _missing not in {"typer", "rich", "prompt_toolkit"}:
        raise
else:
    _run = run_app

__all__ = ["main"]


def main() -> None:
    """Run the command with the process's arguments; the extra `cli` is needed for it."""
    if _run is None:
        sys.stderr.write(f"agentkit: the command needs {_missing}: pip install 'agentkit[cli]'\n")
        raise SystemExit(2)
    _run()
