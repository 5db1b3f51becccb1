"""What has a look: notebooks and rich show more of it than its repr. The looks are made in agentkit.looks."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable


class Shown:
    """Shown as HTML in notebooks, and in the terminal by rich; `repr()` stays one short line."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        html: str = _load_look("html").look_of(self)
        return html

    def __rich_console__(self, console: Any, options: Any) -> Iterable[Any]:
        lines: Iterable[Any] = _load_look("terminal").look_of(self, options.max_width)
        return lines


def _load_look(kind: str) -> Any:
    # a door: most programs never show anything, and rich is an extra
    return import_module(f"agentkit.looks.{kind}")


def brief(value: object, width: int = 80) -> str:
    """A value's repr on one line, and at most so long."""
    text = " ".join(repr(value).split())
    return text if len(text) <= width else f"{text[: width - 1]}…"
