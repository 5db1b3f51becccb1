"""The first address of a host that answers is taken, on asyncio's own loop and on uvloop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from anyio import sleep_forever

from agentkit import ChatModel
from agentkit._http.racing import connected
from agentkit.testing import FakeEndpoint, say
from tests.http_server import Server, always, answer

SILENT = 1
Run = Callable[[Coroutine[Any, Any, Any]], Any]


def on_uvloop(main: Coroutine[Any, Any, Any]) -> Any:
    return pytest.importorskip("uvloop", reason="uvloop is not installed").run(main)


pytestmark = pytest.mark.parametrize("run", [asyncio.run, on_uvloop], ids=["asyncio", "uvloop"])


class Host:
    """A loop to which a host has one address for each of these ports; at the silent one no answer ever comes."""

    def __init__(self, *ports: int, in_ipv6: int = 0) -> None:
        hosts = [(socket.AF_INET6, "::1")] * in_ipv6 + [(socket.AF_INET, "127.0.0.1")] * (len(ports) - in_ipv6)
        self._found = [
            (family, socket.SOCK_STREAM, 6, "", (host, port)) for (family, host), port in zip(hosts, ports, strict=True)
        ]
        self.tried: list[int] = []
        self.all_tried = asyncio.Event()
        self.left = 0

    async def getaddrinfo(self, *_: Any, **__: Any) -> list[Any]:
        return self._found

    async def sock_connect(self, sock: socket.socket, target: Any) -> None:
        self.tried.append(target[1])
        if len(self.tried) == len(self._found):
            self.all_tried.set()
        try:
            await (sleep_forever() if target[1] == SILENT else asyncio.get_running_loop().sock_connect(sock, target))
        except asyncio.CancelledError:
            self.left += 1
            raise


async def peer_of(host: Any) -> int:
    with await connected(host, "many.example", 80) as sock:
        return int(sock.getpeername()[1])


@pytest.fixture
def nobody() -> int:
    """A port at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def test_a_model_behind_a_name_answers(run: Run) -> None:
    with FakeEndpoint([say("ok")], api_key="k") as fake:
        url = fake.base_url.replace("127.0.0.1", "localhost")
        assert run(ChatModel("m", base_url=url, api_key="k").reply("x")).text == "ok"


@pytest.mark.parametrize(
    "places",
    ["here", "here nobody", "nobody here", "nobody nobody here", "silent here", "silent nobody silent here silent"],
)
def test_the_first_that_answers(run: Run, nobody: int, places: str) -> None:
    with Server(always(answer())) as server:
        host = Host(*({"nobody": nobody, "here": server.port, "silent": SILENT}[place] for place in places.split()))
        assert run(peer_of(host)) == server.port
    assert host.left == places[: places.index("here")].count("silent")


def test_the_other_family_comes_next(run: Run, nobody: int) -> None:
    with Server(always(answer())) as server:
        host = Host(nobody, nobody, server.port, nobody, in_ipv6=2)
        assert run(peer_of(host)) == server.port
    assert host.tried == [nobody, server.port]


@pytest.mark.parametrize("count", [1, 3])
def test_none_that_answers(run: Run, nobody: int, count: int) -> None:
    host = Host(*[nobody] * count)
    with pytest.raises(ConnectionRefusedError):
        run(peer_of(host))
    assert host.tried == [nobody] * count


@pytest.mark.parametrize("count", [1, 2])
def test_whoever_is_cancelled_leaves_all(run: Run, count: int) -> None:
    host = Host(*[SILENT] * count)

    async def main() -> None:
        asking = asyncio.create_task(peer_of(host))
        await host.all_tried.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking

    run(main())
    assert host.left == count
