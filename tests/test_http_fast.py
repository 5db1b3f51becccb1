"""The extra `fast`: chosen by its name, on asyncio alone, with the same answers as agentkit's own connections."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys
import time

import anyio
import pytest
import trio

from agentkit import ChatModel
from agentkit._http import AsyncHttp, HttpRequest
from agentkit._http.llhttp import LlhttpParser
from agentkit.errors import ConnectionFailed, ProtocolError, TimedOut, UsageError
from agentkit.testing import FakeEndpoint, say
from tests.http_server import Limits, Peer, Server, always, answer, chunk, chunked_head, session
from tests.tiers import SOON_S

LONG = Limits(30, 30, 30, 60)


def fast(base_url: str, **options: object) -> ChatModel:
    return ChatModel("m", base_url=base_url, **{"api_key": "k", "http": "aiohttp", **options})  # type: ignore[arg-type]


def test_the_name_makes_another_endpoint() -> None:
    one = fast("http://h:1/v1")
    assert fast("http://h:1/v1").endpoint is one.endpoint
    assert fast("http://h:1/v1", http="httpx").endpoint is not one.endpoint
    assert ChatModel("m", base_url="http://h:1/v1", api_key="k").endpoint is not one.endpoint


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"http": "requests"}, r"http='requests' is not known.*pip install 'agentkit\[fast\]'"),
        ({"http_client": object()}, "exclude each other"),
    ],
)
def test_what_can_not_be_chosen(options: dict[str, object], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        fast("http://h:1/v1", **options)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    with pytest.raises(UsageError, match=r"needs aiohttp: `pip install 'agentkit\[fast\]'`"):
        fast("http://h:1/v1")


def test_it_comes_in_with_the_model_that_names_it() -> None:
    with FakeEndpoint([say("ok")], api_key="k") as fake:
        program = (
            "import asyncio, sys, agentkit\n"
            "assert 'aiohttp' not in sys.modules\n"
            f"model = agentkit.ChatModel('m', base_url={fake.base_url!r}, api_key='k', http='aiohttp')\n"
            "assert 'aiohttp' in sys.modules\n"
            "late = []\n"
            "sys.addaudithook(lambda event, args: event == 'import' and late.append(args[0].partition('.')[0]))\n"
            "print(asyncio.run(model.reply('x')).text)\n"
            "assert not {'aiohttp', 'httpx', 'httpcore', 'ssl'} & set(late), late\n"
        )
        assert subprocess.check_output([sys.executable, "-W", "error", "-c", program], text=True) == "ok\n"


def test_trio_is_told_why_not() -> None:
    model = fast("http://127.0.0.1:1/v1")
    with pytest.raises(UsageError, match='http="aiohttp" works on asyncio alone, and this is trio'):
        trio.run(model.reply, "x")


def test_sync_verbs_use_agentkits_own_connections() -> None:
    with Server(always(answer(b"{}", status="400 Bad Request"))) as server:
        model = fast(server.url)
        with pytest.raises(Exception, match="400"):
            model.reply_sync("x")
        model.endpoint.close()
    assert "user-agent" not in server.requests[0].headers


def test_its_connections_close_with_their_loop() -> None:
    with FakeEndpoint([say("ok")] * 4, api_key="k") as fake:
        model = fast(fake.base_url)

        async def main() -> list[str]:
            return [(await model.reply("x")).text for _ in range(2)]

        for number in (1, 2):
            assert asyncio.run(main()) == ["ok", "ok"]
            fake.wait_until(lambda: fake.connections == 0)
            assert {request.connection for request in fake.requests[-2:]} == {number}


def test_requests_are_as_agentkits_own() -> None:
    headers = {"authorization": "Bearer k", "content-type": "application/json"}
    with Server(always(answer(b"hello", "set-cookie: a=b"))) as server:
        for side in ("asyncio", "fast"):
            with session(side) as http:
                for _ in range(2):
                    http.post(server.url, headers=headers)
        own, fast_one = server.requests[1], server.requests[3]
        assert fast_one == own


def test_a_connection_that_was_given_up_while_the_loop_stood_still_is_not_used() -> None:
    def once(peer: Peer) -> None:
        peer.request()
        peer.send(answer())

    async def main() -> None:
        http = AsyncHttp(parser=LlhttpParser)
        for _ in range(2):
            async with http.open(HttpRequest(server.url, {}, b"{}"), LONG) as response:
                assert [piece async for piece in response.pieces()] == [b"hello"]
            assert server.all_hung_up()
        await http.aclose()

    with Server(once) as server:
        asyncio.run(main())
        assert server.connections == 2


@pytest.mark.parametrize("half", [False, True])
def test_cancelling_closes_the_connection(half: bool) -> None:
    def script(peer: Peer) -> None:
        peer.request()
        if half:
            peer.send(chunked_head(), chunk(b"one"))
        peer.wait_for_hangup()

    async def read(http: AsyncHttp) -> None:
        async with http.open(HttpRequest(server.url, {}, b"{}"), LONG) as response:
            async for _ in response.pieces():
                pass

    async def main() -> None:
        http = AsyncHttp(parser=LlhttpParser)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read, http)
            await anyio.to_thread.run_sync(server.wait_for_requests, 1)
            tasks.cancel_scope.cancel()
        assert await anyio.to_thread.run_sync(server.all_hung_up)
        await http.aclose()

    with Server(script) as server:
        began = time.monotonic()
        asyncio.run(main())
        assert time.monotonic() - began < SOON_S


def test_a_cancelled_request_sends_no_more_of_itself() -> None:
    def script(peer: Peer) -> None:
        peer.sock.recv(1000)
        server.go.wait(20)
        with contextlib.suppress(ConnectionResetError):
            while data := peer.sock.recv(1 << 20):
                came.append(len(data))

    async def main() -> None:
        http = AsyncHttp(parser=LlhttpParser)
        with anyio.move_on_after(0.3):
            async with http.open(HttpRequest(server.url, {}, bytes(50_000_000)), LONG):
                pass
        server.go.set()
        await http.aclose()

    came: list[int] = []
    with Server(script) as server:
        asyncio.run(main())
        assert server.all_hung_up(5)
    assert sum(came) < 40_000_000


def test_a_kept_connection_that_dies_before_the_request_has_left_is_replaced() -> None:
    """The server never had the whole request, so it can't have worked on it."""

    def script(peer: Peer) -> None:
        if peer.request() and peer.server.connections == 1:
            peer.send(answer())
            peer.sock.recv(1000)
            peer.reset()
        else:
            peer.send(answer(b"second"))

    with Server(script) as server, session("fast") as http:
        assert http.post(server.url).body == b"hello"
        assert http.post(server.url, body=bytes(20_000_000)).body == b"second"
        assert len(server.requests) == 2


