"""One conversation as it is written for different endpoints, whole."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from inline_snapshot import snapshot

from agentkit import Agent, ChatModel, Settings, ToolSpec, Transcript
from agentkit.chat.dialects import DIALECTS
from agentkit.messages import developer, user
from agentkit.testing import FakeEndpoint
from agentkit.testing.strict import refusals
from tests.bodies import ADD, EMPTY, model_said, one_call, sent

CONVERSATION = (
    developer("Be exact."),
    user(["What is it?", {"type": "image_url", "image_url": {"url": "https://h/cat.png"}}]),
    model_said({**one_call(call_id="call_0123456789"), "reasoning_content": "hm", "refusal": None}),
    model_said({"content": "a cat", "annotations": [], "audio": {"id": "a1", "data": "…"}}),
    user("sure?"),
)
ASKED = {
    "tools": (ADD, ToolSpec("look", "Look.", EMPTY, strict=True)),
    "settings": Settings(max_tokens=9, tool_choice="add", parallel_tool_calls=False, seed=1),
    "instructions": "Be brief.",
    "stream": True,
}


def test_a_body_for_openai() -> None:
    assert sent(*CONVERSATION, dialect="openai", **ASKED) == snapshot(
        {
            "model": "m",
            "max_completion_tokens": 9,
            "tool_choice": {"type": "function", "function": {"name": "add"}},
            "parallel_tool_calls": False,
            "seed": 1,
            "stream": True,
            "stream_options": {"include_usage": True},
            "tools": [
                {
                    "type": "function",
                    "function": {
                        "name": "add",
                        "description": "Add.",
                        "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}},
                    },
                },
                {
                    "type": "function",
                    "function": {
                        "name": "look",
                        "description": "Look.",
                        "parameters": {
                            "type": "object",
                            "properties": {},
                            "required": [],
                            "additionalProperties": False,
                        },
                        "strict": True,
                    },
                },
            ],
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "developer", "content": "Be exact."},
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "What is it?"},
                        {"type": "image_url", "image_url": {"url": "https://h/cat.png"}},
                    ],
                },
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [
                        {
                            "id": "call_0123456789",
                            "type": "function",
                            "function": {"name": "add", "arguments": '{"a":1}'},
                        }
                    ],
                    "reasoning_content": "hm",
                },
                {"role": "tool", "tool_call_id": "call_0123456789", "content": "result 0"},
                {"role": "assistant", "content": "a cat", "audio": {"id": "a1"}},
                {"role": "user", "content": "sure?"},
            ],
        }
    )


def test_a_body_for_mistral() -> None:
    assert sent(*CONVERSATION, dialect="mistral", **ASKED) == snapshot(
        {
            "model": "m",
            "max_tokens": 9,
            "tool_choice": {"type": "function", "function": {"name": "add"}},
            "parallel_tool_calls": False,
            "random_seed": 1,
            "stream": True,
            "tools": [
                {
                    "type": "function",
                    "function": {
                        "name": "add",
                        "description": "Add.",
                        "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}},
                    },
                },
                {
                    "type": "function",
                    "function": {
                        "name": "look",
                        "description": "Look.",
                        "parameters": {
                            "type": "object",
                            "properties": {},
                            "required": [],
                            "additionalProperties": False,
                        },
                        "strict": True,
                    },
                },
            ],
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "system", "content": "Be exact."},
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "What is it?"},
                        {"type": "image_url", "image_url": {"url": "https://h/cat.png"}},
                    ],
                },
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [
                        {"id": "ab14600fc", "type": "function", "function": {"name": "add", "arguments": '{"a":1}'}}
                    ],
                },
                {"role": "tool", "tool_call_id": "ab14600fc", "content": "result 0"},
                {"role": "assistant", "content": "a cat"},
                {"role": "user", "content": "sure?"},
            ],
        }
    )


def test_a_body_for_an_endpoint_that_nobody_knows() -> None:
    assert sent(*CONVERSATION, **ASKED) == snapshot(
        {
            "model": "m",
            "max_tokens": 9,
            "tool_choice": {"type": "function", "function": {"name": "add"}},
            "parallel_tool_calls": False,
            "seed": 1,
            "stream": True,
            "stream_options": {"include_usage": True},
            "tools": [
                {
                    "type": "function",
                    "function": {
                        "name": "add",
                        "description": "Add.",
                        "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}},
                    },
                },
                {
                    "type": "function",
                    "function": {
                        "name": "look",
                        "description": "Look.",
                        "parameters": {
                            "type": "object",
                            "properties": {},
                            "required": [],
                            "additionalProperties": False,
                        },
                        "strict": True,
                    },
                },
            ],
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "system", "content": "Be exact."},
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "What is it?"},
                        {"type": "image_url", "image_url": {"url": "https://h/cat.png"}},
                    ],
                },
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [
                        {
                            "id": "call_0123456789",
                            "type": "function",
                            "function": {"name": "add", "arguments": '{"a":1}'},
                        }
                    ],
                    "reasoning_content": "hm",
                },
                {"role": "tool", "tool_call_id": "call_0123456789", "content": "result 0"},
                {"role": "assistant", "content": "a cat", "annotations": [], "audio": {"id": "a1", "data": "…"}},
                {"role": "user", "content": "sure?"},
            ],
        }
    )


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_dialects_body_stands_the_strict_test(dialect: str) -> None:
    known = replace(DIALECTS[dialect], echo_default="never", echo={}, renamed={})
    body = sent(*CONVERSATION[1:], dialect=known, **ASKED)
    assert list(refusals(body)) == []


@pytest.mark.parametrize("form", [{"type": "json_object"}, {"type": "json_schema", "json_schema": {"name": "n"}}])
def test_a_form_without_a_schema_is_sent_as_it_is(form: dict[str, Any]) -> None:
    lacking = replace(DIALECTS["generic"], schema_without=frozenset({"minimum"}))
    assert sent(user("x"), dialect=lacking, settings=Settings(response_format=form))["response_format"] == form


def test_keywords_that_an_endpoint_refuses_are_left_out_of_every_schema() -> None:
    lacking = replace(DIALECTS["generic"], schema_without=frozenset({"minimum"}))
    schema = {"type": "object", "properties": {"a": {"type": "integer", "minimum": 1, "maximum": 9}}}
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    made = {"tools": (ToolSpec("add", "", schema),), "settings": Settings(response_format=form)}
    kept = {"type": "object", "properties": {"a": {"type": "integer", "maximum": 9}}}
    body = sent(user("x"), dialect=lacking, **made)
    assert body["tools"][0]["function"]["parameters"] == kept
    assert body["response_format"] == {"type": "json_schema", "json_schema": {"name": "n", "schema": kept}}
    assert sent(user("x"), **made)["response_format"] == form


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_what_steers_a_prompt_cache_reaches_the_endpoint_as_it_is(*, stream: bool) -> None:
    def cached(text: str) -> dict[str, Any]:
        return {"type": "text", "text": text, "cache_control": {"type": "ephemeral", "ttl": "1h"}}

    rules = {"role": "system", "content": [cached("Be exact.")]}
    asked = {"role": "user", "content": [cached("a long text"), {"type": "text", "text": "What is it?"}]}
    settings = Settings(prompt_cache_key="k-1")
    with FakeEndpoint(["a text"] * 2) as fake:
        agent: Agent = Agent(ChatModel("m", base_url=fake.base_url, api_key=fake.api_key), settings=settings)
        transcript = Transcript.load([rules], allow_system=True)
        for content in (asked["content"], "sure?"):
            if stream:
                with agent.stream_sync(content, transcript=transcript) as run:
                    transcript = run.finish().transcript
            else:
                transcript = agent.run_sync(content, transcript=transcript).transcript
    answer = {"role": "assistant", "content": "a text"}
    assert [request.json["messages"] for request in fake.requests] == [
        [rules, asked],
        [rules, asked, answer, {"role": "user", "content": "sure?"}],
    ]
    assert [request.json["prompt_cache_key"] for request in fake.requests] == ["k-1"] * 2
