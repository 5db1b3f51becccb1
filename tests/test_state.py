"""What a run has used is a fold over its entries: a loaded state counts on from where the other stood."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from agentkit import Limits, Message, ToolCall, ToolResult, Transcript, Usage
from agentkit.errors import AgentKitError, LimitReached, UsageError
from agentkit.loop import decide
from agentkit.messages import Choice, Reply, assistant, calls_of, user
from agentkit.plan import Plan
from agentkit.state import State
from agentkit.tally import Tally
from agentkit.testing import ScriptedModel, call, calls, say
from agentkit.tools import tools_by_name
from agentkit.transcript import CallRecord, Entry
from tests.scenarios import SCENARIOS, Scenario, add
from tests.stepping import AT, Stepper

PLAN = Plan(tools_by_name([add]), "sums")
SUM = ToolCall("c", "add", '{"a":1,"b":2}')


def begun(
    transcript: Transcript | None = None, prompt: Any = "1 + 2?", *, plan: Plan = PLAN, began: float = 0.0
) -> State:
    return State(plan, transcript or Transcript(), prompt, new_run="r", at=AT, began=began)


def reloaded(state: State, *, began: float = 0.0) -> State:
    return State(state.plan, Transcript.load(state.transcript.dump()), new_run="other", at=AT, began=began)


def reply_of(data: dict[str, Any], usage: Usage | None = None, finish_reason: str = "stop") -> Reply:
    return Reply((Choice(Message(data), tool_calls=tuple(calls_of(data)), finish_reason=finish_reason),), usage)


@pytest.mark.parametrize("backwards", [False, True], ids=["in order", "backwards"])
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_a_loaded_state_has_the_same_tally_at_every_point(scenario: Scenario, backwards: bool) -> None:
    agent = scenario.build(ScriptedModel(scenario.script()))
    stepper = Stepper(agent, **scenario.run, tick=0.25, backwards=backwards)
    grown: list[Tally] = []
    for state in stepper.states():
        again = stepper.again()
        assert again.tally == state.tally
        assert again.elapsed(stepper.now) == state.elapsed(stepper.now)
        assert again.time_left(stepper.now) == state.time_left(stepper.now)
        assert (again.forced, again.run) == (state.forced, state.run)
        grown.append(again.tally)
    for before, after in pairwise(grown):
        assert before.steps <= after.steps
        assert before.tool_calls <= after.tool_calls
        assert before.tokens <= after.tokens
        assert before.elapsed_s <= after.elapsed_s


def test_what_a_reply_adds() -> None:
    state = begun()
    data = assistant(tool_calls=[SUM]).data
    state.land_reply(reply_of(data, Usage(10, 5, 15, reasoning_tokens=2)), source="https://x", at=AT, now=2.0)
    assert state.tally == Tally(1, 0, Usage(10, 5, 15, reasoning_tokens=2), 2.0, {"add"})
    entry = state.transcript.entries[1]
    assert (entry.author, entry.run, entry.step, entry.agent) == ("model", "r", 1, "sums")
    assert (entry.source, entry.at, entry.elapsed_s) == ("https://x", AT, 2.0)
    (pending,) = state.transcript.pending
    state.start(pending, at=AT + 1)
    assert state.transcript.entries[1].calls[0].started_at == AT + 1
    state.land(pending, ToolResult("3"), now=3.0)
    assert state.tally.tool_calls == 1
    assert state.tally.elapsed_s == 3.0
    assert state.tally.repeated == ("add", 1)
    state.land_reply(reply_of({"role": "assistant", "content": "3"}, Usage(20, 1, 21)), source=None, at=AT, now=4.0)
    assert (state.tally.steps, state.tally.tokens, state.tally.repeated) == (2, 36, ("", 0))
    assert state.transcript.entries[2].step == 2


def test_a_name_that_the_model_spelt_badly_is_recorded_as_the_tools() -> None:
    state = begun()
    spelt = [ToolCall("c", "functions.add", "{}"), ToolCall("d", "nope", "{}")]
    state.land_reply(reply_of(assistant(tool_calls=spelt).data), source=None, at=AT, now=1.0)
    assert [pending.call.name for pending in state.transcript.pending] == ["add", "nope"]
    assert state.tally.called == {"add", "nope"}


def test_tokens_are_counted_where_no_total_is_given() -> None:
    assert Tally(usage=Usage(10, 5)).tokens == 15
    assert Tally(usage=Usage(10, 5, 20)).tokens == 20


def test_a_further_message_of_the_caller_forgets_nothing() -> None:
    state = begun()
    state.land_reply(reply_of(assistant(tool_calls=[SUM]).data, Usage(1, 1, 2)), source=None, at=AT, now=1.0)
    state.land(state.transcript.pending[0], ToolResult("3"), now=2.0)
    state.say("and hurry", at=AT, now=3.0)
    assert state.transcript.messages[-1] == {"role": "user", "content": "and hurry"}
    assert (state.tally.steps, state.tally.tool_calls, state.tally.called) == (1, 1, {"add"})
    assert reloaded(state).tally == state.tally


@pytest.mark.parametrize(
    ("limits", "name"),
    [
        (Limits(steps=3), "steps"),
        (Limits(tool_calls=3), "tool_calls"),
        (Limits(tokens=45), "tokens"),
        (Limits(seconds=2.0), "seconds"),
    ],
)
def test_a_limit_holds_however_often_the_run_is_taken_up_again(limits: Limits, name: str) -> None:
    agent = Scenario("", list, "").build(ScriptedModel([call("add", a=n, b=n) for n in range(9)])).with_(limits=limits)
    stepper = Stepper(agent, tick=0.25)
    points = 0
    for _ in stepper.states():
        points += 1
        stepper.state = stepper.again()  # each step is taken by a new process
    assert isinstance(stepper.ended, LimitReached)
    assert stepper.ended.limit == name
    straight = Stepper(agent.with_(model=ScriptedModel([call("add", a=n, b=n) for n in range(9)])), tick=0.25)
    assert sum(1 for _ in straight.states()) == points
    assert straight.state.transcript.dump() == stepper.state.transcript.dump()


def test_corrections_and_repeats_are_kept_over_a_dump() -> None:
    for script, limits in (
        ([call("add", a=1, b=1)] * 9, Limits()),
        ([call("nope", n=n) for n in range(9)], Limits(corrections=4)),
    ):
        ends = []
        for takes_up in (False, True):
            stepper = Stepper(Scenario("", list, "").build(ScriptedModel(script)).with_(limits=limits))
            for _ in stepper.states():
                if takes_up:
                    stepper.state = stepper.again()
            ends.append((type(stepper.ended), str(stepper.ended), len(stepper.state.transcript)))
        assert ends[0] == ends[1]


def test_seconds_before_and_after_a_pause_are_added_and_the_pause_is_not() -> None:
    state = begun(plan=Plan(limits=Limits(seconds=10)), began=100.0)
    assert state.elapsed(101.5) == 1.5
    assert state.time_left(101.5) == 8.5
    state.land_reply(reply_of({"role": "assistant", "content": ""}), source=None, at=AT, now=104.0)
    again = reloaded(state, began=5000.0)
    assert again.elapsed(5000.0) == 4.0
    assert again.elapsed(5001.0) == 5.0
    assert again.time_left(5001.0) == 5.0
    assert again.time_left(9000.0) == 0.0
    again.tell(user("say something"), at=AT, now=5006.5)
    with pytest.raises(LimitReached, match="seconds=10"):
        decide(reloaded(again, began=7.0), 7.5)


def test_time_is_not_limited_unless_asked_for() -> None:
    assert begun().time_left(1e9) is None


def test_a_new_prompt_is_a_new_run_with_nothing_used() -> None:
    state = begun()
    state.land_reply(reply_of({"role": "assistant", "content": "3"}, Usage(1, 1, 2)), source=None, at=AT, now=1.0)
    further = State(PLAN, state.transcript, "and 2 + 2?", new_run="r2", at=AT, began=9.0)
    assert (further.run, further.tally, further.elapsed(9.0)) == ("r2", Tally(), 0.0)
    assert [entry.run for entry in further.transcript] == ["r", "r", "r2"]
    assert len(state.transcript) == 2


def test_without_a_prompt_the_same_run_goes_on() -> None:
    state = begun()
    assert reloaded(state).run == "r"
    assert State(PLAN, Transcript.load([{"role": "user", "content": "x"}]), new_run="r9", at=AT, began=0.0).run == "r9"


def test_calls_of_a_trusted_list_become_the_runs_own() -> None:
    past = Transcript.load([{"role": "user", "content": "x"}, assistant(tool_calls=[SUM, SUM]).data], trusted=True)
    state = State(PLAN, past, new_run="r9", at=AT, began=0.0)
    assert [pending.key for pending in state.transcript.pending] == ["r9:1:0", "r9:1:1"]
    assert [pending.key for pending in past.pending] == [":1:0", ":1:1"]
    first, second = state.transcript.pending
    state.land(second, ToolResult("3"), now=1.0)
    assert reloaded(state).tally == state.tally
    state.land(first, ToolResult("3"), now=1.0)
    assert (state.tally.tool_calls, state.tally.steps) == (2, 0)
    assert reloaded(state).tally == state.tally


def test_calls_left_by_an_earlier_run_are_run_and_counted_there() -> None:
    state = begun()
    state.land_reply(reply_of(assistant(tool_calls=[SUM]).data), source=None, at=AT, now=1.0)
    further = State(PLAN, state.transcript, "never mind", new_run="r2", at=AT, began=0.0)
    (pending,) = further.transcript.pending
    assert pending.key == "r:1:0"
    further.land(pending, ToolResult("3"), now=1.0)
    assert further.tally.tool_calls == 0
    assert reloaded(further).tally == further.tally


@pytest.mark.parametrize("transcript", [Transcript(), Transcript.load([])])
def test_there_must_be_something_to_answer(transcript: Transcript) -> None:
    with pytest.raises(UsageError, match="nothing to answer: give a prompt"):
        State(PLAN, transcript, new_run="r", at=AT, began=0.0)


def test_an_entry_of_another_run_is_not_counted() -> None:
    old = Entry(assistant("3"), "model", "old", 1, usage=Usage(9, 9, 18))
    made = CallRecord(SUM, result=ToolResult("3"))
    older = Entry(assistant(tool_calls=[SUM]), "model", "older", 1, usage=Usage(9, 9, 18), calls=(made,))
    state = begun(Transcript([Entry(user("x"), run="older"), older, Entry(user("y"), run="old"), old]))
    assert state.tally == Tally()


def test_the_scripts_of_this_table_end() -> None:
    """The stepper is a driver of its own: it has to come to the ends that the real ones come to."""
    agent = Scenario("", list, "").build(ScriptedModel([calls(call("add", a=1, b=1), call("nope")), say("2")]))
    stepper = Stepper(agent)
    assert sum(1 for _ in stepper.states()) == 7
    assert not isinstance(stepper.ended, AgentKitError)
    assert (
        stepper.state.transcript.messages
        == agent.with_(model=ScriptedModel([calls(call("add", a=1, b=1), call("nope")), say("2")]))
        .run_sync("please")
        .transcript.messages
    )
