"""What the sync and the async side of the HTTP layer share."""

from __future__ import annotations

import math
import os
from collections import deque
from typing import TYPE_CHECKING, Any, Final, Generic, NoReturn, Protocol, TypeVar

from agentkit._http.faults import translate
from agentkit._http.proxies import environment_proxy
from agentkit._http.request import Address, parse_url, raw_headers
from agentkit.errors import EndpointError, UsageError

if TYPE_CHECKING:
    import httpx

    from agentkit._http.allowance import Allowance
    from agentkit._http.request import HttpRequest

MAX_IDLE: Final = 256
"""How many connections are kept for each origin while nothing uses them."""
GRACE_S: Final = 0.02
"""How long the end of a body that nobody reads is waited for, so that its connection can serve again."""


class Idler(Protocol):
    """A connection, or what stands for one."""

    def expired(self) -> bool: ...


_Line = TypeVar("_Line", bound=Idler)


class Stack(Generic[_Line]):
    """Connections to one origin that nothing uses now. The last one in is the first one out, so a burst's surplus ages.

    Any thread may use it: each step is one operation of a deque.
    """

    __slots__ = ("_lines", "closed")

    def __init__(self) -> None:
        self._lines: deque[_Line] = deque()
        self.closed = False

    def take(self) -> _Line | None:
        """The freshest one, which may have expired."""
        try:
            return self._lines.pop()
        except IndexError:
            return None

    def put(self, line: _Line) -> _Line | None:
        """Keeps one. Returns one to be closed in its place, if there is any."""
        if self.closed:
            return line
        self._lines.append(line)
        if len(self._lines) == 1:
            return None
        return self._oldest() if len(self._lines) > MAX_IDLE or self._has_expired() else None

    def _has_expired(self) -> bool:
        try:
            return self._lines[0].expired()
        except IndexError:
            return False

    def _oldest(self) -> _Line | None:
        try:
            return self._lines.popleft()
        except IndexError:
            return None


class Route:
    """Where requests to one URL go: the address, and the connections that lead there. `name` stands in messages."""

    __slots__ = ("address", "name", "proxy", "stack")

    def __init__(self, address: Address, stack: Stack[Any], proxy: httpx.Proxy | None) -> None:
        self.address = address
        self.proxy = proxy
        self.name = address.host if proxy is None else f"{address.host} (by the proxy {proxy.url.host})"
        self.stack = stack


class Routes:
    """The routes of one client, each found once."""

    __slots__ = ("_by_url", "_forsaken", "_pid", "_stacks", "_with_proxies")

    def __init__(self, *, with_proxies: bool) -> None:
        self._with_proxies = with_proxies
        self._pid = os.getpid()
        self._by_url: dict[str, Route] = {}
        self._stacks: dict[tuple[bool, str, int], Stack[Any]] = {}
        self._forsaken: list[object] = []

    def find(self, url: str) -> Route:
        """The route of a URL. Raises UsageError if it is none."""
        if os.getpid() != self._pid:
            self._forsake()
        route = self._by_url.get(url)
        if route is None:
            address = parse_url(url)
            proxy = environment_proxy(address.url) if self._with_proxies else None
            stack = self._stacks.setdefault(address.origin, Stack())
            if len(self._by_url) >= 100:
                self._by_url.clear()
            route = self._by_url[url] = Route(address, stack, proxy)
        return route

    def drain(self) -> list[Any]:
        """Takes every idle connection out, for good: none comes in any more."""
        lines: list[Any] = []
        for stack in tuple(self._stacks.values()):
            stack.closed = True
            while (line := stack.take()) is not None:
                lines.append(line)
        return lines

    def _forsake(self) -> None:
        """After a fork the connections are the parent's: never used or closed here, and never collected either."""
        self._forsaken.append((self._by_url, self._stacks))
        self._by_url, self._stacks = {}, {}
        self._pid = os.getpid()


def head_of(address: Address, request: HttpRequest) -> bytes:
    """The first line of the request, and its headers."""
    lines = [b"%b %b HTTP/1.1" % (request.method.encode("ascii"), address.path)]
    lines += [b"%b: %b" % header for header in all_headers(address, request)]
    return b"\r\n".join([*lines, b"", b""])


def all_headers(address: Address, request: HttpRequest) -> list[tuple[bytes, bytes]]:
    """The headers with those that depend on the address and the body."""
    raw = raw_headers(request.headers)
    headers = [*raw, (b"content-length", b"%d" % len(request.body))]
    if not any(name == b"host" for name, _ in raw):
        headers.insert(0, (b"host", address.host_header))
    if address.authorization is not None and not any(name == b"authorization" for name, _ in raw):
        headers.append((b"authorization", address.authorization))
    return headers


def httpx_timeouts(allowance: Allowance) -> dict[str, float | None]:
    """Timeouts as an extension of httpx. The dict may be changed until a phase begins."""
    connect = seconds_or_none(allowance.left())
    allowance.enter("first_byte")
    first = seconds_or_none(allowance.left())
    return {"connect": connect, "pool": connect, "write": first, "read": first}


def seconds_or_none(seconds: float) -> float | None:
    return None if seconds == math.inf else seconds


def check_client(client: Any, *, is_async: bool) -> None:
    """Raises UsageError unless it is a client of httpx, or of a library with its interface, of the right kind."""
    if not (callable(getattr(client, "send", None)) and callable(getattr(client, "build_request", None))):
        raise UsageError(f"{type(client).__name__} is no HTTP client: give an httpx.Client or httpx.AsyncClient")
    if hasattr(client, "aclose") is not is_async:
        wanted, verbs = ("httpx.AsyncClient", "async runs") if is_async else ("httpx.Client", "sync runs")
        raise UsageError(f"{type(client).__name__} can't be used by {verbs}: give an {wanted}")


def check_open(client: Any) -> None:
    if client.is_closed:
        raise UsageError("the HTTP client that was given is closed: give one that stays open as long as it is used")


def raise_translated(error: Exception, host: str, allowance: Allowance, *, answered: bool) -> NoReturn:
    """Raises agentkit's own error in place of `error`, or `error` itself where there is none."""
    fault = translate(error, host, allowance, answered=answered)
    if fault is None or fault is error:
        raise error
    # A cause that quotes a header must not come along.
    raise fault from (error if isinstance(fault, EndpointError) else None)
