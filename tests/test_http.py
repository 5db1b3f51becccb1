"""Requests that go well, over real sockets: sync, asyncio and trio alike."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import os
import threading
import zlib

import anyio
import httpx
import httpx2
import pytest

from agentkit._http import AsyncHttp, HttpRequest, SyncHttp, raw_headers
from agentkit.errors import ConnectionFailed, ProtocolError, UsageError
from tests.http_server import SIDES_AND_FAST, Limits, Peer, Server, always, answer, chunk, chunked_head, session

pytestmark = pytest.mark.parametrize("side", SIDES_AND_FAST)
CLIENTS = pytest.mark.parametrize("client", [None, httpx, httpx2], ids=["own", "httpx", "httpx2"])


@CLIENTS
def test_an_answer_comes_whole(side, client):
    reply = answer(b'{"ok":true}', "X-Request-Id: 7", "x-more: a", "X-More: b")
    with Server(always(reply)) as server, session(side, client) as http:
        got = http.post(server.url, body=b'{"a":1}', headers=[("Authorization", "Bearer k"), ("x-title", "T")])
    assert (got.status, got.body) == (200, b'{"ok":true}')
    assert got.headers["x-request-id"] == "7" and got.headers["x-more"] == "a, b"
    (request,) = server.requests
    assert request.line == "POST /v1/chat/completions HTTP/1.1" and request.body == b'{"a":1}'
    assert request.headers["host"] == f"127.0.0.1:{server.port}"
    assert request.headers["accept-encoding"] == "identity"
    assert request.headers["authorization"] == "Bearer k" and request.headers["x-title"] == "T"
    assert request.headers["content-length"] == "7"


@CLIENTS
def test_connections_are_kept(side, client):
    with Server(always(answer())) as server, session(side, client) as http:
        for _ in range(5):
            assert http.post(server.url).body == b"hello"
        assert server.connections == 1


@CLIENTS
def test_a_connection_that_the_server_gave_up_is_not_used(side, client):
    def once(peer: Peer) -> None:
        peer.request()
        peer.send(answer())

    with Server(once) as server, session(side, client) as http:
        for _ in range(3):
            assert http.post(server.url).body == b"hello"
            assert server.all_hung_up() or side == "sync"
        assert server.connections == 3


def test_a_server_that_asks_for_it_gets_a_new_connection_each_time(side):
    with Server(always(answer(b"hello", "connection: close"))) as server, session(side) as http:
        assert [http.post(server.url).body for _ in range(2)] == [b"hello"] * 2
        assert server.connections == 2


@CLIENTS
def test_closing_hangs_up(side, client):
    with Server(always(answer())) as server:
        with session(side, client) as http:
            http.post(server.url)
            assert not server.all_hung_up(0.05)
        assert server.all_hung_up()
        with pytest.raises(UsageError, match="closed"):
            http.http.open(HttpRequest(server.url, {}, b""), Limits())


@CLIENTS
def test_redirects_are_handed_up(side, client):
    with Server(always(answer())) as elsewhere:
        moved = answer(b"moved", f"location: {elsewhere.url}", status="301 Moved Permanently")
        with Server(always(moved)) as server, session(side, client) as http:
            got = http.post(server.url)
    assert (got.status, got.headers["location"]) == (301, elsewhere.url)
    assert elsewhere.connections == 0


@CLIENTS
@pytest.mark.parametrize(
    ("encoding", "compressed"),
    [
        ("gzip", gzip.compress(b"hello " * 100)),
        ("x-gzip", gzip.compress(b"hello " * 50) + gzip.compress(b"hello " * 50) + b"\0\0"),
        ("deflate", zlib.compress(b"hello " * 100)),
        ("Deflate", zlib.compress(b"hello " * 100)[2:-4]),
        ("identity", b"hello " * 100),
    ],
    ids=["gzip", "two members", "deflate", "bare deflate", "identity"],
)
def test_what_comes_compressed_all_the_same_is_read(side, client, encoding, compressed):
    pieces = [chunk(compressed[i : i + 7]) for i in range(0, len(compressed), 7)]
    reply = [chunked_head(f"content-encoding: {encoding}"), *pieces, chunk(b"")]
    with Server(always(*reply)) as server, session(side, client) as http:
        assert http.post(server.url).body == b"hello " * 100
        assert http.post(server.url).body == b"hello " * 100


@pytest.mark.parametrize(
    ("encoding", "body", "error", "says"),
    [
        ("gzip", gzip.compress(bytes(10_000_000)), ProtocolError, "longer than 100000 bytes"),
        ("gzip", gzip.compress(b"a" * 90_000) + gzip.compress(b"a" * 90_000), ProtocolError, "longer than"),
        ("identity", bytes(100_001), ProtocolError, "longer than 100000 bytes, the most that is read"),
        ("br", b"whatever", ProtocolError, "'br'"),
        ("gzip, gzip", gzip.compress(gzip.compress(b"a")), ProtocolError, "'gzip, gzip'"),
        ("gzip", b"no gzip at all", ProtocolError, "damaged"),
        ("gzip", gzip.compress(b"hello" * 99)[:-12], ConnectionFailed, "middle of compressed"),
    ],
    ids=["bomb", "two bombs", "too long", "unknown", "twice", "damaged", "cut"],
)
def test_what_may_not_come(side, encoding, body, error, says):
    with Server(always(answer(body, f"content-encoding: {encoding}"))) as server:
        with session(side, max_body_bytes=100_000) as http, pytest.raises(error, match=says):
            http.post(server.url)
        assert server.all_hung_up()


def test_a_body_as_long_as_its_bound(side):
    with Server(always(answer(bytes(100_000)))) as server, session(side, max_body_bytes=100_000) as http:
        assert len(http.post(server.url).body) == 100_000


def test_an_empty_body(side):
    with Server(always(answer(b"", "content-encoding: gzip"))) as server, session(side) as http:
        assert http.post(server.url).pieces == []


def test_a_body_that_ends_with_its_connection(side):
    def script(peer: Peer) -> None:
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\n\r\nhello")

    with Server(script) as server, session(side) as http:
        assert http.post(server.url).body == b"hello"


@CLIENTS
def test_a_piece_comes_before_the_next_is_sent(side, client):
    seen = threading.Event()

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(chunked_head(), chunk(b"one"))
        assert seen.wait(20)
        peer.send(chunk(b"two"), chunk(b""))
        peer.wait_for_hangup()

    def look() -> list[bytes]:
        pieces = []
        with http.http.open(request, Limits()) as response:
            for piece in response.pieces():
                pieces.append(piece)
                seen.set()
        return pieces

    async def look_async() -> list[bytes]:
        pieces = []
        async with http.http.open(request, Limits()) as response:
            async for piece in response.pieces():
                pieces.append(piece)
                seen.set()
        return pieces

    with Server(script) as server, session(side, client) as http:
        request = HttpRequest(server.url, {}, b"{}")
        assert (look() if side == "sync" else http.portal.call(look_async)) == [b"one", b"two"]


@pytest.mark.parametrize(("end", "connections"), [(chunk(b""), 1), (b"", 2)], ids=["end is there", "end is not there"])
def test_leaving_before_the_end_keeps_the_connection_if_the_end_has_come(side, end, connections):
    def script(peer: Peer) -> None:
        while peer.request() is not None:
            peer.send(chunked_head() + chunk(b"one") + chunk(b"[DONE]") + end)

    def look() -> None:
        with http.http.open(request, Limits()) as response:
            assert next(iter(response.pieces())) == b"one[DONE]"

    async def look_async() -> None:
        async with http.http.open(request, Limits()) as response:
            assert await anext(response.pieces()) == b"one[DONE]"

    with Server(script) as server, session(side) as http:
        request = HttpRequest(server.url, {}, b"{}")
        for _ in range(2):
            look() if side == "sync" else http.portal.call(look_async)
        assert server.connections == connections


def test_a_large_request(side):
    body = os.urandom(5_000_000)
    with Server(always(answer())) as server, session(side) as http:
        assert http.post(server.url, body=body).status == 200
        assert server.requests[0].body == body


def test_a_refusal_that_comes_before_the_request_is_all_sent(side):
    """The server answers 413 and hangs up while a long body is still on its way."""

    def script(peer: Peer) -> None:
        peer.sock.recv(1000)
        peer.send(answer(b"too long", status="413 Content Too Large"))
        server.go.wait(20)

    with Server(script) as server, session(side) as http:
        threading.Timer(0.2, server.go.set).start()
        # Whether the answer outlives the reset that follows it is the system's choice.
        with contextlib.suppress(ConnectionFailed):
            assert http.post(server.url, body=bytes(50_000_000)).status == 413


def test_login_in_the_url(side):
    with Server(always(answer())) as server, session(side) as http:
        url = server.url.replace("//", "//user:pass@")
        http.post(url, headers={"x-a": "b"})
        http.post(url, headers={"authorization": "Bearer k"})
        assert [r.headers["authorization"] for r in server.requests] == ["Basic dXNlcjpwYXNz", "Bearer k"]


def test_prepared_headers_serve_many_requests(side):
    headers = raw_headers({"Authorization": "Bearer k\n"})
    with Server(always(answer())) as server, session(side) as http:
        for body in (b"1", b"22"):
            http.post(server.url, body=body, headers=headers)
        assert [r.headers["content-length"] for r in server.requests] == ["1", "2"]
        assert [r.headers["authorization"] for r in server.requests] == ["Bearer k"] * 2


def test_300_at_once(side):
    with Server(always(answer())) as server, session(side) as http:
        bodies: list[bytes] = []
        if side == "sync":
            threads = [threading.Thread(target=lambda: bodies.append(http.post(server.url).body)) for _ in range(300)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        else:
            http.portal.call(_many, http.http, server.url, bodies)
        assert bodies == [b"hello"] * len(bodies) and len(bodies) >= 300
        http.http.close() if side == "sync" else http.portal.call(http.http.aclose)
        assert server.all_hung_up()


async def _many(http: AsyncHttp, url: str, bodies: list[bytes]) -> None:
    async def post() -> None:
        for _ in range(2):
            async with http.open(HttpRequest(url, {}, b"{}"), Limits(connect_s=15)) as response:
                bodies.append(b"".join([piece async for piece in response.pieces()]))

    async with anyio.create_task_group() as tasks:
        for _ in range(300):
            tasks.start_soon(post)


@pytest.mark.parametrize("client", [42, object()])
def test_what_is_no_client(side, client):
    with pytest.raises(UsageError, match="no HTTP client"):
        SyncHttp(client)  # type: ignore[arg-type]


def test_a_client_of_the_other_kind(side):
    wrong, make = (httpx.AsyncClient(), SyncHttp) if side == "sync" else (httpx.Client(), AsyncHttp)
    with pytest.raises(UsageError, match=r"give an httpx\."):
        make(wrong)
    asyncio.run(wrong.aclose()) if side == "sync" else wrong.close()


def test_a_client_that_is_closed(side):
    with session(side, httpx) as http:
        client = http.client
        client.close() if side == "sync" else http.portal.call(client.aclose)
        with pytest.raises(UsageError, match="is closed"):
            http.post("http://127.0.0.1:9/")


def test_a_transport_in_the_place_of_connections(side):
    transport = httpx.MockTransport(lambda request: httpx.Response(201, content=request.content[::-1]))
    with session(side, transport=transport) as http:
        got = http.post("http://anywhere/", body=b"abc")
    assert (got.status, got.body) == (201, b"cba")


def test_a_client_whose_hook_reads_the_answer(side):
    def read(response: httpx.Response) -> None:
        response.read()

    async def read_async(response: httpx.Response) -> None:
        await response.aread()

    reply = answer(gzip.compress(b"hello"), "content-encoding: gzip")
    with Server(always(reply)) as server, session(side, httpx) as http:
        http.client.event_hooks = {"response": [read if side == "sync" else read_async]}
        assert http.post(server.url).body == b"hello"
