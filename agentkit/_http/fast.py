"""The extra `fast`: requests through aiohttp, on asyncio alone. Loaded by name only, for it brings aiohttp in."""

from __future__ import annotations

import asyncio
import math
from base64 import b64encode
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet

import aiohttp
import anyio
import httpx
from httpx_aiohttp import AiohttpTransport

from agentkit._http.proxies import environment_proxy
from agentkit._http.wire import KEEP_ALIVE_S, is_readable
from agentkit._http.wire_async import context_of_loop
from agentkit.errors import UsageError

if TYPE_CHECKING:
    import ssl

    from aiohttp.connector import Connection

_READ_AT_ONCE_BYTES: Final = 1024 * 1024
"""How long a body aiohttp takes as bytes without a warning; a longer one goes to it as a stream."""
_MAX_HEADER_BYTES: Final = 64 * 1024
_WITHOUT: Final = ("user-agent", "accept", "content-type")
"""What aiohttp would add of its own."""


class FastTransport:
    """A transport of httpx's kind over aiohttp's connections, with agentkit's timeouts, proxies and certificates.

    Of an httpx request's timeouts, "connect" bounds the way to a connection as a whole, "read" that to the head of
    the answer. The body's are the reader's business.
    """

    def __init__(self) -> None:
        self._by_origin: dict[tuple[bytes, bytes, int | None], AiohttpTransport] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; the answer's body is read from its stream.

        Raises:
            UsageError: The environment names a proxy of another kind than http and https.
            httpx.HTTPError: What httpx_aiohttp makes of aiohttp's errors.
            aiohttp.ClientError: What it makes nothing of.
        """
        timeouts: dict[str, float | None] = request.extensions.pop("timeout", {})
        transport = await self._transport(request.url)
        if request.url.userinfo:  # the headers have it
            request.url = request.url.copy_with(userinfo=b"")
        if int(request.headers["content-length"]) <= _READ_AT_ONCE_BYTES:
            request.read()
        wait = _Wait(timeouts.get("read"))
        with anyio.move_on_after(timeouts.get("connect")) as wait.scope:
            token = _waiting.set(wait)
            try:
                return await transport.handle_async_request(request)
            except BaseException:
                wait.break_off()
                raise
            finally:
                _waiting.reset(token)
        raise (httpx.ReadTimeout if wait.connected else httpx.ConnectTimeout)("")

    async def aclose(self) -> None:
        """Close the connections."""
        for transport in self._by_origin.values():
            await transport.aclose()

    async def _transport(self, url: httpx.URL) -> AiohttpTransport:
        origin = (url.raw_scheme, url.raw_host, url.port)
        transport = self._by_origin.get(origin)
        if transport is not None:
            return transport
        proxy = environment_proxy(url)
        if proxy is not None and proxy.url.scheme not in {"http", "https"}:
            raise UsageError(
                f"a {proxy.url.scheme} proxy is set in the environment, which aiohttp can't use: "
                'leave http="aiohttp" out and `pip install httpx[socks]`, or unset it'
            )
        context = await context_of_loop() if url.scheme == "https" else None
        made = AiohttpTransport(
            verify=context or False, proxy=proxy and _with_login(proxy), client=partial(_session, context)
        )
        return self._by_origin.setdefault(origin, made)


def _with_login(proxy: httpx.Proxy) -> httpx.Proxy:
    """The same with its login as a header, for what httpx_aiohttp makes of a login aiohttp warns of.

    aiohttp hands this header to the proxy as the one that is meant for it.
    """
    if proxy.raw_auth is None:
        return proxy
    login = b64encode(b":".join(proxy.raw_auth)).decode()
    return httpx.Proxy(proxy.url, headers={"authorization": f"Basic {login}"})


class _Wait:
    """The wait of one request for its connection, then for the head of its answer."""

    __slots__ = ("_first_byte_s", "_transport", "connected", "scope")

    scope: anyio.CancelScope

    def __init__(self, first_byte_s: float | None) -> None:
        self.connected = False
        self._transport: asyncio.Transport | None = None
        self._first_byte_s = first_byte_s

    def connect(self, transport: asyncio.Transport | None) -> None:
        self.connected = True
        self._transport = transport
        self.scope.deadline = math.inf if self._first_byte_s is None else anyio.current_time() + self._first_byte_s

    def break_off(self) -> None:
        # closing alone would first send what is left of the request
        if self._transport is not None:
            self._transport.abort()


_waiting: Final[ContextVar[_Wait]] = ContextVar("agentkit_waiting")


class _Connector(aiohttp.TCPConnector):
    """Gives no connection that the endpoint has left, which aiohttp sees only once its loop has turned."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)  # pyright: ignore[reportUnknownMemberType]  # it names a tuple without its items
        self._opened: WeakSet[asyncio.Transport] = WeakSet()

    async def connect(self, *args: Any, **options: Any) -> Connection:
        while True:
            connection = await super().connect(*args, **options)
            transport = connection.transport
            if transport is None:
                break
            if transport not in self._opened:
                self._opened.add(transport)
                break
            if not is_readable(transport.get_extra_info("socket")):
                break
            connection.close()
        _waiting.get().connect(transport)
        return connection

    async def close(self, **options: Any) -> None:
        await super().close(**options)
        # one that is closed and has not sent all would outlive its loop
        for transport in tuple(self._opened):
            transport.abort()
        await asyncio.sleep(0)


def _session(context: ssl.SSLContext | None) -> aiohttp.ClientSession:
    connector = _Connector(
        limit=0, keepalive_timeout=KEEP_ALIVE_S, ssl=context or True, resolver=aiohttp.ThreadedResolver()
    )
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=_WITHOUT,
        max_line_size=_MAX_HEADER_BYTES,
        max_field_size=_MAX_HEADER_BYTES,
    )
