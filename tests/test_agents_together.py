"""Agents that do calls of other agents' runs: what holds for both, what is told, and how they end."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from pydantic import BaseModel

from agentkit import Agent, Context, Limits, Result, Retry, Transcript, tool
from agentkit.errors import (
    AgentKitError,
    BadRequestError,
    LimitReached,
    ModelError,
    ToolFailed,
    UsageError,
)
from agentkit.events import Nested, TextDelta, ToolStarted
from agentkit.testing import ScriptedModel, call, calls, fixed_clock, status
from tests.cancelling import soon
from tests.drivers import DRIVERS, outcome
from tests.pausing import Told, by_turn
from tests.test_cancel import CANCELLED, Tools
from tests.test_pause import kinds
from tests.test_scenarios import assert_each_call_has_one_result

drivers = pytest.mark.parametrize("driver", DRIVERS)


@tool(repeatable=True)
def look(key: str = "") -> str:
    """Look."""
    return f"seen {key}".strip()


def pair(inner: ScriptedModel, *, outer: ScriptedModel | None = None, **args: Any) -> Agent[Any]:
    """An agent with another one as its tool; `args` are of the latter."""
    made = Agent(inner, **{"tools": [look], "name": "helper", **args}).as_tool()
    return Agent(outer or by_turn(call("helper", prompt="do"), "done"), tools=[made], name="boss")


def counted(*scripts: ScriptedModel) -> int:
    """How often these were asked."""
    return sum(len(each.requests) for each in scripts)


@drivers
def test_its_run_is_part_of_the_callers(driver: str) -> None:
    inner = by_turn(call("look"), "inner done")
    result = DRIVERS[driver](pair(inner), "please")
    assert result.output == "done"
    assert result.usage.total_tokens == 15 * 4
    record = Told(result.transcript).of("helper")
    assert record.result is not None
    assert (record.result.status, record.result.content) == ("ok", "inner done")
    assert record.transcript is not None
    assert [m["role"] for m in record.transcript.messages] == ["user", "assistant", "tool", "assistant"]
    assert record.transcript.entries[0].run.startswith(result.transcript.entries[0].run)
    assert len(result.transcript) == 3
    assert_each_call_has_one_result(result.transcript.messages)
    assert_each_call_has_one_result(record.transcript.messages)
    loaded = Transcript.load(result.transcript.dump())
    assert loaded == result.transcript
    assert pair(inner).run_sync(transcript=loaded).usage == result.usage
    # the model within knows nothing of the conversation around it
    assert inner.requests[0].messages == [{"role": "user", "content": "do"}]


@drivers
def test_deps_and_the_context_reach_it(driver: str) -> None:
    seen: list[Any] = []

    def who(context: Context[str]) -> str:
        """Say for whom."""
        seen.append((context.deps, context.step, context.usage.total_tokens, len(context.transcript)))
        assert context.idempotency_key.count(":") == 4
        return context.deps

    DRIVERS[driver](pair(by_turn(call("who"), "inner done"), tools=[who]), "please", deps="Ada")
    assert seen == [("Ada", 1, 15, 2)]


# Limits

ENDLESS = [call("look", key=str(n)) for n in range(20)]


@drivers
@pytest.mark.parametrize("twice", [False, True], ids=["within", "within twice"])
@pytest.mark.parametrize(
    ("limits", "replies", "looks"),
    [
        (Limits(steps=4), 4, 3),
        (Limits(tokens=60), 4, 3),
        (Limits(tool_calls=2), None, 2),
    ],
    ids=["steps", "tokens", "tool_calls"],
)
def test_the_callers_limits_hold_within(
    limits: Limits, replies: int | None, looks: int, twice: bool, driver: str
) -> None:
    inner, boss = by_turn(*ENDLESS), by_turn(call("helper", prompt="do"), "done")
    agent = pair(inner, outer=boss)
    asked = [inner, boss]
    if twice:
        top = by_turn(call("boss", prompt="do"), "done")
        agent, looks = Agent(top, tools=[agent.as_tool()]), looks if replies is None else looks - 1
        asked.append(top)
    ended = outcome(DRIVERS[driver], agent.with_(limits=limits), "please")
    told = Told(ended.transcript)
    assert sum(each.result is not None and each.result.status == "ok" for each in told.records.values()) >= looks
    if replies is None:
        # no more is called; what there is may still be answered
        assert isinstance(ended, Result)
        assert sum(each.call.name == "look" and each.result is not None for each in told.records.values()) == looks
        assert "reached its limit tool_calls=2" in told.result("helper")[1]
    else:
        assert isinstance(ended, LimitReached)
        assert counted(*asked) == replies


@drivers
def test_the_callers_time_is_over_within(driver: str) -> None:
    with fixed_clock() as clock:

        def slow() -> str:
            """Take three seconds."""
            clock.at += 3
            return "slow"

        inner = by_turn(*[call("slow")] * 9)
        error = outcome(DRIVERS[driver], pair(inner, tools=[slow]).with_(limits=Limits(seconds=8)), "please")
    assert isinstance(error, LimitReached)
    assert error.limit == "seconds"
    assert len(inner.requests) == 3


@drivers
def test_its_own_limits_are_told_to_the_caller(driver: str) -> None:
    inner = by_turn(*ENDLESS)
    result = DRIVERS[driver](pair(inner, limits=Limits(steps=2)), "please")
    assert Told(result.transcript).result("helper") == (
        "failed",
        "the run has reached its limit steps=2; raise it with Limits(steps=…) and go on from the error's transcript",
    )
    assert len(inner.requests) == 2
    assert result.usage.total_tokens == 15 * 4


@pytest.mark.parametrize("driver", ["sync", "asyncio", "trio", "stream_sync"])
@pytest.mark.parametrize("together", [False, True])
def test_a_call_may_take_no_longer_than_its_tool_says(driver: str, together: bool) -> None:
    tools = Tools()
    made = Agent(by_turn(call("wait"), "late"), tools=tools.all(), name="helper").as_tool(timeout_s=0.05)
    asked = call("helper", prompt="do")
    agent = Agent(by_turn(calls(asked, call("look")) if together else asked, "done"), tools=[made, look])
    result = DRIVERS[driver](agent, "please")
    assert result.output == "done"
    assert Told(result.transcript).result("helper") == (
        "failed",
        "helper was given up: it took longer than 0.05 seconds.",
    )
    assert Told(result.transcript).result("wait") == ("cancelled", CANCELLED)
    soon(lambda: tools.left == ["wait"])


# Events

TOLD = ["StepFinished", "ToolStarted helper", ">StepFinished", ">ToolStarted look", ">ToolFinished look",
        ">StepFinished", "ToolFinished helper", "StepFinished", "RunFinished"]  # fmt: skip


@drivers
def test_its_events_are_nested(driver: str) -> None:
    events: list[Any] = []
    DRIVERS[driver](pair(by_turn(call("look"), "inner done")), "please", on_event=events.append)
    assert kinds(events) == TOLD
    nested = [event for event in events if isinstance(event, Nested)]
    assert {event.call.name for event in nested} == {"helper"}
    assert {event.step for event in nested} == {1}
    texts = [event.event.text for event in nested if isinstance(event.event, TextDelta)]
    assert "".join(texts) == "inner done"


@drivers
def test_events_of_events(driver: str) -> None:
    events: list[Any] = []
    top = Agent(by_turn(call("boss", prompt="do"), "done"), tools=[pair(by_turn("inner done")).as_tool()])
    DRIVERS[driver](top, "please", on_event=events.append)
    assert kinds(events) == [
        "StepFinished",
        "ToolStarted boss",
        ">StepFinished",
        ">ToolStarted helper",
        ">>StepFinished",
        ">ToolFinished helper",
        ">StepFinished",
        "ToolFinished boss",
        "StepFinished",
        "RunFinished",
    ]


@drivers
def test_a_listener_that_fails_ends_the_whole_run(driver: str) -> None:
    def listen(event: Any) -> None:
        if isinstance(event, Nested) and isinstance(event.event, ToolStarted):
            raise ZeroDivisionError("the listener's own")

    for script in (call("helper", prompt="do"), calls(call("helper", prompt="do"), call("helper", prompt="it"))):
        agent = pair(by_turn(call("look"), "inner done"), outer=by_turn(script, "done"))
        with pytest.raises(ZeroDivisionError, match="own"):
            DRIVERS[driver](agent, "please", on_event=listen)


# Several at once


@drivers
@pytest.mark.parametrize("is_async", [False, True])
def test_several_really_run_together(driver: str, is_async: bool) -> None:
    arrived: set[str] = set()

    def meet(context: Context[None], key: str) -> str:
        """Wait for the other."""
        arrived.add(key)
        soon(lambda: len(arrived) == 2)
        return key

    async def meet_async(key: str) -> str:
        """Wait for the other."""
        arrived.add(key)
        with anyio.fail_after(5):
            while len(arrived) < 2:  # noqa: ASYNC110  # the two may be in different loops
                await anyio.sleep(0.001)
        return key

    def reply(request: Any) -> Any:
        if len(request.messages) == 1:
            return call("meet_async" if is_async else "meet", key=request.messages[0]["content"])
        return f"met {request.messages[0]['content']}"

    both = calls(call("helper", prompt="a"), call("helper", prompt="b"))
    agent = pair(ScriptedModel(reply), outer=by_turn(both, "done"), tools=[meet, meet_async])
    result = DRIVERS[driver](agent, "please")
    assert [each.result.content for each in result.tool_calls if each.result] == ["met a", "met b"]
    assert result.usage.total_tokens == 15 * 6
    assert Transcript.load(result.transcript.dump()) == result.transcript


# Errors


class Bill(BaseModel):
    total: float


ERRORS: dict[str, tuple[ScriptedModel, dict[str, Any], type[Exception], str]] = {
    "its model is wrong": (
        by_turn(*["no number"] * 9),
        {"output": int},
        ModelError,
        'The answer is not what was asked for: it should be an integer, as JSON: {"value": …}.',
    ),
    "its endpoint": (by_turn(status(400, message="too bad")), {}, BadRequestError, "too bad"),
    "its tool, which is raised": (
        by_turn(call("broken"), "done"),
        {"on_tool_error": "raise"},
        ToolFailed,
        "tool broken failed: OSError: on fire",
    ),
}


def broken() -> str:
    """Never works."""
    raise OSError("on fire")


@drivers
@pytest.mark.parametrize("name", ERRORS)
def test_its_error_is_told_to_the_callers_model(name: str, driver: str) -> None:
    inner, args, kind, words = ERRORS[name]
    agent = pair(inner, **{"tools": [look, broken], **args})
    result = DRIVERS[driver](agent, "please")
    assert result.output == "done"
    state, content = Told(result.transcript).result("helper")
    assert state == "failed"
    assert words in content
    assert result.usage.total_tokens >= 30
    # or raised, with its own error as the cause
    error = outcome(DRIVERS[driver], agent.with_(on_tool_error="raise"), "please")
    assert isinstance(error, ToolFailed)
    assert error.tool == "helper"
    assert type(error.__cause__) is kind
    assert isinstance(error.__cause__, AgentKitError)
    assert error.__cause__.transcript == Told(error.transcript).of("helper").transcript  # type: ignore[arg-type]
    again = agent.run_sync(transcript=Transcript.load(error.transcript.dump()))  # type: ignore[union-attr]
    assert again.output == "done"


@drivers
def test_its_answer_has_its_type_and_is_checked(driver: str) -> None:
    def enough(bill: Bill) -> None:
        if bill.total < 2:
            raise Retry("more")

    inner = by_turn('{"total": "x"}', '{"total": 1}', '{"total": 3}')
    result = DRIVERS[driver](pair(inner, output=Bill, validators=[enough]), "please")
    record = Told(result.transcript).of("helper").result
    assert record is not None
    assert (record.content, record.value) == ('{"total":3.0}', Bill(total=3))


def test_one_without_a_name_needs_one_as_a_tool() -> None:
    agent = Agent(by_turn("done"))
    with pytest.raises(UsageError, match="needs as_tool"):
        agent.as_tool()
    made = agent.as_tool("helper", "Ask it.", exclusive=True)
    assert (made.name, made.description, made.exclusive) == ("helper", "Ask it.", True)
    assert made("hi") == "done"
