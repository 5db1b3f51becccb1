"""Streamed fields → the fields of the whole, by one rule.

Strings join unless equal, lists extend and items with the same index merge, objects merge; id, type, index and format
replace, null changes nothing. While it grows, a string is a `Text` and a list is `Items`, for joining each time would
cost the square of the length; `plain` makes JSON of it again.
"""

from __future__ import annotations

from typing import Any, Final

from agentkit._json import is_array, is_object

REPLACED: Final = frozenset({"id", "type", "index", "format"})
# What a model says comes token by token, and two equal tokens in a row are two.
SPOKEN: Final = frozenset(
    {
        "audio.data",
        "content",
        "reasoning",
        "reasoning_content",
        "reasoning_text",
        "refusal",
        "summary",
        "text",
        "thinking",
        "transcript",
    }
)

GROWING: Final = ("text", "output_text", "thinking", "reasoning")
"""The content parts that come in pieces."""


def place_of(index: object, position: int) -> int:
    """An `index` as an int, where it is one in some spelling; else the position."""
    match index:
        case bool():
            return position
        case int():
            return index
        case float() if index.is_integer():
            return int(index)
        case str() if index.isascii() and index.isdigit() and len(index) < 20:
            return int(index)
        case _:
            return position


class Text:
    """A string that grows."""

    __slots__ = ("pieces", "size")

    def __init__(self, text: str) -> None:
        self.pieces = [text]
        self.size = len(text)

    def add(self, piece: str, *, spoken: bool) -> None:
        """Append a piece, unless it says again what is there."""
        if not spoken and len(piece) == self.size and piece == "".join(self.pieces):
            return
        self.pieces.append(piece)
        self.size += len(piece)


class Items:
    """A list that grows."""

    __slots__ = ("items", "places")

    def __init__(self) -> None:
        self.items: list[Any] = []
        self.places: dict[tuple[int, str | None], int] = {}

    def extend(self, values: list[Any], *, join: bool) -> None:
        """Append the values, but merge each that has an index with the one that has it already."""
        for value in values:
            index = value.get("index") if is_object(value) else None
            if not isinstance(index, int) or isinstance(index, bool):
                self.items.append(value)
                continue
            kind = value.get("type")
            kind = kind if isinstance(kind, str) else None
            place = self._place(index, kind)
            if place is None:
                place = len(self.items)
                self.items.append(None)
            self.items[place] = merged(self.items[place], value, join=join)
            self.places[index, kind] = self.places[index, None] = place

    def _place(self, index: int, kind: str | None) -> int | None:
        place = self.places.get((index, kind))
        if place is None and (latest := self.places.get((index, None))) is not None:
            # A summary and its encrypted twin may share an index (Gemini behind OpenRouter): two items, not one.
            there = self.items[latest].get("type")
            place = latest if kind is None or there is None else None
        return place


def merged(old: Any, new: Any, name: str = "", *, join: bool = True) -> Any:
    """What grows out of `old`, a value that grows or None, and `new`, the JSON value that came for the field `name`.

    With `join=False` strings replace: for fields that are told anew, not in pieces.
    """
    if new is None:
        return old
    if isinstance(new, str):
        if not isinstance(old, Text) or not join or name in REPLACED:
            return old if old is not None and not new else Text(new)
        old.add(new, spoken=name in SPOKEN)
        return old
    if is_object(new):
        whole = old if is_object(old) else {}
        for key, value in new.items():
            field = "audio.data" if key == "data" and name == "audio" else key
            whole[key] = merged(whole.get(key), value, field, join=join)
        return whole
    if is_array(new):
        items = old if isinstance(old, Items) else Items()
        items.extend(new, join=join)
        return items
    return new


def add_parts(parts: list[Any], new: list[Any]) -> None:
    """Content parts that came after `parts`: one of the kind of the last one is more of that, else the next."""
    for part in new:
        last = parts[-1] if parts else None
        if not is_object(part):
            parts.append(part)
            continue
        if not is_object(last) or part.get("type") not in GROWING or plain(last.get("type")) != part["type"]:
            last = {}
            parts.append(last)
        for name, value in part.items():
            if is_array(value):
                inner = last.get(name)
                last[name] = inner = inner if is_array(inner) else []
                add_parts(inner, value)
            else:
                last[name] = merged(last.get(name), value, name)


def plain(value: Any) -> Any:
    """The JSON value of what has grown."""
    if isinstance(value, Text):
        return "".join(value.pieces)
    if isinstance(value, Items):
        return [plain(item) for item in value.items]
    if is_array(value):
        return [plain(item) for item in value]
    if is_object(value):
        return {name: plain(item) for name, item in value.items()}
    return value
