"""One connection over a transport of asyncio's. As in `line`, each single wait asks the request's allowance."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, cast

import anyio
import anyio.lowlevel

from agentkit._http.faults import connect_failed, cut, system_error
from agentkit._http.line import KEEP_ALIVE_S, is_readable, joined
from agentkit._http.line_anyio import context_of_loop
from agentkit._http.racing import connected

if TYPE_CHECKING:
    import asyncio
    import socket

    from agentkit._http.allowance import Allowance
    from agentkit._http.request import Address

_MOST_AHEAD_BYTES: Final = 256 * 1024
"""How much may come before somebody reads it."""
_SLICE_BYTES: Final = 128 * 1024
"""How much of a request goes to asyncio at once."""
_GOODBYE_S: Final = 0.5
"""How long a peer may take to say goodbye under TLS, where asyncio itself closes a connection."""


class AsyncioLine:
    """A connection, and the request that it serves at the moment. To asyncio it is an asyncio.Protocol.

    `unsent`: the request did not leave whole. `heard`: something came back.
    """

    _transport: asyncio.Transport
    _socket: socket.socket
    _allowance: Allowance

    def __init__(self, address: Address, loop: asyncio.AbstractEventLoop) -> None:
        self.unsent = self.heard = self.ended = False
        self._host = address.host
        self._loop = loop
        self._rest = memoryview(b"")
        self._came: list[bytes] = []
        self._ahead = 0
        self._paused = False
        self._waiter: asyncio.Future[bool] | None = None
        self._error: Exception | None = None
        self._idle_since = 0.0

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        # so that whatever is left of a request is told, the last byte apart: TLS takes 0 for "always"
        self._transport.set_write_buffer_limits(1, 0)
        self._socket = transport.get_extra_info("socket")

    def data_received(self, data: bytes) -> None:
        self.heard = True
        self._came.append(data)
        self._ahead += len(data)
        if self._ahead > _MOST_AHEAD_BYTES and not self._paused:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        self.ended = True
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended = True
        self._error = exc
        self._wake()

    def pause_writing(self) -> None:
        self.unsent = True

    def resume_writing(self) -> None:
        self.unsent = False
        self._send_more()

    # What a request calls.

    def send(self, head: bytes, body: bytes, allowance: Allowance) -> None:
        """Send a request; its answer can be read at once."""
        self._allowance = allowance
        self.heard = False
        *before, last = joined(head, body)
        for piece in before:
            self._transport.write(piece)
        self._rest = memoryview(last)
        self._send_more()

    async def read(self, *, answered: bool) -> bytes:
        """All that has come since; b"" for the end of the connection.

        Raises:
            ConnectionFailed: It broke.
            TimedOut: Nothing came in time.
        """
        left = self._allowance.left()
        if not self._came and not self.ended and not await self._wait(left):
            raise self._allowance.timed_out()
        if not self._came:
            if self._error is not None:
                raise cut(self._error, self._host, answered=answered) from self._error
            return b""
        data = self._came[0] if len(self._came) == 1 else b"".join(self._came)
        self._came.clear()
        self._ahead = 0
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
        return data

    def rest(self) -> bool:
        """The request is over. Returns whether the connection can serve another one."""
        self._idle_since = self._loop.time()
        return not (self.unsent or self.ended or self._came or self._transport.is_closing())

    def expired(self) -> bool:
        """Whether it has idled too long, or the endpoint has said something that nobody asked for, as a goodbye."""
        return self.ended or bool(self._came) or self._loop.time() - self._idle_since > KEEP_ALIVE_S

    def is_alive(self) -> bool:
        """Whether a kept connection can be used; also one that was lost while the event loop stood still is told."""
        return not (self.expired() or is_readable(self._socket))

    async def aclose(self) -> None:
        """Close it without sending what is left, and give the event loop the turn that it needs for that."""
        self._transport.abort()
        await anyio.lowlevel.checkpoint()

    # Its own.

    def _send_more(self) -> None:
        # in slices, for asyncio copies what a socket does not take
        while self._rest and not self.unsent:
            piece, self._rest = self._rest[:_SLICE_BYTES], self._rest[_SLICE_BYTES:]
            self._transport.write(piece)
            if self._transport.is_closing():  # a write that fails says nothing else
                self.unsent = True

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(True)

    async def _wait(self, seconds: float) -> bool:
        """Whether something came before the time was over."""
        waiter: asyncio.Future[bool] = self._loop.create_future()
        self._waiter = waiter
        timer = None if seconds == math.inf else self._loop.call_later(seconds, _give_up, waiter)
        try:
            return await waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()


def _give_up(waiter: asyncio.Future[bool]) -> None:
    if not waiter.done():
        waiter.set_result(False)


async def dial_asyncio(address: Address, allowance: Allowance) -> AsyncioLine:
    """A new connection.

    Raises:
        ConnectionFailed: There is none to be had.
        TimedOut: Not in the time allowed.
    """
    line: AsyncioLine | None = None
    with anyio.move_on_after(allowance.left()) as scope:
        try:
            line = await _connect(address)
        except (OSError, UnicodeError) as error:
            raise connect_failed(system_error(error), address.host) from error
    if scope.cancelled_caught or line is None:
        raise allowance.timed_out()
    return line


async def _connect(address: Address) -> AsyncioLine:
    import asyncio  # who comes here has it already; `import agentkit` need not bring it in

    loop = asyncio.get_running_loop()
    options: dict[str, Any] = {}
    if address.secure:
        options = {"ssl": await context_of_loop(), "server_hostname": address.host, "ssl_shutdown_timeout": _GOODBYE_S}
    line = AsyncioLine(address, loop)
    protocol = cast("asyncio.Protocol", line)
    sock = await connected(loop, address.host, address.port)
    await loop.create_connection(lambda: protocol, sock=sock, **options)
    return line
