"""One HTTP/1.1 connection of a fake endpoint: requests in, responses out, with all their faults.

Written from RFC 9112, on asyncio's transports alone: a client's hanging up is then seen at once, in the middle of an
answer too, and an answer without pauses costs one write.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, Protocol, cast

from agentkit.testing.script import End, Pause, Request, Response

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class Owner(Protocol):
    """What a connection needs of its endpoint. All is called in the endpoint's own thread."""

    @property
    def keeps_alive(self) -> bool:
        """Whether a connection stays open after an answer."""
        ...

    def opened(self, connection: Connection) -> None:
        """The connection stands."""

    def closed(self, connection: Connection, unanswered: Request | None) -> None:
        """The connection is gone, perhaps in the middle of an answer."""

    def answer(self, request: Request) -> Response:
        """What to send. Never raises."""
        ...


class BadRequest(ValueError):
    """The bytes are no HTTP request."""


@dataclass(slots=True)
class Head:
    """A request's first line and headers."""

    method: str
    target: str
    version: str
    headers: dict[str, str]
    size: int

    @property
    def keeps_alive(self) -> bool:
        """Whether the client wants to send more on this connection."""
        wish = self.headers.get("connection", "").lower()
        return wish != "close" if self.version == "HTTP/1.1" else wish == "keep-alive"


_MAX_HEAD: Final = 65536
_LINE: Final = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+) (\S+) (HTTP/1\.[01])")
_POLL_S: Final = 0.002


def read_head(buffer: bytearray) -> Head | None:
    """The head at the start of the buffer, None while it is not whole. Raises BadRequest."""
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        if len(buffer) > _MAX_HEAD:
            raise BadRequest("the head is too long")
        return None
    first, *lines = buffer[:end].decode("latin-1").split("\r\n")
    line = _LINE.fullmatch(first)
    if line is None:
        raise BadRequest(f"{first[:80]!r} is no request line")
    headers: dict[str, str] = {}
    for each in lines:
        name, colon, value = each.partition(":")
        if not colon or name != name.strip() or not name:
            raise BadRequest(f"{each[:80]!r} is no header")
        name, value = name.lower(), value.strip()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return Head(line[1], line[2], line[3], headers, end + 4)


def read_body(buffer: bytearray, head: Head) -> tuple[bytes, int] | None:
    """The body behind the head and the place where it ends, None while it is not whole. Raises BadRequest."""
    if "transfer-encoding" in head.headers:
        return _read_chunks(buffer, head.size)
    length = head.headers.get("content-length", "0")
    if not length.isdecimal():
        raise BadRequest(f"content-length {length!r} is no number")
    end = head.size + int(length)
    return (bytes(buffer[head.size : end]), end) if len(buffer) >= end else None


def _read_chunks(buffer: bytearray, place: int) -> tuple[bytes, int] | None:
    chunks: list[bytes] = []
    while (end := buffer.find(b"\r\n", place)) >= 0:
        size_text = bytes(buffer[place:end]).partition(b";")[0].strip()
        if not re.fullmatch(rb"[0-9a-fA-F]{1,8}", size_text):
            raise BadRequest(f"{size_text[:20]!r} is no chunk size")
        size, start = int(size_text, 16), end + 2
        place = start + size + 2
        if len(buffer) < place:
            return None
        if not buffer.startswith(b"\r\n", place - 2):
            raise BadRequest("a chunk is longer than it says, or has trailers")
        if size == 0:
            return b"".join(chunks), place
        chunks.append(bytes(buffer[start : start + size]))
    return None


def wire(response: Response, *, close: bool) -> Iterator[bytes | Pause | End]:
    """A response as what is done on the connection, one write for all that goes out together."""
    yield from response.before
    ready: list[bytes] = [] if response.status is None else [_head(response.status, response.headers, close=close)]
    for piece in response.body:
        if isinstance(piece, bytes):
            ready += [b"%x\r\n" % len(piece), piece, b"\r\n"] if response.chunked else [piece]
            continue
        if ready:
            yield b"".join(ready)
            ready = []
        yield piece
    if response.chunked:
        ready.append(b"0\r\n\r\n")
    if ready:
        yield b"".join(ready)
    if close:
        yield End("close")


