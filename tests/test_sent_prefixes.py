"""What is sent grows at its end: the bytes of a request begin the next one, unless something in them has changed.

An endpoint's prompt cache holds on to such a beginning, so each change of the front has to be meant.
"""

from __future__ import annotations

from itertools import count, pairwise
from typing import Any

import pytest

from agentkit import Agent, ChatModel, Context, Instruction, Toolset, Transcript, tool
from agentkit.history import ClearResults, Compaction, KeepTurns
from agentkit.testing import FakeEndpoint, call, calls, say
from agentkit.testing.script import Item, Request, Step
from tests.drivers import DRIVERS

TURNS = 9
drivers = pytest.mark.parametrize("driver", ["sync", "trio", "stream_sync", "stream on asyncio"])


def page(number: int) -> str:
    """Read a page."""
    return f"page {number}: " + "x" * 700


@tool(keep_output=True, max_output_chars=300)
def book() -> str:
    """Read a book."""
    return "x" * 5000


def answer(request: Request) -> Step:
    """Two calls, one after the other, then an answer; and whatever is asked else."""
    last = request.messages[-1]
    number = sum(message["role"] == "tool" for message in request.messages)
    if last["role"] == "user":
        return uncounted(call("page", number=number))
    if last["content"].startswith("page"):
        return uncounted(call("book"))
    return say("read", reasoning="hm", usage={})


def uncounted(item: Item) -> Item:
    return calls(item, usage={})


def talked(driver: str, deps: Any = None, *, script: Any = answer, turns: int = TURNS, **args: Any) -> list[bytes]:
    """The bodies of so many runs, one on the other's transcript, each loaded from a dump."""
    with FakeEndpoint(script) as fake:
        model = ChatModel("m", base_url=fake.base_url, api_key=fake.api_key, retries=0)
        agent: Agent[Any] = Agent(model, tools=[page, book], **args)
        transcript = Transcript()
        for number in range(turns):
            result = DRIVERS[driver](agent, f"question {number}", transcript=transcript, deps=deps)
            transcript = Transcript.load(result.transcript.dump())
        return [request.body for request in fake.requests]


def breaks(bodies: list[bytes]) -> list[int]:
    """Which bodies do not begin with what the one before them says."""
    return [index for index, (one, next_) in enumerate(pairwise(bodies), 1) if not next_.startswith(one[:-2] + b",")]


def test_what_is_compared_here() -> None:
    assert breaks([b'{"messages":[1]}', b'{"messages":[1,2]}', b'{"messages":[1,3]}', b'{"messages":[1,3,4]}']) == [2]


@drivers
@pytest.mark.parametrize(
    "args",
    [
        {},
        {"instructions": "Be brief."},
        {"instructions": ["Be brief.", Instruction(lambda: "The user is Eva.", position="head")]},
        {"history": [KeepTurns(TURNS), ClearResults(2 * TURNS)]},
        {"compaction": Compaction(1_000_000)},
        {"history": list},
    ],
    ids=["plain", "instructions", "of the moment", "processors", "compaction", "a function"],
)
def test_each_request_goes_on_from_the_one_before(driver: str, args: dict[str, Any]) -> None:
    bodies = talked(driver, **args)
    assert len(bodies) == 3 * TURNS
    assert breaks(bodies) == []


@drivers
@pytest.mark.parametrize(("turns", "stride", "fronts"), [(2, 1, 7), (2, 3, 2), (4, 4, 1), (5, None, 2)])
def test_the_front_moves_once_per_stride(driver: str, turns: int, stride: int | None, fronts: int) -> None:
    broken = breaks(talked(driver, history=KeepTurns(turns, stride=stride)))
    assert len(broken) == fronts
    assert all(index % 3 == 0 for index in broken)  # with a question, never within a run


@drivers
def test_results_are_cleared_once_per_stride(driver: str) -> None:
    bodies = talked(driver, history=ClearResults(4, min_chars=250, stride=6))
    assert len(breaks(bodies)) == 2
    assert bodies[-1].count(b"was cleared") == 12


@drivers
def test_a_summary_changes_the_front_once(driver: str) -> None:
    def script(request: Request) -> Step:
        return say("They talked.") if "Stop here" in str(request.messages[-1]["content"]) else answer(request)

    bodies = talked(driver, script=script, turns=5, compaction=Compaction(1200, keep=4))
    asked = [index for index, body in enumerate(bodies) if b"Stop here" in body]
    assert len(asked) == 2
    for index in asked:  # what is summed up is sent as it was before
        _, messages = bodies[index].split(b',"messages":')
        front, _, _ = messages.rpartition(b',{"role":"user"')
        assert front in bodies[index - 1]
    assert breaks(bodies) == [place for index in asked for place in (index, index + 1)]


@drivers
def test_instructions_of_the_turn_move_with_the_question(driver: str) -> None:
    ticks = count()

    def now(ctx: Context[str]) -> str:
        return f"It is {next(ticks)} o'clock, {ctx.deps}."

    bodies = talked(driver, "Eva", instructions=["Be brief.", Instruction(now, position="turn")])
    assert breaks(bodies) == [3 * turn for turn in range(1, TURNS)]
    for one, other in pairwise(bodies):
        front = one.rpartition(b'{"role":"system","content":"It is')[0]
        assert other.startswith(front)  # what stood before it stays
    assert all(body.count(b"It is") == 1 for body in bodies)


@drivers
def test_instructions_at_the_head_change_it_where_they_change(driver: str) -> None:
    ticks = count()

    def day() -> str:
        return f"It is day {next(ticks) // 3}."

    assert breaks(talked(driver, instructions=["Be brief.", Instruction(day, position="head")])) == [9, 18]


def test_a_tool_more_changes_the_front() -> None:
    def more() -> str:
        """Do more."""
        return "more"

    asked = count()
    sets = Toolset([more]).when(lambda: next(asked) >= 3)
    with FakeEndpoint(answer) as fake:
        model = ChatModel("m", base_url=fake.base_url, api_key=fake.api_key)
        agent: Agent[Any] = Agent(model, tools=[page, book, sets])
        first = agent.run_sync("question 0")
        agent.run_sync("question 1", transcript=first.transcript)
        assert breaks([request.body for request in fake.requests]) == [3]
