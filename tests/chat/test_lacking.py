"""What an endpoint refuses, in its own words: the feature that each means, and what goes out after it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agentkit import Agent, ChatModel, tool
from agentkit.chat.dialects import DIALECTS
from agentkit.chat.faults import fault
from agentkit.chat.lacking import lacking, without
from agentkit.errors import BadRequestError
from agentkit.messages import system
from agentkit.testing import FakeEndpoint, call, reply, say, status
from tests.drivers import DRIVERS

PARAMETERS = {
    "type": "object",
    "properties": {"city": {"$ref": "#/$defs/City"}, "days": {"type": "integer", "minimum": 1, "default": 3}},
    "$defs": {"City": {"type": "string", "minLength": 1}},
    "additionalProperties": False,
}
SENT: dict[str, Any] = {
    "model": "m",
    "max_tokens": 10,
    "parallel_tool_calls": False,
    "stream": True,
    "stream_options": {"include_usage": True},
    "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"maxItems": 2}}},
    "tools": [{"type": "function", "function": {"name": "f", "strict": True, "parameters": PARAMETERS}}],
    "messages": [
        {"role": "developer", "content": "x"},
        {"role": "user", "content": "x"},
        {
            "role": "assistant",
            "content": "x",
            "reasoning_content": "y",
            "tool_calls": [{"id": "a", "type": "function", "extra_content": {}}],
        },
    ],
}
GENERIC = DIALECTS["generic"]


def openai(message: str, *, param: str | None = None, code: str | None = None) -> Any:
    return {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}}


def mistral(*where: str) -> Any:
    return {"detail": [{"type": "extra_forbidden", "loc": ["body", *where], "msg": "Extra inputs are not permitted"}]}


def gemini(name: str, where: str) -> Any:
    text = f'Invalid JSON payload received. Unknown name "{name}"{where}: Cannot find field.'
    return [{"error": {"code": 400, "message": text, "status": "INVALID_ARGUMENT"}}]


REFUSED: list[tuple[str, int, Any]] = [
    ("strict", 422, mistral("tools", "0", "function", "strict")),
    ("strict", 400, gemini("strict", " at 'tools[0].function'")),
    ("strict", 400, openai("Extra inputs are not permitted, field: 'tools[0].function.strict', value: True")),
    ("parallel_tool_calls", 400, openai("Unrecognized request argument supplied: parallel_tool_calls")),
    (
        "parallel_tool_calls",
        400,
        openai(
            "Unsupported parameter: 'parallel_tool_calls' is not supported with this model.",
            param="parallel_tool_calls",
            code="unsupported_parameter",
        ),
    ),
    ("parallel_tool_calls", 400, gemini("parallel_tool_calls", "")),
    (
        "parallel_tool_calls",
        400,
        openai("UnsupportedParamsError: bedrock does not support parameters: ['parallel_tool_calls'], for model=m"),
    ),
    ("stream_options", 400, openai("Unrecognized request argument supplied: stream_options")),
    ("stream_options", 422, mistral("stream_options")),
    (
        "stream_options",
        400,
        openai("Unknown parameter: 'stream_options.include_usage'.", code="unknown_parameter"),
    ),
    (
        "stream_options",
        400,
        {"message": "Additional properties are not allowed ('stream_options' was unexpected)"},
    ),
    (
        "response_format:json_schema",
        400,
        openai("Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model."),
    ),
    ("response_format:json_schema", 400, openai("This response_format type is unavailable now")),
    (
        "response_format:json_schema",
        400,
        openai("This model does not support response format `json_schema`. See supported models"),
    ),
    (
        "max_tokens",
        400,
        openai(
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' "
            "instead.",
            param="max_tokens",
            code="unsupported_parameter",
        ),
    ),
    (
        "developer",
        400,
        openai(
            "Unsupported value: 'messages[0].role' does not support 'developer' with this model.",
            code="unsupported_value",
        ),
    ),
    (
        "developer",
        422,
        openai(
            "Failed to deserialize the JSON body into the target type: messages[0].role: unknown variant "
            "`developer`, expected one of `system`, `user`, `assistant`, `tool` at line 1 column 40"
        ),
    ),
    ("developer", 400, openai("developer is not one of ['system', 'assistant', 'user', 'tool'] - 'messages.0.role'")),
    ("developer", 400, {"object": "error", "message": "Unexpected message role.", "type": "BadRequestError"}),
    ("developer", 500, openai("Jinja Exception: Unexpected message role.")),
    (
        "message.reasoning_content",
        400,
        openai(
            "'messages.2' : for 'role:assistant' the following must be satisfied[('messages.2' : property "
            "'reasoning_content' is unsupported)]"
        ),
    ),
    ("message.reasoning_content", 422, mistral("messages", "2", "assistant", "reasoning_content")),
    ("message.extra_content", 422, mistral("messages", "2", "assistant", "tool_calls", "0", "extra_content")),
    (
        "schema.additionalProperties",
        400,
        gemini("additionalProperties", " at 'tools[0].function_declarations[0].parameters'"),
    ),
    ("schema.$ref", 400, gemini("$ref", " at 'tools[0].function_declarations[0].parameters.properties[0].value'")),
    (
        "schema.minLength",
        400,
        openai("Invalid schema for function 'f': In context=('properties', 'strict'), 'minLength' is not permitted."),
    ),
    (
        "schema.maxItems",
        400,
        openai("Invalid schema for response_format 'a': In context=(), 'maxItems' is not permitted."),
    ),
]


@pytest.mark.parametrize(("feature", "code", "body"), REFUSED)
def test_what_is_refused(feature, code, body):
    error = fault(code, {}, json.dumps(body).encode())
    assert lacking(error, SENT, GENERIC) == feature
    assert lacking(error, SENT, without(GENERIC, feature)) is None
    assert lacking(error, {"model": "m", "messages": []}, GENERIC) is None


def test_the_other_name_of_the_length():
    text = "Unrecognized request argument supplied: max_completion_tokens"
    error = fault(400, {}, json.dumps(openai(text)).encode())
    assert lacking(error, {"max_completion_tokens": 1}, GENERIC) == "max_completion_tokens"
    assert lacking(error, {"max_tokens": 1}, GENERIC) is None
    assert without(GENERIC, "max_completion_tokens").max_tokens == "max_tokens"
    assert without(GENERIC, "max_tokens").max_tokens == "max_completion_tokens"


@pytest.mark.parametrize(
    ("code", "body"),
    [
        (400, openai("max_tokens is too large: 9000. This model supports at most 4096 completion tokens")),
        (400, openai("'additionalProperties' is required to be supplied and to be false.")),
        (400, openai("Invalid value for 'temperature': unsupported value", code="unsupported_value")),
        (400, openai("'messages' must contain the word 'json' to use 'response_format' of type 'json_object'.")),
        (400, openai("This model's maximum context length is 10 tokens; stream_options is not supported")),
        (400, openai("stream_options is filtered: not allowed by our content policy", code="content_filter")),
        (401, openai("stream_options is not supported with this key")),
        (404, openai("model m does not exist; parallel_tool_calls unsupported")),
        (429, openai("strict rate limit: unsupported")),
        (500, openai("stream_options: internal server error")),
        (400, openai("tools are not supported")),
        (400, openai("restricted is not supported")),  # a word that has "strict" in it
    ],
)
def test_what_is_something_else(code, body):
    assert lacking(fault(code, {}, json.dumps(body).encode()), SENT, GENERIC) is None


# Through a run


@tool(strict=True)
def weather(city: str) -> str:
    """Look at the sky."""
    return f"sunny in {city}"


def refused(text: str) -> Any:
    return status(400, openai(text))


def test_a_refusal_of_another_status_is_about_no_feature():
    error = BadRequestError("Unknown parameter: 'stream_options'", status=413)
    assert lacking(error, SENT, DIALECTS["generic"]) is None


@pytest.mark.parametrize("driver", DRIVERS)
def test_it_goes_out_once_more_and_is_remembered(driver, caplog):
    no = refused("Unrecognized request argument supplied: parallel_tool_calls")
    with FakeEndpoint([no, call("weather", city="Rome"), say("sunny"), say("again")]) as fake:
        model = ChatModel("m", base_url=fake.base_url, api_key=fake.api_key, retries=0)
        agent = Agent(model, tools=[weather], settings={"parallel_tool_calls": False})
        assert DRIVERS[driver](agent, "How is Rome?").output == "sunny"
        assert DRIVERS[driver](agent, "And now?").output == "again"
        assert ["parallel_tool_calls" in request.json for request in fake.requests] == [True, False, False, False]
        sent = [request.headers["idempotency-key"] for request in fake.requests]
        assert len(set(sent)) == 4  # another body is another request
    assert [r.getMessage() for r in caplog.records if "does not know" in r.getMessage()] == [
        f"m at {model.endpoint.source} does not know parallel_tool_calls: it is left out from now on"
    ]


def test_another_model_of_the_endpoint_is_not_judged_by_it():
    with FakeEndpoint([refused("strict is not supported"), say("a"), say("b")]) as fake:
        for name in ("small", "large"):
            ChatModel(name, base_url=fake.base_url, api_key=fake.api_key).reply_sync("x", tools=[weather])
        assert [request.json["tools"][0]["function"].get("strict") for request in fake.requests] == [True, None, True]


def test_several_are_learnt_one_by_one():
    answers = [
        refused("Unknown parameter: 'strict'"),
        refused("'additionalProperties' is not permitted"),
        refused("'messages[0].role' does not support 'developer'"),
        refused("Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."),
        say("ok"),
    ]
    messages = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "hi"}]
    with FakeEndpoint(answers) as fake:
        dialect = without(DIALECTS["openai"], "max_completion_tokens")
        model = ChatModel("m", base_url=fake.base_url, api_key=fake.api_key, dialect=dialect, retries=0)
        assert model.reply_sync(messages, tools=[weather], settings={"max_tokens": 5}).text == "ok"
        last = fake.requests[-1].json
        assert "strict" not in last["tools"][0]["function"]
        assert "additionalProperties" not in last["tools"][0]["function"]["parameters"]
        assert last["messages"][0]["role"] == "system"
        assert last["max_completion_tokens"] == 5 and "max_tokens" not in last


def test_a_field_of_a_message_is_left_out_of_the_whole_conversation():
    thinking = reply({"role": "assistant", "content": "4", "reasoning_content": "2 + 2"})
    no = refused("property 'reasoning_content' is unsupported")
    with FakeEndpoint([thinking, no, say("8")]) as fake:
        agent = Agent(ChatModel("m", base_url=fake.base_url, api_key=fake.api_key))
        first = agent.run_sync("2 + 2?")
        second = agent.run_sync("Twice that?", transcript=first.transcript)
        assert second.output == "8"
        assert ["reasoning_content" in json.dumps(r.json) for r in fake.requests] == [False, True, False]
        assert second.transcript.messages[1]["reasoning_content"] == "2 + 2"  # kept as it came


def test_a_refusal_that_goes_on_is_raised():
    with FakeEndpoint(lambda _: refused("strict is not supported")) as fake:
        model = ChatModel("m", base_url=fake.base_url, api_key=fake.api_key)
        with pytest.raises(BadRequestError):
            model.reply_sync("x", tools=[weather])
        assert len(fake.requests) == 2


def test_response_format_is_left_out_by_type():
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object", "properties": {}}}}
    with FakeEndpoint([refused("This response_format type is unavailable now"), say("a"), say("b")]) as fake:
        model = ChatModel("m", base_url=fake.base_url, api_key=fake.api_key)
        model.reply_sync("x", settings={"response_format": form})
        model.reply_sync("Answer in json.", settings={"response_format": {"type": "json_object"}})
        assert [(r.json.get("response_format") or {}).get("type") for r in fake.requests] == [
            "json_schema",
            None,
            "json_object",
        ]


def test_streams_learn_too():
    with FakeEndpoint([refused("Unknown parameter: stream_options"), say("ok")]) as fake:
        model = ChatModel("m", base_url=fake.base_url, api_key=fake.api_key)
        with model.stream_sync([system("s").data, {"role": "user", "content": "x"}]) as stream:
            assert "".join(stream.text()) == "ok"
        assert ["stream_options" in r.json for r in fake.requests] == [True, False]
