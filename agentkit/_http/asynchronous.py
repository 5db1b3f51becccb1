"""The HTTP layer of the async driver, for one event loop of asyncio or trio."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, Self, TypeAlias, cast

import anyio
from sniffio import current_async_library

from agentkit._http.allowance import Allowance
from agentkit._http.answer import (
    GRACE_S,
    Route,
    Routes,
    all_headers,
    check_client,
    check_open,
    head_of,
    httpx_timeouts,
    raise_translated,
    seconds_or_none,
)
from agentkit._http.body import MAX_BODY_BYTES, Body, join_headers
from agentkit._http.h11_parser import H11Parser
from agentkit._http.line_anyio import context_of_loop, dial_anyio
from agentkit._http.line_asyncio import dial_asyncio
from agentkit._http.reader import AnswerReader
from agentkit._http.relay import take_async_relay
from agentkit._http.request import raw_headers
from agentkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from types import TracebackType

    import httpx

    from agentkit._http.allowance import TimeoutSettings
    from agentkit._http.reader import Parser
    from agentkit._http.relay import AsyncRelay
    from agentkit._http.request import Address, HttpRequest

MakeParser: TypeAlias = "Callable[[str], Parser]"
"""A parser of the answer to a request with this method."""

CLOSING_S = 0.5
"""How long closing may take when the task that closes is being cancelled."""


class AsyncTransport(Protocol):
    """What of httpx.AsyncBaseTransport a request is sent with."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response: ...
    async def aclose(self) -> None: ...


class AsyncLine(Protocol):
    """A connection of our own, on asyncio or trio."""

    @property
    def unsent(self) -> bool: ...
    @property
    def heard(self) -> bool: ...
    def send(self, head: bytes, body: bytes, allowance: Allowance) -> None: ...
    async def read(self, *, answered: bool) -> bytes: ...
    def rest(self) -> bool: ...
    def expired(self) -> bool: ...
    def is_alive(self) -> bool: ...
    async def aclose(self) -> None: ...


class AsyncResponse:
    """An answer: its head, and its body as it comes.

    To be entered. Leaving it gives its connection back, or closes it.
    It is its own iterator, for an async generator that is dropped half-way would need the loop once more to end.
    """

    status: int
    headers: dict[str, str]
    _body: Body
    _raw: AsyncIterator[bytes]

    def __init__(self, request: HttpRequest, allowance: Allowance, host: str, max_body_bytes: int) -> None:
        self._request = request
        self._allowance = allowance
        self._host = host
        self._max_body_bytes = max_body_bytes
        self._ended = self._failed = False

    async def __aenter__(self) -> Self:
        try:
            await self._open()
            self._body = Body(self.headers, self._max_body_bytes, self._host)
        except BaseException as error:
            with anyio.move_on_after(CLOSING_S, shield=True):
                await self._close(reusable=False)
            if isinstance(error, Exception):
                raise_translated(error, self._host, self._allowance, answered=False)
            raise
        return self

    def pieces(self) -> AsyncIterator[bytes]:
        """The body, decompressed, in the pieces that it comes in.

        Raises:
            ConnectionFailed: It broke off.
            TimedOut: Nothing came for too long, or the whole took too long.
            ProtocolError: It is too long, or damaged.
        """
        return self

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        body = self._body
        try:
            while True:
                if piece := body.take(await self._raw.__anext__()):
                    return piece
        except StopAsyncIteration:
            if not self._ended:
                self._ended = True
                body.end()
            raise
        except Exception as error:  # raised again, under its own name or ours
            self._failed = True
            raise_translated(error, self._host, self._allowance, answered=True)

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._ended and exc_type is None:
            # The usual end pays for no cancel scope.
            await self._close(reusable=True)
            return
        with anyio.move_on_after(CLOSING_S, shield=True):
            whole = await self._unwind(GRACE_S if exc_type is None and not self._failed else 0.0)
            await self._close(reusable=whole)

    async def _unwind(self, grace_s: float) -> bool:
        """Reads what is there of the rest, so that no generator underneath stays half-way; whether that was all."""
        await self._stop(grace_s)
        try:
            while True:
                await self._raw.__anext__()
        except StopAsyncIteration:
            return grace_s > 0
        except Exception:  # whatever is wrong with it, nobody reads it
            return False

    async def _open(self) -> None:
        raise NotImplementedError

    async def _stop(self, grace_s: float) -> None:
        """Makes reading end with an error once what has arrived is read."""
        raise NotImplementedError

    async def _close(self, *, reusable: bool) -> None:
        raise NotImplementedError


