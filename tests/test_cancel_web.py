"""A stream in a web handler whose client leaves half-way: the run ends with it."""

from __future__ import annotations

import contextlib
import gc
import importlib.util
import logging
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from agentkit import Agent
from agentkit.events import TextDelta
from agentkit.testing import FakeEndpoint, say
from agentkit.testing.script import drip, stall
from tests.cancelling import soon
from tests.tiers import SOON_S
from tests.watching import agent_for

pytestmark = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ["starlette", "uvicorn", "fastapi"])),
    reason="starlette, uvicorn and fastapi are not installed",
)


async def lines(agent: Agent[Any], ended: threading.Event) -> AsyncIterator[str]:
    """What the handler sends."""
    try:
        async with agent.stream("x") as run:
            async for event in run:
                if isinstance(event, TextDelta):
                    yield f"data: {event.text}\n\n"
    finally:
        ended.set()


def with_starlette(agent: Agent[Any], ended: threading.Event) -> Any:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import StreamingResponse
    from starlette.routing import Route

    async def handle(request: Request) -> StreamingResponse:
        return StreamingResponse(lines(agent, ended), media_type="text/event-stream")

    return Starlette(routes=[Route("/", handle)])


def with_fastapi(agent: Agent[Any], ended: threading.Event) -> Any:
    from fastapi import FastAPI
    from fastapi.responses import StreamingResponse

    app = FastAPI()

    @app.get("/")
    async def handle() -> StreamingResponse:
        return StreamingResponse(lines(agent, ended), media_type="text/event-stream")

    return app


@contextlib.contextmanager
def served(app: Any) -> Iterator[int]:
    """The port that the app is served on."""
    import uvicorn

    config = uvicorn.Config(app, loop="asyncio", http="h11", ws="none", lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="web")
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive()


def ask(port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), timeout=20)
    sock.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    return sock


def read_until(sock: socket.socket, wanted: bytes) -> bytes:
    data = b""
    while wanted not in data:
        piece = sock.recv(4096)
        assert piece, data
        data += piece
    return data


apps = pytest.mark.parametrize("make", [with_starlette, with_fastapi], ids=["starlette", "fastapi"])


@apps
@pytest.mark.parametrize("busy", [False, True], ids=["between two events", "while events come"])
def test_a_client_that_leaves(make: Any, busy: bool, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    words = ["a ", "b ", "c ", *["d "] * 2000]
    item = drip(say(words), 0.002) if busy else stall(say(words), after_events=4)
    ended = threading.Event()
    with FakeEndpoint([item, "fine"]) as fake, served(make(agent_for(fake), ended)) as port:
        with ask(port) as sock:
            read_until(sock, b"data: c")
        assert ended.wait(SOON_S)
        fake.wait_until(fake.requests[0].disconnected.is_set, timeout_s=SOON_S)
        gc.collect()
        ended.clear()
        with ask(port) as sock:
            assert b"data: fine" in read_until(sock, b"0\r\n\r\n")
        assert ended.wait(SOON_S)
    soon(lambda: all(thread.name != "web" for thread in threading.enumerate()))
    assert [r.getMessage() for r in caplog.records if r.levelno > logging.INFO] == []


@apps
def test_a_server_that_stops(make: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    ended = threading.Event()
    with FakeEndpoint([stall(say(["a ", "b ", "c ", "d"]), after_events=4)]) as fake:
        with contextlib.ExitStack() as stack:
            port = stack.enter_context(served(make(agent_for(fake), ended)))
            sock = ask(port)
            read_until(sock, b"data: c")
            # the server waits for its clients when it stops: this one leaves then
            threading.Timer(0.3, sock.close).start()
        assert ended.wait(SOON_S)
        fake.wait_until(fake.requests[0].disconnected.is_set, timeout_s=SOON_S)
    assert [r.getMessage() for r in caplog.records if r.levelno > logging.INFO] == []
