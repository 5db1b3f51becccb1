"""One answer as its bytes come: first its head, then the body. Nothing here waits; whoever has the connection feeds it.

A parser that others wrote judges every head. A body of a plain kind is then read past it: with its length told, or in
chunks, as far as they are of the plainest form. Whatever else comes is the parser's. To the parser, what is read past
it never was.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Protocol

from agentkit._http.body import join_headers
from agentkit._http.chunks import Chunks
from agentkit._http.faults import cut, garbled

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_HEAD_BYTES: Final = 64 * 1024

_HEAD_END: Final = re.compile(rb"\n\r?\n")
_LAST_CHUNK: Final = b"0\r\n\r\n"
_WITHOUT_BODY: Final = frozenset({101, 204, 304})
_MOST_DIGITS: Final = 18
"""Of a length: what has more is the parser's to judge."""


class Parser(Protocol):
    """What judges HTTP, for one answer.

    `status` is 0 until the answer's head has come; a 100 or 103, which only tells of it, is passed over. `keeps_alive`:
    another answer may follow. `over`: the body has ended. `fault`: what is wrong behind what `feed` returned.
    """

    status: int
    headers: Iterable[tuple[bytes, bytes]]
    keeps_alive: bool
    over: bool
    fault: str | None

    def feed(self, data: bytes) -> bytes:
        """What the next bytes say of the body; b"" for the end of the connection."""
        ...


class AnswerReader:
    """Reads one answer: `read_head` until the head is whole, then `feed` as long as it `goes_on`.

    `rest` is what came behind the head, to be fed first. `reusable`: what came lets another answer follow.
    """

    __slots__ = (
        "_chunks",
        "_has_body",
        "_host",
        "_left",
        "_over",
        "_parser",
        "_tail",
        "headers",
        "rest",
        "reusable",
        "status",
    )

    status: int
    headers: dict[str, str]

    def __init__(self, parser: Parser, method: str, host: str) -> None:
        self._parser = parser
        self._host = host
        self._has_body = method != "HEAD"
        self._left: int | None = None
        self._chunks: Chunks | None = None
        self._over = self.reusable = False
        self._tail = self.rest = b""

    def read_head(self, data: bytes) -> bool:
        """Whether the head is whole with these bytes; b"" for the end of the connection.

        Raises:
            ConnectionFailed: The connection ended before it.
            ProtocolError: What came is no HTTP.
        """
        if not data:
            raise cut(None, self._host, answered=False)
        while data:
            seen = self._tail + data
            found = _HEAD_END.search(seen)
            end = len(data) if found is None else found.end() - len(self._tail)
            self._tail = seen[-2:] if found is None else b""
            self._parser.feed(data[:end])
            if self._parser.fault is not None:
                raise garbled(self._parser.fault, self._host, answered=False)
            data = data[end:]
            if self._parser.status:
                self._begin(data)
                return True
        return False

    def _begin(self, rest: bytes) -> None:
        self.status = self._parser.status
        self.headers = headers = join_headers(self._parser.headers)
        self.reusable = self._parser.keeps_alive and self.status != 101
        self.rest = rest
        length, coding = headers.get("content-length"), headers.get("transfer-encoding")
        if not self._has_body or self.status in _WITHOUT_BODY:
            self._left = 0
        elif coding is None and length is not None and length.isascii() and length.isdigit():
            self._left = int(length) if len(length) <= _MOST_DIGITS else None
        elif length is None and coding is not None and coding.lower() == "chunked":
            self._chunks = Chunks()
        if self._left == 0:
            self._end(behind=rest)

    def goes_on(self) -> bool:
        """Whether more of the body is to come. Raises ProtocolError for what came behind the last piece."""
        if not self._over and self._parser.fault is not None:
            raise garbled(self._parser.fault, self._host, answered=True)
        return not self._over

    def feed(self, data: bytes) -> bytes:
        """What the next bytes say of the body; b"" for the end of the connection.

        Raises:
            ConnectionFailed: The connection ended before the body did.
        """
        if self._left is not None:
            return self._feed_length(data, self._left)
        if self._chunks is None:
            return self._parse(data)
        piece = self._chunks.take(data)
        rest = self._chunks.rest
        if rest is not None:
            self._chunks = None
            if rest.startswith(_LAST_CHUNK):
                self._end(behind=rest[len(_LAST_CHUNK) :])
            else:
                piece += self._parse(rest) if rest else b""
                piece += self._parse(b"") if not data else b""
        return piece

    def _feed_length(self, data: bytes, left: int) -> bytes:
        if not data:
            raise cut(None, self._host, answered=True)
        self._left = max(left - len(data), 0)
        if self._left == 0:
            self._end(behind=data[left:])
        return data[:left]

    def _parse(self, data: bytes) -> bytes:
        parser = self._parser
        piece = parser.feed(data) if parser.fault is None else b""
        if parser.over:
            self._over, self.reusable = True, parser.keeps_alive and bool(data)
        return piece

    def _end(self, *, behind: bytes) -> None:
        self._over = True
        self.reusable = self.reusable and not behind