class AsyncLineResponse(AsyncResponse):
    """An answer over a connection of our own."""

    _reader: AnswerReader

    def __init__(self, parser: MakeParser, route: Route, *args: Any) -> None:
        super().__init__(*args)
        self._make_parser = parser
        self._route = route
        self._line: AsyncLine | None = None

    async def _open(self) -> None:
        head = head_of(self._route.address, self._request)
        if not await self._ask_kept(head):
            await self._ask(await dial(self._route.address, self._allowance), head)
        self._allowance.enter("read")
        self.status, self.headers = self._reader.status, self._reader.headers

    async def _ask_kept(self, head: bytes) -> bool:
        """Whether a kept connection gave an answer. None has if all were dead before the request had left."""
        line: AsyncLine | None
        while (line := self._route.stack.take()) is not None:
            if line.is_alive():
                break
            await line.aclose()
        else:
            return False
        try:
            await self._ask(line, head)
        except Exception:
            if line.heard or not line.unsent:
                raise
            self._line = None
            await line.aclose()
            return False
        return True

    async def _ask(self, line: AsyncLine, head: bytes) -> None:
        self._line = line
        self._allowance.left()
        self._allowance.enter("first_byte")
        line.send(head, self._request.body, self._allowance)
        method = self._request.method
        self._reader = AnswerReader(self._make_parser(method), method, self._host)
        while not self._reader.read_head(await line.read(answered=False)):
            pass
        self._raw = _RawBody(line, self._reader)

    async def _stop(self, grace_s: float) -> None:
        self._allowance.leave(grace_s)

    async def _close(self, *, reusable: bool) -> None:
        line, self._line = self._line, None
        if line is None:
            return
        if not (reusable and self._reader.reusable and line.rest()):
            await line.aclose()
        elif surplus := self._route.stack.put(line):
            await surplus.aclose()


class _RawBody:
    """The body as it comes, out of its frame."""

    __slots__ = ("_data", "_line", "_reader")

    def __init__(self, line: AsyncLine, reader: AnswerReader) -> None:
        self._line = line
        self._reader = reader
        self._data = reader.rest

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if not self._reader.goes_on():
            raise StopAsyncIteration
        data, self._data = self._data, b""
        return self._reader.feed(data or await self._line.read(answered=True))


async def dial(address: Address, allowance: Allowance) -> AsyncLine:
    """A new connection of the running event loop.

    Raises:
        ConnectionFailed: There is none to be had.
        TimedOut: Not in the time allowed.
    """
    library = current_async_library()
    return await (dial_asyncio if library == "asyncio" else dial_anyio)(address, allowance)


class AsyncRelayedResponse(AsyncResponse):
    """An answer through httpx: a transport of its kind, or the caller's client."""

    _response: httpx.Response | None = None

    async def _send(self, extensions: dict[str, Any]) -> httpx.Response:
        raise NotImplementedError

    async def _open(self) -> None:
        timeouts = httpx_timeouts(self._allowance)
        with anyio.move_on_after(self._allowance.total_left()) as scope:
            self._response = await self._send({"timeout": timeouts})
        response = self._response
        if scope.cancelled_caught or response is None:
            raise self._allowance.timed_out()
        self._allowance.enter("read")
        timeouts["read"] = seconds_or_none(self._allowance.left())
        self.status = response.status_code
        self.headers = join_headers(response.headers.raw)
        if response.is_stream_consumed:
            # A hook of the client has read it, and decompressed it.
            self.headers.pop("content-encoding", None)
        self._raw = self._read(response)

    def _read(self, response: httpx.Response) -> AsyncIterator[bytes]:
        return aiter(response.aiter_bytes() if response.is_stream_consumed else response.aiter_raw())

    async def __anext__(self) -> bytes:
        try:
            left = self._allowance.left()
        except Exception:
            self._failed = True
            raise
        with anyio.move_on_after(left) as scope:
            return await super().__anext__()
        self._failed = scope.cancelled_caught
        raise self._allowance.timed_out()

    async def _stop(self, grace_s: float) -> None:  # noqa: ARG002  # httpx gives no grace
        await AsyncRelayedResponse._close(self, reusable=False)

    async def _close(self, *, reusable: bool) -> None:  # noqa: ARG002  # httpx sees for itself
        if self._response is not None:
            await self._response.aclose()


