"""Where two values of JSON, or two texts, differ: as lines to read."""

from __future__ import annotations

import json
from difflib import unified_diff
from typing import Any


def json_diff(before: Any, after: Any, *, names: tuple[str, str] = ("recorded", "now")) -> str:
    """The lines of two JSON values that differ, with three lines around each; '' if they are equal."""
    return text_diff(_pretty(before), _pretty(after), names=names)


def text_diff(before: str, after: str, *, names: tuple[str, str] = ("recorded", "now")) -> str:
    """The lines of two texts that differ, with three lines around each; '' if they are equal."""
    lines = unified_diff(before.splitlines(), after.splitlines(), *names, lineterm="")
    return "\n".join(line.rstrip() for line in lines)


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, default=str)
