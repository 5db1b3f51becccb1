"""One connection over a stream of anyio's, for trio. As in `line`, each single wait asks the request's allowance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
from anyio.abc import SocketAttribute

from agentkit._http.faults import connect_failed, cut, system_error
from agentkit._http.line import KEEP_ALIVE_S, READ_BYTES, is_readable, joined
from agentkit._http.tls import ready_context, shared_context

if TYPE_CHECKING:
    import ssl
    from socket import socket

    from anyio.abc import ByteStream

    from agentkit._http.allowance import Allowance
    from agentkit._http.request import Address

_BROKEN = (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError)


class AnyioLine:
    """A connection over a stream of anyio's, and the request that it serves at the moment.

    `unsent`: the request did not leave whole. `heard`: something came back.
    """

    def __init__(self, host: str, stream: ByteStream) -> None:
        self.unsent = self.heard = False
        self._host = host
        self._stream = stream
        self._socket: socket = stream.extra(SocketAttribute.raw_socket)
        self._waiting: list[bytes] = []
        self._ended = False
        self._idle_since = 0.0

    def send(self, head: bytes, body: bytes, allowance: Allowance) -> None:
        """Begin a request: it leaves with the first read."""
        self.unsent = self.heard = False
        self._allowance = allowance
        self._waiting = joined(head, body)

    async def read(self, *, answered: bool) -> bytes:
        """What comes next; b"" for the end of the connection.

        Raises:
            ConnectionFailed: It broke.
            TimedOut: Nothing came in time.
        """
        left = self._allowance.left()
        data = b""
        # One scope for sending and the wait for the answer: a scope costs a fifth of what a read does.
        with anyio.move_on_after(left) as scope:
            try:
                if self._waiting:
                    await self._send()
                data = await self._stream.receive(READ_BYTES)
                self.heard = True
            except anyio.EndOfStream:
                self._ended = True
            except _BROKEN as error:
                raise cut(error, self._host, answered=answered) from error
        if scope.cancelled_caught:
            raise self._allowance.timed_out()
        return data

    def rest(self) -> bool:
        """Its request is over. Returns whether it can serve another one."""
        self._idle_since = anyio.current_time()
        return not (self.unsent or self._ended)

    def expired(self) -> bool:
        """Whether it has idled too long."""
        return anyio.current_time() - self._idle_since > KEEP_ALIVE_S

    def is_alive(self) -> bool:
        """Whether it can be used: between requests, something to read is the endpoint's goodbye."""
        return not (self.expired() or is_readable(self._socket))

    async def aclose(self) -> None:
        with anyio.CancelScope(shield=True):
            await anyio.aclose_forcefully(self._stream)

    async def _send(self) -> None:
        waiting, self._waiting = self._waiting, []
        # What was begun and not ended has not left whole.
        self.unsent = True
        try:
            for buffer in waiting:
                await self._stream.send(buffer)
        except _BROKEN:
            # An endpoint may refuse a long body before it is all there: what it says is read all the same.
            return
        self.unsent = False


async def dial_anyio(address: Address, allowance: Allowance) -> AnyioLine:
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
    return AnyioLine(address.host, stream)


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