class AsyncTransportResponse(AsyncRelayedResponse):
    """An answer through a transport of httpx's kind."""

    _transport: AsyncTransport

    def __init__(self, transport: AsyncTransport | None, route: Route, *args: Any) -> None:
        super().__init__(*args)
        if transport is not None:
            self._transport = transport
        self._route = route

    def _read(self, response: httpx.Response) -> AsyncIterator[bytes]:
        # past the response, which would count its bytes once more
        return super()._read(response) if response.is_stream_consumed else aiter(_stream(response))

    async def _send(self, extensions: dict[str, Any]) -> httpx.Response:
        import httpx

        return await self._transport.handle_async_request(
            httpx.Request(
                self._request.method,
                self._route.address.url,
                headers=all_headers(self._route.address, self._request),
                stream=httpx.ByteStream(self._request.body),
                extensions=extensions,
            )
        )


def _stream(response: httpx.Response) -> httpx.AsyncByteStream:
    return cast("httpx.AsyncByteStream", response.stream)


class AsyncProxiedResponse(AsyncTransportResponse):
    """An answer through a proxy: over a transport for one request at a time, kept on the stack like a line."""

    _relay: AsyncRelay | None = None

    def __init__(self, proxy: httpx.Proxy, *args: Any) -> None:
        super().__init__(None, *args)
        self._proxy = proxy

    async def _send(self, extensions: dict[str, Any]) -> httpx.Response:
        context = await context_of_loop() if self._route.address.secure else None
        self._relay = await take_async_relay(self._route, self._proxy, context)
        self._transport = self._relay.transport
        return await super()._send(extensions)

    async def _close(self, *, reusable: bool) -> None:
        relay, self._relay = self._relay, None
        try:
            await super()._close(reusable=reusable)
        except BaseException:
            reusable = False
            raise
        finally:
            if relay is not None:
                relay.rest()
                closing = self._route.stack.put(relay) if reusable else relay
                if closing is not None:
                    await closing.aclose()


class AsyncClientResponse(AsyncRelayedResponse):
    """An answer through the caller's own client."""

    def __init__(self, client: httpx.AsyncClient, *args: Any) -> None:
        super().__init__(*args)
        self._client = client

    async def _send(self, extensions: dict[str, Any]) -> httpx.Response:
        check_open(self._client)
        request = self._client.build_request(
            self._request.method,
            self._request.url,
            content=self._request.body,
            headers=raw_headers(self._request.headers),
            extensions=extensions,
        )
        return await self._client.send(request, stream=True, follow_redirects=False)


class AsyncHttp:
    """Sends the requests of one endpoint, in the event loop that it is first used in.

    `client` is the caller's own httpx.AsyncClient, or one with its interface; it is used for every request and never
    closed. `transport` takes the place of agentkit's own connections, and is closed with them. `parser` judges what
    comes over the latter, by default h11.
    Redirects are never followed, so a key reaches no other host.
    """

    def __init__(
        self,
        client: httpx.AsyncClient | None = None,
        *,
        transport: AsyncTransport | None = None,
        parser: MakeParser | None = None,
        max_body_bytes: int = MAX_BODY_BYTES,
    ) -> None:
        if client is not None:
            check_client(client, is_async=True)
        self._client = client
        self._transport = transport
        self._max_body_bytes = max_body_bytes
        self._parser = parser or H11Parser
        self._routes = Routes(with_proxies=client is None and transport is None)
        self._closed = False

    def open(self, request: HttpRequest, timeouts: TimeoutSettings, deadline: float | None = None) -> AsyncResponse:
        """A request to be entered: `async with http.open(…) as response`. It goes out then, once.

        `deadline` is on the clock of time.monotonic; it bounds the request as total_s does. Cancelling the task closes
        the connection, within half a second.

        Raises:
            UsageError: The URL or a header can't be sent.
            ConnectionFailed: On entering, no connection, or it broke before the head of the answer.
            TimedOut: On entering, no connection or no head of the answer in time.
        """
        if self._closed:
            raise UsageError("this endpoint is closed: make a new one")
        request.headers = raw_headers(request.headers)
        route = self._routes.find(request.url)
        host = route.name
        common = (request, Allowance(timeouts, deadline, host), host, self._max_body_bytes)
        if self._client is not None:
            return AsyncClientResponse(self._client, *common)
        if route.proxy is not None:
            return AsyncProxiedResponse(route.proxy, route, *common)
        if self._transport is not None:
            return AsyncTransportResponse(self._transport, route, *common)
        return AsyncLineResponse(self._parser, route, *common)

    async def aclose(self) -> None:
        """Close the connections that nothing uses; those in use close when they are done with."""
        self._closed = True
        with anyio.move_on_after(CLOSING_S, shield=True):
            for line in self._routes.drain():
                await line.aclose()
            if self._transport is not None:
                await self._transport.aclose()
