"""One real server on this machine for all tests of the package; each test puts its own application on it."""

from __future__ import annotations

import importlib.util
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.tiers import SOON_S

MISSING = [
    name for name in ("starlette", "uvicorn", "cryptography", "openai") if importlib.util.find_spec(name) is None
]
collect_ignore_glob = ["test_*.py"] if MISSING else []

KEY = "sk-for-tests-1"
OTHER_KEY = "sk-for-tests-2"
SECRET = "a secret of the tests"


@contextmanager
def served(app: Any) -> Iterator[str]:
    """The address that an application is served at."""
    import uvicorn

    config = uvicorn.Config(app, http="h11", ws="none", lifespan="off", log_config=None, timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="serve")
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(SOON_S)
            assert not thread.is_alive()


class Stage:
    """A server whose application can be changed."""

    def __init__(self) -> None:
        self.app: Any = None
        self.url = ""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


@pytest.fixture(scope="session")
def _stage() -> Iterator[Stage]:
    stage = Stage()
    with served(stage) as stage.url:
        yield stage


@pytest.fixture
def show(_stage: Stage) -> Iterator[Callable[[Any], str]]:
    """Puts an application on the server; gives the server's address."""

    def put(app: Any) -> str:
        _stage.app = app
        return _stage.url

    yield put
    _stage.app = None


@pytest.fixture(scope="session")
def _http() -> Iterator[Any]:
    """The connections of all clients: each would load the machine's certificates anew."""
    import openai

    with openai.DefaultHttpxClient() as http:
        yield http


@pytest.fixture
def client_of(show: Callable[[Any], str], _http: Any) -> Callable[..., Any]:
    """An openai client of an agent that is served as "bot", with the options of create_app."""
    import openai

    from agentkit.serve import create_app

    def make(agent: Any, *, key: str = KEY, **options: Any) -> openai.OpenAI:
        agents = agent if isinstance(agent, dict) else {"bot": agent}
        options = {"api_keys": [KEY, OTHER_KEY], "secret": SECRET, **options}
        url = show(create_app(agents, **options))
        return openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0, timeout=20, http_client=_http)

    return make
