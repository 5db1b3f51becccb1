"""What a stream tells, in which order, and what it gives at its end."""

from __future__ import annotations

import threading

import pytest

from agentkit import Agent, ChatModel
from agentkit.errors import Cancelled, UsageError
from agentkit.events import (
    ReasoningDelta,
    RunFinished,
    StepFinished,
    TextDelta,
    ToolCallDelta,
    ToolFinished,
    ToolProgress,
    ToolStarted,
)
from agentkit.testing import FakeEndpoint, ScriptedModel, call, calls, say
from agentkit.testing.script import stall
from tests.scenarios import add, count, count_async, fetch, quick
from tests.watching import WATCHERS, agent_for, kinds, names, text_of, watch_sync

watchers = pytest.mark.parametrize("watch", WATCHERS.values(), ids=WATCHERS)


def two_steps() -> list:
    return [calls(call("add", a=1, b=2), text="Let me see.", reasoning="They want a sum."), say(["It ", "is ", "3."])]


@watchers
def test_events_in_order_each_with_its_step(watch):
    with FakeEndpoint(two_steps()) as fake:
        seen = watch(agent_for(fake, [add]), "1 + 2?")
    assert seen.kinds == [
        "ReasoningDelta",
        "TextDelta",
        "ToolCallDelta",
        "StepFinished",
        "ToolStarted",
        "ToolFinished",
        "TextDelta",
        "StepFinished",
        "RunFinished",
    ]
    at = next(i for i, event in enumerate(seen.events) if isinstance(event, ToolFinished))
    assert {event.step for event in seen.events[: at + 1]} == {1}
    assert {event.step for event in seen.events[at + 1 :]} == {2}
    assert "".join(e.text for e in seen.events if isinstance(e, ReasoningDelta)) == "They want a sum."
    assert [e.text for e in seen.events if isinstance(e, TextDelta)] == ["Let", " me", " see.", "It ", "is ", "3."]
    pieces = [e for e in seen.events if isinstance(e, ToolCallDelta)]
    assert {(e.position, e.name) for e in pieces} == {(0, "add")}
    assert "".join(e.arguments for e in pieces) == '{"a": 1, "b": 2}'


@watchers
def test_the_last_event_has_the_result(watch):
    with FakeEndpoint(two_steps()) as fake:
        seen = watch(agent_for(fake, [add]), "1 + 2?")
    last = seen.events[-1]
    assert isinstance(last, RunFinished)
    assert last.result is seen.result
    assert (seen.result.output, seen.result.usage.total_tokens) == ("It is 3.", 30)
    assert seen.transcript is seen.result.transcript
    steps = [event.reply for event in seen.events if isinstance(event, StepFinished)]
    assert [reply.finish_reason for reply in steps] == ["tool_calls", "stop"]
    finished = next(event for event in seen.events if isinstance(event, ToolFinished))
    assert (finished.call.name, finished.result.content, finished.result.value) == ("add", "3", 3)


PROGRESS = {
    "generator": (count, "count"),
    "async generator": (count_async, "count_async"),
}


@watchers
@pytest.mark.parametrize(("function", "name"), PROGRESS.values(), ids=PROGRESS)
@pytest.mark.parametrize("together", [False, True], ids=["alone", "two at once"])
def test_what_a_tool_yields_is_told_between_its_start_and_its_end(watch, function, name, together):
    asked = [call(name, to=3), call(name, to=2)] if together else [call(name, to=3)]
    with FakeEndpoint([calls(*asked), "done"]) as fake:
        seen = watch(agent_for(fake, [function]), "count")
    for arguments, values in [('{"to": 3}', [1, 2, 3]), ('{"to": 2}', [1, 2])][: len(asked)]:
        own = [e for e in seen.events if getattr(getattr(e, "call", None), "arguments", None) == arguments]
        assert [type(e) for e in own] == [ToolStarted, *[ToolProgress] * len(values), ToolFinished]
        assert [e.value for e in own if isinstance(e, ToolProgress)] == values
        assert {e.step for e in own} == {1}


