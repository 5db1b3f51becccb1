"""Tool calls from the pieces of a stream.

By the book, each piece has the index of its call, and the first one has id and name. Endpoints leave out the index,
give all calls the index 0, send no id, or a late one, or a new one with each piece, repeat the name, or send it in
pieces. So a piece goes to the call that it is addressed to, by index, id or place, and begins a new one if it can't
belong to that: what tells them apart is chiefly whether the arguments so far are a whole JSON value.
"""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

from agentkit._json import dumps, is_object
from agentkit.chat.merge import merged, place_of, plain
from agentkit.errors import ProtocolError
from agentkit.events import ToolCallDelta
from agentkit.messages import ToolCall

MAX_NAME_CHARS: Final = 4096
MAX_ARGUMENTS_CHARS: Final = 16 * 1024 * 1024
MAX_CALLS: Final = 50_000

_OUTSIDE: Final = re.compile(r'["{}\[\]]')
_IN_STRING: Final = re.compile(r'["\\]')


class Whole:
    """Tells of a JSON text that comes in pieces whether it is whole: every bracket and quote closed."""

    __slots__ = ("_begun", "_depth", "_escaped", "_quoted", "_taken")

    def __init__(self) -> None:
        self._taken = 0
        self._depth = 0
        self._begun = self._quoted = self._escaped = False

    def check(self, pieces: list[str]) -> bool:
        """Whether the pieces are a whole value; those of the last time are not read again."""
        for place in range(self._taken, len(pieces)):
            self._read(pieces[place])
        self._taken = len(pieces)
        return self._begun and self._depth <= 0 and not self._quoted

    def _read(self, piece: str) -> None:
        at = 0
        if self._escaped and piece:
            at, self._escaped = 1, False
        while found := (_IN_STRING if self._quoted else _OUTSIDE).search(piece, at):
            at = found.end()
            match found[0]:
                case '"':
                    self._quoted = not self._quoted
                    self._begun = True
                case "\\":
                    at += 1
                    self._escaped = at > len(piece)
                case "{" | "[":
                    self._depth += 1
                    self._begun = True
                case _:
                    self._depth -= 1


class Piece(NamedTuple):
    """What one entry of a delta's `tool_calls` says. `number` is its index, where it has a usable one."""

    number: int | None
    id: str | None
    name: str | None
    text: str
    value: Any  # the arguments, where they came as a value and not as text
    entry: dict[str, Any]
    function: dict[str, Any]


def read_piece(entry: dict[str, Any]) -> Piece:
    """Read an entry; what has no meaning there is as good as absent."""
    given = entry.get("id")
    call_id = str(given) if isinstance(given, str | int) and not isinstance(given, bool) and given != "" else None
    spec = entry.get("function")
    function: dict[str, Any] = spec if is_object(spec) else {}
    source = function if is_object(spec) else entry
    name = source.get("name")
    arguments = source.get("arguments")
    text = arguments if isinstance(arguments, str) else "" if arguments is None else dumps(arguments).decode()
    index = place_of(entry.get("index"), -1)
    return Piece(
        index if index >= 0 else None,
        call_id,
        name if isinstance(name, str) and name.strip() else None,
        text,
        None if isinstance(arguments, str) else arguments,
        entry,
        function,
    )


