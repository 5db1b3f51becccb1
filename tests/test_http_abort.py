"""Requests that are broken off: from another thread, by cancelling, by leaving. Nothing of them stays."""

from __future__ import annotations

import asyncio
import gc
import threading
import time

import anyio
import httpx
import pytest

from agentkit._http import Aborter, AsyncHttp, HttpRequest, SyncHttp
from agentkit.errors import Cancelled
from tests.http_server import Limits, Peer, Server, always, answer, chunk, chunked_head, unanswered
from tests.tiers import SOON_S

LONG = Limits(30, 30, 30, 60)
CLIENTS = pytest.mark.parametrize("client", [None, httpx], ids=["own", "httpx"])


def silent(peer: Peer) -> None:
    peer.request()
    peer.wait_for_hangup()


def silent_at_the_second(peer: Peer) -> None:
    peer.request()
    peer.send(answer())
    silent(peer)


def half(peer: Peer) -> None:
    peer.request()
    peer.send(chunked_head(), chunk(b"one"))
    peer.wait_for_hangup()


class Waiting(threading.Thread):
    """A thread that waits for an answer."""

    def __init__(self, http: SyncHttp, url: str, aborter: Aborter) -> None:
        super().__init__()
        self.error: BaseException | None = None
        self._open = lambda: http.open(HttpRequest(url, {}, b"{}"), LONG, aborter=aborter)

    def run(self) -> None:
        try:
            with self._open() as response:
                list(response.pieces())
        except BaseException as error:
            self.error = error


@CLIENTS
@pytest.mark.parametrize("script", [silent, half, silent_at_the_second])
def test_abort_from_another_thread(client, script):
    own = client and client.Client(trust_env=False, verify=False)
    http, aborter = SyncHttp(own), Aborter()
    requests = 2 if script is silent_at_the_second else 1
    with Server(script) as server:
        for _ in range(requests - 1):
            with http.open(HttpRequest(server.url, {}, b"{}"), LONG, aborter=Aborter()) as response:
                list(response.pieces())
        thread = Waiting(http, server.url, aborter)
        thread.start()
        server.wait_for_requests(requests)
        aborter.abort()
        thread.join(SOON_S)
        assert not thread.is_alive()
        assert isinstance(thread.error, Cancelled)
        assert server.all_hung_up()
        with pytest.raises(Cancelled), http.open(HttpRequest(server.url, {}, b"{}"), LONG, aborter=aborter):
            pass
        assert server.connections == 1
    http.close()
    if own:
        own.close()


def test_abort_while_connecting():
    http, aborter = SyncHttp(), Aborter()
    with unanswered() as port:
        thread = Waiting(http, f"http://127.0.0.1:{port}/", aborter)
        thread.start()
        thread.join(0.1)
        assert thread.is_alive()
        aborter.abort()
        thread.join(SOON_S)
    assert not thread.is_alive() and isinstance(thread.error, Cancelled)


@CLIENTS
def test_an_abort_leaves_other_requests_alone(client):
    """Of two that wait on one client, each with its connection, the right one ends."""
    own = client and client.Client(trust_env=False, verify=False)
    http, aborters = SyncHttp(own), [Aborter(), Aborter()]
    with Server(half) as server:
        threads = [Waiting(http, server.url, aborter) for aborter in aborters]
        for thread in threads:
            thread.start()
        server.wait_for_requests(2)
        aborters[0].abort()
        threads[0].join(SOON_S)
        assert isinstance(threads[0].error, Cancelled)
        threads[1].join(0.1)
        assert threads[1].is_alive()
        aborters[1].abort()
        threads[1].join(SOON_S)
        assert isinstance(threads[1].error, Cancelled)
    http.close()
    if own:
        own.close()


def test_an_aborter_that_is_not_used_costs_the_connection_nothing():
    http, aborter = SyncHttp(), Aborter()
    with Server(always(answer())) as server:
        for _ in range(3):
            with http.open(HttpRequest(server.url, {}, b"{}"), LONG, aborter=aborter) as response:
                list(response.pieces())
        assert server.connections == 1
        # The kept connection is nobody's, so an abort that comes late does not touch it.
        aborter.abort()
        with http.open(HttpRequest(server.url, {}, b"{}"), LONG) as response:
            list(response.pieces())
        assert server.connections == 1
    http.close()


