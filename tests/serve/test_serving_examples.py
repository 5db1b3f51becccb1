"""The examples of serving: an agent that asks for decisions, and one in an application that is there already."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from agentkit.testing import ScriptedModel, call
from tests.serve.test_client_tools import DECIDING, names, said, told

ROOT = Path(__file__).parent.parent.parent


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