@pytest.mark.parametrize(
    ("tools", "script"),
    {
        "an answer": ([], ["fine"]),
        "a call": ([add], [call("add", a=1, b=2), "3"]),
        "two calls": ([add, fetch], [calls(call("add", a=1, b=2), call("fetch", key="k"), text="so"), "3"]),
        "an inline tool": ([quick], [call("quick", text="ab"), "ba"]),
        "reasoning": ([], [say("fine", reasoning="hm")]),
        "a correction": ([], ["", "fine"]),
    }.values(),
)
@watchers
def test_on_event_of_a_plain_run_is_told_the_same(watch, tools, script):
    with FakeEndpoint(script) as fake:
        streamed = watch(agent_for(fake, tools), "please")
    plain = []
    with FakeEndpoint(script) as fake:
        agent_for(fake, tools).run_sync("please", on_event=plain.append)
    assert ordered(plain) == ordered(streamed.events)
    assert text_of(plain) == streamed.text


def ordered(events: list) -> list[str]:
    """Their kinds; two calls that run together may end in any order."""
    found = kinds(events)
    return found if "ToolStarted" not in found else sorted(found)


@watchers
def test_on_event_of_a_stream_is_told_what_is_listened_to(watch):
    heard = []
    with FakeEndpoint(two_steps()) as fake:
        seen = watch(agent_for(fake, [add]), "1 + 2?", on_event=heard.append)
    assert heard == seen.events


@pytest.fixture
def held():
    """An event that is set at the end in any case, so that no server waits for ever."""
    event = threading.Event()
    yield event
    event.set()


def test_the_first_token_is_told_while_the_rest_is_not_there_sync(held):
    item = stall(say(["It ", "is."]), after_events=2, until=held)
    with FakeEndpoint([item]) as fake, agent_for(fake).stream_sync("x") as run:
        assert next(run) == TextDelta("It ", 1)
        held.set()
        assert run.finish().output == "It is."


async def test_the_first_token_is_told_while_the_rest_is_not_there(held):
    with FakeEndpoint([stall(say(["It ", "is."]), after_events=2, until=held)]) as fake:
        async with agent_for(fake).stream("x") as run:
            assert await anext(run) == TextDelta("It ", 1)
            held.set()
            assert (await run.finish()).output == "It is."


def test_text_alone_and_the_rest_sync():
    with FakeEndpoint(two_steps()) as fake, agent_for(fake, [add]).stream_sync("x") as run:
        texts = run.text()
        assert next(texts) == "Let"
        assert list(texts) == [" me", " see.", "It ", "is ", "3."]
        assert run.finish() is run.result


async def test_text_alone_and_the_rest():
    with FakeEndpoint(two_steps()) as fake:
        async with agent_for(fake, [add]).stream("x") as run:
            async for text in run.text():
                assert text == "Let"
                break
            assert [text async for text in run.text()] == [" me", " see.", "It ", "is ", "3."]
            assert await run.finish() is run.result


def test_what_is_asked_for_too_early_or_twice_sync():
    with FakeEndpoint(two_steps()) as fake:
        stream = agent_for(fake, [add]).stream_sync("x")
        with pytest.raises(UsageError, match="open the stream first: with"):
            next(stream)
        with pytest.raises(UsageError, match="open the stream first: with"):
            stream.finish()
        with stream as run:
            with pytest.raises(UsageError, match="no result before the stream's end"):
                _ = run.result
            with pytest.raises(UsageError, match="entered once"):
                run.__enter__()
            assert run.finish() is run.finish()
        with pytest.raises(UsageError, match="entered once"):
            stream.__enter__()
        assert list(run) == []


async def test_what_is_asked_for_too_early_or_twice():
    with FakeEndpoint(two_steps()) as fake:
        stream = agent_for(fake, [add]).stream("x")
        with pytest.raises(UsageError, match="open the stream first: async with"):
            await anext(stream)
        with pytest.raises(UsageError, match="open the stream first: async with"):
            await stream.finish()
        async with stream as run:
            with pytest.raises(UsageError, match="no result before the stream's end"):
                _ = run.result
            with pytest.raises(UsageError, match="entered once"):
                await run.__aenter__()
            assert await run.finish() is await run.finish()
        with pytest.raises(UsageError, match="entered once"):
            await stream.__aenter__()
        assert [event async for event in run] == []


