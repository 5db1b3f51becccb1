"""The OpenAPI document is true: what it forbids is refused, what it allows is taken, and answers are as it says."""

from __future__ import annotations

import importlib.util
import json
import os
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from agentkit import Agent
from agentkit.serve import ServeLimits, create_app
from agentkit.serve.fields import MESSAGES, request_fields
from agentkit.serve.openapi import document
from agentkit.testing import ScriptedModel, call, calls, say
from tests.serve.conftest import KEY

LIMITS = ServeLimits(messages=6, tools=3, choices=2)
EXAMPLES = 300 if os.environ.get("HYPOTHESIS_PROFILE") == "deep" else 10
CHECKS = (
    "not_a_server_error status_code_conformance content_type_conformance response_schema_conformance "
    "negative_data_rejection"
).split()
# What no schema of one field can say.
BETWEEN_FIELDS = (
    "mean the same",
    "no tool is named",
    "needs tools",
    "Two tools",
    "no message to answer",
    "nothing to answer",
)


def answer(request: Any) -> Any:
    forced = request.settings.forced
    return say("Fine.", reasoning="Hm.", usage=(3, 2)) if forced is None else call(forced or request.tools[0].name)


def app() -> Any:
    return create_app({"bot": Agent(ScriptedModel(answer))}, api_keys=[KEY], limits=LIMITS)


def test_it_is_what_the_tables_say():
    schemas = document(LIMITS, needs_key=True)["components"]["schemas"]
    request = schemas["ChatRequest"]
    assert list(request["properties"]) == [field.name for field in request_fields(LIMITS)]
    assert request["properties"]["n"]["anyOf"][0]["maximum"] == 2
    assert len(request["properties"]["messages"]["items"]["anyOf"]) == len(MESSAGES)


def test_it_is_served(show):
    assert httpx.get(f"{show(app())}/openapi.json").json() == document(LIMITS, needs_key=True)


@pytest.mark.skipif(importlib.util.find_spec("jsonschema_rs") is None, reason="schemathesis is not installed")
def test_chunks_are_as_it_says(show):
    import jsonschema_rs

    def look(place: str) -> str:
        """Look."""
        return place

    script = [call("look", place="x"), calls(call("theirs"), text="Hm.", reasoning="So."), say("", refusal="No.")]
    url = show(create_app({"bot": Agent(ScriptedModel(script), tools=[look])}))
    described = document(LIMITS, needs_key=True)["components"]
    validator = jsonschema_rs.validator_for({**described["schemas"]["ChatCompletionChunk"], "components": described})
    tools = [{"type": "function", "function": {"name": "theirs"}}]
    body = {"model": "bot", "messages": [{"role": "user", "content": "x"}], "tools": tools, "stream": True}
    seen: set[str] = set()
    for options in ({}, {"include_usage": True}):
        answer = httpx.post(f"{url}/v1/chat/completions", json={**body, "stream_options": options}).text
        *events, done = [line.removeprefix("data: ") for line in answer.split("\n\n") if line]
        assert done == "[DONE]"
        for event in map(json.loads, events):
            validator.validate(event)
            seen |= {name for choice in event["choices"] for name in choice["delta"]}
    assert seen == {"role", "content", "refusal", "reasoning_content", "tool_calls", "agentkit_state"}


@pytest.mark.skipif(importlib.util.find_spec("schemathesis") is None, reason="schemathesis is not installed")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("mode", ["positive", "negative"])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/models", "/v1/models/{id}"])
def test_it_is_true(show, path, mode):
    import schemathesis
    from schemathesis.checks import CHECKS as KNOWN

    schema = schemathesis.openapi.from_url(f"{show(app())}/openapi.json")
    operation = schema[path]["POST" if path.endswith("completions") else "GET"]
    key = {"authorization": f"Bearer {KEY}"}
    statuses: list[int] = []

    @given(case=operation.as_strategy(generation_mode=schemathesis.GenerationMode(mode)))
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def tried(case: Any) -> None:
        if mode == "positive" and isinstance(case.body, dict):
            case.body["model"] = "bot"
        response = case.call(headers=key)
        statuses.append(response.status_code)
        case.validate_response(response, checks=KNOWN.get_by_names(CHECKS), headers=key)
        if mode == "positive" and response.status_code == 400:
            message = response.json()["error"]["message"]
            assert any(words in message for words in BETWEEN_FIELDS), message

    tried()
    assert statuses
