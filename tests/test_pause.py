"""Runs that pause for decisions and go on: each decision, however it is given, wherever the call is made."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from agentkit import Agent, Answer, Approve, Context, Deny, Limits, Result, ToolCall, Transcript, tool
from agentkit.errors import LimitReached, UsageError
from agentkit.events import Nested, RunFinished, ToolFinished, ToolStarted
from agentkit.landing import UNKNOWN
from agentkit.testing import call, calls, fixed_clock
from tests.drivers import DRIVERS, outcome, some_driver
from tests.pausing import ASKED, SHAPES, Ran, Told, by_turn, plain, twice, within
from tests.test_scenarios import assert_each_call_has_one_result

drivers = pytest.mark.parametrize("driver", DRIVERS)
shapes = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)

CHANGED = 'The arguments were changed before the call was made. It was called with: {"amount":2}\npaid 2'
# The decision; the result that the call has by it, and what was paid.
DECISIONS: dict[str, tuple[Any, tuple[str, str], list[float]]] = {
    "approved": (Approve(), ("ok", "paid 3"), [3]),
    "approved with others": (Approve({"amount": 2}), ("ok", CHANGED), [2]),
    "approved with wrong ones": (Approve({"amount": "x"}), ("not_run", ""), []),
    "True": (True, ("ok", "paid 3"), [3]),
    "False": (False, ("denied", "This call was denied."), []),
    "denied": (Deny(), ("denied", "This call was denied."), []),
    "denied with a reason": (Deny("too much"), ("denied", "This call was denied: too much"), []),
    "answered": (Answer("by hand"), ("ok", "by hand"), []),
    "answered with a value": (Answer({"paid": [3]}), ("ok", '{"paid":[3]}'), []),
}
decisions = pytest.mark.parametrize("decided", DECISIONS)


def reloaded(transcript: Transcript | None) -> Transcript:
    """A transcript after its dump, which is the same."""
    assert transcript is not None
    loaded = Transcript.load(transcript.dump())
    assert loaded == transcript
    assert loaded.dump() == transcript.dump()
    return loaded


def said(result: Result) -> list[dict[str, Any]]:
    """The conversation. A stream leaves out what a whole body has as null."""
    return [{name: value for name, value in m.items() if value is not None} for m in result.transcript.messages]


def check_end(result: Result, expected: tuple[str, str], paid: list[float], ran: Ran) -> None:
    assert (result.status, result.output, result.pending) == ("done", "done", ())
    status, content = Told(result.transcript).result("pay")
    assert status == expected[0]
    assert content == expected[1] or not expected[1]
    assert [amount for _, amount, _ in ran] == paid
    assert_each_call_has_one_result(result.transcript.messages)
    reloaded(result.transcript)


@pytest.mark.sampled(90, each="driver+shape decided")
@drivers
@shapes
@decisions
def test_decided_after_a_pause(decided: str, shape: Callable[..., Agent[Any]], driver: str) -> None:
    decision, expected, paid = DECISIONS[decided]
    ran: Ran = []
    paused = DRIVERS[driver](shape(), "please", deps=ran)
    assert paused.status == "paused"
    (pending,) = paused.pending
    assert (pending.call.name, pending.hold) == ("pay", "approval")
    assert Told(paused.transcript).records[pending.id].call == pending.call
    assert pending.id == "/".join((*pending.path, pending.call.id))
    assert ran == []
    # what waits for nothing is done
    assert all(each.result for each in Told(paused.transcript).records.values() if each.call.name == "look")
    with pytest.raises(UsageError, match=rf"paused, since these calls wait for a decision: pay \({pending.id}\)"):
        _ = paused.output
    given = {pending.id: decision} if driver == "sync" else decision
    result = DRIVERS[driver](shape(), None, transcript=reloaded(paused.transcript), deps=ran, decisions=given)
    check_end(result, expected, paid, ran)
    assert [key for _, _, key in ran] == [pending.key] * len(paid)
    # and the paused transcript can be decided otherwise
    assert Told(paused.transcript).of("pay").result is None


def approve_always(call: ToolCall) -> bool:
    return call.name == "pay"


async def approve_async(call: ToolCall) -> bool:
    return call.name == "pay"


def deny_by_context(context: Context[Ran], call: ToolCall) -> bool:
    assert context.call == call
    assert context.deps == []
    assert context.idempotency_key
    assert context.transcript.pending
    return False


INLINE: dict[str, tuple[Callable[..., Any], tuple[str, str], list[float]]] = {
    "True": (approve_always, ("ok", "paid 3"), [3]),
    "True, awaited": (approve_async, ("ok", "paid 3"), [3]),
    "False, with the context": (deny_by_context, ("denied", "This call was denied."), []),
    **{name: (lambda _, d=each[0]: d, *each[1:]) for name, each in DECISIONS.items()},
}


@pytest.mark.sampled(90, each="driver+shape decided")
@drivers
@shapes
@pytest.mark.parametrize("decided", INLINE)
def test_decided_on_the_way(decided: str, shape: Callable[..., Agent[Any]], driver: str) -> None:
    approve, expected, paid = INLINE[decided]
    ran: Ran = []
    check_end(DRIVERS[driver](shape(), "please", deps=ran, approve=approve), expected, paid, ran)


@drivers
@shapes
def test_a_function_that_leaves_it_open_is_asked_once_a_run(shape: Callable[..., Agent[Any]], driver: str) -> None:
    asked: list[str] = []
    ran: Ran = []

    def approve(call: ToolCall) -> bool | None:
        asked.append(call.name)
        return True if len(asked) > 2 else None

    paused = DRIVERS[driver](shape(), "please", deps=ran, approve=approve)
    assert (paused.status, asked) == ("paused", ["pay"])
    again = DRIVERS[driver](shape(), None, transcript=reloaded(paused.transcript), deps=ran, approve=approve)
    assert (again.status, asked) == ("paused", ["pay"] * 2)
    assert again.pending == paused.pending
    assert said(again) == said(paused)
    result = DRIVERS[driver](shape(), None, transcript=reloaded(again.transcript), deps=ran, approve=approve)
    check_end(result, ("ok", "paid 3"), [3], ran)
    assert asked == ["pay"] * 3


MANY = calls(
    call("pay", amount=1), call("ask_user", question="which?"), call("lend", amount=100), call("lend", amount=1)
)


@shapes
@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
def test_decided_one_by_one_in_any_order(shape: Callable[..., Agent[Any]], order: tuple[int, ...]) -> None:
    driver = some_driver(f"{shape.__name__} {order}")
    ran: Ran = []
    result = driver(shape(MANY), "please", deps=ran)
    holds = [(each.call.name, each.hold) for each in result.pending]
    assert holds == [("pay", "approval"), ("ask_user", "answer"), ("lend", "approval")]
    assert [amount for _, amount, _ in ran] == [1]
    ids = [each.id for each in result.pending]
    how = [Approve(), Answer("this one"), Deny("no")]
    for left, index in enumerate(order):
        assert [each.id for each in result.pending] == [
            each for each in ids if each not in {ids[i] for i in order[:left]}
        ]
        given = {ids[index]: how[index]}
        result = driver(shape(MANY), None, transcript=reloaded(result.transcript), deps=ran, decisions=given)
    assert result.output == "done"
    contents = [each.result.content for each in Told(result.transcript).records.values() if each.hold and each.result]
    assert contents[-3:] == ["paid 1", "this one", "This call was denied: no"]
    assert sorted(ran)[1:] == [("pay", 1, ran[-1][2])]


@shapes
def test_all_at_once_and_some_on_the_way(shape: Callable[..., Agent[Any]]) -> None:
    ran: Ran = []

    def approve(call: ToolCall) -> Any:
        return Answer("inline") if call.name == "ask_user" else None

    result = some_driver(shape.__name__)(shape(MANY), "please", deps=ran, approve=approve)
    assert [each.call.name for each in result.pending] == ["pay", "lend"]
    result = shape(MANY).run_sync(transcript=result.transcript, deps=ran, decisions=Deny("nothing"))
    assert result.output == "done"
    assert Told(result.transcript).result("ask_user") == ("ok", "inline")


@drivers
def test_the_call_of_a_sub_agent_may_need_an_approval_itself(driver: str) -> None:
    def make() -> Agent[Any]:
        made = plain().as_tool(approval=True)
        return Agent(by_turn(call("plain", prompt="do"), "done"), tools=[made])

    ran: Ran = []
    result = DRIVERS[driver](make(), "please", deps=ran)
    assert [each.call.name for each in result.pending] == ["plain"]
    args = {"transcript": reloaded(result.transcript), "decisions": Approve({"prompt": "do it"})}
    result = DRIVERS[driver](make(), None, deps=ran, **args)
    assert [each.call.name for each in result.pending] == ["pay"]
    inner = Told(result.transcript).of("plain").transcript
    assert inner is not None
    assert inner.messages[0]["content"] == "do it"
    result = DRIVERS[driver](make(), None, deps=ran, transcript=reloaded(result.transcript), decisions=Approve())
    check_end(result, ("ok", "paid 3"), [3], ran)


# What is refused

EXTERNAL = call("ask_user", question="which?")
WRONG: dict[str, tuple[Any, dict[str, Any], str]] = {
    "no such call": (
        ASKED,
        {"decisions": {"x": Approve()}},
        "no call 'x' waits for a decision; those that do: 'call_2' (pay)",
    ),
    "a call that is done": (ASKED, {"decisions": {"call_1": Deny()}}, "no call 'call_1' waits for a decision"),
    "nothing that runs": (
        EXTERNAL,
        {"decisions": {"call_1": Approve()}},
        "ask_user (call_1) has no function that an approval could run: decide it with Answer(value) or Deny(…)",
    ),
    "nothing that runs, for all": (MANY, {"decisions": Approve()}, "ask_user (call_2) has no function"),
    "nothing that runs, on the way": (EXTERNAL, {"approve": lambda _: True}, "ask_user (call_1) has no function"),
    "no decision": (
        ASKED,
        {"decisions": {"call_2": 3}},
        "a decision is Approve(), Deny(…), Answer(…) or a bool, not 3 for 'call_2'",
    ),
    "no decision for all": (
        ASKED,
        {"decisions": "yes"},
        "a decision is Approve(), Deny(…), Answer(…) or a bool, not 'yes'",
    ),
    "a word": (ASKED, {"approve": lambda _: "yes"}, "the approve function gave 'yes' for pay (call_2)"),
    "a function that fails": (ASKED, {"approve": lambda _: 1 // 0}, "<lambda> failed with ZeroDivisionError"),
    "no function": (ASKED, {"approve": True}, "approve is a function, not True"),
    "one of no call": (ASKED, {"approve": lambda: True}, "it is called with 1, or with 2, the first a Context"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_decided_is_refused_by_name(name: str) -> None:
    script, args, words = WRONG[name]
    paused = plain(script).run_sync("please", deps=[])
    before = paused.transcript.dump()
    for driver in {"sync": DRIVERS["sync"], "some": some_driver(name)}.values():
        ran: Ran = []
        error = outcome(driver, plain(script), None, transcript=paused.transcript, deps=ran, **args)
        assert type(error) is UsageError
        assert words in str(error)
        assert ran == []
        assert paused.transcript.dump() == before


@pytest.mark.parametrize(
    "given", [Approve(), {"call_2": Approve()}, {"call_9": Answer(1)}], ids=["for all", "for one", "for none"]
)
def test_where_nothing_is_pending_nothing_can_be_decided(given: Any) -> None:
    done = plain("hello").run_sync("please", deps=[])
    for args in ({"transcript": done.transcript}, {}):
        for prompt in (None, "more"):
            if prompt or args:
                with pytest.raises(UsageError, match="waits for a decision"):
                    plain().run_sync(prompt, decisions=given, **args)


def test_arguments_are_a_mapping_of_json() -> None:
    with pytest.raises(UsageError, match=r"takes a mapping of arguments, not \[1\]"):
        Approve([1])  # type: ignore[arg-type]  # it is what is refused
    paused = plain().run_sync("please", deps=[])
    with pytest.raises(UsageError, match=r"Approve\(arguments=…\) for 'call_2': they cannot be written as JSON"):
        plain().run_sync(transcript=paused.transcript, decisions=Approve({"amount": object()}), deps=[])


@shapes
def test_a_prompt_needs_all_decisions_beside_it(shape: Callable[..., Agent[Any]]) -> None:
    ran: Ran = []
    paused = shape(MANY, "and more").run_sync("please", deps=ran)
    ids = {each.call.name: each.id for each in paused.pending}
    for given in (None, {ids["pay"]: Approve()}):
        with pytest.raises(UsageError, match=r"these calls wait for a decision: .*ask_user"):
            shape(MANY).run_sync("now?", transcript=paused.transcript, decisions=given, deps=ran)
    given = {ids["pay"]: Approve(), ids["ask_user"]: Answer("this"), ids["lend"]: Deny()}
    result = some_driver(shape.__name__)(
        shape(MANY), "now?", transcript=reloaded(paused.transcript), decisions=given, deps=ran
    )
    assert result.output == "done"
    assert result.transcript.messages[-2] == {"role": "user", "content": "now?"}
    assert_each_call_has_one_result(result.transcript.messages)
    assert Told(result.transcript).result("pay") == ("ok", "paid 1")


# What is told, used and limited


def kinds(events: list[Any]) -> list[str]:
    """What was told, in short; what was told of pieces of replies left out."""
    named: list[str] = []
    for event in events:
        prefix, told = "", event
        while isinstance(told, Nested):
            prefix, told = prefix + ">", told.event
        if isinstance(told, ToolStarted | ToolFinished):
            named.append(f"{prefix}{type(told).__name__} {told.call.name}")
        elif not type(told).__name__.endswith("Delta"):
            named.append(prefix + type(told).__name__)
    return named


@drivers
def test_what_is_told(driver: str) -> None:
    events: list[Any] = []
    paused = DRIVERS[driver](plain(), "please", deps=[], on_event=events.append)
    assert (
        kinds(events) == ["StepFinished", "ToolStarted look", "ToolFinished look", "RunFinished"] or "stream" in driver
    )
    assert isinstance(events[-1], RunFinished)
    assert events[-1].result == paused
    expected = {
        "approved": (Approve(), ["ToolStarted pay", "ToolFinished pay"]),
        "denied": (Deny(), ["ToolFinished pay"]),
        "answered": (Answer(1), ["ToolFinished pay"]),
    }
    for decision, told in expected.values():
        for given in ({"decisions": decision}, {"approve": lambda _, d=decision: d}):
            events.clear()
            DRIVERS[driver](plain(), None, transcript=paused.transcript, deps=[], on_event=events.append, **given)
            assert kinds(events) == [*told, "StepFinished", "RunFinished"]


@drivers
def test_what_is_told_of_a_sub_agent(driver: str) -> None:
    events: list[Any] = []
    paused = DRIVERS[driver](within(), "please", deps=[], on_event=events.append)
    assert kinds(events)[:2] == ["StepFinished", "ToolStarted plain"]
    assert sorted(kinds(events)[2:-1]) == [">StepFinished", ">ToolFinished look", ">ToolStarted look"]
    events.clear()
    DRIVERS[driver](within(), None, transcript=paused.transcript, deps=[], on_event=events.append, decisions=Approve())
    assert kinds(events) == [
        "ToolStarted plain",
        ">ToolStarted pay",
        ">ToolFinished pay",
        ">StepFinished",
        "ToolFinished plain",
        "StepFinished",
        "RunFinished",
    ]


@shapes
def test_a_pause_changes_nothing_of_what_is_used(shape: Callable[..., Agent[Any]]) -> None:
    driver = some_driver(f"used {shape.__name__}")
    with fixed_clock():
        whole = driver(shape(), "please", deps=[], approve=approve_always)
    with fixed_clock():
        paused = driver(shape(), "please", deps=[])
        result = driver(shape(), None, transcript=reloaded(paused.transcript), deps=[], decisions=Approve())
    assert paused.usage.total_tokens < whole.usage.total_tokens
    assert result.usage == whole.usage
    assert [each.call for each in result.tool_calls] == [each.call for each in whole.tool_calls]
    assert result.transcript.messages == whole.transcript.messages
    assert result.agent == whole.agent


@shapes
@pytest.mark.parametrize("name", ["steps", "tokens", "tool_calls"])
def test_limits_hold_over_a_pause(shape: Callable[..., Agent[Any]], name: str) -> None:
    driver = some_driver(f"{name} {shape.__name__}")
    paused = driver(shape(), "please", deps=[])
    used = {
        "steps": paused.usage.total_tokens // 15,
        "tokens": paused.usage.total_tokens,
        "tool_calls": sum(each.result is not None for each in Told(paused.transcript).records.values()),
    }
    limits = Limits(**{name: used[name]})
    ran: Ran = []
    args = {"transcript": reloaded(paused.transcript), "deps": ran, "decisions": Approve(), "limits": limits}
    error = outcome(driver, shape(), None, **args)
    if name == "tool_calls" and isinstance(error, Result):
        # within a sub-agent it is told of the limit, and the caller has nothing more to call
        assert shape in (within, twice)
        assert "tool_calls" in str(Told(error.transcript).records)
    else:
        assert isinstance(error, LimitReached)
        assert (error.limit, error.value) == (name, used[name])
    assert len(ran) == (name != "tool_calls")


def test_time_that_is_spent_waiting_does_not_count() -> None:
    with fixed_clock() as clock:

        @tool(approval=True)
        def slow() -> str:
            """Take five seconds."""
            clock.at += 5
            return "slow"

        def make(**args: Any) -> Agent[Any]:
            return Agent(by_turn(call("slow"), call("slow"), "done"), tools=[slow], **args)

        result = make(limits=Limits(seconds=9)).run_sync("please")
        for _ in range(2):
            clock.at += 1000
            args = {"transcript": reloaded(result.transcript), "decisions": Approve()}
            result = outcome(DRIVERS["sync"], make(limits=Limits(seconds=9)), None, **args)
        assert isinstance(result, LimitReached)
        assert result.limit == "seconds"


# Calls that nobody knows the outcome of


def test_a_call_of_unknown_outcome_is_put_to_the_caller() -> None:
    ran: Ran = []
    paused = plain().run_sync("please", deps=ran)
    seen: list[str] = []

    def stop(event: Any) -> None:
        if isinstance(event, ToolStarted):
            seen.append(died.transcript.dump())

    with plain().stream_sync(transcript=paused.transcript, decisions=Approve({"amount": 2}), deps=ran) as died:
        for event in died:
            stop(event)
    for decision, content, paid in (
        (Approve(), CHANGED, 2),
        (Approve({"amount": 1}), CHANGED.replace("2", "1"), 1),
        (Deny("leave it"), "This call was denied: leave it", None),
        (Answer("it was done"), "it was done", None),
    ):
        for driver in DRIVERS.values():
            ran = []
            found = driver(plain(), None, transcript=Transcript.load(seen[0]), deps=ran)
            assert [(each.call.name, each.hold) for each in found.pending] == [("pay", "unknown")]
            assert ran == []
            args = {"transcript": reloaded(found.transcript), "decisions": decision}
            result = driver(plain(), None, deps=ran, **args)
            assert Told(result.transcript).of("pay").result.content == content  # type: ignore[union-attr]
            assert ran == ([] if paid is None else [("pay", paid, found.pending[0].key)])
            # decided at once, without a run that finds it first
            args = {"transcript": Transcript.load(seen[0]), "decisions": decision}
            assert driver(plain(), None, deps=[], **args).transcript.messages == result.transcript.messages


@pytest.mark.parametrize(("on_unknown", "status"), [("retry", "ok"), ("fail", "failed")])
@pytest.mark.parametrize("dynamic", [False, True])
def test_or_what_its_tool_says_becomes_of_it(on_unknown: Any, status: str, dynamic: bool) -> None:
    @tool(on_unknown=on_unknown, enabled=(lambda: True) if dynamic else True)
    def act() -> str:
        """Act."""
        return "acted"

    agent = Agent(by_turn(call("act"), "done"), tools=[act])
    with agent.stream_sync("please") as run:
        (dump,) = [run.transcript.dump() for event in run if isinstance(event, ToolStarted)]
    result = agent.run_sync(transcript=Transcript.load(dump))
    assert Told(result.transcript).result("act") == (status, "acted" if status == "ok" else UNKNOWN)


# Prefixes


@shapes
def test_from_every_event_on_it_goes_on_to_the_same_end(shape: Callable[..., Agent[Any]]) -> None:
    dumps: list[str] = []
    with shape().stream_sync("please", deps=[], approve=approve_always) as run:
        dumps.extend(run.transcript.dump() for _ in run)
    whole = run.result
    assert len(set(dumps)) > 4
    for index, dump in enumerate(dict.fromkeys(dumps)):
        driver = some_driver(f"{shape.__name__} {index}")
        ran: Ran = []
        result = driver(shape(), None, transcript=Transcript.load(dump), deps=ran, approve=lambda _: True)
        assert result.output == "done"
        assert said(result) == said(whole)
        assert len(ran) <= 1
