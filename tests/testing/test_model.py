"""ScriptedModel: a model that says what it is told to, and keeps what it was asked."""

from __future__ import annotations

import asyncio
from itertools import repeat
from typing import Any

import pytest
import trio

from agentkit import Agent, ChatModel, Image, Settings
from agentkit.chat.request import Request
from agentkit.errors import BadRequestError, ProtocolError, RateLimitError, UsageError
from agentkit.events import TextDelta
from agentkit.testing import FakeEndpoint, ScriptedModel, call, calls, garbled, raw, reply, say, status
from agentkit.testing.script import Step


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def test_it_says_its_replies_in_order() -> None:
    model = ScriptedModel(["one", say("two"), call("add", a=1, b=2)])
    assert [model.reply_sync("x").text for _ in range(2)] == ["one", "two"]
    assert model.reply_sync("x").tool_calls[0].name == "add"
    assert model.name == "scripted"


def test_a_script_may_be_endless() -> None:
    model = ScriptedModel(repeat("again"))
    assert [model.reply_sync("x").text for _ in range(5)] == ["again"] * 5


def test_a_script_may_be_a_function_of_the_request() -> None:
    def echo(request: Request) -> Step:
        return say(f"{request.messages[-1]['content']} {request.settings.seed}")

    model = ScriptedModel(echo)
    assert model.reply_sync("a", settings=Settings(seed=1)).text == "a 1"
    assert model.reply_sync("b").text == "b None"
    assert len(model.requests) == 2


def test_a_script_that_is_over_says_so() -> None:
    model = ScriptedModel(["one"])
    model.reply_sync("x")
    with pytest.raises(UsageError, match="the script is over: the model was asked 2 times"):
        model.reply_sync("x")


def test_it_keeps_what_it_was_asked_as_it_was_then() -> None:
    model = ScriptedModel([call("add", a=1, b=2), say("3")])
    ended = Agent(model, tools=[add], instructions="Be brief.").run_sync("1 + 2?")
    first, second = model.requests
    assert [message["role"] for message in first.messages] == ["system", "user"]
    assert [message["role"] for message in second.messages] == ["system", "user", "assistant", "tool"]
    assert len(ended.transcript) == 3
    assert [spec.name for spec in first.tools] == ["add"]


def test_calls_get_ids_that_are_new_in_the_conversation() -> None:
    model = ScriptedModel([calls(call("add", a=1, b=2), call("add", a=3, b=4)), call("add", a=5, b=6), say("ok")])
    ended = Agent(model, tools=[add]).run_sync("x")
    assert [record.call.id for record in ended.tool_calls] == ["call_1", "call_2", "call_3"]


@pytest.mark.parametrize(
    ("item", "error"),
    [
        (status(400, message="no such thing"), BadRequestError),
        (status(429, headers={"retry-after": "3"}), RateLimitError),
        (garbled(say("x")), ProtocolError),
        (raw(200, {"content-type": "text/html"}, b"<html>"), ProtocolError),
        (reply({"choices": []}), ProtocolError),
    ],
)
def test_errors_are_read_as_real_ones_are(item: Any, error: type[Exception]) -> None:
    with FakeEndpoint([item]) as fake:
        model = ChatModel("m", base_url=fake.base_url, api_key=fake.api_key, retries=0)
        with pytest.raises(error) as over_the_wire:
            model.reply_sync("x")
    with pytest.raises(error) as caught:
        ScriptedModel([item]).reply_sync("x")
    assert type(caught.value) is type(over_the_wire.value)
    assert str(caught.value) == str(over_the_wire.value)


def test_it_streams() -> None:
    model = ScriptedModel([say(["one ", "two"], reasoning="hm", usage=(7, 8))])
    with model.stream_sync("x") as stream:
        told = [event.text for event in stream if isinstance(event, TextDelta)]
    assert told == ["one ", "two"]
    assert stream.reply.reasoning == "hm"
    assert stream.reply.usage is not None
    assert (stream.reply.usage.prompt_tokens, stream.reply.usage.completion_tokens) == (7, 8)


def test_it_is_awaited_on_either_loop() -> None:
    model = ScriptedModel(["one", "two"])

    async def ask() -> str:
        return (await model.reply("x")).text

    assert (asyncio.run(ask()), trio.run(ask)) == ("one", "two")


def test_parts_are_kept_too() -> None:
    model = ScriptedModel(["a cat"])
    Agent(model).run_sync(["what?", Image("https://h/cat.png")])
    assert model.requests[0].messages[0]["content"][1] == {
        "type": "image_url",
        "image_url": {"url": "https://h/cat.png"},
    }


def test_a_reply_of_another_model_is_given_as_it_is() -> None:
    inner = ScriptedModel([say("one"), say("two")])
    model = ScriptedModel(lambda request: inner.reply_sync(request.messages))
    assert [model.reply_sync("x").text for _ in range(2)] == ["one", "two"]
    first = inner.requests[0]
    assert first.messages == [{"role": "user", "content": "x"}]


def test_an_async_script_is_refused() -> None:
    async def later(request: Request) -> Step:
        return say("later")

    with pytest.raises(UsageError, match="later is an async function"):
        ScriptedModel(later)  # type: ignore[arg-type]
