"""Errors in the endpoint's own shape, as openai's client takes them."""

from __future__ import annotations

import json
import logging
from typing import Any

import openai
import pytest

from agentkit import Agent, Limits, errors
from agentkit.serve.faults import FAULTS, refused
from agentkit.testing import ScriptedModel, call, say, status
from tests.cancelling import soon
from tests.serve.test_answers import HELLO, ask, bot, weather

LONG = "This model's maximum context length is 8192 tokens, however you requested 9000 tokens."
UPSTREAM = {
    "context": (status(400, message=LONG, error_code="context_length_exceeded"), 400, "context_length_exceeded"),
    "bad": (status(400, message="sk-secret is no number"), 400, "model_refused_request"),
    "key": (status(401, message="sk-secret is wrong"), 502, "model_failed"),
    "permission": (status(403), 502, "model_failed"),
    "model": (status(404), 502, "model_failed"),
    "rate": (status(429, headers={"retry-after": "7"}), 429, "rate_limit_exceeded"),
    "quota": (
        status(429, message="You exceeded your current quota", error_code="insufficient_quota"),
        429,
        "insufficient_quota",
    ),
    "server": (status(500, message="sk-secret"), 502, "model_failed"),
    "overloaded": (status(503), 503, "overloaded"),
}
KINDS: dict[int, type[openai.APIStatusError]] = {
    400: openai.BadRequestError,
    401: openai.AuthenticationError,
    403: openai.PermissionDeniedError,
    404: openai.NotFoundError,
    429: openai.RateLimitError,
    500: openai.InternalServerError,
    502: openai.InternalServerError,
    503: openai.InternalServerError,
    504: openai.InternalServerError,
}


def refusal(client: Any, **fields: Any) -> openai.APIStatusError:
    with pytest.raises(openai.APIStatusError) as caught:
        ask(client, **fields)
    assert type(caught.value) is KINDS.get(caught.value.status_code, openai.APIStatusError)
    body = json.loads(caught.value.response.content)
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    return caught.value


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("item", "code", "word"), UPSTREAM.values(), ids=UPSTREAM)
def test_what_the_agents_model_fails_with(client_of, item, code, word, stream):
    error = refusal(client_of(bot(item)), stream=stream)
    assert (error.status_code, error.code) == (code, word)
    assert "secret" not in error.message
    again = code in (429, 502, 503) and word != "insufficient_quota" and item.label not in _FINAL
    assert error.response.headers["x-should-retry"] == ("true" if again else "false")
    assert ("retry-after" in error.response.headers) == (again and code != 502)


_FINAL = {"status(401)", "status(403)", "status(404)"}


def test_how_long_to_wait_is_handed_on(client_of):
    error = refusal(client_of(bot(UPSTREAM["rate"][0])))
    assert error.response.headers["retry-after"] == "7"


def test_a_request_whose_tools_ran_is_not_repeated_by_itself(client_of):
    ran = []

    def pay() -> str:
        """Pay."""
        ran.append(1)
        return "paid"

    client = client_of(bot(call("pay"), status(503), call("pay"), "x", tools=[pay])).with_options(max_retries=2)
    error = refusal(client)
    assert (error.status_code, ran) == (503, [1])
    assert error.response.headers["x-should-retry"] == "false"


def test_a_limit_of_the_agent(client_of):
    error = refusal(client_of(bot(call("weather", city="x"), tools=[weather], limits=Limits(steps=1))))
    assert (error.status_code, error.code) == (500, "limit_reached")


def test_a_tool_that_ends_the_run(client_of):
    def fail() -> str:
        """Fail."""
        raise ValueError("sk-secret")

    error = refusal(client_of(bot(call("fail"), tools=[fail], on_tool_error="raise")))
    assert (error.status_code, error.code) == (500, "tool_failed")
    assert "secret" not in error.message


def test_an_error_of_our_own_says_nothing(client_of, caplog):
    caplog.set_level(logging.INFO, "agentkit.serve")
    client = client_of(bot("x"), deps=lambda _: {}["sk-secret"])
    error = refusal(client)
    assert (error.status_code, error.code, error.message[-18:]) == (500, "internal_error", "The server failed.")

    def line() -> dict[str, Any]:
        lines = [json.loads(r.getMessage()) for r in caplog.records if r.levelno == logging.ERROR]
        return lines[0] if lines else {}

    soon(line)
    assert (line()["status"], line()["error"]) == (500, "KeyError: 'sk-secret'")
    assert "Traceback" in line()["traceback"]


def test_a_stream_that_breaks_tells_so(client_of):
    client = client_of(bot(call("weather", city="x"), status(500), tools=[weather]), show_steps="text")
    pieces = []
    with pytest.raises(openai.APIError, match="model failed") as caught:
        pieces.extend(ask(client, stream=True))
    assert pieces[1].choices[0].delta.content.startswith("→ weather")
    assert caught.value.code == "model_failed"


