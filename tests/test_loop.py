"""What comes next, asked of a state without model, thread or clock; and that a loaded state says the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import pytest

from agentkit import Limits, Message, Settings, ToolCall, ToolResult, Transcript, Usage, tool
from agentkit.errors import AgentKitError, ContentFilterError, LimitReached, ModelError
from agentkit.landing import CUT
from agentkit.loop import HINT_AFTER, STOP_AFTER, CallModel, Effect, Finished, RunTools, Tell, decide
from agentkit.messages import Choice, Reply, assistant, calls_of, user
from agentkit.plan import Plan
from agentkit.state import State
from agentkit.testing import ScriptedModel
from agentkit.tools import tools_by_name
from tests.scenarios import SCENARIOS, Scenario
from tests.stepping import Stepper


def look(place: str) -> str:
    """Look at a place."""
    return f"nothing at {place}"


@tool(repeatable=True)
def poll() -> str:
    """Ask again."""
    return "not yet"


def new(
    *,
    limits: Limits | None = None,
    settings: dict[str, Any] | None = None,
    on_length: Literal["return", "error"] = "return",
) -> State:
    """A run that was just asked something."""
    plan = Plan(
        tools_by_name([look, poll]),
        "scout",
        "Look.",
        Settings.of(settings),
        limits=limits or Limits(),
        on_length=on_length,
    )
    return State(plan, Transcript(), "what is there?", new_run="r", at=1.0, began=0.0)


def replied(state: State, data: dict[str, Any], *, finish_reason: str = "stop", usage: Usage | None = None) -> None:
    """Let the model's reply land."""
    message = Message({"role": "assistant", **data})
    choice = Choice(message, tool_calls=tuple(calls_of(data)), finish_reason=finish_reason)
    state.land_reply(Reply((choice,), usage), source=None, at=2.0, now=1.0)


def called(state: State, *calls: ToolCall, finish_reason: str = "tool_calls") -> None:
    """Let a reply with these calls land."""
    replied(state, assistant(tool_calls=calls).data, finish_reason=finish_reason)


def landed(state: State, results: Sequence[ToolResult]) -> None:
    """Let the results of all pending calls land."""
    for pending, result in zip(state.transcript.pending, results, strict=True):
        state.land(pending, result, now=1.5)


def looked(state: State, times: int, name: str = "look") -> None:
    """Let the model make the same call again and again, and get the same result; what the loop says lands too."""
    for number in range(times):
        called(state, ToolCall(f"c{number}", name, '{"place":"x"}'))
        landed(state, [ToolResult("nothing at x")])
        if number + 1 < times and isinstance(step := decide(state, 2.0), Tell):
            state.tell(step.message, at=3.0, now=2.0)


def told(step: Effect | Finished) -> str:
    assert isinstance(step, Tell)
    assert step.message.role == "user"
    return step.message.text


def test_a_prompt_is_put_to_the_model() -> None:
    state = new(settings={"temperature": 0})
    step = decide(state, 1.0)
    assert isinstance(step, CallModel)
    assert step.request.messages == [
        {"role": "system", "content": "Look."},
        {"role": "user", "content": "what is there?"},
    ]
    assert [spec.name for spec in step.request.tools] == ["look", "poll"]
    assert step.request.settings.temperature == 0


def test_an_answer_ends_it() -> None:
    state = new()
    replied(state, {"content": "nothing"})
    assert decide(state, 1.0) == Finished()


def test_calls_are_run_whatever_finish_reason_claims() -> None:
    state = new()
    called(state, ToolCall("a", "look", "{}"), ToolCall("b", "poll", "{}"), finish_reason="stop")
    assert decide(state, 1.0) == RunTools(tuple(state.transcript.pending))
    assert [pending.call.id for pending in state.transcript.pending] == ["a", "b"]


def test_only_calls_without_a_result_are_run() -> None:
    state = new()
    called(state, ToolCall("a", "look", "{}"), ToolCall("b", "poll", "{}"))
    first, second = state.transcript.pending
    state.land(first, ToolResult("1"), now=1.0)
    assert decide(state, 1.0) == RunTools((second,))


