"""One model after another: when the next is asked, and what it is told of the conversation."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest

from agentkit import Agent, ChatModel, FallbackModel, Limits, Model, Reply
from agentkit.chat.dialects import DIALECTS
from agentkit.circuit import FAILURES, OPEN_S
from agentkit.errors import (
    AuthenticationError,
    BadRequestError,
    ConnectionFailed,
    ContextLengthError,
    EndpointError,
    LimitReached,
    OverloadedError,
    RateLimitError,
    UsageError,
)
from agentkit.events import Restarted, Retrying
from agentkit.flow import Steps
from agentkit.messages import assistant
from agentkit.testing import FakeEndpoint, ScriptedModel, call, cut, fixed_clock, reply, reset, say, status
from tests.drivers import DRIVERS, outcome

drivers = pytest.mark.parametrize("driver", DRIVERS)
streamed = pytest.mark.parametrize("driver", [name for name in DRIVERS if name.startswith("stream")])


def look(what: str) -> str:
    """Look."""
    return f"seen {what}"


def at(fake: FakeEndpoint, name: str = "m", **options: Any) -> ChatModel:
    return ChatModel(name, base_url=fake.base_url, api_key=fake.api_key, **{"retries": 0, **options})


@drivers
@pytest.mark.parametrize(
    "fault", [status(503), status(429), status(408), reset(), status(500)], ids=lambda item: item.label
)
def test_the_next_is_asked_where_one_fails(driver, fault):
    with FakeEndpoint([fault]) as one, FakeEndpoint([say("two")]) as two:
        result = DRIVERS[driver](Agent(FallbackModel(at(one), at(two))), "hi")
        assert result.output == "two"
        assert [entry.source for entry in result.transcript if entry.author == "model"] == [two.base_url]
        assert len(result.exchanges) == 2


@drivers
def test_its_own_retries_come_first(driver):
    with FakeEndpoint(lambda _: status(503)) as one, FakeEndpoint([say("two")]) as two, fixed_clock() as clock:
        result = DRIVERS[driver](Agent(FallbackModel(at(one, retries=2), at(two))), "hi")
        assert result.output == "two"
        assert (len(one.requests), len(two.requests), len(clock.waits)) == (3, 1, 2)


@drivers
@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (status(401), AuthenticationError),
        (status(400), BadRequestError),
        (status(400, error_code="context_length_exceeded"), ContextLengthError),
    ],
    ids=["key", "request", "too long"],
)
def test_other_errors_are_raised(driver, fault, kind):
    with FakeEndpoint([fault]) as one, FakeEndpoint([]) as two:
        seen = outcome(DRIVERS[driver], Agent(FallbackModel(at(one), at(two))), "hi")
        assert type(seen) is kind
        assert not two.requests


@drivers
def test_the_errors_that_are_named(driver):
    with FakeEndpoint([status(401), status(503)]) as one, FakeEndpoint([say("two")]) as two:
        agent = Agent(FallbackModel(at(one), at(two), on=AuthenticationError))
        assert DRIVERS[driver](agent, "hi").output == "two"
        assert isinstance(outcome(DRIVERS[driver], agent, "hi"), OverloadedError)


@drivers
def test_the_last_error_is_raised_with_the_transcript(driver):
    with FakeEndpoint([call("look", what="up"), status(503)]) as one, FakeEndpoint([status(429)]) as two:
        seen = outcome(DRIVERS[driver], Agent(FallbackModel(at(one), at(two)), tools=[look]), "hi")
        assert isinstance(seen, RateLimitError)
        assert seen.transcript.messages[-1]["content"] == "seen up"


@pytest.mark.parametrize("on", [ValueError, [OverloadedError, LimitReached], ["503"]])
def test_on_names_errors_of_endpoints(on):
    with pytest.raises(UsageError, match="below EndpointError"):
        FallbackModel(ScriptedModel(["x"]), on=on)


def test_names():
    model = FallbackModel("openai:gpt-5-mini", "mistral:small")
    assert model.name == "gpt-5-mini / small"
    assert repr(model).startswith("FallbackModel(ChatModel('gpt-5-mini'")


def test_what_happens_is_told():
    with FakeEndpoint([status(503)]) as one, FakeEndpoint([say("two")]) as two:
        told: list[Any] = []
        Agent(FallbackModel(at(one), at(two))).run_sync("hi", on_event=told.append)
        [again] = [event for event in told if isinstance(event, Retrying)]
        assert isinstance(again.error, OverloadedError) and again.wait_s == 0


# Streams


@streamed
def test_what_was_told_is_not_taken_back(driver):
    with FakeEndpoint([cut(say("one two three"), after_events=3)]) as one, FakeEndpoint([]) as two:
        seen = outcome(DRIVERS[driver], Agent(FallbackModel(at(one), at(two))), "hi")
        assert isinstance(seen, ConnectionFailed) and seen.partial_text
        assert not two.requests


def test_unless_the_run_may_begin_the_answer_anew():
    with FakeEndpoint([cut(say("one two three"), after_events=3)]) as one, FakeEndpoint([say("two")]) as two:
        agent = Agent(FallbackModel(at(one), at(two)))
        with agent.stream_sync("hi", resume_stream=True) as run:
            kinds = [type(event) for event in run]
        assert run.result.output == "two"
        assert Restarted in kinds


@drivers
def test_what_nobody_heard_may_be_said_by_another(driver):
    # without a listener a broken stream is a failed request as any other
    broken = cut(say("one two three"), after_bytes=20)
    with FakeEndpoint([broken]) as one, FakeEndpoint([say("two")]) as two:
        assert at(one).name == "m"
        if not driver.startswith("stream"):
            assert DRIVERS[driver](Agent(FallbackModel(at(one), at(two))), "hi").output == "two"


# Time


@drivers
def test_no_other_model_after_the_runs_time(driver):
    with FakeEndpoint([]) as two, fixed_clock() as clock:

        class Late(Model):
            def flow(self, request: Any) -> Steps[Reply]:
                clock.at += 100
                raise OverloadedError("busy", retryable=True)
                yield

        seen = outcome(DRIVERS[driver], Agent(FallbackModel(Late(), at(two))), "hi", limits=Limits(seconds=50))
        assert isinstance(seen, LimitReached)
        assert isinstance(seen.__cause__, OverloadedError)


# The circuit


@drivers
def test_a_model_that_fails_again_and_again_is_left_out_for_a_while(driver):
    with FakeEndpoint(lambda _: status(503)) as one, FakeEndpoint(lambda _: "two") as two, fixed_clock() as clock:
        agent = Agent(FallbackModel(at(one), at(two)))
        for _ in range(FAILURES + 3):
            assert DRIVERS[driver](agent, "hi").output == "two"
        assert len(one.requests) == FAILURES
        clock.at += OPEN_S
        for _ in range(2):
            DRIVERS[driver](agent, "hi")
        assert len(one.requests) == FAILURES + 1  # one tried, in vain
        clock.at += OPEN_S
        one.play(lambda _: "one")
        assert [DRIVERS[driver](agent, "hi").output for _ in range(3)] == ["one"] * 3


def test_the_circuit_is_the_endpoints():
    with FakeEndpoint(lambda _: status(503)) as one, FakeEndpoint(lambda _: "two") as two:
        for _ in range(FAILURES + 3):
            Agent(FallbackModel(at(one), at(two))).run_sync("hi")
        assert len(one.requests) == FAILURES
        assert Agent(FallbackModel(at(one, "other"), at(two))).run_sync("hi").output == "two"
        assert len(one.requests) == FAILURES + 1  # of another model nothing is known


def test_if_all_are_left_out_all_are_asked():
    with FakeEndpoint(lambda _: status(503)) as one, FakeEndpoint(lambda _: status(503)) as two, fixed_clock():
        agent = Agent(FallbackModel(at(one), at(two)))
        for _ in range(FAILURES + 1):
            with pytest.raises(OverloadedError):
                agent.run_sync("hi")
        assert len(one.requests) == len(two.requests) == FAILURES + 1
        two.play(lambda _: "two")
        assert agent.run_sync("hi").output == "two"


def test_errors_that_are_not_passed_on_do_not_count():
    with FakeEndpoint(lambda _: status(400)) as one, FakeEndpoint([]) as two:
        for _ in range(FAILURES + 1):
            with pytest.raises(BadRequestError):
                Agent(FallbackModel(at(one), at(two))).run_sync("hi")
        assert len(one.requests) == FAILURES + 1


def test_models_of_another_kind_may_stand_in_the_row():
    def broken() -> Model:
        class Broken(Model):
            asked = 0

            def flow(self, request: Any) -> Steps[Reply]:
                type(self).asked += 1
                raise EndpointError("no", retryable=True)
                yield

        return Broken()

    first = broken()
    model = FallbackModel(first, FallbackModel(broken(), ScriptedModel(lambda _: "last")))
    assert [Agent(model).run_sync("hi").output for _ in range(FAILURES + 2)] == ["last"] * (FAILURES + 2)
    assert type(first).asked == FAILURES  # type: ignore[attr-defined]


# The conversation, from one dialect to another

CALL_ID = "call_that_is_much_longer_than_nine_characters"


def thinking_call() -> Any:
    return reply(
        {
            "role": "assistant",
            "content": None,
            "reasoning_content": "I should look.",
            "extra_content": {"signature": "xyz"},
            "tool_calls": [
                {"id": CALL_ID, "type": "function", "function": {"name": "look", "arguments": '{"what": "up"}'}}
            ],
        }
    )


@drivers
def test_the_conversation_goes_over_to_another_dialect(driver):
    """Ids are made to fit, and what only the first endpoint knows stays with it."""
    mistral = replace(DIALECTS["mistral"], base_url=None)
    with FakeEndpoint([thinking_call(), status(503)]) as one, FakeEndpoint([say("done")]) as two:
        model = FallbackModel(at(one), at(two, dialect=mistral))
        result = DRIVERS[driver](Agent(model, tools=[look]), "look up")
        assert result.output == "done"
        [back, over] = one.requests[1].json, two.requests[0].json
        assert back["messages"][1]["reasoning_content"] == "I should look."
        assert back["messages"][1]["tool_calls"][0]["id"] == CALL_ID
        _, asked, answered = over["messages"]
        assert set(asked) == {"role", "content", "tool_calls"}
        assert re.fullmatch("[a-zA-Z0-9]{9}", asked["tool_calls"][0]["id"])
        assert answered["tool_call_id"] == asked["tool_calls"][0]["id"]
        assert "stream_options" not in over
        kept = result.transcript.messages[1]
        assert kept["reasoning_content"] == "I should look." and kept["tool_calls"][0]["id"] == CALL_ID


@drivers
def test_and_back_again(driver):
    """The first endpoint gets what it gave, and only the standard fields of what the second said."""
    odd = reply({"role": "assistant", "content": "from two", "reasoning_content": "hm", "vendor": 1})
    script = [thinking_call(), status(503), say("from one")]
    with FakeEndpoint(script) as one, FakeEndpoint([odd]) as two:
        agent = Agent(FallbackModel(at(one), at(two)), tools=[look])
        first = DRIVERS[driver](agent, "look up")
        second = DRIVERS[driver](agent, "and now?", transcript=first.transcript)
        assert second.output == "from one"
        sent = one.requests[2].json["messages"]
        assert sent[1]["reasoning_content"] == "I should look." and sent[1]["tool_calls"][0]["id"] == CALL_ID
        assert sent[3] == json.loads(assistant("from two").json)
