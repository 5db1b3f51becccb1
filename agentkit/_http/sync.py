"""The HTTP layer of the sync driver."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

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
from agentkit._http.line import Line, dial
from agentkit._http.reader import AnswerReader
from agentkit._http.relay import Sockets, take_relay
from agentkit._http.request import raw_headers
from agentkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    import httpx

    from agentkit._http.abort import Aborter
    from agentkit._http.allowance import TimeoutSettings
    from agentkit._http.relay import Relay
    from agentkit._http.request import HttpRequest


class Response:
    """An answer: its head, and its body as it comes.

    To be entered. Leaving it gives its connection back, or closes it.
    """

    status: int
    headers: dict[str, str]
    _body: Body

    def __init__(
        self, request: HttpRequest, allowance: Allowance, host: str, aborter: Aborter | None, max_body_bytes: int
    ) -> None:
        self._request = request
        self._allowance = allowance
        self._host = host
        self._aborter = aborter
        self._max_body_bytes = max_body_bytes
        self._ended = self._failed = False
        self._raw: Iterator[bytes] = iter(())

    def __enter__(self) -> Self:
        try:
            if self._aborter is not None:
                self._aborter.check()
            self._open()
            self._body = Body(self.headers, self._max_body_bytes, self._host)
        except BaseException as error:
            self._close(reusable=False)
            self._explain(error, answered=False)
            raise
        return self

    def pieces(self) -> Iterator[bytes]:
        """The body, decompressed, in the pieces that it comes in.

        Raises:
            ConnectionFailed: It broke off.
            TimedOut: Nothing came for too long, or the whole took too long.
            ProtocolError: It is too long, or damaged.
            Cancelled: It was broken off by the caller.
        """
        body = self._body
        try:
            for raw in self._raw:
                if piece := body.take(raw):
                    yield piece
            self._ended = True
            body.end()
        except Exception as error:
            self._failed = True
            self._explain(error, answered=True)
            raise

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        clean = exc_type is None and not self._failed
        if clean and not self._ended:
            clean = self._drain()
        self._close(reusable=clean)

    def _explain(self, error: BaseException, *, answered: bool) -> None:
        """Raises agentkit's own error in place of `error`, if there is one."""
        if not isinstance(error, Exception):
            return
        if self._aborter is not None and self._aborter.aborted:
            self._aborter.check()
        raise_translated(error, self._host, self._allowance, answered=answered)

    def _open(self) -> None:
        raise NotImplementedError

    def _drain(self) -> bool:
        """Reads the end of the body if it is there already; whether it was."""
        raise NotImplementedError

    def _close(self, *, reusable: bool) -> None:
        raise NotImplementedError


class LineResponse(Response):
    """An answer over a connection of our own."""

    _reader: AnswerReader

    def __init__(self, route: Route, *args: Any) -> None:
        super().__init__(*args)
        self._route = route
        self._line: Line | None = None

    def _open(self) -> None:
        head = head_of(self._route.address, self._request)
        if not self._ask_kept(head):
            self._ask(dial(self._route.address, self._allowance, self._aborter), head)
        self._allowance.enter("read")
        self.status, self.headers = self._reader.status, self._reader.headers

    def _ask_kept(self, head: bytes) -> bool:
        """Whether a kept connection gave an answer. None has if all were dead before the request had left."""
        line: Line | None
        while (line := self._route.stack.take()) is not None:
            if line.is_alive():
                break
            line.close()
        else:
            return False
        try:
            self._ask(line, head)
        except Exception:
            if line.heard or not line.unsent:
                raise
            self._line = None
            line.close()
            return False
        return True

    def _ask(self, line: Line, head: bytes) -> None:
        self._line = line
        self._allowance.enter("first_byte")
        line.send(head, self._request.body, self._allowance, self._aborter)
        method = self._request.method
        self._reader = AnswerReader(H11Parser(method), method, self._host)
        while not self._reader.read_head(line.read(answered=False)):
            pass
        self._raw = _body(line, self._reader)

    def _drain(self) -> bool:
        self._allowance.leave(GRACE_S)
        try:
            for _ in self._raw:
                pass
        except Exception:  # whatever is wrong with it, nobody reads it
            return False
        return True

    def _close(self, *, reusable: bool) -> None:
        line, self._line = self._line, None
        if line is None:
            return
        if not (reusable and self._reader.reusable and line.rest()):
            line.close()
        elif surplus := self._route.stack.put(line):
            surplus.close()


def _body(line: Line, reader: AnswerReader) -> Iterator[bytes]:
    data = reader.rest
    while reader.goes_on():
        yield reader.feed(data or line.read(answered=True))
        data = b""


