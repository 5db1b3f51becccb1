"""One connection over a blocking socket. Each single wait asks the request's allowance how long it may take."""

from __future__ import annotations

import math
import select
import socket
import time
from typing import TYPE_CHECKING, Any, Final

from agentkit._http.abort import shut_down
from agentkit._http.faults import connect_failed, cut
from agentkit._http.tls import shared_context

if TYPE_CHECKING:
    from agentkit._http.abort import Aborter
    from agentkit._http.allowance import Allowance
    from agentkit._http.request import Address

KEEP_ALIVE_S: Final = 30.0
READ_BYTES: Final = 64 * 1024

_JOINED_BYTES: Final = 64 * 1024
"""Up to this size, head and body of a request leave in one write."""


class Line:
    """A connection over a blocking socket, and the request that it serves at the moment.

    `unsent`: the request did not leave whole. `heard`: something came back.
    """

    def __init__(self, sock: socket.socket, host: str, allowance: Allowance, aborter: Aborter | None) -> None:
        self.unsent = self.heard = False
        self._socket = sock
        self._host = host
        self._allowance = allowance
        self._aborter = aborter
        self._waiting: list[bytes] = []
        self._ended = False
        self._idle_since = 0.0

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

    def send(self, head: bytes, body: bytes, allowance: Allowance, aborter: Aborter | None) -> None:
        """Begin a request: it leaves with the first read."""
        self.unsent = self.heard = False
        self._allowance = allowance
        self._waiting = joined(head, body)
        if aborter is not self._aborter:
            self._aborter = aborter
            if aborter is not None:
                aborter.hold(self)

    def read(self, *, answered: bool) -> bytes:
        """What comes next; b"" for the end of the connection.

        Raises:
            ConnectionFailed: It broke.
            TimedOut: Nothing came in time.
            Cancelled: It was broken off.
        """
        self._check()
        if self._waiting:
            self._send()
        left = self._allowance.left()
        try:
            self._socket.settimeout(_timeout(left))
            data = self._socket.recv(READ_BYTES)
        except TimeoutError as error:
            raise self._allowance.timed_out() from error
        except OSError as error:
            self._check()
            raise cut(error, self._host, answered=answered) from error
        if data:
            self.heard = True
        else:
            self._check()
            self._ended = True
        return data

    def cut(self) -> None:
        """Ends every wait on the line, from any thread."""
        shut_down(self._socket)

    def finish(self) -> None:
        """Its request is over, and with it who may break it off."""
        if self._aborter is not None:
            self._aborter.release(self)
            self._aborter = None

    def rest(self) -> bool:
        """Its request is over. Returns whether it can serve another one."""
        self.finish()
        self._idle_since = time.monotonic()
        return not (self.unsent or self._ended)

    def expired(self) -> bool:
        """Whether it has idled too long."""
        return time.monotonic() - self._idle_since > KEEP_ALIVE_S

    def is_alive(self) -> bool:
        """Whether it can be used: between requests, something to read is the endpoint's goodbye."""
        return not (self.expired() or is_readable(self._socket))

    def close(self) -> None:
        self.finish()
        self._socket.close()

    # Its own.

    def _send(self) -> None:
        waiting, self._waiting = self._waiting, []
        try:
            for buffer in waiting:
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
        line = Line(socket.socket(family, kind, protocol), address.host, allowance, aborter)
        try:
            line.connect(target, address, allowance.left() / tries_left)
        except OSError as error:
            line.close()
            failure = error
        except BaseException:
            line.close()
            raise
        else:
            return line
    if aborter is not None:
        aborter.check()
    if failure is None or isinstance(failure, TimeoutError):
        raise allowance.timed_out() from failure
    raise connect_failed(failure, address.host) from failure


def joined(head: bytes, body: bytes) -> list[bytes]:
    """A request as it is written: in one piece if it is short."""
    return [head + body] if len(body) <= _JOINED_BYTES else [head, body]


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
