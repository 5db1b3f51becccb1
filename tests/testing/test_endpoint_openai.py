"""The fake endpoint under the official client, where that is installed."""

from __future__ import annotations

import pytest

from agentkit.testing.endpoint import FakeEndpoint
from agentkit.testing.script import call, calls, cut, hang, reset, say, status

openai = pytest.importorskip("openai")

USER = {"role": "user", "content": "hi"}
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}


@pytest.fixture
def ask():
    """Sends one request to a fake endpoint with a script."""
    opened = []

    def ask(*script, messages=(USER,), check=True, **fields):
        fake = FakeEndpoint(script, check=check).__enter__()
        client = openai.OpenAI(base_url=fake.base_url, api_key=fake.api_key, max_retries=0, timeout=2.0)
        opened.append((fake, client))
        return client.chat.completions.create(model="m", messages=list(messages), **fields)

    yield ask
    for fake, client in opened:
        client.close()
        fake.__exit__(None, None, None)


def test_plain(ask):
    answer = ask(say("hello", reasoning="hm", usage=(3, 4)))
    assert answer.choices[0].message.content == "hello"
    assert answer.choices[0].message.reasoning_content == "hm"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == 7


def test_stream(ask):
    chunks = list(ask(say("hello there you"), stream=True, stream_options={"include_usage": True}))
    text = [choice.delta.content for chunk in chunks for choice in chunk.choices if choice.delta.content]
    assert text == ["hello", " there", " you"]
    assert chunks[-1].usage.total_tokens == 15


@pytest.mark.parametrize("stream", [False, True])
def test_tools(ask, stream):
    item = calls(call("add", a=1, b=2), call("ping"), text="Let me see")
    answer = ask(item, tools=[TOOL], stream=stream)
    if stream:
        made = {}
        for chunk in answer:
            for choice in chunk.choices:
                for piece in choice.delta.tool_calls or ():
                    name, arguments = made.get(piece.index, ("", ""))
                    made[piece.index] = (piece.function.name or name, arguments + (piece.function.arguments or ""))
        pairs = list(made.values())
    else:
        pairs = [(each.function.name, each.function.arguments) for each in answer.choices[0].message.tool_calls]
    assert pairs == [("add", '{"a": 1, "b": 2}'), ("ping", "{}")]


@pytest.mark.parametrize(
    ("item", "error"),
    [
        (status(400), "BadRequestError"),
        (status(401), "AuthenticationError"),
        (status(403), "PermissionDeniedError"),
        (status(404), "NotFoundError"),
        (status(409), "ConflictError"),
        (status(422), "UnprocessableEntityError"),
        (status(429), "RateLimitError"),
        (status(500), "InternalServerError"),
        (status(503, "<html>busy</html>"), "InternalServerError"),
        (reset(), "APIConnectionError"),
        (cut("hello"), "APIConnectionError"),
        (hang(), "APITimeoutError"),
    ],
    ids=lambda value: getattr(value, "label", value),
)
def test_errors(ask, item, error):
    with pytest.raises(getattr(openai, error)) as caught:
        ask(item)
    assert type(caught.value).__name__ == error


def test_what_is_refused_is_told(ask):
    orphan = {"role": "tool", "tool_call_id": "x", "content": ""}
    with pytest.raises(openai.BadRequestError, match="must be a response to a preceeding message") as caught:
        ask("hello", messages=(USER, orphan), check=False)
    assert caught.value.param == "messages[1].role"