def test_one_failed_run_of_several_fails_the_request(client_of):
    items = iter([say("x"), status(503), say("y")])
    client = client_of(Agent(ScriptedModel(lambda _: next(items))))
    assert refusal(client, n=3).status_code == 503


PART = "messages[0].content[0]"
FUNCTION = {"type": "function", "function": {"name": "look"}}
WRONG: dict[str, tuple[dict[str, Any], str | None, str]] = {
    "unknown field": ({"extra_body": {"foo": 1}}, "foo", "unknown_parameter"),
    "model": ({"model": "other"}, "model", "model_not_found"),
    "model type": ({"model": 5}, "model", "invalid_type"),
    "no messages": ({"messages": []}, "messages", "empty_array"),
    "only system": ({"messages": [{"role": "system", "content": "x"}]}, "messages", "invalid_value"),
    "ends with an answer": ({"messages": [*HELLO, {"role": "assistant", "content": "x"}]}, "messages", "invalid_value"),
    "role": ({"messages": [{"role": "boss", "content": "x"}]}, "messages[0].role", "invalid_value"),
    "no role": ({"messages": [{"content": "x"}]}, "messages[0].role", "missing_required_parameter"),
    "no content": ({"messages": [{"role": "user"}]}, "messages[0].content", "missing_required_parameter"),
    "content": ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content", "invalid_type"),
    "part": ({"messages": [{"role": "user", "content": [{"type": "x"}]}]}, f"{PART}.type", "invalid_value"),
    "no part": ({"messages": [{"role": "user", "content": []}]}, "messages[0].content", "empty_array"),
    "file id": (
        {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}]},
        f"{PART}.file.file_data",
        "missing_required_parameter",
    ),
    "image": (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///x"}}]}]},
        f"{PART}.image_url.url",
        "invalid_value",
    ),
    "temperature": ({"temperature": 2.1}, "temperature", "decimal_above_max_value"),
    "top_p": ({"top_p": -1}, "top_p", "decimal_below_min_value"),
    "n": ({"n": 0}, "n", "integer_below_min_value"),
    "too many": ({"n": 9}, "n", "integer_above_max_value"),
    "a flag is no number": ({"n": True}, "n", "invalid_type"),
    "stop": ({"stop": [5]}, "stop[0]", "invalid_type"),
    "bias": ({"logit_bias": {"5": 101}}, "logit_bias.5", "decimal_above_max_value"),
    "both maxima": ({"max_tokens": 5, "max_completion_tokens": 6}, "max_tokens", "invalid_value"),
    "tool": ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name", "invalid_value"),
    "tool twice": ({"tools": [FUNCTION, FUNCTION]}, "tools[1].function.name", "invalid_value"),
    "custom tool": ({"tools": [{"type": "custom"}]}, "tools[0].type", "invalid_value"),
    "choice": ({"tool_choice": "required"}, "tool_choice", "invalid_value"),
    "choice of none": (
        {"tools": [FUNCTION], "tool_choice": {"type": "function", "function": {"name": "x"}}},
        "tool_choice",
        "invalid_value",
    ),
    "format": ({"response_format": {"type": "xml"}}, "response_format.type", "invalid_value"),
    "logprobs": ({"logprobs": True}, "logprobs", "unsupported_parameter"),
    "store": ({"store": True}, "store", "unsupported_parameter"),
    "functions": ({"functions": [{"name": "x"}]}, "functions", "unsupported_parameter"),
}


@pytest.mark.parametrize(("fields", "param", "code"), WRONG.values(), ids=WRONG)
def test_what_is_refused(client_of, fields, param, code):
    error = refusal(client_of(bot()), **fields)
    assert (error.status_code, error.param, error.code) == (404 if code == "model_not_found" else 400, param, code)


def test_what_is_harmless_passes(client_of):
    fields: dict[str, Any] = {"logprobs": False, "store": False, "temperature": None, "service_tier": "auto"}
    assert ask(client_of(bot("Fine.")), **fields).choices[0].message.content == "Fine."


def test_system_messages_may_be_refused(client_of):
    client = client_of(bot(), system="refuse")
    assert refusal(client, messages=[{"role": "system", "content": "x"}, *HELLO]).param == "messages"


def test_each_error_of_a_run_has_its_answer():
    kinds = [
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.AgentKitError)
    ]
    for kind in kinds:
        problem = refused(kind("sk-secret"))
        assert 400 <= problem.status < 600
        assert "secret" not in problem.message
        assert "transcript" not in json.dumps(problem.body)
    assert {refused(kind("")).code for kind in kinds} >= {fault.code for fault in FAULTS.values()}