@pytest.mark.parametrize("side", ["asyncio", "fast"])
@pytest.mark.parametrize("last", [b"XX\r\n", b"3\r\ntwo!", b"+3\r\ntwo\r\n", b"-1\r\n", b"\r\n\r\n"])
def test_a_chunk_that_is_none_is_told_at_once(side: str, last: bytes) -> None:
    def script(peer: Peer) -> None:
        peer.request()
        peer.send(chunked_head())
        peer.send(chunk(b"one"))
        peer.send(last)
        peer.wait_for_hangup()

    with Server(script) as server, session(side) as http:
        with pytest.raises(ProtocolError, match="not HTTP"):
            http.post(server.url, limits=LONG)
        assert server.all_hung_up()


def test_the_next_address_of_a_host_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one refuses: nothing listens there."""

    def both(*_: object, **__: object) -> list[object]:
        tcp = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
        return [(*tcp, ("127.0.0.1", taken)), (*tcp, ("127.0.0.1", server.port))]

    with socket.create_server(("127.0.0.1", 0)) as unused:
        taken = unused.getsockname()[1]
    with Server(always(answer())) as server:
        monkeypatch.setattr(socket, "getaddrinfo", both)
        with session("fast") as http:
            assert http.post("http://two.example/v1").body == b"hello"


def test_a_handshake_that_does_not_end_is_given_up() -> None:
    def script(peer: Peer) -> None:
        peer.wait_for_hangup()

    with Server(script) as server, session("fast") as http:
        with pytest.raises(TimedOut, match="connect_s"):
            http.post(server.url.replace("http", "https", 1), limits=Limits(connect_s=0.3))
        assert server.all_hung_up()


def test_more_than_the_sockets_hold_comes_whole_both_ways() -> None:
    sent = bytes(range(256)) * 50_000
    told = b"x" * 3_000_000

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(chunked_head(), chunk(told[:1000]), chunk(told[1000:]), chunk(b""))
        peer.wait_for_hangup()

    with Server(script) as server, session("fast") as http:
        assert http.post(server.url, body=sent, limits=LONG).body == told
        assert server.requests[0].body == sent


def test_refused_tells_the_reason() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(ConnectionFailed, match="refused the connection: is it running"):
        asyncio.run(fast(f"http://127.0.0.1:{port}/v1", retries=0).reply("x"))
