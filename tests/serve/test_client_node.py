"""openai's package for Node as a client of a served agent. NODE_PATH says where the package is."""

from __future__ import annotations

import json
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from agentkit.serve import create_app
from tests.serve.clients import JSON, asking, failing, speaking, writing
from tests.serve.conftest import KEY

CLIENT = Path(__file__).with_name("client.cjs")
NODE = shutil.which("node")


@cache
def lacking() -> str | None:
    if NODE is None:
        return "there is no `node` on the PATH"
    found = subprocess.run([NODE, "-e", "require.resolve('openai')"], capture_output=True, check=False)
    return None if found.returncode == 0 else "npm's `openai` is not found: NODE_PATH says where packages are"


pytestmark = pytest.mark.slow


@pytest.fixture
def seen(show):
    """What the client saw of an agent."""
    if reason := lacking():
        pytest.skip(reason)

    def ran(agent: Any, what: str, *, key: str = KEY) -> Any:
        url = show(create_app({"bot": agent}, api_keys=[KEY]))
        command = [str(NODE), str(CLIENT), f"{url}/v1", key, what]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return ran


def test_plain(seen):
    assert seen(speaking(), "plain") == {"content": "It rains.", "reason": "stop", "request": True, "models": ["bot"]}


def test_streamed(seen):
    answer = seen(speaking(), "streamed")
    assert answer["content"] == "It rains."
    assert answer["pieces"] > 1
    assert answer["tokens"] >= 5


def test_tools_on_both_sides(seen):
    agent, scripted = asking()
    assert seen(agent, "tools") == {"name": "place", "content": "Rain in Hanoi."}
    assert [each["role"] for each in scripted.requests[-1].messages].count("tool") == 3  # the agent's own are known


def test_its_own_loop_of_tools(seen):
    assert seen(asking()[0], "runner") == {"content": "Rain in Hanoi."}


def test_a_response_format(seen):
    assert seen(writing(), "format") == json.loads(JSON)


@pytest.mark.parametrize(
    ("code", "kind", "told"),
    [
        (400, "BadRequestError", (400, "context_length_exceeded")),
        (429, "RateLimitError", (429, "rate_limit_exceeded")),
        (500, "InternalServerError", (502, "model_failed")),
    ],
)
def test_errors(seen, code, kind, told):
    error = seen(failing(code), "error")
    assert (error["kind"], (error["status"], error["code"])) == (kind, told)


def test_a_wrong_key(seen):
    assert seen(speaking(), "error", key="sk-wrong-one")["kind"] == "AuthenticationError"
