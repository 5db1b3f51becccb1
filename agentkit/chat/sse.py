"""Server-sent events from bytes as they come, by the rules of the WHATWG's HTML standard, section 9.2.

Every line end becomes LF as it comes in, so that an event is what stands between two LF pairs and is found by `split`.
Two things differ from the standard, since endpoints do them: an event that the end of the body leaves unterminated
counts, and lines that the standard has a client ignore are handed on as `stray`, for an error may stand in them.
"""

from __future__ import annotations

from typing import Final, NamedTuple, TypeAlias

from agentkit.errors import ProtocolError

MAX_EVENT_BYTES: Final = 64 * 1024 * 1024

_BOM: Final = b"\xef\xbb\xbf"


class ServerEvent(NamedTuple):
    """An event that is more than data: with a name other than "message", or with stray lines.

    `data` is None if the event had no data field at all.
    """

    data: bytes | None
    name: bytes = b""
    stray: bytes = b""


Incoming: TypeAlias = bytes | ServerEvent
"""An event: its data alone in the ordinary case."""


class EventStream:
    """Parses one body. The work is linear in the bytes, however they are cut."""

    def __init__(self, *, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max = max_event_bytes
        self._pending = bytearray()
        self._newline = False  # a line end is held back: it and the next one may end the event
        self._cr = False  # the last byte was CR: an LF that follows belongs to it
        self._begun = False
        self._overflow = False
        self._clear = False  # begun, and nothing is held back

    def feed(self, data: bytes) -> list[Incoming]:
        """The events that these bytes complete.

        Raises:
            ProtocolError: an event is longer than `max_event_bytes`; where events came before it, at the next call.
        """
        # The ordinary case: one event and nothing else, with nothing held back from before.
        size = len(data)
        if self._clear and data[:6] == b"data: " and data.find(b"\n") == size - 2 and data[-1] == 10:
            plain = size <= self._max and b"\r" not in data
            if plain:
                return [data[6:-2]]
        self._clear = False
        if self._overflow:
            raise self._too_long()
        if self._cr or b"\r" in data:
            data = self._with_lf(data)
        if self._newline and data:
            data = b"\n" + data
            self._newline = False
        blocks = data.split(b"\n\n")
        rest = blocks.pop()
        events: list[Incoming] = []
        if blocks:
            if self._pending:
                blocks[0] = bytes(self._pending + blocks[0])
                self._pending.clear()
            for block in blocks:
                if len(block) > self._max:
                    self._overflow = True
                    break
                if block[:6] == b"data: " and b"\n" not in block:
                    events.append(block[6:])
                    self._begun = True
                elif block or not self._begun:
                    self._parse(block, events)
        if rest:
            if rest[-1] == 10:
                self._newline = True
                rest = rest[:-1]
            self._pending += rest
            self._overflow = self._overflow or len(self._pending) > self._max
        if self._overflow and not events:
            raise self._too_long()
        self._clear = self._begun and not (self._pending or self._newline or self._cr or self._overflow)
        return events

    def end(self) -> list[Incoming]:
        """The event that the end of the body leaves unterminated, if any. Raises ProtocolError, as `feed`."""
        if self._overflow:
            raise self._too_long()
        events: list[Incoming] = []
        if self._pending:
            self._parse(bytes(self._pending), events)
            self._pending.clear()
        return events

    def _with_lf(self, data: bytes) -> bytes:
        if self._cr and data[:1] == b"\n":
            data = data[1:]
            self._cr = False
        if data:
            self._cr = data[-1] == 13
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _parse(self, block: bytes, events: list[Incoming]) -> None:
        if not self._begun:
            self._begun = True
            block = block.removeprefix(_BOM)
        data: list[bytes] = []
        stray: list[bytes] = []
        name = b""
        for line in block.split(b"\n"):
            field, colon, value = line.partition(b":")
            match field:
                case b"data":
                    data.append(value.removeprefix(b" "))
                case b"event":
                    name = value.removeprefix(b" ")
                case b"" | b"id" | b"retry":  # a comment, or what only a browser needs
                    pass
                case _:
                    stray.append(field + colon + value)
        if name == b"message":
            name = b""
        if data and not name and not stray:
            events.append(b"\n".join(data))
        elif data or stray:
            events.append(ServerEvent(b"\n".join(data) if data else None, name, b"\n".join(stray)))

    def _too_long(self) -> ProtocolError:
        return ProtocolError(
            f"an event of the stream is longer than max_event_bytes={self._max}; raise it if the endpoint means it"
        )
