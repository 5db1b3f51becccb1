"""The first address that answers is taken, on asyncio's own loop and on uvloop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from agentkit import ChatModel
from agentkit._http.racing import connected
from agentkit.errors import ConnectionFailed
from agentkit.testing import FakeEndpoint, say
from tests.http_server import Server, always, answer

TCP = (socket.SOCK_STREAM, 6, "")
Run = Callable[[Coroutine[Any, Any, Any]], Any]


def on_uvloop(main: Coroutine[Any, Any, Any]) -> Any:
    return pytest.importorskip("uvloop", reason="uvloop is not installed").run(main)


on_each_loop = pytest.mark.parametrize("run", [asyncio.run, on_uvloop], ids=["asyncio", "uvloop"])


@pytest.fixture
def nobody() -> int:
    """A port at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


@pytest.fixture
def resolve(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Has each host have these addresses."""

    def to(*found: Any) -> None:
        async def look_up(*_: Any, **__: Any) -> list[Any]:
            return list(found)

        monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", look_up)

    return to


async def peer_of(host: str) -> tuple[str, int]:
    with await connected(asyncio.get_running_loop(), host, 1) as sock:
        return sock.getpeername()[:2]


@on_each_loop
def test_a_model_behind_a_host_s_name_answers(run: Run) -> None:
    with FakeEndpoint([say("ok")], api_key="k") as fake:
        url = fake.base_url.replace("127.0.0.1", "localhost")
        reply = run(ChatModel("m", base_url=url, api_key="k").reply("x"))
        assert reply.text == "ok"


@pytest.mark.parametrize("places", ["nobody here", "nobody nobody here", "here nobody"])
def test_the_first_that_answers(resolve: Callable[..., None], nobody: int, places: str) -> None:
    with Server(always(answer())) as server:
        ports = {"nobody": nobody, "here": server.port}
        resolve(*((socket.AF_INET, *TCP, ("127.0.0.1", ports[place])) for place in places.split()))
        assert asyncio.run(peer_of("many.example")) == ("127.0.0.1", server.port)


def test_none_that_answers(resolve: Callable[..., None], nobody: int) -> None:
    resolve(*[(socket.AF_INET, *TCP, ("127.0.0.1", nobody))] * 2)
    with pytest.raises(ConnectionRefusedError):
        asyncio.run(peer_of("many.example"))
    with pytest.raises(ConnectionFailed, match=r"many\.example refused the connection"):
        asyncio.run(ChatModel("m", base_url="http://many.example:1/v1", api_key="k", retries=0).reply("x"))


def test_the_other_family_comes_next(resolve: Callable[..., None], nobody: int) -> None:
    with Server(always(answer())) as server:
        gone = (socket.AF_INET6, *TCP, ("::1", nobody, 0, 0))
        resolve(gone, gone, (socket.AF_INET, *TCP, ("127.0.0.1", server.port)), gone)
        assert asyncio.run(peer_of("many.example")) == ("127.0.0.1", server.port)