def test_results_are_put_to_the_model() -> None:
    state = new()
    called(state, ToolCall("a", "look", "{}"))
    landed(state, [ToolResult("trees")])
    step = decide(state, 1.0)
    assert isinstance(step, CallModel)
    assert step.request.messages[-1] == {"role": "tool", "tool_call_id": "a", "content": "trees"}


def test_what_the_loop_said_is_put_to_the_model() -> None:
    state = new()
    replied(state, {"content": ""})
    step = decide(state, 1.0)
    state.tell(user(told(step)), at=1.0, now=1.0)
    assert isinstance(decide(state, 1.0), CallModel)


def test_a_call_that_was_cut_has_its_result_with_the_reply() -> None:
    state = new()
    called(state, ToolCall("a", "look", '{"pla'), finish_reason="length")
    assert state.transcript.pending == []
    assert state.transcript.messages[-1]["content"] == CUT
    assert isinstance(decide(state, 1.0), CallModel)
    assert state.tally.faults == 1


def test_the_whole_calls_before_a_cut_one_are_run() -> None:
    state = new()
    called(state, ToolCall("a", "poll"), ToolCall("b", "look", '{"pla'), finish_reason="length")
    assert [pending.call.id for pending in state.transcript.pending] == ["a"]
    landed(state, [ToolResult("not yet")])
    assert state.tally.faults == 0


@pytest.mark.parametrize(
    ("limits", "used", "name"),
    [
        (Limits(steps=1), Usage(1, 1, 2), "steps=1"),
        (Limits(tokens=15), Usage(10, 5, 15), "tokens=15"),
        (Limits(tokens=15), Usage(10, 5), "tokens=15"),
        (Limits(seconds=1.0), None, "seconds=1"),
    ],
)
def test_a_limit_is_checked_before_the_next_request(limits: Limits, used: Usage | None, name: str) -> None:
    state = new(limits=limits)
    replied(state, {**assistant(tool_calls=[ToolCall("a", "poll")]).data}, usage=used)
    if limits.seconds is None:
        landed(state, [ToolResult("not yet")])
    with pytest.raises(LimitReached, match=rf"limit {name}; raise it with Limits\({name.partition('=')[0]}=…\)"):
        decide(state, 2.0)


@pytest.mark.parametrize(("allowed", "ends"), [(3, "run"), (2, "stop")])
def test_the_limit_of_calls_counts_all_that_would_be_run(allowed: int, ends: str) -> None:
    state = new(limits=Limits(tool_calls=allowed))
    called(state, ToolCall("a", "poll"))
    landed(state, [ToolResult("not yet")])
    called(state, ToolCall("b", "poll"), ToolCall("c", "poll"))
    if ends == "run":
        assert isinstance(decide(state, 1.0), RunTools)
    else:
        with pytest.raises(LimitReached) as caught:
            decide(state, 1.0)
        assert (caught.value.limit, caught.value.value) == ("tool_calls", allowed)


def test_the_limit_of_calls_counts_those_of_a_reply_that_was_run_in_part() -> None:
    state = new(limits=Limits(tool_calls=2))
    called(state, *[ToolCall(name, "poll") for name in "abc"])
    for pending in state.transcript.pending[:2]:  # as under a higher limit, before a crash
        state.land(pending, ToolResult("not yet"), now=1.0)
    with pytest.raises(LimitReached, match="tool_calls=2"):
        decide(state, 1.0)


def test_a_call_again_and_again_gets_one_hint_and_is_stopped() -> None:
    state = new()
    looked(state, HINT_AFTER - 1)
    assert isinstance(decide(state, 1.0), CallModel)
    looked(state, 1)
    step = decide(state, 1.0)
    assert told(step).startswith("You have called look 3 times with the same arguments")
    state.tell(user("hint"), at=1.0, now=1.0)
    assert isinstance(decide(state, 1.0), CallModel)
    looked(state, STOP_AFTER - HINT_AFTER)
    with pytest.raises(LimitReached, match=r"look 5 times running.*@tool\(repeatable=True\)") as caught:
        decide(state, 1.0)
    assert (caught.value.limit, caught.value.value) == ("repeats", STOP_AFTER)


