"""Whatever a model says, a run ends, keeps its limits, and sends nothing that an endpoint would refuse."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit import Agent, Limits, Result, ToolCall, Transcript, tool
from agentkit.chat.dialects import DIALECTS
from agentkit.chat.request import encode
from agentkit.errors import AgentKitError, LimitReached, ModelError
from agentkit.loop import STOP_AFTER
from agentkit.state import State
from agentkit.testing import ScriptedModel, fixed_clock
from agentkit.testing.script import Item, calls, reply, say, status
from agentkit.testing.strict import parse, refusals
from tests.drivers import DRIVERS, outcome

IDS = ("", "a", "b", "c" * 50, "é")
NAMES = ("add", "later", "broken", "alone", "functions.add", "ADD", "nope", "", "a name!")
ARGUMENTS = (
    '{"a":1,"b":2}',
    '{"a": "1", "b": 2}',
    '{"a":1}',
    '{"a":1,"b":2,"c":3}',
    '{"a":"x","b":[]}',
    '{"a":1,"b"',
    "",
    "null",
    "[1, 2]",
    '"{\\"a\\":1,\\"b\\":2}"',
    '{"a":NaN,"b":1}',
    '{"a":"\\ud83d","b":1}',
    '"{\\"a\\":\\"\\\\ud83d\\"}"',
    '{"a":1,"b":2}{"a":3}',
    "\ud83d",
)
FINISH = ("stop", "tool_calls", "length", "content_filter", "")

tool_calls = st.builds(ToolCall, st.sampled_from(IDS), st.sampled_from(NAMES), st.sampled_from(ARGUMENTS))


def without_ids(made: ToolCall) -> Item:
    """A call as careless endpoints send it: no id, no type, its arguments an object."""
    function = {"name": made.name, "arguments": {"a": 1, "b": 2}}
    return reply({"role": "assistant", "content": None, "tool_calls": [{"function": function}]})


items = st.one_of(
    st.builds(
        lambda made, text, reason: calls(*made, text=text, finish_reason=reason),
        st.lists(tool_calls, min_size=1, max_size=4),
        st.sampled_from((None, "", "let me see")),
        st.sampled_from(FINISH),
    ),
    st.builds(without_ids, tool_calls),
    st.builds(
        lambda text, reason: say(text, finish_reason=reason),
        st.sampled_from(("", " \n", "so")),
        st.sampled_from(FINISH),
    ),
    st.just(say("", refusal="no")),
    st.just(status(400, message="no")),
)
limits = st.builds(
    Limits,
    steps=st.none() | st.integers(0, 5),
    tool_calls=st.none() | st.integers(0, 6),
    tokens=st.none() | st.integers(0, 80),
    corrections=st.integers(0, 3),
)


class Ran(NamedTuple):
    """What became of a script in one driver."""

    ended: Result | AgentKitError
    model: ScriptedModel
    bodies: list[str]
    plan: Any


@dataclass
class Case:
    script: Sequence[Item]
    limits: Limits
    tool_choice: str | None
    on_tool_error: Any
    on_length: Any

    def run(self, driver: Callable[..., Result], past: Transcript | None = None) -> Ran:
        """Run it to its end, from the start or from where a part of it stands."""
        bodies: list[str] = []

        def add(a: int, b: int) -> int:
            """Add."""
            bodies.append("add")
            return a + b

        async def later(a: int, b: int) -> int:
            """Add, awaited."""
            bodies.append("later")
            return a + b

        def broken(a: int = 0, b: int = 0) -> int:
            """Never works."""
            bodies.append("broken")
            raise OSError("no")

        @tool(exclusive=True, inline=True)
        def alone(a: int, b: int) -> int:
            """Add, alone."""
            bodies.append("alone")
            return a + b

        said = sum(entry.author == "model" for entry in past or ())
        model = ScriptedModel([*self.script, *[say("the end")] * 4][said:])
        agent = Agent(
            model,
            tools=[add, later, broken, alone],
            instructions="Be brief.",
            limits=self.limits,
            settings={} if self.tool_choice is None else {"tool_choice": self.tool_choice},
            on_tool_error=self.on_tool_error,
            on_length=self.on_length,
        )
        with fixed_clock():
            ended = outcome(driver, agent, "please" if past is None else None, transcript=past)
        return Ran(ended, model, bodies, agent.plan)


cases = st.builds(
    Case,
    st.lists(items, max_size=7),
    limits,
    st.sampled_from((None, None, "add", "required", "none")),
    st.sampled_from(("tell", "tell", "raise")),
    st.sampled_from(("return", "error")),
)


def check_messages(messages: list[dict[str, Any]]) -> None:
    """Each call has exactly one result, right after its message, in call order."""
    seen: set[str] = set()
    waiting: list[str] = []
    for message in messages:
        if message["role"] == "tool":
            assert waiting.pop(0) == message["tool_call_id"]
            continue
        assert waiting == []
        waiting = [made["id"] for made in message.get("tool_calls") or ()]
        assert len(set(waiting)) == len(waiting)
        assert seen.isdisjoint(waiting)
        seen.update(waiting)
    assert waiting == []


def check_limits(case: Case, ran: Ran, transcript: Transcript) -> None:
    state = State(ran.plan, transcript, new_run="r", at=0.0, began=0.0)
    tally, allowed = state.tally, case.limits
    done = [record.result for entry in transcript for record in entry.calls if record.result is not None]
    assert tally.steps == sum(entry.author == "model" for entry in transcript)
    assert tally.tool_calls == sum(result.status != "not_run" for result in done) == len(ran.bodies)
    assert allowed.steps is None or tally.steps <= allowed.steps
    assert allowed.tool_calls is None or tally.tool_calls <= allowed.tool_calls
    before_the_last = tally.tokens - 15  # what each reply of the script costs
    assert allowed.tokens is None or not tally.steps or before_the_last < allowed.tokens
    assert tally.repeated[1] <= STOP_AFTER
    assert sum(entry.author == "loop" for entry in transcript) <= tally.steps
    if not isinstance(ran.ended, ModelError | LimitReached):
        assert tally.faults <= allowed.corrections


def check_requests(ran: Ran) -> None:
    for request in ran.model.requests:
        check_messages(request.messages)
        for name in ("openai", "mistral", "generic"):
            body = parse(bytes(encode(request, "m", DIALECTS[name], "https://x")))
            assert list(refusals(body)) == []
            check_messages(body["messages"])


@given(cases)
def test_any_script_ends_within_its_limits_and_alike_in_each_driver(case: Case) -> None:
    dumps: dict[str, str] = {}
    ends: dict[str, str] = {}
    for name in ("sync", "asyncio", "trio", "stream_sync", "stream on asyncio"):
        ran = case.run(DRIVERS[name])
        transcript = ran.ended.transcript
        assert transcript is not None
        assert len(ran.model.requests) <= len(case.script) + 4
        check_requests(ran)
        check_limits(case, ran, transcript)
        assert Transcript.load(transcript.dump()) == transcript
        dumps[name] = transcript.dump()
        ends[name] = f"{type(ran.ended).__name__}: {ran.ended}"
    # a stream brings no fields that are null, so that its messages differ from those of whole bodies
    assert dumps["sync"] == dumps["asyncio"] == dumps["trio"]
    assert dumps["stream_sync"] == dumps["stream on asyncio"]
    assert len(set(ends.values())) == 1, ends


@given(cases, st.data())
def test_any_run_goes_on_from_any_entry_to_the_same_end(case: Case, data: st.DataObject) -> None:
    case = replace(case, on_tool_error="tell")  # what is raised once is not raised again
    whole = case.run(DRIVERS["sync"]).ended
    assert whole.transcript is not None
    entries = list(whole.transcript)
    part = Transcript(entries[: data.draw(st.integers(1, len(entries)))])
    ended = case.run(DRIVERS["sync"], Transcript.load(part.dump())).ended
    assert (type(ended), str(ended)) == (type(whole), str(whole))
    assert ended.transcript is not None
    assert ended.transcript.dump() == whole.transcript.dump()


plain = st.lists(
    st.one_of(
        st.builds(
            lambda made: {"role": "assistant", "content": None, "tool_calls": [each.data for each in made]},
            st.lists(tool_calls, max_size=3),
        ),
        st.builds(
            lambda name, text: {"role": "tool", "tool_call_id": name, "content": text},
            st.sampled_from(IDS),
            st.sampled_from(("ok", "\udc00", "", None, [{"type": "text", "text": "part"}])),
        ),
        st.builds(lambda text: {"role": "user", "content": text}, st.sampled_from(("hi", "\ud83d"))),
        st.builds(lambda text: {"role": "assistant", "content": text}, st.sampled_from(("hi", "", None))),
        st.just({"role": "assistant", "function_call": {"name": "add", "arguments": "{}"}}),
        st.just({"role": "function", "name": "add", "content": "3"}),
    ),
    max_size=6,
)


@given(plain, st.booleans())
def test_any_plain_list_is_mended_or_refused(messages: list[dict[str, Any]], as_json: bool) -> None:
    ran: list[str] = []

    def add() -> str:
        ran.append("add")
        return "3"

    model = ScriptedModel(["ok"])
    past: Any = Transcript.load(json.dumps(messages)) if as_json else messages
    assert Agent(model, tools=[add]).run_sync("go on", transcript=past).output == "ok"
    assert ran == []
    (request,) = model.requests
    check_messages(request.messages)
    assert list(refusals(parse(bytes(encode(request, "m", DIALECTS["openai"], "https://x"))))) == []


def test_the_strict_reader_of_these_tests_does_refuse() -> None:
    lone = {"model": "m", "messages": [{"role": "tool", "tool_call_id": "a", "content": "x"}]}
    assert list(refusals(lone))
    with pytest.raises(AssertionError):
        check_messages([{"role": "user", "content": "x"}, {"role": "assistant", "tool_calls": [{"id": "a"}]}])
