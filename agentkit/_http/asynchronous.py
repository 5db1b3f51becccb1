"""The HTTP layer of the async driver, for one event loop of asyncio or trio."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, Self, cast, runtime_checkable

import anyio

from agentkit._http.allowance import Allowance
from agentkit._http.answer import (
    GRACE_S,
    Route,
    Routes,
    all_headers,
    check_client,
    check_open,
    core_request,
    httpx_timeouts,
    in_plain_chunks,
    raise_translated,
    seconds_or_none,
)
from agentkit._http.body import MAX_BODY_BYTES, Body, join_headers
from agentkit._http.chunks import READ_BYTES, Chunks
from agentkit._http.relay import take_async_relay
from agentkit._http.request import raw_headers
from agentkit._http.wire_async import AsyncLine, AsyncWire, context_of_loop, dial
from agentkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from types import TracebackType

    import httpcore
    import httpx

    from agentkit._http.allowance import TimeoutSettings
    from agentkit._http.relay import AsyncRelay
    from agentkit._http.request import HttpRequest

CLOSING_S = 0.5
"""How long closing may take when the task that closes is being cancelled."""


class AsyncTransport(Protocol):
    """What of httpx.AsyncBaseTransport a request is sent with."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response: ...
    async def aclose(self) -> None: ...


@runtime_checkable
class AsyncConnections(Protocol):
    """Connections of another kind than agentkit's own. A proxy of the environment is not their business."""

    def answer(
        self, route: Route, request: HttpRequest, allowance: Allowance, host: str, max_body_bytes: int, /
    ) -> AsyncResponse: ...
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

    _release: Callable[[], Awaitable[None]]

    def __init__(self, route: Route, *args: Any) -> None:
        super().__init__(*args)
        self._route = route
        self._line: AsyncLine | None = None

    async def _open(self) -> None:
        request = core_request(self._route, self._request)
        answer = await self._ask_kept(request)
        if answer is None:
            answer = await self._ask(await dial(self._route.address, self._allowance), request)
        self._allowance.enter("read")
        self.status = answer.status
        self.headers = join_headers(answer.headers)
        self._raw = aiter(cast("AsyncIterator[bytes]", answer.stream))
        if self._line is not None and in_plain_chunks(self._line.wire, self._request, self.headers):
            self._raw = _Unframed(self._line.wire, self._raw)
        self._release = answer.aclose

    async def _ask_kept(self, request: httpcore.Request) -> httpcore.Response | None:
        """An answer over a kept connection; None if there is none, or it was dead before the request had left."""
        line: AsyncLine | None
        while (line := self._route.stack.take()) is not None:
            if not line.expired():
                break
            await line.aclose()
        else:
            return None
        try:
            return await self._ask(line, request)
        except Exception:
            if line.wire.heard or not line.wire.unsent:
                raise
            self._line = None
            await line.aclose()
            return None

    async def _ask(self, line: AsyncLine, request: httpcore.Request) -> httpcore.Response:
        self._line = line
        line.wire.begin(self._allowance)
        self._allowance.enter("first_byte")
        return await line.connection.handle_async_request(request)

    async def _stop(self, grace_s: float) -> None:
        if self._line is not None:
            self._line.wire.leave(grace_s)

    async def _close(self, *, reusable: bool) -> None:
        line, self._line = self._line, None
        if line is None:
            return
        try:
            if reusable:
                await self._release()
        finally:
            if not reusable or line.wire.unsent or not line.connection.is_idle():
                await line.aclose()
            elif surplus := self._route.stack.put(line):
                await surplus.aclose()


class _Unframed:
    """A body without the frame of its chunks, as far as they are plain; the rest of it comes from httpcore."""

    __slots__ = ("_chunks", "_rest", "_wire")

    def __init__(self, wire: AsyncWire, rest: AsyncIterator[bytes]) -> None:
        self._wire = wire
        self._rest = rest
        self._chunks: Chunks | None = Chunks()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while (chunks := self._chunks) is not None:
            piece = chunks.take(await self._wire.read(READ_BYTES))
            if chunks.rest is not None:
                self._wire.put_back(chunks.rest)
                self._chunks = None
            if piece:
                return piece
        return await self._rest.__anext__()


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
    closed. `transport` takes the place of agentkit's own connections, and is closed with them; one of httpx's kind is
    also the one to see to proxies.
    Redirects are never followed, so a key reaches no other host.
    """

    def __init__(
        self,
        client: httpx.AsyncClient | None = None,
        *,
        transport: AsyncTransport | AsyncConnections | None = None,
        max_body_bytes: int = MAX_BODY_BYTES,
    ) -> None:
        if client is not None:
            check_client(client, is_async=True)
        self._client = client
        self._transport = transport
        self._max_body_bytes = max_body_bytes
        self._connections = transport if isinstance(transport, AsyncConnections) else None
        self._routes = Routes(with_proxies=client is None and transport is self._connections)
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
        if self._connections is not None:
            return self._connections.answer(route, *common)
        if self._transport is not None:
            return AsyncTransportResponse(cast("AsyncTransport", self._transport), route, *common)
        return AsyncLineResponse(route, *common)

    async def aclose(self) -> None:
        """Close the connections that nothing uses; those in use close when they are done with."""
        self._closed = True
        with anyio.move_on_after(CLOSING_S, shield=True):
            for line in self._routes.drain():
                await line.aclose()
            if self._transport is not None:
                await self._transport.aclose()