class Call:
    """One call that is being put together."""

    __slots__ = (
        "_whole",
        "fields",
        "function",
        "id",
        "index",
        "name",
        "pieces",
        "position",
        "repeated",
        "size",
        "turn",
        "value",
    )

    def __init__(self, index: int | None, position: int) -> None:
        self.index = index
        self.position = position
        self.id: str | None = None
        self.name = ""
        self.pieces: list[str] = []
        self.size = 0
        self.value: Any = None
        self.fields: dict[str, Any] = {}
        self.function: dict[str, Any] = {}
        self.turn = 0  # the delta that spoke of it last
        self.repeated = False  # whole, and its name came once more: arguments after that are another call's
        self._whole = Whole()

    @property
    def whole(self) -> bool:
        """Whether the arguments so far are a whole JSON value."""
        return self._whole.check(self.pieces)

    @property
    def arguments(self) -> str:
        """The arguments so far."""
        return "".join(self.pieces)

    def says(self, text: str) -> bool:
        """Whether the arguments so far are just this text."""
        return len(text) == self.size and text == self.arguments

    def take(self, piece: Piece) -> str:
        """Add what a piece says; returns the new text of the arguments."""
        if piece.id is not None and self.id is None:
            self.id = piece.id
        if piece.name is not None:
            self._take_name(piece.name)
        if len(piece.entry) > 2 or "index" not in piece.entry or len(piece.function) > 1:
            self._take_fields(piece)
        if not piece.text:
            if piece.function.get("arguments") == "" and not self.pieces:
                self.pieces.append("")
            return ""
        if piece.value is not None:
            new = "" if self.says(piece.text) else piece.text
            self._replace(piece.text)
            self.value = piece.value
            return new
        return self.add(piece.text)

    def add(self, text: str) -> str:
        """Add text of the arguments, which is not empty; returns what of it is new."""
        if self.says(text) and self.whole:
            return ""
        if self.size == 2 and self.says("{}") and text.lstrip()[:1] == "{":
            self._replace(text)  # the "{}" that came first held the place of arguments to come
        else:
            self.pieces.append(text)
            self.size += len(text)
        if self.size > MAX_ARGUMENTS_CHARS:
            raise self._too_long()
        self.value = None
        return text

    def _too_long(self) -> ProtocolError:
        name = self.name[:MAX_NAME_CHARS]
        return ProtocolError(f"the arguments of a call of {name} are longer than {MAX_ARGUMENTS_CHARS} characters")

    def _take_name(self, name: str) -> None:
        if name.startswith(self.name):  # the first one, the same again, or all of it so far
            self.name = name
        elif name.strip() != self.name.strip():
            self.name += name
        if len(self.name) > MAX_NAME_CHARS:
            raise ProtocolError(f"a tool call's name is longer than {MAX_NAME_CHARS} characters: {self.name[:40]}…")

    def _take_fields(self, piece: Piece) -> None:
        for name, value in piece.entry.items():
            if name == "id":
                if piece.id is not None and piece.id == self.id:
                    self.fields["id"] = value
            elif name not in ("index", "function", "name", "arguments"):
                self.fields[name] = merged(self.fields.get(name), value, name)
        for name, value in piece.function.items():
            if name not in ("name", "arguments"):
                self.function[name] = merged(self.function.get(name), value, name)

    def _replace(self, text: str) -> None:
        self.pieces = [text]
        self.size = len(text)
        if self.size > MAX_ARGUMENTS_CHARS:
            raise self._too_long()
        self._whole = Whole()

    @property
    def blank(self) -> bool:
        """Whether nothing was said of it."""
        return not (self.id or self.name or self.size)

    def data(self) -> dict[str, Any]:
        """The call as it stands in a message."""
        data: dict[str, Any] = {name: plain(value) for name, value in self.fields.items()}
        data["function"] = function = {name: plain(value) for name, value in self.function.items()}
        function["name"] = self.name
        if self.value is not None:
            function["arguments"] = self.value
        elif self.pieces:
            function["arguments"] = self.arguments
        return data


