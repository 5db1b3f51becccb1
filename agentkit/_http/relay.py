"""Requests that go through httpx, not over a line of our own: what is known of their sockets, and proxies."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, TypeVar

from agentkit._http.abort import shut_down
from agentkit._http.line import KEEP_ALIVE_S
from agentkit._http.tls import shared_context
from agentkit.errors import UsageError

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable

    import httpx

    from agentkit._http.answer import Route, Stack

_Transport = TypeVar("_Transport")


class Sockets:
    """The sockets that a client was seen to open, and which request has which.

    A request that waits for an answer on a connection that the client had kept can't be told apart from outside. To
    wake it all are shut down that no other request is known to have: kept ones are made anew, at worst a request is
    asked again.
    """

    def __init__(self) -> None:
        self._known: set[socket.socket] = set()
        self._claims: dict[object, socket.socket] = {}
        self._lock = threading.Lock()

    def claim(self, owner: object, sock: socket.socket | None) -> None:
        if sock is None:
            return
        with self._lock:
            self._known = {known for known in self._known if known.fileno() >= 0}
            self._known.add(sock)
            self._claims[owner] = sock

    def leave(self, owner: object) -> None:
        with self._lock:
            self._claims.pop(owner, None)

    def cut(self, owner: object) -> None:
        with self._lock:
            own = self._claims.get(owner)
            suspects = {own} if own is not None else self._known.difference(self._claims.values())
        for sock in suspects:
            shut_down(sock)


class Relay:
    """A transport of httpx's kind that carries one request at a time, through a proxy."""

    __slots__ = ("_idle_since", "sockets", "transport")

    def __init__(self, transport: httpx.BaseTransport) -> None:
        self.transport = transport
        self.sockets = Sockets()
        self._idle_since = 0.0

    def rest(self) -> None:
        self._idle_since = time.monotonic()

    def expired(self) -> bool:
        return time.monotonic() - self._idle_since > KEEP_ALIVE_S

    def close(self) -> None:
        self.transport.close()


class AsyncRelay:
    """The same for an event loop."""

    __slots__ = ("_idle_since", "transport")

    def __init__(self, transport: httpx.AsyncBaseTransport) -> None:
        self.transport = transport
        self._idle_since = 0.0

    def rest(self) -> None:
        self._idle_since = time.monotonic()

    def expired(self) -> bool:
        return time.monotonic() - self._idle_since > KEEP_ALIVE_S

    async def aclose(self) -> None:
        await self.transport.aclose()


def take_relay(route: Route, proxy: httpx.Proxy) -> Relay:
    """A transport through the proxy: one that was kept, or a new one.

    Raises:
        UsageError: The proxy is of a kind that can't be used.
    """
    stack: Stack[Relay] = route.stack
    while (relay := stack.take()) is not None:
        if not relay.expired():
            return relay
        relay.close()
    import httpx

    context = shared_context() if route.address.secure else None
    return Relay(_through(httpx.HTTPTransport, context, proxy))


async def take_async_relay(route: Route, proxy: httpx.Proxy, context: ssl.SSLContext | None) -> AsyncRelay:
    """The same for an event loop."""
    stack: Stack[AsyncRelay] = route.stack
    while (relay := stack.take()) is not None:
        if not relay.expired():
            return relay
        await relay.aclose()
    import httpx

    return AsyncRelay(_through(httpx.AsyncHTTPTransport, context, proxy))


def _through(transport: Callable[..., _Transport], context: ssl.SSLContext | None, proxy: httpx.Proxy) -> _Transport:
    import httpx

    limits = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=KEEP_ALIVE_S)
    try:
        # Without a context none is made, which takes 20 ms; a proxy's own encryption is not meant.
        return transport(verify=context or False, limits=limits, proxy=proxy)
    except ImportError as error:
        raise UsageError(
            f"a {proxy.url.scheme} proxy is set in the environment, which needs `pip install httpx[socks]`; or unset it"
        ) from error