def _make(client) -> tuple[AsyncHttp, httpx.AsyncClient | None]:
    own = httpx.AsyncClient(trust_env=False, verify=False) if client else None
    return AsyncHttp(own), own


async def _read(http: AsyncHttp, url: str, started: anyio.Event | None = None) -> None:
    async with http.open(HttpRequest(url, {}, b"{}"), LONG) as response:
        async for _ in response.pieces():
            if started:
                started.set()


@CLIENTS
@pytest.mark.parametrize("script", [silent, half])
async def test_cancelling_closes_the_connection(client, script):
    http, own = _make(client)
    with Server(script) as server:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_read, http, server.url)
            await anyio.to_thread.run_sync(server.wait_for_requests, 1)
            await anyio.sleep(0.02)
            began = time.monotonic()
            tasks.cancel_scope.cancel()
        assert time.monotonic() - began < SOON_S
        assert await anyio.to_thread.run_sync(server.all_hung_up)
        await _still_good(http, own)


@CLIENTS
async def test_cancelling_in_the_middle_of_the_block(client):
    """The caller waits for something else while the response is open, and is cancelled there."""
    http, own = _make(client)
    with Server(half) as server:
        with anyio.move_on_after(0.1):
            async with http.open(HttpRequest(server.url, {}, b"{}"), LONG) as response:
                assert await anext(response.pieces()) == b"one"
                await anyio.sleep_forever()
        assert await anyio.to_thread.run_sync(server.all_hung_up)
        await _still_good(http, own)


@CLIENTS
async def test_an_error_of_the_caller_closes_the_connection(client):
    http, own = _make(client)
    with Server(half) as server:
        with pytest.raises(KeyError):
            await _fail(http, server.url)
        assert await anyio.to_thread.run_sync(server.all_hung_up)
        await _still_good(http, own)


async def _fail(http: AsyncHttp, url: str) -> None:
    async with http.open(HttpRequest(url, {}, b"{}"), LONG) as response:
        async for _ in response.pieces():
            raise KeyError


@CLIENTS
async def test_leaving_early_closes_the_connection(client):
    http, own = _make(client)
    with Server(half) as server:
        async with http.open(HttpRequest(server.url, {}, b"{}"), LONG) as response:
            async for _ in response.pieces():
                break
        assert await anyio.to_thread.run_sync(server.all_hung_up)
        await _still_good(http, own)


async def test_cancelling_while_connecting():
    http, _ = _make(None)
    with unanswered() as port, anyio.move_on_after(0.1) as scope:
        await _read(http, f"http://127.0.0.1:{port}/")
    assert scope.cancelled_caught
    await http.aclose()


async def test_closing_in_a_cancelled_scope():
    http, _ = _make(None)
    with Server(always(answer())) as server:
        await _read(http, server.url)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await http.aclose()
        assert await anyio.to_thread.run_sync(server.all_hung_up)


@pytest.mark.parametrize("times", [1, 2])
@CLIENTS
def test_the_loop_s_own_cancelling_leaves_no_task(client, times):
    async def main() -> None:
        http, own = _make(client)
        with Server(half) as server:
            started = anyio.Event()
            task = asyncio.create_task(_read(http, server.url, started))
            await started.wait()
            for _ in range(times):
                task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            gc.collect()
            await asyncio.sleep(0)
            assert asyncio.all_tasks() == {asyncio.current_task()}
            assert await asyncio.to_thread(server.all_hung_up)
        await http.aclose()
        if own:
            await own.aclose()

    asyncio.run(main(), debug=True)


def test_cancelling_at_any_moment():
    """Wherever it falls, the connection is kept whole or closed, and the next request goes well."""

    async def main() -> None:
        http, _ = _make(None)
        with Server(always(chunked_head() + chunk(b"one"), chunk(b""))) as server:
            for turns in range(60):
                task = asyncio.create_task(_read(http, server.url))
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait([task])
                await _read(http, server.url)
            await http.aclose()
            assert asyncio.all_tasks() == {asyncio.current_task()}
            assert await asyncio.to_thread(server.all_hung_up)

    asyncio.run(main(), debug=True)


async def _still_good(http: AsyncHttp, own: httpx.AsyncClient | None) -> None:
    """No generator waits to be collected, and the next request is answered."""
    gc.collect()
    with Server(always(answer())) as server:
        await _read(http, server.url)
        await http.aclose()
        if own:
            await own.aclose()
        assert await anyio.to_thread.run_sync(server.all_hung_up)