class CallPieces:
    """The calls of one choice."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._by_index: dict[int, Call] = {}
        self._by_id: dict[str, Call] = {}
        self._turn = 0
        self._sealed = 0

    def take(self, entries: list[dict[str, Any]], choice: int) -> list[ToolCallDelta]:
        """Add the pieces in one delta."""
        self._turn += 1
        if len(entries) == 1 and (going := self._going_on(entries[0])) is not None:
            return self._go_on(*going, choice)
        deltas: list[ToolCallDelta] = []
        for place, entry in enumerate(entries):
            piece = read_piece(entry)
            call = self._addressed(piece, place - len(entries))
            if call is None or self._begins(call, piece):
                call = self._begin(piece, call)
            known = call.name
            text = call.take(piece)
            call.turn = self._turn
            if call.index is None and piece.number is not None:
                call.index = piece.number
            if call.index is not None:
                self._by_index[call.index] = call
            if call.id is not None:
                self._by_id[call.id] = call
            if text or call.name != known:
                deltas.append(ToolCallDelta(call.position, call.name.strip(), text, choice=choice))
        return deltas

    @property
    def sealed(self) -> int:
        """How many calls, from the first on, are whole and have a later one after them."""
        while self._sealed < len(self.calls) - 1 and self.calls[self._sealed].whole:
            self._sealed += 1
        return self._sealed

    def sealed_calls(self) -> list[ToolCall]:
        """Those calls."""
        return [ToolCall(call.id or "", call.name.strip(), call.arguments) for call in self.calls[: self.sealed]]

    def data(self) -> list[dict[str, Any]]:
        """All calls as they stand in a message, by index if each has its own, else as they came."""
        calls = [call for call in self.calls if not call.blank]
        indices = [call.index for call in calls if call.index is not None]
        if len(set(indices)) == len(calls):
            calls = [call for _, call in sorted(zip(indices, calls, strict=True), key=lambda pair: pair[0])]
        return [call.data() for call in calls]

    def _going_on(self, entry: dict[str, Any]) -> tuple[Call, str] | None:
        """The call that an entry of the ordinary kind goes on with, and the text; None for an entry of another kind.

        Such an entry has an index that is known and a piece of the arguments, and nothing else: what `_addressed` and
        `_begins` would say of it is clear.
        """
        function: Any = entry.get("function")
        if len(entry) != 2 or not is_object(function) or len(function) != 1:
            return None
        text: Any = function.get("arguments")
        number: Any = entry.get("index")
        if type(text) is not str or not text or type(number) is not int:
            return None
        call = self._by_index.get(number)
        return None if call is None or call.repeated else (call, text)

    def _go_on(self, call: Call, text: str, choice: int) -> list[ToolCallDelta]:
        call.turn = self._turn
        if call.id is not None:
            self._by_id[call.id] = call
        new = call.add(text)
        return [ToolCallDelta(call.position, call.name.strip(), new, 0, choice)] if new else []

    def _begin(self, piece: Piece, after: Call | None) -> Call:
        if len(self.calls) >= MAX_CALLS:
            raise ProtocolError(f"one reply has more than {MAX_CALLS} tool calls")
        call = Call(piece.number, len(self.calls))
        if after is not None and after.repeated:
            call.name = after.name
        self.calls.append(call)
        return call

    def _addressed(self, piece: Piece, place: int) -> Call | None:
        """The call that a piece is addressed to. `place` is its place in the delta, counted from the end."""
        named = self._by_id.get(piece.id) if piece.id is not None else None
        last = self.calls[-1] if self.calls else None
        if piece.number is not None:
            if named is not None and named.index == piece.number:
                return named
            if (call := self._by_index.get(piece.number)) is not None:
                return call
            if named is not None and (named.index is None or piece.name is None):
                return named
            return last if last is not None and last.index is None else None
        if named is not None:
            return named
        if piece.id is None and piece.name is None and len(self.calls) >= -place:
            return self.calls[place]
        return last

    def _begins(self, call: Call, piece: Piece) -> bool:
        """Whether a piece that is addressed to this call can't belong to it, and so begins another."""
        same_id = piece.id is not None and piece.id == call.id
        if piece.id is not None and call.id is not None and not same_id:
            return self._begins_with_id(call, piece)
        if piece.name is None:
            return call.repeated and bool(piece.text.strip())
        if not call.name:
            return False
        if call.turn == self._turn and not same_id:
            return True  # one delta speaks of each call once
        if not call.whole:
            return False
        if piece.name.strip() != call.name.strip():
            return True
        if not piece.text.strip():
            call.repeated = not same_id
            return False
        if call.says(piece.text):
            return not same_id and piece.number is None
        return not (call.says("{}") if piece.value is None else same_id)

    def _begins_with_id(self, call: Call, piece: Piece) -> bool:
        """The same for a piece that has another id than the call: most often that is another call's, but some
        endpoints make up a new id for each piece."""
        if piece.name is None:
            return call.whole and bool(piece.text.strip())
        if not call.name:
            return call.whole
        goes_on = bool(piece.text) and piece.text.lstrip()[:1] != "{"
        return not (goes_on and call.size and not call.whole and piece.name.strip() == call.name.strip())
