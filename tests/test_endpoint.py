"""The one thing that lives long: shared by name, with connections that end when their event loop ends."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest
import trio

from agentkit import ChatModel
from agentkit.calling import LoopThread
from agentkit.chat.dialects import DIALECTS
from agentkit.endpoint import Endpoint, Started, shared_endpoint
from agentkit.errors import AuthenticationError, ConnectionFailed, UsageError
from agentkit.testing import FakeEndpoint, forbid_real_requests, say

GENERIC = DIALECTS["generic"]
LIBRARIES: dict[str, Callable[[Callable[[], Awaitable[Any]]], Any]] = {
    "asyncio": lambda main: asyncio.run(main()),  # type: ignore[arg-type]
    "trio": trio.run,
}
libraries = pytest.mark.parametrize("library", LIBRARIES)


def at(fake: FakeEndpoint, **options: Any) -> ChatModel:
    return ChatModel("m", base_url=fake.base_url, **{"api_key": fake.api_key, **options})


# Sharing


def test_the_same_address_and_key_share_one_endpoint() -> None:
    one = ChatModel("a", base_url="http://h:1/v1", api_key="k")
    assert ChatModel("b", base_url="http://h:1/v1/", api_key="k").endpoint is one.endpoint
    assert ChatModel("b", base_url="http://h:1/v1/chat/completions", api_key="k").endpoint is one.endpoint
    assert ChatModel("a", base_url="http://h:1/v1", api_key="other").endpoint is not one.endpoint
    assert ChatModel("a", base_url="http://h:2/v1", api_key="k").endpoint is not one.endpoint
    assert ChatModel("a", base_url="http://h:1/v1", api_key="k", dialect=DIALECTS["vllm"]).endpoint is not one.endpoint
    own = replace(GENERIC, strict=False)
    assert ChatModel("a", base_url="http://h:1/v1", api_key="k", dialect=own).endpoint is not one.endpoint


def test_a_key_function_is_told_apart_by_itself() -> None:
    def key() -> str:
        return "k"

    one = shared_endpoint("http://h:1/v1", GENERIC, key)
    assert shared_endpoint("http://h:1/v1", GENERIC, key) is one
    assert shared_endpoint("http://h:1/v1", GENERIC, lambda: "k") is not one


def test_an_endpoint_that_nobody_holds_is_gone() -> None:
    with FakeEndpoint([say("ok")]) as fake:
        model = at(fake)
        model.reply_sync("x")
        assert fake.connections == 1
        del model
        gc.collect()
        fake.wait_until(lambda: fake.connections == 0)


def test_models_of_one_endpoint_use_one_connection() -> None:
    with FakeEndpoint([say("ok")] * 3) as fake:
        models = [at(fake) for _ in range(3)]
        for model in models:
            model.reply_sync("x")
        assert {request.connection for request in fake.requests} == {1}
        models[0].endpoint.close()
        fake.wait_until(lambda: fake.connections == 0)
        models[0].endpoint.close()


def test_it_may_be_used_again_after_it_was_closed() -> None:
    with FakeEndpoint([say("ok")] * 2) as fake:
        model = at(fake)
        model.reply_sync("x")
        model.endpoint.close()
        assert model.reply_sync("x").text == "ok"
        assert [request.connection for request in fake.requests] == [1, 2]
        model.endpoint.close()


def test_many_threads_may_use_it_at_once() -> None:
    meeting = threading.Barrier(8, timeout=20)
    with FakeEndpoint([say("ok")] * 8) as fake:
        model, texts = at(fake), list[str]()

        def ask() -> None:
            meeting.wait()
            texts.append(model.reply_sync("x").text)

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert texts == ["ok"] * 8
        model.endpoint.close()


# Event loops


@libraries
def test_a_loops_connections_are_closed_when_it_ends(library: str) -> None:
    with FakeEndpoint([say("ok")] * 6) as fake:
        model = at(fake)
        for number in range(1, 4):

            async def main() -> None:
                for _ in range(2):
                    assert (await model.reply("x")).text == "ok"

            LIBRARIES[library](main)
            fake.wait_until(lambda: fake.connections == 0)
            assert {request.connection for request in fake.requests[-2:]} == {number}


@libraries
def test_a_loop_keeps_one_connection_for_each_endpoint(library: str) -> None:
    with FakeEndpoint([say("ok")] * 2) as one, FakeEndpoint([say("ok")] * 2) as two:
        models = [at(one), at(two)]

        async def main() -> list[int]:
            for model in models * 2:
                await model.reply("x")
            return [one.connections, two.connections]

        assert LIBRARIES[library](main) == [1, 1]
        for fake in (one, two):
            fake.wait_until(lambda fake=fake: fake.connections == 0)  # type: ignore[misc]


@libraries
def test_threads_and_loops_have_connections_of_their_own(library: str) -> None:
    with FakeEndpoint([say("ok")] * 3) as fake:
        model = at(fake)
        model.reply_sync("x")

        async def main() -> None:
            await model.reply("x")

        LIBRARIES[library](main)
        model.reply_sync("x")
        assert [request.connection for request in fake.requests] == [1, 2, 1]
        model.endpoint.close()


# Clients of the caller's


def test_a_client_of_ones_own_makes_the_endpoint_private() -> None:
    seen: list[str] = []
    with (
        FakeEndpoint([say("ok")] * 2) as fake,
        httpx.Client(event_hooks={"request": [lambda r: seen.append(r.method)]}) as client,
    ):
        model, other = at(fake, http_client=client), at(fake)
        assert model.endpoint is not other.endpoint
        assert at(fake, http_client=client).endpoint is not model.endpoint
        assert model.reply_sync("x").text == "ok"
        assert seen == ["POST"]
        model.endpoint.close()
        assert not client.is_closed
        assert other.reply_sync("x").text == "ok"
        assert seen == ["POST"]
        other.endpoint.close()


@libraries
def test_an_async_client_of_ones_own(library: str) -> None:
    seen: list[str] = []

    async def note(request: httpx.Request) -> None:
        seen.append(request.method)

    with FakeEndpoint([say("ok")] * 2) as fake:

        async def main() -> str:
            async with httpx.AsyncClient(event_hooks={"request": [note]}) as client:
                model = at(fake, http_client=client)
                model.reply_sync("x")  # what is async serves async alone
                model.endpoint.close()
                return (await model.reply("x")).text

        assert LIBRARIES[library](main) == "ok"
        assert seen == ["POST"]


# Keys, addresses, servers that are started


@pytest.mark.parametrize("base_url", ["host/v1", "ftp://host/v1", "http://", "", "https:///v1"])
def test_what_is_no_address(base_url: str) -> None:
    with pytest.raises(UsageError, match="is no address: give one like"):
        Endpoint(base_url, GENERIC)


@pytest.mark.parametrize(
    ("dialect", "key", "header", "shown"),
    [
        ("openai", "k", ("authorization", "Bearer k"), ("authorization", "Bearer $KEY")),
        ("azure", "k", ("api-key", "k"), ("api-key", "$KEY")),
        ("ollama", None, None, None),
    ],
)
def test_the_key_goes_into_its_header(dialect: str, key: str | None, header: Any, shown: Any) -> None:
    address = Endpoint("http://h/v1", DIALECTS[dialect], api_key=key).address_sync(LoopThread())
    json = ("content-type", "application/json")
    assert address.url == "http://h/v1/chat/completions"
    assert address.plain == [json, *([header] if header else [])]
    assert address.shown == [json, *([shown] if shown else [])]


def test_a_missing_key_names_every_variable() -> None:
    with pytest.raises(AuthenticationError, match="gemini needs a key: set GEMINI_API_KEY or GOOGLE_API_KEY, or give"):
        Endpoint("http://h/v1", DIALECTS["gemini"]).address_sync(LoopThread())


def test_the_address_is_made_anew_only_when_the_key_is_another(monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint, loop = Endpoint("http://h/v1", DIALECTS["openai"]), LoopThread()
    monkeypatch.setenv("OPENAI_API_KEY", "one")
    first = endpoint.address_sync(loop)
    assert endpoint.address_sync(loop) is first
    monkeypatch.setenv("OPENAI_API_KEY", "two")
    assert endpoint.address_sync(loop).key == "two"


class Server:
    """Something that takes its time to start."""

    def __init__(self, base_url: str, *, fails: int = 0) -> None:
        self.base_url = base_url
        self.fails = fails
        self.starts = 0

    def start(self) -> Started:
        self.starts += 1
        if self.starts <= self.fails:
            raise ConnectionFailed("it does not start")
        return Started(self.base_url, "sk-started", replace(GENERIC, name="started"))


def started_model(server: Server) -> ChatModel:
    model = ChatModel("m", base_url="http://unused/v1")
    model.endpoint = Endpoint(None, GENERIC, start=server.start)
    return model


def test_a_server_is_started_by_the_first_of_many_requests() -> None:
    meeting = threading.Barrier(4, timeout=20)
    with FakeEndpoint([say("ok")] * 5, api_key="sk-started") as fake:
        server = Server(fake.base_url)
        model = started_model(server)
        assert (server.starts, model.endpoint.is_open, model.endpoint.source) == (0, False, "local")

        def ask() -> None:
            meeting.wait()
            model.reply_sync("x")

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        model.endpoint.open_sync()
        assert (server.starts, model.endpoint.is_open, model.endpoint.dialect.name) == (1, True, "started")
        assert model.reply_sync("x").source == "local"
        model.endpoint.close()


@libraries
def test_it_is_started_in_a_thread_where_a_loop_runs(library: str) -> None:
    with FakeEndpoint([say("ok")] * 2, api_key="sk-started") as fake:
        server = Server(fake.base_url, fails=1)
        model = started_model(server)

        async def main() -> str:
            with pytest.raises(ConnectionFailed):
                await model.reply("x")
            await model.endpoint.open()
            await model.endpoint.open()
            return (await model.reply("x")).text

        assert LIBRARIES[library](main) == "ok"
        assert server.starts == 2


# Forks and locked doors


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_makes_connections_of_its_own() -> None:
    with FakeEndpoint([say("parent"), say("child"), say("parent again")]) as fake:
        model = at(fake)
        assert model.reply_sync("x").text == "parent"
        child = os.fork()
        if not child:
            try:
                os._exit(0 if model.reply_sync("x").text == "child" else 1)
            except BaseException:
                os._exit(2)
        assert os.waitpid(child, 0)[1] == 0
        assert model.reply_sync("x").text == "parent again"
        assert [request.connection for request in fake.requests] == [1, 2, 1]
        model.endpoint.close()


def test_a_child_forked_while_a_lock_was_held_is_not_stuck() -> None:
    endpoint = Endpoint("http://h/v1", GENERIC, start=Server("http://127.0.0.1:1/v1").start)
    endpoint.open_sync()
    endpoint._lock.acquire()  # noqa: SLF001
    endpoint.forget()
    assert not endpoint.is_open
    endpoint.open_sync()
    assert endpoint.is_open


@libraries
def test_real_requests_can_be_forbidden(library: str) -> None:
    model = ChatModel("m", base_url="http://10.255.255.1/v1", api_key="k")

    async def main() -> None:
        with pytest.raises(UsageError, match="is forbidden in this test run: use ScriptedModel"):
            await model.reply("x")

    with forbid_real_requests(), FakeEndpoint([say("ok")] * 2) as fake:
        LIBRARIES[library](main)
        with pytest.raises(UsageError, match="forbidden"):
            model.reply_sync("x")
        assert at(fake).reply_sync("x").text == "ok"
        with forbid_real_requests(False):
            assert model.endpoint.address_sync(LoopThread()).key == "k"
        with pytest.raises(UsageError, match="forbidden"):
            model.endpoint.address_sync(LoopThread())
