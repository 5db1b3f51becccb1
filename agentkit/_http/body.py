"""The body of an answer as it comes: counted, and decompressed where the endpoint compressed it all the same."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final, Protocol

from agentkit.errors import ConnectionFailed, ProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_BODY_BYTES: Final = 64 * 1024 * 1024
"""How long an answer may be, after decompression, unless the caller says otherwise."""

_GZIP_OR_ZLIB: Final = zlib.MAX_WBITS | 32
_BARE: Final = -zlib.MAX_WBITS


def join_headers(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Headers by name in small letters; the values of one that comes again are joined by ", "."""
    headers: dict[str, str] = {}
    for name, value in raw:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return headers


class Inflater(Protocol):
    """What zlib.decompressobj makes."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class Body:
    """Takes the pieces of one body.

    Only gzip and deflate are decompressed: nothing was asked for but identity, and these two can be stopped at a bound.
    """

    __slots__ = ("_bound", "_held", "_host", "_inflater", "_left", "_started")

    def __init__(self, headers: dict[str, str], bound: int, host: str) -> None:
        self._host = host
        self._bound = self._left = bound
        self._started = False
        self._held = b""
        self._inflater = _inflater(headers.get("content-encoding", ""), host)

    def take(self, piece: bytes) -> bytes:
        """What a piece says; b"" if that comes with the next one.

        Raises:
            ProtocolError: The body is longer than its bound, or no compressed data where it should be.
        """
        if self._inflater is not None and piece:
            piece = self._inflate(piece, self._inflater)
        self._left -= len(piece)
        if self._left < 0:
            raise ProtocolError(f"the answer of {self._host} is longer than {self._bound} bytes, the most that is read")
        return piece

    def end(self) -> None:
        """The body has ended. Raises ConnectionFailed if its compressed data has not."""
        if self._inflater is not None and self._started and not self._inflater.eof:
            raise ConnectionFailed(f"{self._host} ended its answer in the middle of compressed data", retryable=True)

    def _inflate(self, piece: bytes, inflater: Inflater) -> bytes:
        out = bytearray()
        piece, self._held = self._held + piece, b""
        while piece and len(out) <= self._left:
            if inflater.eof:
                # What follows the end is another member, or padding that means nothing.
                if not piece.startswith(b"\x1f\x8b"):
                    self._held = piece if piece == b"\x1f" else b""  # a member's start, cut in two
                    break
                inflater = self._inflater = zlib.decompressobj(_GZIP_OR_ZLIB)
            most = self._left - len(out) + 1
            try:
                out += inflater.decompress(piece, most)
            except zlib.error as error:
                if self._started:
                    raise self._damaged(error) from error
                inflater = self._inflater = zlib.decompressobj(_BARE)
                out += self._inflate_bare(piece, inflater, most)
            self._started = True
            piece = inflater.unused_data
        return bytes(out)

    def _inflate_bare(self, piece: bytes, inflater: Inflater, most: int) -> bytes:
        """Deflate without the zlib frame around it, as some servers send it."""
        try:
            return inflater.decompress(piece, most)
        except zlib.error as error:
            raise self._damaged(error) from error

    def _damaged(self, error: zlib.error) -> ProtocolError:
        return ProtocolError(f"the compressed answer of {self._host} is damaged ({error})", retryable=True)


def _inflater(encoding: str, host: str) -> Inflater | None:
    coding = encoding.strip().lower()
    if coding in {"", "identity"}:
        return None
    if coding in {"gzip", "x-gzip", "deflate"}:
        return zlib.decompressobj(_GZIP_OR_ZLIB)
    raise ProtocolError(
        f"{host} compressed its answer as {coding[:40]!r} though it was asked not to; "
        "have the endpoint, or the proxy before it, send it as it is"
    )
