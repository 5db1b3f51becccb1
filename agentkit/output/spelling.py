"""Where in a text its JSON stands."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_FENCED: Final = r"(?s)```[ \t]*(?:json\w*|JSON)?[ \t]*\n(.*?)(?:\n[ \t]*```|\Z)"
_DECODER: Final = json.JSONDecoder(strict=False)
_MOST_TRIES: Final = 100


def spelt_in(text: str, openings: str, *, in_words: bool) -> Iterator[str]:
    """The parts of a text that may be its JSON, the likeliest first: the whole, what is fenced, what stands in words.

    `openings` are the signs that JSON in words begins with.
    """
    whole = text.strip()
    if whole[:1] in ("{", "[", '"') or " " not in whole:
        yield whole
    for fenced in re.findall(_FENCED, text):
        yield fenced.strip()
    if in_words:
        yield from _in_words(whole, openings)


def _in_words(text: str, openings: str) -> Iterator[str]:
    at = 0
    opening = re.compile(f"[{re.escape(openings)}]")
    for _ in range(_MOST_TRIES):
        found = opening.search(text, at)
        if found is None:
            return
        try:
            _, at = _DECODER.raw_decode(text, found.start())
        except (ValueError, RecursionError):
            at = found.end()
        else:
            yield text[found.start() : at]
