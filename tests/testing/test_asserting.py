"""Assertions on calls: what passes, and what they say when they do not."""

from __future__ import annotations

from typing import Any

import pytest
from inline_snapshot import snapshot

from agentkit import Agent, Approve, Deny, Result, Transcript, tool
from agentkit.errors import LimitReached, UsageError
from agentkit.policy import Limits
from agentkit.testing import ScriptedModel, assert_called, assert_not_called, assert_order, call, calls


def convert(amount: float, source: str = "EUR", exact: bool = False) -> float:
    """Convert money."""
    return amount * 2


def look_up(city: str) -> str:
    """Look a city up."""
    return city.upper()


@tool(name="send_mail", approval=True)
def send(to: str) -> str:
    """Send a mail."""
    return "sent"


def ran(*steps: Any, **args: Any) -> Result[Any]:
    return Agent(ScriptedModel([*steps, "done"]), tools=[convert, look_up, send]).run_sync("go", **args)


def said(check: Any) -> str:
    with pytest.raises(AssertionError) as raised:
        check()
    return str(raised.value)


RESULT = ran(calls(call("convert", amount=2), call("look_up", city="Rome")), call("convert", amount=3, source="USD"))


def test_calls_are_found_by_function_tool_and_name() -> None:
    assert [each.call.parsed for each in assert_called(RESULT, convert)] == [
        {"amount": 2},
        {"amount": 3, "source": "USD"},
    ]
    assert_called(RESULT, "look_up", city="Rome")
    assert_called(RESULT, tool(look_up), {"city": "Rome"})
    assert_called(RESULT, convert, amount=pytest.approx(2.0000001))
    assert_called(RESULT.transcript, convert, {"amount": 3, "source": "USD"})
    assert_called(Transcript.load(RESULT.transcript.dump()), convert, {"amount": 3}, source="USD")
    assert_not_called(RESULT, convert, amount=4)
    assert_not_called(RESULT, convert, {"amount": 3})
    assert_not_called(RESULT, send)
    assert_order(ran(call("look_up", city="a"), call("convert", amount=1)), look_up, convert)


def test_other_arguments() -> None:
    assert said(lambda: assert_called(RESULT, convert, amount=20, source="USD")) == snapshot("""\
convert was not called with amount=20, source='USD'; its calls:
  1. convert(amount=2) → ok
  2. convert(amount=3, source='USD') → ok
nearest is call 2:
  - amount is 3, not 20""")


def test_not_all_arguments() -> None:
    assert said(lambda: assert_called(RESULT, convert, {"amount": 3})) == snapshot("""\
convert was not called with exactly amount=3; its calls:
  1. convert(amount=2) → ok
  2. convert(amount=3, source='USD') → ok
nearest is call 1:
  - amount is 2, not 3""")
    assert "- source was given too: 'USD'" in said(
        lambda: assert_called(ran(call("convert", amount=3, source="USD")), convert, {"amount": 3})
    )
    assert "exactly no arguments" in said(lambda: assert_called(RESULT, convert, {}))
    assert "- source was not given" in said(lambda: assert_called(RESULT, convert, amount=2, source="EUR"))


def test_another_name() -> None:
    assert said(lambda: assert_called(RESULT, "lookup")) == snapshot("""\
lookup was not called (did you mean 'look_up'?); what was called:
  1. convert(amount=2) → ok
  2. look_up(city='Rome') → ok
  3. convert(amount=3, source='USD') → ok""")


def test_no_call_at_all() -> None:
    assert said(lambda: assert_called(ran(), convert)) == "convert was not called: no tool was"


def test_what_did_not_run_was_not_called() -> None:
    result = ran(call("convert", amount="x"), call("send_mail", to="Ada"), approve=lambda _: Deny("no"))
    assert_not_called(result, send)
    assert said(lambda: assert_called(result, send)) == snapshot("""\
send_mail was not called: the model asked for it, but it did not run:
  1. send_mail(to='Ada') → denied: 'This call was denied: no'""")
    assert "the model asked for it, but it did not run" in said(lambda: assert_called(result, convert))


def test_a_call_that_waits_was_not_called() -> None:
    result = ran(call("send_mail", to="Ada"))
    assert result.status == "paused"
    assert "send_mail(to='Ada') → no result yet" in said(lambda: assert_called(result, send))


def test_the_arguments_of_whoever_approved_count() -> None:
    result = ran(call("send_mail", to="Ada"), approve=lambda _: Approve({"to": "Bob"}))
    assert_called(result, send, to="Bob")
    assert_not_called(result, send, to="Ada")


def test_true_is_not_one() -> None:
    assert_called(ran(call("convert", amount=1, exact=True)), convert, exact=True)
    assert_not_called(ran(call("convert", amount=1, exact=True)), convert, exact=1)


def test_a_call_too_many() -> None:
    assert said(lambda: assert_not_called(RESULT, convert, amount=3)) == snapshot("""\
convert was called with amount=3:
  1. convert(amount=3, source='USD') → ok""")
    assert said(lambda: assert_not_called(RESULT, look_up)).startswith("look_up was called:\n")


def test_the_wrong_order() -> None:
    result = ran(call("convert", amount=1), call("look_up", city="Rome"))
    assert_order(result, convert, look_up)
    assert said(lambda: assert_order(result, look_up, convert)) == snapshot("""\
convert was called before look_up; in order:
  1. convert(amount=1) → ok
  2. look_up(city='Rome') → ok""")


def test_side_by_side_is_no_order() -> None:
    text = said(lambda: assert_order(RESULT, convert, look_up))
    assert text.startswith("convert and look_up were called in the same message, side by side; in order:\n")


def test_an_order_needs_each_to_be_called() -> None:
    assert said(lambda: assert_order(RESULT, convert, send)).startswith("send_mail was not called; what was called:")
    with pytest.raises(UsageError, match="two tools or more"):
        assert_order(RESULT, convert)


def test_calls_of_agents_that_were_asked_count() -> None:
    helper = Agent(ScriptedModel([call("look_up", city="Rome"), "Rome"]), tools=[look_up], name="helper").as_tool()
    result = Agent(ScriptedModel([call("helper", prompt="where?"), "done"]), tools=[helper]).run_sync("go")
    assert_called(result, look_up, city="Rome")
    assert_order(result, "helper", look_up)


def test_only_this_runs_calls_count() -> None:
    again = Agent(ScriptedModel(["done"])).run_sync("more", transcript=RESULT.transcript)
    assert_not_called(again, convert)
    assert_called(again.transcript, convert)


def test_an_error_of_a_run_has_its_calls() -> None:
    with pytest.raises(LimitReached) as raised:
        ran(call("convert", amount=1), call("convert", amount=2), limits=Limits(steps=1))
    assert_called(raised.value, convert, amount=1)


def test_something_else_is_refused() -> None:
    with pytest.raises(UsageError, match="a Result, a Transcript or an error"):
        assert_called("text", convert)  # type: ignore[arg-type]


def test_long_lists_and_values_are_cut() -> None:
    many = Agent(
        ScriptedModel([calls(*(call("look_up", city=f"{n}" * 90) for n in range(30))), "done"]), tools=[look_up]
    )
    text = said(lambda: assert_called(many.run_sync("go"), look_up, city="x" * 500))
    assert "… and 10 more" in text
    assert max(map(len, text.splitlines())) < 320