class RelayedResponse(Response):
    """An answer through httpx: its own transports, or the caller's client.

    A wait can't be made shorter once the body has begun, so total_s may be overrun by one read_s.
    """

    def __init__(self, sockets: Sockets, *args: Any) -> None:
        super().__init__(*args)
        self._sockets = sockets
        self._response: httpx.Response | None = None

    def _send(self, extensions: dict[str, Any]) -> httpx.Response:
        raise NotImplementedError

    def _open(self) -> None:
        timeouts = httpx_timeouts(self._allowance)
        extensions: dict[str, Any] = {"timeout": timeouts}
        if self._aborter is not None:
            extensions["trace"] = self._trace
            self._aborter.hold(self)
        self._response = response = self._send(extensions)
        if self._aborter is not None and (stream := response.extensions.get("network_stream")):
            self._sockets.claim(self, stream.get_extra_info("socket"))
        self._allowance.enter("read")
        timeouts["read"] = seconds_or_none(self._allowance.left())
        self.status = response.status_code
        self.headers = join_headers(response.headers.raw)
        if response.is_stream_consumed:
            # A hook of the client has read it, and decompressed it.
            self.headers.pop("content-encoding", None)
        self._raw = self._within_time(response.iter_bytes() if response.is_stream_consumed else response.iter_raw())

    def _within_time(self, raw: Iterator[bytes]) -> Iterator[bytes]:
        for piece in raw:
            self._allowance.left()
            yield piece

    def _trace(self, name: str, info: dict[str, Any]) -> None:
        if name.endswith(("connect_tcp.complete", "start_tls.complete")):
            self._sockets.claim(self, info["return_value"].get_extra_info("socket"))
        if self._aborter is not None and self._aborter.aborted:
            self.cut()

    def cut(self) -> None:
        """Ends every wait of this request, from any thread."""
        self._sockets.cut(self)

    def _drain(self) -> bool:
        return False

    def _close(self, *, reusable: bool) -> None:  # noqa: ARG002  # httpx sees for itself
        if self._aborter is not None:
            self._aborter.release(self)
        self._sockets.leave(self)
        if self._response is not None:
            self._response.close()


class TransportResponse(RelayedResponse):
    """An answer through a transport of httpx's kind."""

    def __init__(self, transport: httpx.BaseTransport, route: Route, sockets: Sockets, *args: Any) -> None:
        super().__init__(sockets, *args)
        self._transport = transport
        self._route = route

    def _send(self, extensions: dict[str, Any]) -> httpx.Response:
        import httpx

        return self._transport.handle_request(
            httpx.Request(
                self._request.method,
                self._route.address.url,
                headers=all_headers(self._route.address, self._request),
                stream=httpx.ByteStream(self._request.body),
                extensions=extensions,
            )
        )


class ProxiedResponse(TransportResponse):
    """An answer through a proxy: over a transport for one request at a time, kept on the stack like a line."""

    def __init__(self, relay: Relay, route: Route, *args: Any) -> None:
        super().__init__(relay.transport, route, relay.sockets, *args)
        self._relay = relay

    def _close(self, *, reusable: bool) -> None:
        super()._close(reusable=reusable)
        self._relay.rest()
        if not reusable:
            self._relay.close()
        elif surplus := self._route.stack.put(self._relay):
            surplus.close()


class ClientResponse(RelayedResponse):
    """An answer through the caller's own client."""

    def __init__(self, client: httpx.Client, *args: Any) -> None:
        super().__init__(*args)
        self._client = client

    def _send(self, extensions: dict[str, Any]) -> httpx.Response:
        check_open(self._client)
        request = self._client.build_request(
            self._request.method,
            self._request.url,
            content=self._request.body,
            headers=raw_headers(self._request.headers),
            extensions=extensions,
        )
        return self._client.send(request, stream=True, follow_redirects=False)


class SyncHttp:
    """Sends the requests of one endpoint, from any thread.

    `client` is the caller's own httpx.Client, or one with its interface; it is used for every request and never closed.
    `transport` takes the place of agentkit's own connections, and is closed with them.
    Redirects are never followed, so a key reaches no other host.
    """

    def __init__(
        self,
        client: httpx.Client | None = None,
        *,
        transport: httpx.BaseTransport | None = None,
        max_body_bytes: int = MAX_BODY_BYTES,
    ) -> None:
        if client is not None:
            check_client(client, is_async=False)
        self._client = client
        self._transport = transport
        self._max_body_bytes = max_body_bytes
        self._routes = Routes(with_proxies=client is None and transport is None)
        self._sockets = Sockets()
        self._closed = False

    def open(
        self,
        request: HttpRequest,
        timeouts: TimeoutSettings,
        deadline: float | None = None,
        aborter: Aborter | None = None,
    ) -> Response:
        """A request to be entered: `with http.open(…) as response`. It goes out then, once.

        `deadline` is on the clock of time.monotonic; it bounds the request as total_s does.

        Raises:
            UsageError: The URL or a header can't be sent.
            ConnectionFailed: On entering, no connection, or it broke before the head of the answer.
            TimedOut: On entering, no connection or no head of the answer in time.
            Cancelled: On entering, `aborter` broke it off.
        """
        if self._closed:
            raise UsageError("this endpoint is closed: make a new one")
        request.headers = raw_headers(request.headers)
        route = self._routes.find(request.url)
        host = route.name
        allowance = Allowance(timeouts, deadline, host)
        common = (request, allowance, host, aborter, self._max_body_bytes)
        if self._client is not None:
            return ClientResponse(self._client, self._sockets, *common)
        if self._transport is not None:
            return TransportResponse(self._transport, route, self._sockets, *common)
        if route.proxy is not None:
            return ProxiedResponse(take_relay(route, route.proxy), route, *common)
        return LineResponse(route, *common)

    def close(self) -> None:
        """Close the connections that nothing uses; those in use close when they are done with."""
        self._closed = True
        for line in self._routes.drain():
            line.close()
        if self._transport is not None:
            self._transport.close()
