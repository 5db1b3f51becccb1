"""What a client may ask, how long anything lasts, and clients that leave, dawdle or come too many at once."""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import threading
from collections.abc import Iterator
from typing import Any

import anyio
import httpx
import openai
import pytest

from agentkit import Agent
from agentkit.serve import ServeLimits, create_app
from agentkit.testing import ScriptedModel, call, say
from tests.cancelling import soon
from tests.serve.conftest import KEY
from tests.serve.test_answers import HELLO, ask, bot, streamed
from tests.serve.test_errors import refusal
from tests.tiers import SOON_S


class Gate:
    """A tool that waits until it is let go, and says whether it was cancelled."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.opened = threading.Event()
        self.cancelled = threading.Event()

    async def wait(self) -> str:
        """Wait."""
        self.begun.set()
        try:
            while not self.opened.is_set():  # noqa: ASYNC110  # it is set from another thread
                await anyio.sleep(0.01)
        except BaseException:
            self.cancelled.set()
            raise
        return "done"

    def agent(self) -> Agent[Any, Any]:
        return Agent(
            ScriptedModel(lambda r: say("Done.") if r.transcript.last.calls else call("wait")), tools=[self.wait]
        )


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.opened.set()


def deep(levels: int) -> Any:
    value: Any = {}
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"messages": HELLO * 6}, 400, "array_above_max_length"),
        (
            {"tools": [{"type": "function", "function": {"name": f"t{n}"}} for n in range(4)]},
            400,
            "array_above_max_length",
        ),
        ({"n": 3}, 400, "integer_above_max_value"),
        ({"messages": [{"role": "user", "content": "x" * 3000}]}, 413, "request_too_large"),
        ({"audio": {"x": deep(20)}}, 400, "invalid_json"),
    ],
)
def test_bounds_of_a_request(client_of, fields, status, code):
    limits = ServeLimits(messages=5, tools=3, choices=2, body_bytes=2000, nesting=12)
    error = refusal(client_of(bot(), limits=limits), **fields)
    assert (error.status_code, error.code) == (status, code)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "invalid_json"),
        (b"[]", "invalid_json"),
        (b'"x"', "invalid_json"),
        (b'{"model": "bot"', "invalid_json"),
        (b'{"model": NaN}', "invalid_json"),
        (b'{"model": "\xff"}', "invalid_json"),
        (b'{"model": "\\ud800"}', "invalid_json"),
        (b"[" * 100_000, "invalid_json"),
        (b"{}", "missing_required_parameter"),
    ],
)
def test_bodies_that_are_none(show, body, code):
    url = show(create_app({"bot": bot()}))
    response = httpx.post(f"{url}/v1/chat/completions", content=body, headers={"content-type": "application/json"})
    assert (response.status_code, response.json()["error"]["code"]) == (400, code)


def test_a_body_is_bounded_without_its_length(show):
    url = show(create_app({"bot": bot()}, limits=ServeLimits(body_bytes=1000)))
    pieces = iter([b"[" * 600, b"[" * 600])
    response = httpx.post(f"{url}/v1/chat/completions", content=pieces, headers={"content-type": "application/json"})
    assert response.status_code == 413


def head(url: str, body: bytes, length: int | None = None) -> tuple[socket.socket, bytes]:
    """A connection, and what a request of that body looks like on it."""
    address, _, port = url.removeprefix("http://").partition(":")
    sock = socket.create_connection((address, int(port)), timeout=SOON_S)
    lines = (
        "POST /v1/chat/completions HTTP/1.1",
        f"host: {address}:{port}",
        f"authorization: Bearer {KEY}",
        "content-type: application/json",
        f"content-length: {len(body) if length is None else length}",
    )
    return sock, "\r\n".join((*lines, "", "")).encode() + body


def test_a_body_that_does_not_come(show):
    url = show(create_app({"bot": bot()}, limits=ServeLimits(body_s=0.1)))
    sock, request = head(url, b"{", 100)
    with sock:
        sock.sendall(request)
        assert b"HTTP/1.1 408" in sock.recv(4096)


def test_so_many_runs_at_once(client_of, gate):
    client = client_of(gate.agent(), limits=ServeLimits(runs=2, ping_s=0.02))
    with contextlib.ExitStack() as stack:
        streams = [stack.enter_context(ask(client, stream=True, stream_options={})) for _ in range(1)]
        assert gate.begun.wait(SOON_S)
        error = refusal(client, n=2)
        assert (error.status_code, error.code, error.response.headers["retry-after"]) == (
            429,
            "rate_limit_exceeded",
            "1",
        )
        gate.opened.set()
        assert all(list(stream) for stream in streams)
    assert ask(client, n=2).choices[1].message.content == "Done."


@pytest.mark.parametrize("stream", [False, True])
def test_a_run_ends_in_time(client_of, gate, stream):
    error = refusal(client_of(gate.agent(), limits=ServeLimits(run_s=0.1)), stream=stream)
    assert (error.status_code, error.code) == (504, "run_timeout")


def test_a_silent_stream_is_kept_open(show, gate):
    url = show(create_app({"bot": gate.agent()}, limits=ServeLimits(ping_s=0.02)))
    body = {"model": "bot", "messages": HELLO, "stream": True}
    with httpx.stream("POST", f"{url}/v1/chat/completions", json=body) as response:
        lines = response.iter_lines()
        assert [next(lines) for _ in range(4)] == [": ping", "", ": ping", ""]
        gate.opened.set()
        assert list(lines)[-2:] == ["data: [DONE]", ""]


def test_openais_client_does_not_see_the_pings(client_of, gate):
    client = client_of(gate.agent(), limits=ServeLimits(ping_s=0.01))
    with ask(client, stream=True) as stream:
        assert gate.begun.wait(SOON_S)
        gate.opened.set()
        assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == "Done."


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_ends_its_run(show, gate, stream, caplog):
    caplog.set_level(logging.INFO, "agentkit.serve")
    url = show(create_app({"bot": gate.agent()}, api_keys=[KEY], limits=ServeLimits(ping_s=0.05)))
    sock, request = head(url, json.dumps({"model": "bot", "messages": HELLO, "stream": stream}).encode())
    with sock:
        sock.sendall(request)
        assert gate.begun.wait(SOON_S)
    assert gate.cancelled.wait(SOON_S)
    soon(lambda: any('"left":true' in record.getMessage() for record in caplog.records))


def test_a_client_that_reads_nothing_is_left(show, caplog):
    caplog.set_level(logging.INFO, "agentkit.serve")
    agent = Agent(ScriptedModel(lambda _: say(["word " * 200_000] * 20)))
    url = show(create_app({"bot": agent}, api_keys=[KEY], limits=ServeLimits(write_s=0.1)))
    sock, request = head(url, json.dumps({"model": "bot", "messages": HELLO, "stream": True}).encode())
    with sock:
        sock.sendall(request)
        soon(lambda: any('"left":true' in record.getMessage() for record in caplog.records))


def test_no_runs_begin_once_it_drains(show, gate):
    app = create_app({"bot": gate.agent()}, api_keys=[KEY], limits=ServeLimits(ping_s=0.02))
    url = show(app)
    with openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0) as client, ask(client, stream=True) as stream:
        assert gate.begun.wait(SOON_S)
        app.state.agentkit.drain()
        error = refusal(client)
        assert (error.status_code, error.code, error.response.headers["retry-after"]) == (503, "draining", "1")
        assert httpx.get(f"{url}/ready").status_code == 503
        assert httpx.get(f"{url}/health").status_code == 200
        gate.opened.set()
        with pytest.raises(openai.APIError, match="The server ended before the run was done"):
            list(stream)


def test_one_line_of_the_log_for_each_request(client_of, caplog):
    caplog.set_level(logging.INFO, "agentkit.serve")
    client = client_of(bot(say("Fine.", usage=(3, 2))), api_keys={KEY: "Ann"})
    streamed(client)
    soon(lambda: any("finish_reason" in record.getMessage() for record in caplog.records))
    line = json.loads(caplog.records[-1].getMessage())
    assert line.pop("id").startswith("req_")
    assert line.pop("seconds") >= 0
    assert line == {
        "method": "POST",
        "path": "/v1/chat/completions",
        "key": "Ann",
        "model": "bot",
        "stream": True,
        "n": 1,
        "status": 200,
        "finish_reason": "stop",
        "steps": 1,
        "prompt_tokens": 3,
        "completion_tokens": 2,
    }
    assert KEY not in caplog.text
    assert "Hello" not in caplog.text
