"""The agent's own steps, for clients that ask for them."""

from __future__ import annotations

from typing import Any

import pytest

from agentkit import Agent, Context, tool
from agentkit.serve import DECIDE
from agentkit.serve.showing import NOTED_CHARS
from agentkit.testing import ScriptedModel, call, calls
from tests.serve.test_answers import ask, streamed, weather
from tests.serve.test_client_tools import DECIDING, PLACE, said, told

ASKED = {"extra_body": {"agentkit_steps": True}}


def count(ctx: Context[Any], to: int) -> str:
    """Count."""
    for number in range(to):
        ctx.progress({"at": number})
    return "x" * (NOTED_CHARS + 1)


@tool(approval=True)
def order(title: str) -> str:
    """Order."""
    return "ordered"


def steps_of(client: Any, *, stream: bool, **fields: Any) -> list[dict[str, Any]]:
    """The steps, without how long they took."""
    if stream:
        deltas = [chunk.choices[0].delta for chunk in streamed(client, **fields) if chunk.choices]
        steps = [step for delta in deltas for step in getattr(delta, "agentkit_steps", None) or ()]
    else:
        steps = getattr(ask(client, **fields).choices[0].message, "agentkit_steps", None) or []
    assert all(step.pop("seconds", 0) >= 0 for step in steps)
    assert [step.pop("index") for step in steps] == list(range(len(steps)))
    return steps


@pytest.mark.parametrize("stream", [False, True])
def test_calls_and_their_results(client_of, stream):
    script = [calls(call("weather", city="Hue"), call("count", to=2), call("none")), "Done."]
    client = client_of(Agent(ScriptedModel(script), tools=[weather, count]), page=True)
    steps = steps_of(client, stream=stream, **ASKED)
    ids = {step["name"]: step["id"] for step in steps if step["type"] == "call"}
    by_call = {name: [step for step in steps if step["id"] == call_id] for name, call_id in ids.items()}
    assert by_call["weather"] == [
        {"type": "call", "id": ids["weather"], "name": "weather", "arguments": '{"city": "Hue"}'},
        {"type": "result", "id": ids["weather"], "status": "ok", "content": "Sunny in Hue"},
    ]
    assert [step.get("content") for step in by_call["count"][1:]] == [
        '{"at":0}',
        '{"at":1}',
        "x" * NOTED_CHARS + "…",
    ]
    assert [step["type"] for step in by_call["none"]] == ["call", "result"]
    assert by_call["none"][1]["status"] == "not_run"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("options", "fields"),
    [
        ({"page": True}, {}),
        ({}, ASKED),
        ({"page": True, "show_steps": "never"}, ASKED),
        ({"show_steps": "text"}, ASKED),
    ],
)
def test_they_are_told_to_nobody_else(client_of, stream, options, fields):
    client = client_of(Agent(ScriptedModel([call("weather", city="Hue"), "Done."]), tools=[weather]), **options)
    assert steps_of(client, stream=stream, **fields) == []


@pytest.mark.parametrize("stream", [False, True])
def test_steps_of_an_agent_inside_have_its_path(client_of, stream):
    inner = Agent(ScriptedModel([call("weather", city="Hue"), "Sunny."]), tools=[weather], name="inner")
    outer = Agent(ScriptedModel([call("inner", prompt="Weather?"), "Done."]), tools=[inner.as_tool()])
    steps = steps_of(client_of(outer, show_steps="asked"), stream=stream, **ASKED)
    first = steps[0]["id"]
    assert [step["id"].split("/")[0] for step in steps] == [first] * 4
    kinds = [(step["type"], step["id"].count("/")) for step in steps]
    assert kinds == [("call", 0), ("call", 1), ("result", 1), ("result", 0)]


def test_a_handoff(client_of):
    clerk = Agent(ScriptedModel(["Here I am."]), name="clerk")
    front = Agent(ScriptedModel([call("transfer_to_clerk")]), name="front", handoffs=[clerk])
    steps = steps_of(client_of(front, page=True), stream=True, **ASKED)
    assert [step["type"] for step in steps] == ["call", "result", "agent"]
    assert steps[-1] == {"type": "agent", "name": "clerk"}


@pytest.mark.parametrize("stream", [False, True])
def test_the_clients_own_calls_are_no_steps(client_of, stream):
    script = [calls(call("weather", city="Hue"), call("place")), call("place"), "Done."]
    client = client_of(Agent(ScriptedModel(script), tools=[weather]), page=True)
    message, _ = said(client, stream=stream, tools=[PLACE], **ASKED)
    assert [step["name"] for step in message["agentkit_steps"] if step["type"] == "call"] == ["weather"]
    messages = [{"role": "user", "content": "Hello"}, *told(message, "Hanoi")]
    answer, _ = said(client, stream=stream, tools=[PLACE], messages=messages, **ASKED)
    assert not answer.get("agentkit_steps")


@pytest.mark.parametrize(("decision", "status"), [("approve", "ok"), ("no", "denied")])
def test_a_decided_call(client_of, decision, status):
    client = client_of(Agent(ScriptedModel([call("order", title="Emma"), "Done."]), tools=[order]), page=True)
    message, _ = said(client, tools=[DECIDING], **ASKED)
    assert message["tool_calls"][0]["function"]["name"] == DECIDE
    messages = [{"role": "user", "content": "Hello"}, *told(message, decision)]
    steps = steps_of(client, stream=True, messages=messages, tools=[DECIDING], **ASKED)
    assert [(step["type"], step.get("status")) for step in steps] == [("call", None), ("result", status)]
