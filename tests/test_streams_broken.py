"""Streams that break: unseen while nothing was told, an error or a new beginning afterwards; and what is no break."""

from __future__ import annotations

import gc
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from agentkit import ChatModel, Limits
from agentkit.errors import (
    AgentKitError,
    BadRequestError,
    ConnectionFailed,
    EndpointError,
    LimitReached,
    ProtocolError,
    RateLimitError,
    ServerError,
)
from agentkit.events import Restarted, Retrying, ToolCallDelta, ToolFinished
from agentkit.testing import FakeEndpoint, call, calls, fixed_clock, say, status
from agentkit.testing.script import cut, error_body, error_event, garbled, reset, stall
from tests.scenarios import add
from tests.watching import DONE, STOP, WATCHERS, agent_for, chunk, stream_of, text_of, told, watch_sync

watchers = pytest.mark.parametrize("watch", WATCHERS.values(), ids=WATCHERS)
ROLE = chunk({"role": "assistant", "content": ""})
COMMENT = b": still at it\n\n"


def error(code: int, message: str = "it broke") -> bytes:
    return b"data: " + json.dumps(error_body(code, message)).encode() + b"\n\n"


@pytest.fixture(autouse=True)
def _clock() -> Iterator[None]:
    with fixed_clock():
        yield


# Before anything was told

UNSEEN: dict[str, tuple[Any, type[EndpointError]]] = {
    "a reset instead of an answer": (reset(), ConnectionFailed),
    "a status of 500": (status(500), ServerError),
    "a status of 429": (status(429), RateLimitError),
    "a cut before the first event": (cut(say("no"), after_events=0), ConnectionFailed),
    "a cut after the role": (cut(say("no"), after_events=1), ConnectionFailed),
    "a reset after the role": (reset(say("no"), after_events=1), ConnectionFailed),
    "an end after the role": (stream_of(ROLE), ConnectionFailed),
    "an end after comments": (stream_of(COMMENT, COMMENT), ConnectionFailed),
    "an empty body": (stream_of(), ProtocolError),
    "an error instead of a stream": (stream_of(error(500)), ServerError),
    "an error after the role": (error_event(say("no"), after_events=1), ServerError),
    "half an event": (garbled(say("no"), after_events=1), ProtocolError),
}


@watchers
@pytest.mark.parametrize(("broken", "kind"), UNSEEN.values(), ids=UNSEEN)
def test_a_stream_that_breaks_before_anything_was_told_is_asked_again_unseen(watch, broken, kind):
    with FakeEndpoint([broken, broken, say("fine")]) as fake:
        seen = watch(agent_for(fake), "x")
        assert len(fake.requests) == 3
    assert seen.kinds == ["Retrying", "TextDelta", "StepFinished", "RunFinished"]
    retrying = [event for event in seen.events if isinstance(event, Retrying)]
    assert [(event.attempt, event.step, type(event.error)) for event in retrying] == [(1, 1, kind), (2, 1, kind)]
    assert (seen.result.output, seen.text) == ("fine", "fine")


@watchers
@pytest.mark.parametrize(("broken", "kind"), UNSEEN.values(), ids=UNSEEN)
def test_but_only_so_often(watch, broken, kind):
    with FakeEndpoint([broken] * 2) as fake:
        seen = watch(agent_for(fake, model={"retries": 1}), "x")
        assert len(fake.requests) == 2
    assert type(seen.ended) is kind
    assert seen.kinds == ["Retrying"]
    assert seen.ended.transcript is seen.transcript
    assert [m["role"] for m in seen.transcript.messages] == ["user"]


@watchers
def test_what_no_repetition_mends_is_not_asked_again(watch):
    with FakeEndpoint([status(400)]) as fake:
        seen = watch(agent_for(fake), "x")
    assert isinstance(seen.ended, BadRequestError)
    assert seen.events == []


# After something was told

