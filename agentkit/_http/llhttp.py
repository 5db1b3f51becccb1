"""llhttp, in C, by way of aiohttp, as what judges answers. Loaded by name only, for it brings that in."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpProcessingError, HttpResponseParser

from agentkit._http.reader import MAX_HEAD_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable

_NO_LIMIT: Final = 1 << 30
"""Up to here the parser's stream takes without asking for a pause: it is emptied after each read."""


class LlhttpParser:
    """The parser of one answer; see `reader.Parser`. It is made within an event loop of asyncio's."""

    __slots__ = ("_body", "_parser", "fault", "headers", "keeps_alive", "over", "status")

    headers: Iterable[tuple[bytes, bytes]]

    def __init__(self, method: str) -> None:
        loop = asyncio.get_running_loop()
        self._parser: Any = HttpResponseParser(
            BaseProtocol(loop),
            loop,
            _NO_LIMIT,
            max_line_size=MAX_HEAD_BYTES,
            max_field_size=MAX_HEAD_BYTES,
            response_with_body=method != "HEAD",
            read_until_eof=True,
            auto_decompress=False,
        )
        self._body: Any = None
        self.status = 0
        self.headers = ()
        self.keeps_alive = self.over = False
        self.fault: str | None = None

    def feed(self, data: bytes) -> bytes:
        """What the next bytes say of the body; b"" for the end of the connection."""
        messages: list[Any] = []
        try:
            if data:
                messages, _, _ = self._parser.feed_data(data)
            else:
                self._parser.feed_eof()
        except HttpProcessingError as error:  # which may stand behind the end of the answer, or of a piece of it
            self.fault = error.message if data else _CUT
        for message, body in messages:
            if self._body is not None:
                self.keeps_alive = False  # an answer that nobody asked for
            elif not 100 <= message.code < 200 or message.code == 101:
                self.status, self.headers = message.code, message.raw_headers
                self.keeps_alive = not message.should_close
                self._body = body
        return b"" if self._body is None else self._taken(ended=not data)

    def _taken(self, *, ended: bool) -> bytes:
        piece = b""
        try:
            piece = self._body.read_nowait()
        except HttpProcessingError as error:  # of the parser that aiohttp has in Python
            self.fault = self.fault or error.message
        self.over = self._body.is_eof()
        if self.over and self.fault is not None:
            self.keeps_alive = False
        elif ended and not self.over:
            self.fault = self.fault or _CUT
        return piece


_CUT: Final = "peer closed the connection"
"""As h11 says it, so that it is told apart from what is no HTTP."""
