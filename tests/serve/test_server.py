"""Serving: until a signal comes, and in an application that is there already."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

import httpx
import openai
import pytest

from agentkit.testing import ScriptedModel, call
from tests.cancelling import soon
from tests.serve.test_client_tools import DECIDING, names, said, told

ROOT = Path(__file__).parent.parent.parent
BODY = {"model": "bot", "messages": [{"role": "user", "content": "Hello"}], "stream": True}
SCRIPT = """
import sys, time
from pathlib import Path
from agentkit import Agent
from agentkit.serve import ServeLimits, create_app, serve
from agentkit.testing import ScriptedModel, call

def wait() -> str:
    "Wait."
    while not Path(sys.argv[1]).exists():
        time.sleep(0.01)
    return "done"

model = ScriptedModel(lambda r: "Done." if r.transcript.last.calls else call("wait"))
app = create_app({"bot": Agent(model, tools=[wait])}, limits=ServeLimits(ping_s=0.02))
serve(app, port=0, drain_s=float(sys.argv[2]))
"""


class Process:
    """A server in a process of its own."""

    def __init__(self, path: Path, drain_s: float) -> None:
        command = [sys.executable, "-c", SCRIPT, str(path), str(drain_s)]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        self.lines: list[str] = []
        self.url = ""
        for line in self.process.stderr:
            self.lines.append(line)
            if found := re.search(r"http://127\.0\.0\.1:\d+", line):
                self.url = found[0]
                break
        assert self.url, self.lines

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate(timeout=10)


def post(url: str) -> httpx.Response:
    return httpx.post(f"{url}/v1/chat/completions", json=BODY, timeout=10)


@pytest.mark.slow
def test_it_ends_once_its_runs_have(tmp_path):
    gate = tmp_path / "open"
    with Process(gate, 20) as server, httpx.stream("POST", f"{server.url}/v1/chat/completions", json=BODY) as run:
        lines = run.iter_lines()
        assert next(lines) == ": ping"
        server.process.send_signal(signal.SIGTERM)
        soon(lambda: httpx.get(f"{server.url}/ready").status_code == 503)
        refused = post(server.url)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        gate.touch()
        assert list(lines)[-2:] == ["data: [DONE]", ""]
        assert server.process.wait(10) == 0


@pytest.mark.slow
@pytest.mark.parametrize(("drain_s", "signals"), [(0.1, 1), (20, 2)])
def test_it_does_not_wait_for_ever(tmp_path, drain_s, signals):
    with Process(tmp_path / "open", drain_s) as server:
        with httpx.stream("POST", f"{server.url}/v1/chat/completions", json=BODY) as run:
            assert next(run.iter_lines()) == ": ping"
            server.process.send_signal(signal.SIGTERM)
            if signals == 2:
                soon(lambda: httpx.get(f"{server.url}/ready").status_code == 503)
                server.process.send_signal(signal.SIGTERM)
            server.process.wait(10)
        assert server.process.returncode == (0 if signals == 1 else -signal.SIGTERM)


def load(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"example_{name}", ROOT / "examples" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def example(monkeypatch):
    """Loads an example, its agent answered by a script."""
    monkeypatch.setenv("OPENAI_API_KEY", "key-for-tests")

    def made(name: str, model: Any) -> Any:
        module = load(name)
        for app in (module.app, *(getattr(route, "app", None) for route in module.app.routes)):
            if service := getattr(getattr(app, "state", None), "agentkit", None):
                for served in service.agents.values():
                    served.agent = served.agent.with_(model=model)
        return module

    return made


def test_the_served_agent(example, show):
    script = [call("in_stock", title="Emma"), call("order", title="Emma", copies=2), "Two are on their way."]
    url = show(example("served_agent", ScriptedModel(script)).app)
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        question = [{"role": "user", "content": "Get me Emma."}]
        message, reason = said(client, model="bookshop", messages=question, tools=[DECIDING])
        assert (names(message), reason) == (["agentkit_decide"], "tool_calls")
        asked = json.loads(message["tool_calls"][0]["function"]["arguments"])
        assert (asked["name"], asked["arguments"]) == ("order", {"title": "Emma", "copies": 2})
        answer, _ = said(client, model="bookshop", messages=[*question, *told(message, "approve")], tools=[DECIDING])
        assert answer["content"] == "Two are on their way."


def test_an_agent_in_fastapi(example, show):
    model = ScriptedModel([call("my_orders"), "You ordered Dune.", call("my_orders"), "Nothing."])
    url = show(example("serve_in_fastapi", model).app)
    assert httpx.get(url).json() == "A bookshop."
    for key, orders in (("key-of-ann-1234", '["Dune"]'), ("key-of-bo-56789", "[]")):
        with openai.OpenAI(base_url=f"{url}/agents/v1", api_key=key, max_retries=0) as client:
            assert [each.id for each in client.models.list()] == ["orders"]
            said(client, model="orders")
        assert model.requests[-1].messages[-1]["content"] == orders
    refused = httpx.get(f"{url}/agents/v1/models", headers={"authorization": "Bearer wrong"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_api_key")
