"""Guards of calls: before they run and after, of one tool and of all, and what is made of their errors."""

from __future__ import annotations

from typing import Any

import pytest
from anyio.lowlevel import checkpoint

from agentkit import Agent, Approve, Context, Refuse, Retry, ToolCall, ToolGuard, ToolResult, Transcript, tool
from agentkit.errors import ToolFailed, UsageError
from agentkit.testing import call, calls
from tests.drivers import DRIVERS, outcome
from tests.pausing import Told, by_turn

drivers = pytest.mark.parametrize("driver", DRIVERS)


def add_to(ran: list[int]) -> Any:
    def add(a: int) -> int:
        """Add."""
        ran.append(a)
        return a + 1

    return add


def small(made: ToolCall) -> dict[str, Any] | None:
    if '"a": 9' in made.arguments:
        raise Refuse("nine is too much")
    if '"a": 8' in made.arguments:
        raise Retry("try seven")
    return {"a": 1} if '"a": 5' in made.arguments else None


async def small_async(context: Context[Any], made: ToolCall) -> dict[str, Any] | None:
    await checkpoint()
    assert context.call.name == made.name
    assert context.idempotency_key
    return small(made)


def hidden(made: ToolCall, result: ToolResult) -> str | None:
    if result.content == "4":
        raise Refuse("no four")
    return "hidden" if result.content == "5" else None


async def hidden_async(context: Context[Any], made: ToolCall, result: ToolResult) -> str | None:
    await checkpoint()
    assert context.call.id == made.id
    return hidden(made, result)


CHANGED = 'The arguments were changed before the call was made. It was called with: {"a":1}\n2'
# The argument; the result; what ran.
CASES: dict[int, tuple[tuple[str, str], list[int]]] = {
    2: (("ok", "3"), [2]),
    9: (("denied", "The call of add was refused: nine is too much"), []),
    8: (("not_run", "try seven"), []),
    5: (("ok", CHANGED), [1]),
    3: (("denied", "add was run, but its result is withheld: no four"), [3]),
    4: (("ok", "hidden"), [4]),
}


@drivers
@pytest.mark.parametrize("place", ["of the tool", "of the agent"])
@pytest.mark.parametrize("guard", [ToolGuard(small, after=hidden), ToolGuard(small_async, after=hidden_async)])
def test_they_pass_change_and_refuse(guard: ToolGuard, place: str, driver: str) -> None:
    for a, (told, expected) in CASES.items():
        ran: list[int] = []
        made = tool(guards=[guard] if place == "of the tool" else [])(add_to(ran))
        guards = [guard] if place == "of the agent" else []
        agent = Agent(by_turn(call("add", a=a), "done"), tools=[made], tool_guards=guards)
        result = DRIVERS[driver](agent, "please")
        assert Told(result.transcript).result("add") == told
        assert ran == expected
        assert result.output == "done"


@drivers
def test_those_of_the_agent_come_first_and_each_sees_what_the_one_before_made(driver: str) -> None:
    seen: list[str] = []

    def one(made: ToolCall) -> dict[str, Any]:
        seen.append(made.arguments)
        return {"a": 2}

    def two(made: ToolCall) -> dict[str, Any]:
        seen.append(made.arguments)
        return {"a": 3}

    def after(made: ToolCall, result: ToolResult) -> str:
        seen.append(f"{made.arguments} {result.content}")
        return result.content + "!"

    ran: list[int] = []
    made = tool(guards=[ToolGuard(two, after=after)])(add_to(ran))
    agent = Agent(by_turn(call("add", a=1), "done"), tools=[made], tool_guards=[ToolGuard(one, after=after)])
    result = DRIVERS[driver](agent, "please")
    assert seen == ['{"a": 1}', '{"a":2}', '{"a":3} 4', '{"a":3} 4!']
    assert Told(result.transcript).result("add")[1].endswith('called with: {"a":3}\n4!!')
    assert ran == [3]


@drivers
def test_they_see_what_was_approved(driver: str) -> None:
    seen: list[str] = []

    def look(made: ToolCall) -> None:
        seen.append(made.arguments)

    ran: list[int] = []
    made = tool(approval=True, guards=[look])(add_to(ran))
    agent = Agent(by_turn(calls(call("add", a=1)), "done"), tools=[made])
    paused = DRIVERS[driver](agent, "please")
    assert seen == []
    loaded = Transcript.load(paused.transcript.dump())
    DRIVERS[driver](agent, None, transcript=loaded, decisions=Approve({"a": 6}))
    assert (seen, ran) == (['{"a":6}'], [6])


@drivers
@pytest.mark.parametrize("when", ["before", "after"])
def test_one_that_fails_is_a_failure_of_the_call(when: str, driver: str) -> None:
    def broken(*_: Any) -> None:
        raise OSError("on fire")

    ran: list[int] = []
    guard = ToolGuard(**{when: broken})  # type: ignore[arg-type]
    agent = Agent(by_turn(call("add", a=1), "done"), tools=[add_to(ran)], tool_guards=[guard])
    result = DRIVERS[driver](agent, "please")
    told = {
        "before": ("not_run", "add was not run: a guard failed with OSError."),
        "after": ("failed", "add was run, but its result is withheld: a guard failed with OSError."),
    }
    assert Told(result.transcript).result("add") == told[when]
    assert len(ran) == (when == "after")
    error = outcome(DRIVERS[driver], agent.with_(on_tool_error="raise"), "please")
    assert isinstance(error, ToolFailed)
    assert isinstance(error.__cause__, OSError)


@drivers
def test_wrong_arguments_of_a_guards_own_do_not_reach_the_tool(driver: str) -> None:
    ran: list[int] = []
    agent = Agent(by_turn(call("add", a=1), "done"), tools=[add_to(ran)], tool_guards=[lambda _: {"a": "x"}])
    result = DRIVERS[driver](agent, "please")
    assert Told(result.transcript).result("add")[0] == "not_run"
    assert ran == []


@drivers
def test_a_tool_that_failed_is_shown_to_the_guard_after_it(driver: str) -> None:
    def broken() -> str:
        """Never works."""
        raise OSError("on fire")

    def soothe(made: ToolCall, result: ToolResult) -> str | None:
        return "try later" if result.status == "failed" else None

    agent = Agent(by_turn(call("broken"), "done"), tools=[broken], tool_guards=[ToolGuard(after=soothe)])
    assert Told(DRIVERS[driver](agent, "please").transcript).result("broken") == ("ok", "try later")


def test_a_sub_agents_call_is_guarded_as_any() -> None:
    inner = Agent(by_turn("inner done"), name="helper")
    seen: list[str] = []

    def look(made: ToolCall, result: ToolResult) -> None:
        seen.append(f"{made.name} {result.content}")

    boss = Agent(
        by_turn(call("helper", prompt="do"), "done"), tools=[inner.as_tool()], tool_guards=[ToolGuard(after=look)]
    )
    for driver in DRIVERS.values():
        driver(boss, "please")
    assert seen == ["helper inner done"] * len(DRIVERS)


def test_a_guard_has_a_function_of_the_right_arguments() -> None:
    for wrong in (lambda: None, lambda a, b, c: None):
        with pytest.raises(UsageError, match="tool guard"):
            Agent(by_turn(), tool_guards=[wrong])