def test_leaving_the_block_cancels_sync(held):
    with FakeEndpoint([stall(say(["It ", "is."]), after_events=2, until=held)]) as fake:
        with agent_for(fake).stream_sync("x") as run:
            next(run)
        fake.wait_until(fake.requests[0].disconnected.is_set)
        assert fake.connections == 0
        with pytest.raises(Cancelled) as caught:
            _ = run.result
        assert caught.value.transcript is run.transcript
        assert [m["role"] for m in run.transcript.messages] == ["user"]


async def test_leaving_the_block_cancels(held):
    with FakeEndpoint([stall(say(["It ", "is."]), after_events=2, until=held)]) as fake:
        async with agent_for(fake).stream("x") as run:
            await anext(run)
        fake.wait_until(fake.requests[0].disconnected.is_set)
        assert fake.connections == 0
        with pytest.raises(Cancelled) as caught:
            _ = run.result
        assert caught.value.transcript is run.transcript
        assert [m["role"] for m in run.transcript.messages] == ["user"]


def test_an_error_of_the_block_leaves_it_unchanged_sync():
    def listen() -> None:
        with agent_for(fake, [add]).stream_sync("x") as run:
            next(run)
            raise KeyError("mine")

    with FakeEndpoint(two_steps()) as fake, pytest.raises(KeyError, match="mine"):
        listen()


async def test_an_error_of_the_block_leaves_it_unchanged():
    async def listen() -> None:
        async with agent_for(fake, [add]).stream("x") as run:
            await anext(run)
            raise KeyError("mine")

    with FakeEndpoint(two_steps()) as fake, pytest.raises(KeyError, match="mine"):
        await listen()


@watchers
@pytest.mark.parametrize("at", [TextDelta, ToolStarted, ToolProgress, ToolFinished, StepFinished, RunFinished])
@pytest.mark.parametrize("tool", ["count", "count_async"])
def test_an_error_of_on_event_ends_the_run_as_itself(watch, at, tool):
    def listen(event):
        if isinstance(event, at):
            raise ZeroDivisionError("the listener's own")

    with FakeEndpoint([calls(call(tool, to=2), text="Let me see."), "3"]) as fake:
        seen = watch(agent_for(fake, [count, count_async]), "x", on_event=listen)
    assert isinstance(seen.ended, ZeroDivisionError)
    assert seen.transcript.pending == []


def test_a_scripted_model_is_watched_in_the_same_way():
    seen = watch_sync(Agent(ScriptedModel(two_steps()), tools=[add]), "x")
    assert names(seen.events, ToolStarted) == ["add:1:2"]
    assert seen.text == "Let me see.It is 3."


# Models alone


def model_for(fake: FakeEndpoint) -> ChatModel:
    return ChatModel("m", base_url=fake.base_url, api_key=fake.api_key)


def test_a_model_alone_sync():
    with FakeEndpoint(two_steps()) as fake:
        with model_for(fake).stream_sync("1 + 2?", tools=[add]) as stream:
            with pytest.raises(UsageError, match="no reply before the stream's end"):
                _ = stream.reply
            assert kinds(stream) == ["ReasoningDelta", "TextDelta", "ToolCallDelta"]
        assert [each.name for each in stream.reply.tool_calls] == ["add"]
        with model_for(fake).stream_sync("1 + 2?") as stream:
            assert list(stream.text()) == ["It ", "is ", "3."]
        assert stream.reply.text == "It is 3."
        assert [request.wants_stream for request in fake.requests] == [True, True]


async def test_a_model_alone():
    with FakeEndpoint(two_steps()) as fake:
        async with model_for(fake).stream("1 + 2?", tools=[add]) as stream:
            with pytest.raises(UsageError, match="no reply before the stream's end"):
                _ = stream.reply
            assert kinds([event async for event in stream]) == ["ReasoningDelta", "TextDelta", "ToolCallDelta"]
        assert [each.name for each in stream.reply.tool_calls] == ["add"]
        async with model_for(fake).stream("1 + 2?") as stream:
            assert await stream.finish() is stream.reply
        assert stream.reply.text == "It is 3."


def test_several_choices_are_told_apart():
    with FakeEndpoint(["one two"]) as fake, model_for(fake).stream_sync("x", settings={"n": 2}) as stream:
        events = list(stream)
        assert [(e.choice, e.text) for e in events] == [(0, "one"), (0, " two"), (1, "one"), (1, " two")]
        assert [choice.text for choice in stream.reply.choices] == ["one two", "one two"]