IT_IS = say(["It ", "is", " fine."])
SEEN: dict[str, tuple[Any, type[EndpointError]]] = {
    "a cut": (cut(IT_IS, after_events=3), ConnectionFailed),
    "a reset": (reset(IT_IS, after_events=3), ConnectionFailed),
    "an end without a reason": (stream_of(ROLE, told("It "), told("is")), ConnectionFailed),
    "an end in the middle of an event": (stream_of(told("It "), told("is"), told("...")[:-9]), ConnectionFailed),
    "an error": (error_event(IT_IS, after_events=3), ServerError),
    "an error in the same read": (stream_of(told("It ") + told("is") + error(500)), ServerError),
    "an error and an end in the same read": (stream_of(told("It ") + told("is") + error(500) + DONE), ServerError),
    "half an event": (garbled(IT_IS, after_events=3), ProtocolError),
}


@watchers
@pytest.mark.parametrize(("broken", "kind"), SEEN.values(), ids=SEEN)
def test_a_stream_that_breaks_after_something_was_told_is_an_error(watch, broken, kind):
    with FakeEndpoint([broken]) as fake:
        seen = watch(agent_for(fake), "x")
        assert len(fake.requests) == 1
    assert type(seen.ended) is kind
    assert (seen.text, seen.ended.partial_text) == ("It is", "It is")
    assert seen.kinds == ["TextDelta"]
    assert seen.ended.transcript is seen.transcript
    assert [m["role"] for m in seen.transcript.messages] == ["user"]
    assert seen.ended.exchange.status == 200


@watchers
@pytest.mark.parametrize(("broken", "kind"), SEEN.values(), ids=SEEN)
def test_or_a_new_beginning_for_who_wants_one(watch, broken, kind):
    with FakeEndpoint([broken, broken, IT_IS]) as fake:
        seen = watch(agent_for(fake), "x", resume_stream=True)
    assert seen.result.output == "It is fine."
    assert seen.kinds == [*["TextDelta", "Retrying", "Restarted"] * 2, "TextDelta", "StepFinished", "RunFinished"]
    restarted = [event for event in seen.events if isinstance(event, Restarted)]
    assert [(type(event.error), event.error.partial_text, event.step) for event in restarted] == [
        (kind, "It is", 1)
    ] * 2
    assert len(seen.transcript) == 2


@watchers
def test_a_new_beginning_only_so_often(watch):
    with FakeEndpoint([SEEN["a cut"][0]] * 2) as fake:
        seen = watch(agent_for(fake, model={"retries": 1}), "x", resume_stream=True)
        assert len(fake.requests) == 2
    assert isinstance(seen.ended, ConnectionFailed)
    assert seen.text == "It isIt is"


@watchers
def test_no_new_beginning_for_what_no_repetition_mends(watch):
    with FakeEndpoint([error_event(IT_IS, after_events=3, code=400)]) as fake:
        seen = watch(agent_for(fake), "x", resume_stream=True)
    assert isinstance(seen.ended, BadRequestError)
    assert (seen.ended.partial_text, seen.kinds) == ("It is", ["TextDelta"])


@watchers
def test_each_step_has_its_own_budget_of_what_was_told(watch):
    # what was told of the first step is whole: the second may still be asked again unseen
    with FakeEndpoint([calls(call("add", a=1, b=2), text="Let me see."), status(500), "3"]) as fake:
        seen = watch(agent_for(fake, [add]), "x")
    assert seen.result.output == "3"
    assert [event.step for event in seen.events if isinstance(event, Retrying)] == [2]


@watchers
def test_a_break_in_a_later_step_keeps_what_was_done(watch):
    with FakeEndpoint([call("add", a=1, b=2), cut(IT_IS, after_events=3)]) as fake:
        seen = watch(agent_for(fake, [add]), "x")
        assert isinstance(seen.ended, ConnectionFailed)
        assert [m["role"] for m in seen.transcript.messages] == ["user", "assistant", "tool"]
        fake.play(["It is 3."])
        again = watch(agent_for(fake, [add]), None, transcript=seen.ended.transcript)
        assert again.result.output == "It is 3."
        assert ToolFinished not in [type(event) for event in again.events]


