"""One connection of blocking sockets: what httpcore's HTTP/1.1 reads from and writes to.

httpcore takes one timeout for a whole body, so a slow drip could outlast any limit on the whole request. Here each
single wait asks the request's allowance how long it may take.
"""

from __future__ import annotations

import math
import select
import socket
from typing import TYPE_CHECKING, Any, Final, cast

from agentkit._http.abort import shut_down
from agentkit._http.chunks import head_size
from agentkit._http.faults import connect_failed, cut
from agentkit._http.tls import shared_context

if TYPE_CHECKING:
    import httpcore

    from agentkit._http.abort import Aborter
    from agentkit._http.allowance import Allowance
    from agentkit._http.request import Address

KEEP_ALIVE_S: Final = 30.0
JOINED_BYTES: Final = 64 * 1024
"""Up to this size, head and body of a request leave in one write."""


class LeftError(Exception):
    """Nobody waits for the rest of the answer."""


class Wire:
    """A socket, and the request that it serves at the moment.

    `unsent`: the request did not leave whole. `heard`: something came back. `at_body`: what was read last was the head
    of an answer in chunks, and nothing else.
    """

    def __init__(self, sock: socket.socket, host: str, allowance: Allowance, aborter: Aborter | None) -> None:
        self.unsent = self.heard = self.at_body = False
        self._socket = sock
        self._host = host
        self._allowance = allowance
        self._aborter = aborter
        self._waiting: list[bytes] = []
        self._held = b""
        self._grace_s: float | None = None

    def connect(self, target: Any, address: Address, limit_s: float) -> None:
        """Connects to one of the host's addresses, and encrypts if it shall be. Raises OSError."""
        if self._aborter is not None:
            self._aborter.hold(self)
        self._socket.settimeout(_timeout(limit_s))
        self._socket.connect(target)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if address.secure:
            self._socket = shared_context().wrap_socket(
                self._socket, server_hostname=address.host, do_handshake_on_connect=False
            )
            self._socket.settimeout(_timeout(self._allowance.left()))
            self._socket.do_handshake()
        self._check()

    def begin(self, allowance: Allowance, aborter: Aborter | None) -> None:
        """A new request uses the wire."""
        self.unsent = self.heard = self.at_body = False
        self._allowance = allowance
        self._grace_s = None
        self._held = b""
        self._waiting.clear()
        if aborter is not self._aborter:
            self._aborter = aborter
            if aborter is not None:
                aborter.hold(self)

    def finish(self) -> None:
        """Its request is over."""
        if self._aborter is not None:
            self._aborter.release(self)
            self._aborter = None

    def leave(self, grace_s: float) -> None:
        """From now on one more read at most, and no longer than this; then LeftError."""
        self._grace_s = grace_s

    def put_back(self, data: bytes) -> None:
        """The next read gives this."""
        self._held = data

    def cut(self) -> None:
        """Ends every wait on the wire, from any thread."""
        shut_down(self._socket)

    # What httpcore calls, with a timeout that the allowance knows better.

    def write(self, buffer: bytes, **_: object) -> None:  # the allowance says it
        """Keeps it until something is read: head and body then leave together."""
        if buffer:
            self._waiting.append(buffer)

    def read(self, max_bytes: int, **_: object) -> bytes:  # the allowance says it
        self._check()
        self.at_body = False
        if self._held:
            data, self._held = self._held, b""
            return data
        if self._waiting:
            self._send()
        left = self._allowance.left()
        if self._grace_s is not None:
            left, self._grace_s = min(left, self._grace_s), 0.0
            if left <= 0:
                raise LeftError
        try:
            self._socket.settimeout(_timeout(left))
            data = self._socket.recv(max_bytes)
        except TimeoutError as error:
            raise self._allowance.timed_out() from error
        except OSError as error:
            self._check()
            raise cut(error, self._host, answered=self.heard) from error
        if not data:
            self._check()
        elif not self.heard:
            self.heard = True
            if size := head_size(data):
                data, self._held, self.at_body = data[:size], data[size:], True
        return data

    def close(self) -> None:
        self.finish()
        self._socket.close()

    def get_extra_info(self, info: str) -> Any:
        # Between requests, something to read is the endpoint's goodbye.
        return is_readable(self._socket) if info == "is_readable" else None

    # Its own.

    def _send(self) -> None:
        buffers = [b"".join(self._waiting)] if sum(map(len, self._waiting)) <= JOINED_BYTES else list(self._waiting)
        self._waiting.clear()
        try:
            for buffer in buffers:
                rest = memoryview(buffer)
                while rest:
                    self._socket.settimeout(_timeout(self._allowance.left()))
                    rest = rest[self._socket.send(rest) :]
        except TimeoutError as error:
            raise self._allowance.timed_out() from error
        except OSError:
            # An endpoint may refuse a long body before it is all there: what it says is read all the same.
            self.unsent = True

    def _check(self) -> None:
        if self._aborter is not None:
            self._aborter.check()


class Line:
    """A wire with httpcore's HTTP/1.1 on it."""

    __slots__ = ("connection", "wire")

    def __init__(self, wire: Wire, address: Address) -> None:
        import httpcore

        self.wire = wire
        self.connection = httpcore.HTTP11Connection(
            httpcore.Origin(b"https" if address.secure else b"http", address.host.encode("ascii"), address.port),
            cast("httpcore.NetworkStream", wire),
            KEEP_ALIVE_S,
        )

    def expired(self) -> bool:
        """Whether it has idled too long, or the endpoint has hung up."""
        return self.connection.has_expired()

    def close(self) -> None:
        self.connection.close()


def dial(address: Address, allowance: Allowance, aborter: Aborter | None) -> Line:
    """A new connection.

    Raises:
        ConnectionFailed: There is none to be had.
        TimedOut: Not in the time allowed.
        Cancelled: It was broken off.
    """
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise connect_failed(error, address.host) from error
    failure: OSError | None = None
    # One address after another, each for its share of the time.
    for tries_left, (family, kind, protocol, _, target) in zip(range(len(found), 0, -1), found, strict=True):
        if aborter is not None:
            aborter.check()
        wire = Wire(socket.socket(family, kind, protocol), address.host, allowance, aborter)
        try:
            wire.connect(target, address, allowance.left() / tries_left)
        except OSError as error:
            wire.close()
            failure = error
        except BaseException:
            wire.close()
            raise
        else:
            return Line(wire, address)
    if aborter is not None:
        aborter.check()
    if failure is None or isinstance(failure, TimeoutError):
        raise allowance.timed_out() from failure
    raise connect_failed(failure, address.host) from failure


def is_readable(sock: socket.socket) -> bool:
    """Whether a read would return at once; so also of a socket that is closed."""
    number = sock.fileno()
    if number < 0:
        return True
    if not hasattr(select, "poll"):
        return bool(select.select([number], [], [], 0)[0])
    poll = select.poll()
    poll.register(number, select.POLLIN)
    return bool(poll.poll(0))


def _timeout(seconds: float) -> float | None:
    return None if seconds == math.inf else seconds
