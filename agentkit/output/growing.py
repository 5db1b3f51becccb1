"""What is known of an answer while its JSON comes: read piece by piece, each part checked as soon as it is whole."""

from __future__ import annotations

import re
from functools import cache
from typing import Any, Final

from agentkit._json import dumps, is_object, loads
from agentkit.output.places import MISSING, Known, Place
from agentkit.schema.typed import VALUE

_SPACE: Final = r"[ \t\r\n\ufeff]*"
_WORD: Final = r"[-+.\w]+"
_PLAIN: Final = r'[^"\\]*'
_ESCAPE: Final = r"(?s)\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\[^u]"
# The first half of a character whose second half may still come.
_HALF: Final = r"\\u[dD][89abAB][0-9a-fA-F]{2}(?:\\(?:u[0-9a-fA-F]{0,3})?)?\Z"
_LONGEST_ESCAPE: Final = 12


@cache
def _pattern(text: str) -> re.Pattern[str]:
    # compiled when the first answer grows, not when agentkit is imported
    return re.compile(text)


class _Open:
    """An object or an array that has no end yet."""

    __slots__ = ("count", "key", "known", "place", "start")

    def __init__(self, place: Place, start: int, known: dict[str, Any] | list[Any]) -> None:
        self.place = place
        self.start = start
        self.known = known
        self.key: str | None = None
        self.count = 0

    @property
    def wants_key(self) -> bool:
        return self.key is None and isinstance(self.known, dict)

    def inner(self) -> tuple[str, Place] | None:
        """Where the next value stands; None if it is not looked at."""
        if isinstance(self.known, list):
            return "", self.place.item(self.count)
        return None if self.key is None else self.place.field(self.key)

    def put(self, text: str, value: Known = MISSING) -> None:
        """Take up a value that is whole."""
        stands = self.inner()
        if stands is not None and value is MISSING:
            value = stands[1].read(text)
        if isinstance(self.known, list):
            self.count += 1
            if value is not MISSING:
                self.known.append(value)
        elif self.key is not None and stands is not None and value is not MISSING:
            self.known[stands[0]] = value
            self.place = self.place.without(self.key, text)

    def with_(self, value: Known) -> Any:
        """What is known, with a value that is not whole."""
        if isinstance(self.known, list):
            return [*self.known] if value is MISSING else [*self.known, value]
        stands = self.inner()
        return {**self.known} if value is MISSING or stands is None else {**self.known, stands[0]: value}


