"""replay_run: a recorded conversation with other tools, and each kind of difference with its words."""

from __future__ import annotations

from typing import Any

import pytest
from inline_snapshot import snapshot

from agentkit import Agent, Approve, Deny, Transcript, tool
from agentkit.errors import UsageError
from agentkit.testing import ScriptedModel, call, calls, override, replay_run, say

Tools = list[Any]


def convert(amount: float) -> float:
    """Convert money."""
    return amount * 2


def look_up(city: str) -> str:
    """Look a city up."""
    return f"{city} is\nlarge"


@tool(approval=True)
def send(to: str) -> str:
    """Send a mail."""
    return "sent"


TOOLS: Tools = [convert, look_up, send]


def recorded(*steps: Any, tools: Tools = TOOLS, prompts: int = 1, **args: Any) -> Transcript:
    agent = Agent(ScriptedModel([*steps]), tools=tools)
    transcript = Transcript()
    for number in range(prompts):
        transcript = agent.run_sync(f"prompt {number}", transcript=transcript, **args).transcript
    return Transcript.load(transcript.dump())


def now(tools: Tools, **args: Any) -> Agent[Any, Any]:
    return Agent("openai:gpt-5-mini", tools=tools, **args)


BEFORE = recorded(calls(call("convert", amount=2), call("look_up", city="Rome")), "done")


def test_without_a_change_nothing_differs() -> None:
    differences = replay_run(BEFORE, now(TOOLS, instructions="Be kind."))
    assert not differences
    assert str(differences) == "no differences"


def test_another_result() -> None:
    @tool(name="convert")
    def other(amount: float) -> float:
        return amount * 3

    @tool(name="look_up")
    def smaller(city: str) -> str:
        return f"{city} is\nsmall"

    assert str(replay_run(BEFORE, now([other, smaller]))) == snapshot("""\
turn 1, convert({"amount": 2}): result
- 4.0
+ 6.0
turn 1, look_up({"city": "Rome"}): result
--- recorded
+++ now
@@ -1,2 +1,2 @@
 Rome is
-large
+small""")


def test_a_tool_that_is_gone() -> None:
    (difference,) = replay_run(BEFORE, now([look_up]))
    assert (difference.kind, difference.turn, difference.before) == ("missing tool", 1, "ok: 4.0")
    assert difference.after == "not_run: There is no tool 'convert'. The tools are: look_up."


def test_arguments_that_do_not_fit_any_more() -> None:
    @tool(name="convert")
    def other(amount: str, source: str) -> str:
        return amount

    (difference,) = replay_run(BEFORE, now([other, look_up]))
    assert difference.kind == "arguments"
    assert "`source`" in difference.after


def test_a_tool_that_fails_now() -> None:
    @tool(name="convert")
    def broken(amount: float) -> float:
        raise KeyError("rates")

    (difference,) = replay_run(BEFORE, now([broken, look_up]))
    assert (difference.kind, difference.after[:7]) == ("status", "failed:")


def test_a_call_that_waits_now_is_not_run() -> None:
    @tool(name="convert", approval=True)
    def guarded(amount: float) -> float:
        raise AssertionError("it ran")

    (difference,) = replay_run(BEFORE, now([guarded, look_up]))
    assert str(difference) == snapshot("""\
turn 1, convert({"amount": 2}): approval
- it ran
+ it waits for a decision""")


@pytest.mark.parametrize("decision", [Approve(), Approve({"to": "Bob"}), Deny("no")])
def test_decisions_are_those_that_were_recorded(decision: Any) -> None:
    before = recorded(call("send", to="Ada"), "done", approve=lambda _: decision)
    assert not replay_run(before, now(TOOLS))


def test_several_prompts() -> None:
    before = recorded(call("convert", amount=1), "one", call("convert", amount=2), "two", prompts=2)
    assert not replay_run(before, now(TOOLS))

    @tool(name="convert")
    def other(amount: float) -> float:
        return 2.0

    assert [(each.turn, each.after) for each in replay_run(before, now([other]))] == [(2, "2.0")]


def test_an_answer_that_is_not_taken_any_more() -> None:
    before = recorded('{"n": "x"}')
    (difference,) = replay_run(before, now([], output=dict[str, int]))
    assert (difference.kind, difference.before) == ("asked", "the run was over")
    assert difference.after.startswith("the model is asked once more than it was: ")


def test_an_answer_that_is_taken_sooner() -> None:
    agent = Agent(ScriptedModel(["one", "two"]), validators=[_no_one])
    before = agent.run_sync("go").transcript
    first, second = replay_run(before, now([]))
    assert (first.kind, first.before, first.after) == ("answer", "two", "one")
    assert (second.kind, second.before) == ("unasked", "asked 1 time more")


def _no_one(text: str) -> str:
    from agentkit import Retry

    if text == "one":
        raise Retry("not one")
    return text


def test_a_run_that_ends_with_an_error() -> None:
    @tool(name="convert")
    def broken(amount: float) -> float:
        raise KeyError("rates")

    *_, last = replay_run(BEFORE, now([broken, look_up], on_tool_error="raise"))
    assert last.kind == "end"
    assert last.after.startswith("ToolFailed: ")


def test_agents_that_were_asked_are_asked_again() -> None:
    def with_helper(*tools: Any, script: Any = ()) -> Any:
        return Agent(ScriptedModel(script), tools=tools, name="helper").as_tool()

    helper = with_helper(convert, script=[call("convert", amount=2), "4"])
    before = recorded(call("helper", prompt="2?"), "done", tools=[helper])
    assert not replay_run(before, now([with_helper(convert)]))

    @tool(name="convert")
    def other(amount: float) -> float:
        return 5.0

    (difference,) = replay_run(before, now([with_helper(other)]))
    assert (difference.where, difference.before, difference.after) == ('convert({"amount": 2})', "4.0", "5.0")


def test_tools_of_override_stand_in() -> None:
    @tool(name="convert")
    def fake(amount: float) -> float:
        return 4.0

    def real(amount: float) -> float:
        raise AssertionError("it ran")

    with override(tools=[fake]):
        assert not replay_run(BEFORE, now([tool(name="convert")(real), look_up]))


def test_a_transcript_without_replies_is_refused() -> None:
    with pytest.raises(UsageError, match="nothing to run again"):
        replay_run(Transcript.load([{"role": "user", "content": "x"}]), now([]))


def test_long_texts_are_cut() -> None:
    @tool(name="look_up")
    def other(city: str) -> str:
        return "x" * 1000

    before = recorded(call("look_up", city="a"), say("done"), tools=[tool(name="look_up")(lambda city: "y" * 1000)])
    (difference,) = replay_run(before, now([other]))
    assert max(map(len, str(difference).splitlines())) < 210
