"""One connection of an event loop: what httpcore's HTTP/1.1 reads from and writes to, on asyncio and trio.

As in `wire`, each single wait asks the request's allowance how long it may take.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import anyio
from anyio.abc import SocketAttribute

from agentkit._http.chunks import head_size
from agentkit._http.faults import connect_failed, cut, system_error
from agentkit._http.tls import ready_context, shared_context
from agentkit._http.wire import JOINED_BYTES, KEEP_ALIVE_S, LeftError, is_readable

if TYPE_CHECKING:
    import ssl
    from socket import socket

    import httpcore
    from anyio.abc import ByteStream

    from agentkit._http.allowance import Allowance
    from agentkit._http.request import Address

_BROKEN = (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError)


class AsyncWire:
    """A stream, and the request that it serves at the moment.

    `unsent`: the request did not leave whole. `heard`: something came back. `at_body`: what was read last was the head
    of an answer in chunks, and nothing else.
    """

    def __init__(self, host: str, stream: ByteStream, allowance: Allowance) -> None:
        self.unsent = self.heard = self.at_body = False
        self._allowance = allowance
        self._host = host
        self._stream = stream
        self._raw: socket | None = None
        self._waiting: list[bytes] = []
        self._held = b""
        self._grace_s: float | None = None

    def begin(self, allowance: Allowance) -> None:
        """A new request uses the wire."""
        self.unsent = self.heard = self.at_body = False
        self._allowance = allowance
        self._grace_s = None
        self._held = b""
        self._waiting.clear()

    def leave(self, grace_s: float) -> None:
        """From now on one more read at most, and no longer than this; then LeftError."""
        self._grace_s = grace_s

    def put_back(self, data: bytes) -> None:
        """The next read gives this."""
        self._held = data

    # What httpcore calls, with a timeout that the allowance knows better.

    async def write(self, buffer: bytes, **_: object) -> None:
        """Keeps it until something is read: head and body then leave together."""
        if buffer:
            self._waiting.append(buffer)

    async def read(self, max_bytes: int, **_: object) -> bytes:
        self.at_body = False
        if self._held:
            data, self._held = self._held, b""
            return data
        left = self._allowance.left()
        if self._grace_s is not None:
            left, self._grace_s = min(left, self._grace_s), 0.0
            if left <= 0:
                raise LeftError
        data = b""
        # One scope for sending and the wait for the answer: a scope costs a fifth of what a read does.
        with anyio.move_on_after(left) as scope:
            try:
                if self._waiting:
                    await self._send()
                data = await self._stream.receive(max_bytes)
            except anyio.EndOfStream:
                pass
            except _BROKEN as error:
                raise cut(error, self._host, answered=self.heard) from error
        if scope.cancelled_caught:
            raise self._allowance.timed_out()
        if data and not self.heard:
            self.heard = True
            if size := head_size(data):
                data, self._held, self.at_body = data[:size], data[size:], True
        return data

    async def aclose(self) -> None:
        with anyio.CancelScope(shield=True):
            await anyio.aclose_forcefully(self._stream)

    def get_extra_info(self, info: str) -> Any:
        return is_readable(self._socket()) if info == "is_readable" else None

    # Its own.

    async def _send(self) -> None:
        buffers = [b"".join(self._waiting)] if sum(map(len, self._waiting)) <= JOINED_BYTES else list(self._waiting)
        self._waiting.clear()
        # What was begun and not ended has not left whole.
        self.unsent = True
        try:
            for buffer in buffers:
                await self._stream.send(buffer)
        except _BROKEN:
            # An endpoint may refuse a long body before it is all there: what it says is read all the same.
            return
        # asyncio does not say that a write failed, but takes the connection for lost.
        self.unsent = self._socket().fileno() < 0

    def _socket(self) -> socket:
        if self._raw is None:  # anyio works out every attribute to give one
            self._raw = self._stream.extra(SocketAttribute.raw_socket)
        return self._raw


class AsyncLine:
    """A wire with httpcore's HTTP/1.1 on it."""

    __slots__ = ("connection", "wire")

    def __init__(self, wire: AsyncWire, address: Address) -> None:
        import httpcore

        self.wire = wire
        self.connection = httpcore.AsyncHTTP11Connection(
            httpcore.Origin(b"https" if address.secure else b"http", address.host.encode("ascii"), address.port),
            cast("httpcore.AsyncNetworkStream", wire),
            KEEP_ALIVE_S,
        )

    def expired(self) -> bool:
        """Whether it has idled too long, or the endpoint has hung up."""
        return self.connection.has_expired()

    async def aclose(self) -> None:
        await self.connection.aclose()


async def dial(address: Address, allowance: Allowance) -> AsyncLine:
    """A new connection.

    Raises:
        ConnectionFailed: There is none to be had.
        TimedOut: Not in the time allowed.
    """
    stream: ByteStream | None = None
    with anyio.move_on_after(allowance.left()) as scope:
        try:
            stream = await anyio.connect_tcp(address.host, address.port)
            if address.secure:
                stream = await _encrypt(stream, address)
        except (OSError, anyio.BrokenResourceError, anyio.EndOfStream, UnicodeError) as error:
            raise connect_failed(system_error(error), address.host) from error
    if scope.cancelled_caught or stream is None:
        raise allowance.timed_out()
    return AsyncLine(AsyncWire(address.host, stream, allowance), address)


async def _encrypt(stream: ByteStream, address: Address) -> ByteStream:
    from anyio.streams.tls import TLSStream  # 7 ms, which plain http does not need

    try:
        context = await context_of_loop()
        return await TLSStream.wrap(
            stream, hostname=address.host, ssl_context=context, server_side=False, standard_compatible=False
        )
    except BaseException:
        with anyio.CancelScope(shield=True):
            await anyio.aclose_forcefully(stream)
        raise


async def context_of_loop() -> ssl.SSLContext:
    """The shared context; made in a thread, for that takes longer than a loop should stand still."""
    context = ready_context()
    return context if context is not None else await anyio.to_thread.run_sync(shared_context)