@pytest.mark.parametrize("between", ["another result", "another call", "no call"])
def test_only_calls_in_a_row_are_counted(between: str) -> None:
    state = new()
    looked(state, HINT_AFTER - 1)
    if between == "no call":
        replied(state, {"content": ""})
        state.tell(user("say something"), at=1.0, now=1.0)
    else:
        called(state, ToolCall("z", "look", '{"place":"x"}' if between == "another result" else '{"place":"y"}'))
        landed(state, [ToolResult("a tree" if between == "another result" else "nothing at x")])
    looked(state, 1)
    assert isinstance(decide(state, 1.0), CallModel)


def test_a_repeatable_tool_may_go_on() -> None:
    state = new()
    looked(state, STOP_AFTER + 1, "poll")
    assert isinstance(decide(state, 1.0), CallModel)


def test_bad_calls_in_a_row_end_it() -> None:
    state = new(limits=Limits(corrections=1))
    for number in range(2):
        assert isinstance(decide(state, 1.0), CallModel)
        called(state, ToolCall("a", "nope", f"{number}"))
        landed(state, [ToolResult("There is no tool 'nope'.", "not_run")])
    with pytest.raises(ModelError, match=r"wrong 2 times in a row: There is no tool 'nope'\."):
        decide(state, 1.0)


def test_a_good_call_forgives_the_bad_ones_before() -> None:
    state = new(limits=Limits(corrections=1))
    for status in ("not_run", "ok", "not_run"):
        called(state, ToolCall("a", "poll"))
        landed(state, [ToolResult("…", status)])
    assert isinstance(decide(state, 1.0), CallModel)


def test_fewer_corrections_on_going_on_count_for_those_that_were_made() -> None:
    state = new()
    for _ in range(2):
        called(state, ToolCall("a", "nope"))
        landed(state, [ToolResult("no", "not_run")])
    replied(state, {"content": ""})
    state.tell(user("say something"), at=1.0, now=1.0)
    state.plan.limits = Limits(corrections=0)
    with pytest.raises(ModelError, match="wrong 3 times in a row: no usable answer"):
        decide(state, 1.0)


@pytest.mark.parametrize(
    ("data", "finish_reason", "error", "words"),
    [
        ({"content": "no", "refusal": "I will not"}, "stop", ModelError, "the model refuses: I will not"),
        ({"content": "so"}, "content_filter", ContentFilterError, "content filter stopped the answer"),
        ({"content": "half"}, "length", ModelError, "cut off at the token limit; raise max_tokens"),
    ],
)
def test_an_answer_that_no_correction_can_mend(
    data: dict[str, Any], finish_reason: str, error: type[AgentKitError], words: str
) -> None:
    state = new(on_length="error")
    replied(state, data, finish_reason=finish_reason)
    with pytest.raises(error, match=words) as caught:
        decide(state, 1.0)
    text = caught.value.partial_text if isinstance(caught.value, ContentFilterError) else caught.value.text  # type: ignore[attr-defined]
    assert text == data["content"]


def test_a_cut_answer_is_returned_unless_it_is_not_wanted() -> None:
    state = new()
    replied(state, {"content": "half"}, finish_reason="length")
    assert decide(state, 1.0) == Finished()


@pytest.mark.parametrize("content", ["", " \n", None, []])
def test_an_empty_answer_is_corrected_once(content: Any) -> None:
    state = new()
    replied(state, {"content": content})
    step = decide(state, 1.0)
    assert told(step) == "Your last answer was empty. Answer the question, or call a tool."
    state.tell(user("…"), at=1.0, now=1.0)
    replied(state, {"content": content})
    with pytest.raises(ModelError, match="wrong 2 times in a row: Your last answer was empty"):
        decide(state, 1.0)


def test_an_empty_answer_is_not_corrected_where_no_correction_is_allowed() -> None:
    state = new(limits=Limits(corrections=0))
    replied(state, {"content": ""})
    with pytest.raises(ModelError, match="wrong 1 times in a row"):
        decide(state, 1.0)


def test_sound_is_an_answer() -> None:
    state = new()
    replied(state, {"content": None, "audio": {"id": "a1"}})
    assert decide(state, 1.0) == Finished()


