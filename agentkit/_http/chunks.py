"""The frame of a body that comes in chunks, taken off many at a time.

h11 takes 15 µs for a chunk, and endpoints send one for each token. So chunks of the plainest form are read here, and
whatever is not of that form is the parser's from there on.
"""

from __future__ import annotations

import re
from typing import Final

_HEADER: Final = re.compile(rb"([0-9A-Fa-f]{1,8})\r\n")
_HEADER_BEGUN: Final = re.compile(rb"[0-9A-Fa-f]{1,8}\r?")
_NO_HEADER: Final = b"?\r\n"
_CRLF: Final = b"\r\n"


class Chunks:
    """Takes the frame off the chunks of one body. `rest` is what others shall go on with, None as long as it is plain.

    A body that ends in the middle of a chunk has a `rest` like one that ends before its last chunk: to who goes on
    with it, both are cut off.
    """

    __slots__ = ("_kept", "_left", "rest")

    def __init__(self) -> None:
        self._kept = b""  # the beginning of a chunk's header
        self._left = 0  # bytes to come of the chunk that has begun, its CRLF with them
        self.rest: bytes | None = None

    def take(self, data: bytes) -> bytes:
        """What the next bytes of the body say; b"" for the end of the connection."""
        if not data:
            self.rest = self._kept
            return b""
        if self._kept:
            data, self._kept = self._kept + data, b""
        pieces: list[bytes] = []
        at = self._finish(data, pieces) if self._left else 0
        while self.rest is None and (found := _HEADER.match(data, at)) is not None and (size := int(found[1], 16)):
            begin = found.end()
            end = begin + size
            if data[end : end + 2] == _CRLF:
                pieces.append(data[begin:end])
                at = end + 2
            else:
                self._left = size + 2
                at = self._finish(data, pieces, begin)
        if self.rest is None and at < len(data):
            if _HEADER_BEGUN.fullmatch(data, at):
                self._kept = data[at:]
            else:
                self.rest = data[at:]
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _finish(self, data: bytes, pieces: list[bytes], at: int = 0) -> int:
        """Take what is there of the chunk that has begun; returns where that ends."""
        if self._left > 2:
            piece = data[at : at + self._left - 2]
            pieces.append(piece)
            at += len(piece)
            self._left -= len(piece)
        if self._left <= 2:
            end = data[at : at + self._left]
            if not _CRLF[2 - self._left :].startswith(end):
                self.rest = _NO_HEADER
            at += len(end)
            self._left -= len(end)
        return at