@watchers
def test_a_call_that_breaks_is_never_run(watch):
    half = stream_of(
        chunk({"tool_calls": [{"index": 0, "id": "1", "function": {"name": "add", "arguments": '{"a": 1, "b": 2}'}}]})
    )
    with FakeEndpoint([half]) as fake:
        seen = watch(agent_for(fake, [add]), "x")
    assert isinstance(seen.ended, ConnectionFailed)
    assert [type(event) for event in seen.events] == [ToolCallDelta]


@watchers
def test_a_retry_that_the_runs_time_does_not_allow(watch):
    with FakeEndpoint([status(429, headers={"retry-after": "30"})]) as fake:
        seen = watch(agent_for(fake, limits=Limits(seconds=10)), "x")
    assert isinstance(seen.ended, LimitReached)
    assert (seen.ended.limit, seen.events) == ("seconds", [])


async def test_a_model_alone_says_what_came(anyio_backend):
    with FakeEndpoint([SEEN["a cut"][0]] * 2) as fake:
        model = ChatModel("m", base_url=fake.base_url, api_key=fake.api_key)
        events = []
        async with model.stream("x") as stream:
            with pytest.raises(ConnectionFailed) as caught:  # noqa: PT012  # the loop is what raises
                async for event in stream:
                    events.append(event)  # noqa: PERF401  # what was told before the error counts
            with pytest.raises(ConnectionFailed):
                _ = stream.reply
        assert (text_of(events), caught.value.partial_text) == ("It is", "It is")
        with model.stream_sync("x") as stream_sync:
            with pytest.raises(ConnectionFailed, match="before its answer was whole") as caught:
                stream_sync.finish()
            assert caught.value.partial_text == "It is"
            with pytest.raises(ConnectionFailed):
                _ = stream_sync.reply


# What is no break


@watchers
@pytest.mark.parametrize(
    "whole",
    {
        "a reason and no [DONE]": stream_of(told("fine"), STOP),
        "[DONE] and no reason": stream_of(told("fine"), DONE),
        "a cut after the reason": cut(say("fine"), after_events=3),
        "something after [DONE]": stream_of(told("fine"), STOP, DONE, error(500), told(" not")),
    }.values(),
)
def test_what_is_whole_all_the_same(watch, whole):
    with FakeEndpoint([whole]) as fake:
        seen = watch(agent_for(fake), "x")
    assert (seen.result.output, seen.text) == ("fine", "fine")


@watchers
def test_nothing_waits_for_what_comes_after_done(watch):
    held = threading.Event()
    whole = told("fine") + STOP + DONE
    endless = stall(stream_of(whole, COMMENT), after_bytes=len(whole), until=held)
    try:
        with FakeEndpoint([endless, "and again"]) as fake:
            agent = agent_for(fake)
            # whoever waited for the end of the body would wait until the test is given up
            assert watch(agent, "x").result.output == "fine"
            assert watch(agent, "x").result.output == "and again"
    finally:
        held.set()


def test_an_error_that_is_kept_keeps_no_connection_open():
    with FakeEndpoint([call("add", a=1, b=2), SEEN["a cut"][0]]) as fake:
        kept: list[AgentKitError] = []

        def one() -> None:
            seen = watch_sync(agent_for(fake, [add]), "x")
            kept.append(seen.ended)
            seen.ended.circle = seen  # type: ignore[attr-defined]

        one()
        kept.clear()
        gc.collect()  # a socket that is found open here is a warning, and so an error
        fake.wait_until(lambda: fake.connections == 0)


@watchers
def test_a_stream_of_nothing_but_its_end_is_asked_for_again(watch):
    with FakeEndpoint([stream_of(DONE), "fine"]) as fake:
        seen = watch(agent_for(fake), "x")
    assert seen.kinds == ["Retrying", "TextDelta", "StepFinished", "RunFinished"]