def _head(status: int, headers: Mapping[str, str], *, close: bool) -> bytes:
    try:
        reason = HTTPStatus(status).phrase
    except ValueError:
        reason = "Unknown"
    lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in headers.items())]
    if close and "connection" not in headers:
        lines.append("connection: close")
    return "\r\n".join([*lines, "\r\n"]).encode("latin-1")


class Connection(asyncio.Protocol):
    """The server's side of one connection."""

    def __init__(self, owner: Owner, number: int) -> None:
        self.number = number
        self._owner = owner
        self._transport: asyncio.Transport
        self._buffer = bytearray()
        self._head: Head | None = None
        self._request: Request | None = None
        self._task: asyncio.Task[None] | None = None
        self._writable = asyncio.Event()

    @property
    def idle(self) -> bool:
        """Whether no answer is under way."""
        return self._request is None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        self._transport = cast("asyncio.Transport", transport)
        # An answer counts as sent when the kernel has all of it, so that a client that left before then is noticed.
        self._transport.set_write_buffer_limits(high=0)
        self._writable.set()
        self._owner.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:  # asyncio gives it  # noqa: ARG002
        """Called by asyncio."""
        request, self._request = self._request, None
        self._writable.set()
        if self._task is not None:
            self._task.cancel()
        self._owner.closed(self, request)

    def pause_writing(self) -> None:
        """Called by asyncio."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Called by asyncio."""
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        self._buffer += data
        self._advance()

    def close(self) -> None:
        """Close without waiting; what was not sent yet is lost."""
        self._request = None
        self._transport.abort()

    def _advance(self) -> None:
        """Answer the requests that are whole, one after another."""
        while self._request is None and self._buffer and not self._transport.is_closing():
            try:
                if self._head is None:
                    self._head = read_head(self._buffer)
                    if self._head is not None and self._head.headers.get("expect", "").lower() == "100-continue":
                        self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                whole = None if self._head is None else read_body(self._buffer, self._head)
            except BadRequest as error:
                text = str(error).encode()
                fields = {"content-type": "text/plain", "content-length": str(len(text))}
                self._transport.write(b"".join(_bytes(wire(Response(400, fields, [text]), close=True))))
                self._transport.close()
                return
            if self._head is None or whole is None:
                return
            head, self._head = self._head, None
            body, end = whole
            del self._buffer[:end]
            self._begin(head, body)

    def _begin(self, head: Head, body: bytes) -> None:
        path, _, query = head.target.partition("?")
        self._request = request = Request(head.method, path, head.headers, body, query=query, connection=self.number)
        response = self._owner.answer(request)
        steps = wire(response, close=not (head.keeps_alive and self._owner.keeps_alive))
        for step in steps:
            if not isinstance(step, bytes) or not self._writable.is_set():
                self._task = asyncio.get_running_loop().create_task(self._play(step, steps))
                return
            self._transport.write(step)
        if self._writable.is_set():
            self._request = None
        else:
            self._task = asyncio.get_running_loop().create_task(self._play(b"", steps))

    async def _play(self, step: bytes | Pause | End, steps: Iterator[bytes | Pause | End]) -> None:
        """Do the steps that take time; the connection's end cancels this."""
        await self._do(step)
        for each in steps:
            await self._do(each)
        await self._writable.wait()
        self._request = self._task = None
        if not self._owner.keeps_alive:
            self._transport.close()
        self._advance()

    async def _do(self, step: bytes | Pause | End) -> None:
        match step:
            case Pause():
                await _wait(step)
            case End(how):
                self._request = None
                if how == "reset":
                    sock = self._transport.get_extra_info("socket")
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self._transport.abort()
                else:
                    self._transport.close()
                await asyncio.get_running_loop().create_future()
            case _:
                await self._writable.wait()
                self._transport.write(step)
                await self._writable.wait()


def _bytes(steps: Iterator[bytes | Pause | End]) -> Iterator[bytes]:
    return (step for step in steps if isinstance(step, bytes))


async def _wait(pause: Pause) -> None:
    if pause.until is not None:
        # A thread's event has no way to wake a loop; looking is exact enough for a test and leaves no thread behind.
        while not pause.until.is_set():  # see above  # noqa: ASYNC110
            await asyncio.sleep(_POLL_S)
    elif pause.seconds is None:
        await asyncio.get_running_loop().create_future()
    else:
        await asyncio.sleep(pause.seconds)