@pytest.mark.parametrize(("choice", "wanted"), [("look", "the tool look"), ("required", "a tool")])
@pytest.mark.parametrize("finish_reason", ["stop", "length"])
def test_an_answer_in_place_of_a_forced_call_is_corrected(choice: str, wanted: str, finish_reason: str) -> None:
    state = new(settings={"tool_choice": choice}, limits=Limits(corrections=2))
    for _ in range(2):
        replied(state, {"content": "I know"}, finish_reason=finish_reason)
        step = decide(state, 1.0)
        assert told(step).startswith(f"You have to call {wanted} now")
        state.tell(user("call"), at=1.0, now=1.0)
    replied(state, {"content": "I still know"})
    with pytest.raises(ModelError, match="wrong 3 times in a row: You have to call") as caught:
        decide(state, 1.0)
    assert caught.value.text == "I still know"


@pytest.mark.parametrize(
    ("choice", "made", "still"),
    [
        ("look", "look", None),
        ("look", "poll", "look"),
        ("required", "poll", None),
        ("auto", "poll", "auto"),
        ("none", "poll", "none"),
        ({"type": "function", "function": {"name": "look"}}, "look", None),
    ],
)
def test_a_forced_choice_is_sent_until_the_call_was_made(choice: Any, made: str, still: str | None) -> None:
    state = new(settings={"tool_choice": choice})
    step = decide(state, 1.0)
    assert isinstance(step, CallModel)
    assert step.request.settings.tool_choice == choice
    called(state, ToolCall("a", made))
    landed(state, [ToolResult("ok")])
    step = decide(state, 1.0)
    assert isinstance(step, CallModel)
    assert step.request.settings.tool_choice == still


PAST: list[dict[str, Any]] = [
    {"role": "user", "content": "what is there?"},
    assistant(tool_calls=[ToolCall("a", "look")]).data,
    {"role": "tool", "tool_call_id": "a", "content": "trees"},
]


@pytest.mark.parametrize(
    ("past", "prompt", "forced"),
    [
        (PAST, None, None),
        (PAST[:2], None, None),
        (PAST[:1], None, "look"),
        (PAST, "and behind them?", "look"),
        ([*PAST, {"role": "user", "content": "and behind them?"}], None, "look"),
    ],
    ids=["answered", "pending", "only asked", "asked anew", "asked anew in the list"],
)
def test_a_call_in_a_plain_list_counts_until_the_next_question(
    past: list[dict[str, Any]], prompt: str | None, forced: str | None
) -> None:
    plan = Plan(tools_by_name([look]), settings=Settings(tool_choice="look"))
    state = State(plan, Transcript.load(past, trusted=True), prompt, new_run="r", at=1.0, began=0.0)
    assert state.forced == forced
    again = State(plan, Transcript.load(state.transcript.dump()), new_run="s", at=1.0, began=0.0)
    if prompt is not None or state.transcript.pending:
        assert again.forced == forced


def said(state: State, now: float) -> Any:
    """What comes next, or the error in its place, in a form that can be compared."""
    try:
        step = decide(state, now)
    except AgentKitError as error:
        return type(error), str(error)
    return (step, [pending.key for pending in step.calls]) if isinstance(step, RunTools) else step


@pytest.mark.parametrize("backwards", [False, True], ids=["in order", "backwards"])
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_a_loaded_state_says_the_same_at_every_point(scenario: Scenario, backwards: bool) -> None:
    agent = scenario.build(ScriptedModel(scenario.script()))
    stepper = Stepper(agent, "please", **scenario.run, tick=0.25, backwards=backwards)
    points = 0
    for state in stepper.states():
        again = stepper.again()
        assert again.transcript == state.transcript
        assert said(again, stepper.now) == said(state, stepper.now)
        points += 1
    assert points > 1 or isinstance(stepper.ended, AgentKitError)
    if not scenario.over_the_wire_only and agent.on_tool_error == "tell":
        if isinstance(scenario.ends, str):
            assert stepper.ended == Finished()
        else:
            assert type(stepper.ended) is scenario.ends
