"""How a request that waits in one thread is broken off from another."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Protocol

from agentkit.errors import Cancelled


class Cuttable(Protocol):
    """Something that waits, and can be made to stop."""

    def cut(self) -> None: ...


class Aborter:
    """Breaks off the requests that were opened with it, from any thread.

    Each of them raises Cancelled in its own thread at once, and so does each that is opened later. Only a look-up of
    the host's address can't be interrupted: it ends first.
    """

    __slots__ = ("_lock", "_waiting", "aborted")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: set[Cuttable] = set()
        self.aborted = False

    def abort(self) -> None:
        """Break off all requests. It can't be undone."""
        with self._lock:
            self.aborted = True
            waiting = tuple(self._waiting)
        for one in waiting:
            one.cut()

    def check(self) -> None:
        """Raises Cancelled once `abort` was called."""
        if self.aborted:
            raise Cancelled("the request was broken off by its caller")

    def hold(self, waiting: Cuttable) -> None:
        """`waiting` is cut by `abort` from now on. Raises Cancelled if that has happened."""
        with self._lock:
            self._waiting.add(waiting)
        if self.aborted:
            self.release(waiting)
            self.check()

    def release(self, waiting: Cuttable) -> None:
        """`waiting` is not cut any more."""
        with self._lock:
            self._waiting.discard(waiting)


def shut_down(sock: socket.socket) -> None:
    """Wakes whoever waits on the socket, in any thread; closing it would not."""
    with contextlib.suppress(OSError):
        # Past SSLSocket's own method, which would first take the encryption away.
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
