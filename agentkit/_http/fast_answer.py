"""Reads answers off a connection with aiohttp's parser, which is llhttp, in C. Loaded by name only.

The parser judges every head. A body of a plain kind is then read past it: with its length told, or in chunks, as far as
they are of the plainest form. Whatever else comes is the parser's. To the parser, what is read past it never was.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, Self

from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpProcessingError, HttpResponseParser

from agentkit._http.body import join_headers
from agentkit._http.chunks import Chunks
from agentkit._http.faults import cut, garbled

if TYPE_CHECKING:
    import asyncio

    from agentkit._http.fast_line import FastLine

_HEAD_END: Final = re.compile(rb"\n\r?\n")
_LAST_CHUNK: Final = b"0\r\n\r\n"
_MAX_HEADER_BYTES: Final = 64 * 1024
_NO_LIMIT: Final = 1 << 30
"""Up to here the parser's stream takes without asking for a pause: it is emptied after each read."""
_WITHOUT_BODY: Final = frozenset({101, 204, 304})


class FastAnswer:
    """The answer to one request: its head, then an iterator over its body. `reusable`: what came lets others follow."""

    __slots__ = (
        "_body",
        "_chunks",
        "_fault",
        "_has_body",
        "_held",
        "_host",
        "_left",
        "_line",
        "_parser",
        "headers",
        "reusable",
        "status",
    )

    status: int
    headers: dict[str, str]
    _body: Any

    def __init__(self, line: FastLine, host: str, method: str, loop: asyncio.AbstractEventLoop) -> None:
        self._line = line
        self._host = host
        self._has_body = method != "HEAD"
        self._parser: Any = HttpResponseParser(
            BaseProtocol(loop),
            loop,
            _NO_LIMIT,
            max_line_size=_MAX_HEADER_BYTES,
            max_field_size=_MAX_HEADER_BYTES,
            response_with_body=self._has_body,
            read_until_eof=True,
            auto_decompress=False,
        )
        self.reusable = False
        self._fault: Any = None
        self._held = b""
        self._left: int | None = None
        self._chunks: Chunks | None = None

    async def read_head(self) -> None:
        """Wait for the head.

        Raises:
            ConnectionFailed: The connection ended before it.
            TimedOut: It did not come in time.
            ProtocolError: What came is no HTTP.
        """
        fresh = True
        rest = b""
        while True:
            data = rest or await self._line.read(answered=False)
            if not data:
                raise cut(None, self._host, answered=False)
            found = _HEAD_END.search(data)
            end = len(data) if found is None else found.end()
            rest = data[end:]
            messages = self._feed(data[:end])
            if self._fault is not None:
                raise garbled(self._fault.message, self._host, answered=False) from self._fault
            # what only tells of an answer to come, a 100 or 103, is passed over
            final = [
                (message, body) for message, body in messages if not 100 <= message.code < 200 or message.code == 101
            ]
            if final:
                self._held = rest
                self._begin(*final[0], plain=fresh and found is not None)
                return
            fresh = bool(messages)

    def _begin(self, message: Any, body: Any, *, plain: bool) -> None:
        self.status = message.code
        self.headers = headers = join_headers(message.raw_headers)
        self.reusable = not message.should_close
        self._body = body
        if not self._has_body or message.code in _WITHOUT_BODY:
            self._left = 0
            return
        length, coding = headers.get("content-length"), headers.get("transfer-encoding")
        if not plain:
            return
        if coding is None and length is not None and length.isascii() and length.isdigit():
            self._left = int(length)
        elif length is None and coding is not None and coding.lower() == "chunked":
            self._chunks = Chunks()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._left is not None:
            return await self._next_of_length(self._left)
        while (chunks := self._chunks) is not None:
            piece = chunks.take(await self._next())
            if chunks.rest is not None:
                self._chunks, self._held = None, chunks.rest
                if self._held.startswith(_LAST_CHUNK):
                    self._left, self._held = 0, self._held[len(_LAST_CHUNK) :]
            if piece:
                return piece
            if self._left is not None:
                return await self._next_of_length(self._left)
        return await self._next_parsed()

    async def _next(self) -> bytes:
        if self._held:
            data, self._held = self._held, b""
            return data
        return await self._line.read(answered=True)

    async def _next_of_length(self, left: int) -> bytes:
        if left == 0:
            self.reusable = self.reusable and not self._held
            raise StopAsyncIteration
        data = await self._next()
        if not data:
            raise cut(None, self._host, answered=True)
        if len(data) > left:
            data, self._held = data[:left], data[left:]
        self._left = left - len(data)
        return data

    async def _next_parsed(self) -> bytes:
        while True:
            try:
                piece: bytes = self._body.read_nowait()
                if piece:
                    return piece
            except HttpProcessingError as error:  # of the parser that aiohttp has in Python
                self._fault = self._fault or error
            if self._body.is_eof():
                raise StopAsyncIteration
            if self._fault is not None:
                raise garbled(self._fault.message, self._host, answered=True) from self._fault
            data = await self._next()
            if not data:
                self._end()
            elif self._feed(data):
                self.reusable = False

    def _feed(self, data: bytes) -> list[Any]:
        messages: list[Any] = []
        try:
            messages, _, _ = self._parser.feed_data(data)
        except HttpProcessingError as error:  # which may stand behind the end of the answer, or of a piece of it
            self._fault = error
            self.reusable = False
        return messages

    def _end(self) -> None:
        """The connection has ended, as some bodies do. Raises ConnectionFailed if this one did not."""
        try:
            self._parser.feed_eof()
        except HttpProcessingError as error:
            raise cut(None, self._host, answered=True) from error
        if not self._body.is_eof():
            raise cut(None, self._host, answered=True)
