"""Text of models, tools and files made fit for a terminal: what they say must not steer it."""

from __future__ import annotations

import json
from typing import Final

from agentkit._json import loads

_CONTROLS: Final = {
    **dict.fromkeys((*range(32), *range(127, 160)), "\N{REPLACEMENT CHARACTER}"),
    # these turn the order of what is read around: arguments that are approved have to be read as they are
    **dict.fromkeys((*range(0x202A, 0x202F), *range(0x2066, 0x206A)), "\N{REPLACEMENT CHARACTER}"),
    **dict.fromkeys(range(0xD800, 0xE000), "\N{REPLACEMENT CHARACTER}"),
    ord("\t"): "\t",
    ord("\n"): "\n",
    ord("\r"): "",
}


def plain(text: str) -> str:
    """The text without what could steer a terminal: control characters, changes of direction, halves of letters."""
    return text.translate(_CONTROLS)


def in_one_line(text: str, width: int) -> str:
    """The text on one line, and at most so long."""
    text = " ".join(plain(text).split())
    return text if len(text) <= width else f"{text[: max(0, width - 1)]}…"


def pretty(text: str) -> str:
    """JSON text with one value a line; anything else as it is."""
    try:
        value = loads(text)
        return json.dumps(value, indent=2, ensure_ascii=False) if isinstance(value, dict | list) else text
    except (ValueError, RecursionError):
        return text