class Growing:
    """A JSON text that comes piece by piece: `feed` it, and `value` is what is known of it by then.

    `is_wrapped` is for a place whose values stand in an object as its `value`; those may also come bare, and as plain
    text where they take some. Without a place nothing becomes known.
    """

    def __init__(self, place: Place | None, *, is_wrapped: bool) -> None:
        self._root = place or Place([], [])
        self._bare: Place | None = None
        self._is_wrapped = is_wrapped
        self._text = ""
        self._at: int = 0
        self._open: list[_Open] = []
        self._string: tuple[int, bool] | None = None  # where it began, and whether it is a key
        self._written = ""
        self._result: Known = MISSING
        self._is_begun = self._is_over = place is None
        self._is_words = False

    def feed(self, piece: str) -> None:
        """Take a further piece of the text. From where it is no JSON on, it is not read."""
        self._text += piece
        if not self._is_begun:
            self._begin()
        while self._is_begun and not self._is_over and self._step():
            pass

    @property
    def value(self) -> Known:
        """What is known by now: dicts for objects, lists for arrays, the checked value of what is whole."""
        if self._is_words:
            return self._text
        inner = self._unfinished()
        if not self._open:
            return self._result if inner is MISSING else inner
        for opened in reversed(self._open):
            inner = opened.with_(inner)
        return self._unwrapped(inner)

    def _unfinished(self) -> Known:
        if self._string is None or self._string[1]:
            return MISSING
        stands = self._open[-1].inner() if self._open else ("", self._bare or self._root)
        return self._written if stands is not None and stands[1].takes_text else MISSING

    def _unwrapped(self, known: Any) -> Known:
        return known.get(VALUE, MISSING) if self._is_wrapped and is_object(known) else known

    def _begin(self) -> None:
        """Find where the JSON begins, or that there is none."""
        start = _space(self._text, 0)
        first = self._text[start : start + 1]
        inner = self._root.field(VALUE) if self._is_wrapped else None
        if inner is not None and inner[1].takes_text and first and first not in '{["`':
            self._is_words = self._is_begun = self._is_over = True
        elif first in ("{", "[", '"') and (inner is not None or first == "{"):
            self._at, self._is_begun = start, True
        elif (found := re.search(r"[{\[]" if inner is not None else r"\{", self._text)) is not None:
            self._at, self._is_begun = found.start(), True
        if inner is not None and self._is_begun and self._text[self._at] != "{":
            self._take_bare()

    def _take_bare(self) -> None:
        """The value stands without the object around it."""
        inner = self._root.field(VALUE)
        if inner is not None:
            self._bare, self._is_wrapped = inner[1], False

    def _step(self) -> bool:
        """Read one sign more. False if there is none that is whole."""
        if self._string is not None:
            return self._read_string()
        text = self._text
        at = self._at = _space(text, self._at)
        if at == len(text):
            return False
        sign = text[at]
        opened = self._open[-1] if self._open else None
        if sign == '"':
            self._at, self._string, self._written = at + 1, (at, opened is not None and opened.wants_key), ""
        elif sign in "{[":
            stands = ("", self._bare or self._root) if opened is None else opened.inner()
            self._open.append(_Open(stands[1] if stands else Place([], []), at, {} if sign == "{" else []))
            self._at = at + 1
        elif opened is not None and sign in "}]":
            self._at = at + 1
            self._close()
        elif opened is not None and sign in ",:":
            self._at = at + 1
            if sign == ",":
                opened.key = None
        elif opened is not None and (word := _pattern(_WORD).match(text, at)) is not None:
            if word.end() == len(text):
                return False  # there may be more of a number
            self._at = word.end()
            opened.put(word[0])
        else:
            self._is_over = True
        return True

    def _close(self) -> None:
        closed = self._open.pop()
        text = self._text[closed.start : self._at]
        if self._open:
            self._open[-1].put(text)
            return
        self._is_over = True
        self._result = self._unwrapped(closed.known)
        if self._bare is not None and (value := self._bare.read(text)) is not MISSING:
            self._result = value

    def _read_string(self) -> bool:
        text = self._text
        while self._string is not None:
            plain = _pattern(_PLAIN).match(text, self._at)
            if plain is not None:
                self._written += plain[0]
                self._at = plain.end()
            if self._at == len(text):
                return False
            if text[self._at] == '"':
                self._at += 1
                self._end_string(self._string)
                return True
            escape = _pattern(_ESCAPE).match(text, self._at)
            if escape is None or _pattern(_HALF).match(text, self._at):
                self._is_over = len(text) - self._at >= _LONGEST_ESCAPE
                return False
            self._at = escape.end()
            self._written += _unescaped(escape[0])
        return True

    def _end_string(self, string: tuple[int, bool]) -> None:
        _, is_key = string
        self._string = None
        opened = self._open[-1] if self._open else None
        if opened is None:
            self._is_over = True
            self._result = (self._bare or self._root).read(dumps(self._written).decode())
        elif is_key:
            if self._is_wrapped and len(self._open) == 1 and self._written != VALUE and not opened.known:
                self._take_bare()
                opened.place = self._bare or opened.place
            opened.key = self._written
        else:
            # as it was read: bare control characters are let pass
            opened.put(dumps(self._written).decode())


def _space(text: str, at: int) -> int:
    found = _pattern(_SPACE).match(text, at)
    return at if found is None else found.end()


def _unescaped(escape: str) -> str:
    try:
        read: str = loads(f'"{escape}"')
    except ValueError:
        return ""
    return read.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
