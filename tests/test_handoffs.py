"""Hand-offs: what changes by one and what does not, which counts, and that any process goes on with the right agent."""

from __future__ import annotations

from typing import Any

import pytest

from agentkit import Agent, Answer, Approve, ChatModel, Deny, Handoff, Limits, Result, Retry, Transcript, tool
from agentkit.errors import Blocked, LimitReached, ModelError, ToolFailed, UsageError
from agentkit.events import HandedOff, StepFinished, ToolFinished
from agentkit.guards import Refuse
from agentkit.landing import ONE_HANDOFF
from agentkit.testing import FakeEndpoint, ScriptedModel, call, calls
from tests.drivers import DRIVERS, outcome, some_driver
from tests.pausing import Told, by_turn
from tests.test_pause import kinds, said
from tests.test_scenarios import assert_each_call_has_one_result

drivers = pytest.mark.parametrize("driver", DRIVERS)


def own() -> str:
    """The desk's own."""
    return "own"


@tool(exclusive=True)
def alone() -> str:
    """The desk's own, alone."""
    return "alone"


async def own_async() -> str:
    """The desk's own, awaited."""
    return "awaited"


def theirs() -> str:
    """The other's."""
    return "theirs"


DESK = [own, alone, own_async]


def desk_and_other(*first: Any, then: Any = "I am the other.", **args: Any) -> tuple[Agent[Any], ScriptedModel]:
    """A desk that hands over to another; and the other's model."""
    model = by_turn(*[None] * len(first), then, "And still.")
    other = Agent(model, name="other", instructions="You are the other.", tools=[theirs], settings={"temperature": 0.5})
    handoffs = args.pop("handoffs", [other])
    args = {"tools": DESK, "instructions": "You are the desk.", "settings": {"temperature": 1.0, "seed": 1}, **args}
    return Agent(by_turn(*first), name="desk", handoffs=handoffs, **args), model


@drivers
def test_instructions_tools_model_and_settings_change(driver: str) -> None:
    events: list[Any] = []
    desk, model = desk_and_other(call("own"), call("transfer_to_other"))
    result = DRIVERS[driver](desk, "please", on_event=events.append)
    assert (result.output, result.agent) == ("I am the other.", "other")
    assert [entry.agent for entry in result.transcript] == [None, "desk", "desk", "other"]
    (asked,) = model.requests
    assert asked.messages[0] == {"role": "system", "content": "You are the other."}
    assert [spec.name for spec in asked.tools] == ["theirs"]
    assert (asked.settings.temperature, asked.settings.seed) == (0.5, None)
    (first, _) = desk.model.requests  # type: ignore[attr-defined]  # it is scripted
    assert [spec.name for spec in first.tools] == ["own", "alone", "own_async", "transfer_to_other"]
    assert [m["role"] for m in asked.messages[1:]] == ["user", "assistant", "tool", "assistant", "tool"]
    told = [event for event in events if isinstance(event, HandedOff)]
    assert [(each.name, each.step) for each in told] == [("other", 2)]
    assert kinds(events)[-3:] == ["HandedOff", "StepFinished", "RunFinished"]
    assert result.usage.total_tokens == 45
    assert_each_call_has_one_result(result.transcript.messages)


def test_the_settings_of_a_run_hold_for_all() -> None:
    desk, model = desk_and_other(call("transfer_to_other"))
    desk.run_sync("please", settings={"seed": 7, "temperature": 0.1})
    assert (model.requests[0].settings.temperature, model.requests[0].settings.seed) == (0.1, 7)
    taken = ScriptedModel([call("transfer_to_other"), "one model for all"])
    assert desk.run_sync("please", model=taken).output == "one model for all"
    assert taken.requests[1].instructions == "You are the other."


@drivers
def test_and_nothing_else_changes(driver: str) -> None:
    def right(value: int) -> int:
        if value < 2:
            raise Retry("more")
        return value

    desk, model = desk_and_other(call("transfer_to_other"), then='{"value": 1}', output=int, validators=[right])
    model_args = by_turn(None, '{"value": "x"}', '{"value": 1}', '{"value": 2}')
    other = Agent(model_args, name="other", output=str, limits=Limits(steps=1))
    assert DRIVERS[driver](desk.with_(handoffs=[other]), "please").output == 2

    refusing = desk.with_(handoffs=[other], validators=[], output_guards=[_refuse])
    assert type(outcome(DRIVERS[driver], refusing, "please")) is Blocked
    limited = desk.with_(handoffs=[other], limits=Limits(steps=2))
    assert type(outcome(DRIVERS[driver], limited, "please")) is LimitReached
    once = desk.with_(handoffs=[other], limits=Limits(corrections=0))
    assert type(outcome(DRIVERS[driver], once, "please")) is ModelError

    def broken() -> str:
        """Never works."""
        raise OSError("on fire")

    failing = Agent(by_turn(None, call("broken"), "done"), name="other", tools=[broken])
    raising = desk.with_(handoffs=[failing], on_tool_error="raise", output=str, validators=[])
    assert type(outcome(DRIVERS[driver], raising, "please")) is ToolFailed
    assert model.requests == []


def _refuse(_: object) -> None:
    raise Refuse("not this")


# Which counts, and what is beside it


@drivers
def test_the_first_of_several_counts(driver: str) -> None:
    third = Agent(by_turn(None, "I am the third."), name="third")
    desk, model = desk_and_other(calls(call("transfer_to_third"), call("transfer_to_other"), call("own")))
    desk = desk.with_(handoffs=[third, Agent(model, name="other")])
    result = DRIVERS[driver](desk, "please")
    assert (result.output, result.agent) == ("I am the third.", "third")
    assert Told(result.transcript).result("transfer_to_third")[0] == "ok"
    assert Told(result.transcript).result("transfer_to_other") == ("not_run", ONE_HANDOFF)
    assert Told(result.transcript).result("own") == ("ok", "own")


BESIDE = {
    "before": (call("own"), call("own_async"), call("alone"), call("transfer_to_other")),
    "after": (call("transfer_to_other"), call("alone"), call("own"), call("own_async")),
    "between": (call("own"), call("transfer_to_other"), call("own_async"), call("alone")),
}


@drivers
@pytest.mark.parametrize("place", BESIDE)
def test_calls_beside_it_are_those_of_the_agent_that_made_them(place: str, driver: str) -> None:
    desk, model = desk_and_other(calls(*BESIDE[place]))
    result = DRIVERS[driver](desk, "please")
    told = Told(result.transcript)
    assert [told.result(name)[1] for name in ("own", "own_async", "alone")] == ["own", "awaited", "alone"]
    assert result.output == "I am the other."
    assert len(model.requests) == 1


# Approved, denied


@drivers
@pytest.mark.parametrize(
    ("decision", "ends"),
    [(Approve(), "I am the other."), (Deny("stay"), "I stay."), (Answer("no one is there"), "I stay.")],
)
def test_with_an_approval(decision: Any, ends: str, driver: str) -> None:
    def make() -> Agent[Any]:
        other = Agent(by_turn(None, "I am the other."), name="other")
        handoff = Handoff(other, approval=True)
        return Agent(by_turn(calls(call("own"), call("transfer_to_other")), "I stay."), name="desk", tools=DESK,
                     handoffs=[handoff])  # fmt: skip

    paused = DRIVERS[driver](make(), "please")
    assert [(each.call.name, each.hold) for each in paused.pending] == [("transfer_to_other", "approval")]
    assert paused.agent == "desk"
    loaded = Transcript.load(paused.transcript.dump())
    result = DRIVERS[driver](make(), None, transcript=loaded, decisions=decision)
    assert result.output == ends
    assert result.agent == ("other" if ends == "I am the other." else "desk")
    assert DRIVERS[driver](make(), "please", approve=lambda _: decision).output == ends


@drivers
def test_what_waits_beside_it_is_decided_before_it_counts(driver: str) -> None:
    @tool(approval=True)
    def risky() -> str:
        """Risk it."""
        return "risked"

    desk, model = desk_and_other(calls(call("transfer_to_other"), call("risky")), tools=[risky])
    paused = DRIVERS[driver](desk, "please")
    assert [each.call.name for each in paused.pending] == ["risky"]
    assert model.requests == []
    loaded = Transcript.load(paused.transcript.dump())
    result = DRIVERS[driver](desk, None, transcript=loaded, decisions=Approve())
    assert Told(result.transcript).result("risky") == ("ok", "risked")
    assert result.agent == "other"


# Agents that hand over to each other, conversations that go on


def ring(script: list[Any]) -> Agent[Any]:
    """Two agents that hand over to each other, both by the same script."""
    there = Agent(
        by_turn(*script), name="there", instructions="There.", handoffs=[Handoff(lambda: here)], tools=[theirs]
    )
    here = Agent(by_turn(*script), name="here", instructions="Here.", handoffs=[there], tools=[own])
    return here


@drivers
def test_to_and_fro(driver: str) -> None:
    over, back = call("transfer_to_there"), call("transfer_to_here")
    script = [over, call("theirs"), back, call("own"), over, "done"]
    result = DRIVERS[driver](ring(script), "please")
    assert (result.output, result.agent) == ("done", "there")
    assert [entry.agent for entry in result.transcript][1:] == ["here", "there", "there", "here", "here", "there"]
    assert all(record.result and record.result.status == "ok" for entry in result.transcript for record in entry.calls)


@drivers
@pytest.mark.parametrize("loaded", [False, True])
def test_a_conversation_goes_on_with_the_agent_that_has_it(loaded: bool, driver: str) -> None:
    script = [call("transfer_to_there"), "one", "two", call("transfer_to_here"), "three"]
    transcript: Any = None
    agents = []
    for prompt in ("1?", "2?", "3?"):
        result = DRIVERS[driver](ring(script), prompt, transcript=transcript)
        transcript = Transcript.load(result.transcript.dump()) if loaded else result.transcript
        agents.append((result.output, result.agent))
    assert agents == [("one", "there"), ("two", "there"), ("three", "here")]


def test_who_does_not_know_the_agent_goes_on_itself() -> None:
    result = ring([call("transfer_to_there"), "one"]).run_sync("please")
    stranger = Agent(by_turn(None, None, "two"), name="stranger")
    went_on = stranger.run_sync("more", transcript=result.transcript)
    assert (went_on.output, went_on.agent) == ("two", "stranger")


def test_a_plain_list_does_not_say_who_has_it() -> None:
    script = [call("transfer_to_there"), "one", "two"]
    messages = ring(script).run_sync("please").transcript.messages
    assert ring(script).run_sync("more", transcript=messages).agent == "here"


@pytest.mark.parametrize(
    "asked",
    [call("transfer_to_other"), calls(*BESIDE["after"]), calls(*BESIDE["between"])],
    ids=["alone", "first", "between"],
)
def test_from_every_event_on_the_right_agent_goes_on(asked: Any) -> None:
    def make() -> Agent[Any]:
        tools = [tool(on_unknown="retry")(own), tool(on_unknown="retry")(own_async), alone]
        return desk_and_other(call("own"), asked, tools=tools)[0].with_(exchanges=False)

    dumps: list[str] = []
    with make().stream_sync("please") as run:
        dumps.extend(run.transcript.dump() for _ in run)
    for index, dump in enumerate(dict.fromkeys(dumps)):
        transcript = Transcript.load(dump)
        result = some_driver(f"{asked} {index}")(make(), None, transcript=transcript, approve=lambda _: True)
        assert result.agent == "other"
        assert said(result) == said(run.result)


def test_within_a_sub_agent() -> None:
    desk, _ = desk_and_other(call("transfer_to_other"))
    boss = Agent(by_turn(call("desk", prompt="do"), "done"), tools=[desk.as_tool()], name="boss")
    for driver in DRIVERS.values():
        events: list[Any] = []
        result = driver(boss, "please", on_event=events.append)
        assert isinstance(result, Result)
        assert (result.output, result.agent) == ("done", "boss")
        assert Told(result.transcript).result("desk") == ("ok", "I am the other.")
        assert ">HandedOff" in kinds(events)


def test_it_is_told_after_its_call() -> None:
    desk, _ = desk_and_other(call("transfer_to_other"))
    with desk.stream_sync("please") as run:
        told = [event for event in run if isinstance(event, HandedOff | ToolFinished | StepFinished)]
    assert [type(each).__name__ for each in told] == ["StepFinished", "ToolFinished", "HandedOff", "StepFinished"]


# What cannot be

NAMELESS = Agent(ScriptedModel([]))
NAMED = Agent(ScriptedModel([]), name="other")
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "to one without a name": ({"handoffs": [NAMELESS], "name": "desk"}, "needs a name"),
    "from one without a name": ({"handoffs": [NAMED]}, "an agent that hands over needs a name="),
    "to no agent": ({"handoffs": [3], "name": "desk"}, "not to 3"),
    "twice": ({"handoffs": [NAMED, NAMED], "name": "desk"}, "two tools are named 'transfer_to_other'"),
    "a tool of that name": (
        {"handoffs": [Handoff(NAMED, name="own")], "name": "desk", "tools": [own]},
        "two tools are named 'own'",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_is_refused(name: str) -> None:
    args, words = WRONG[name]
    with pytest.raises(UsageError, match=words):
        Agent(ScriptedModel([]), **args)


LATER: dict[str, tuple[Any, str]] = {
    "one without a name": (Handoff(lambda: NAMELESS), "needs a name"),
    "nothing": (Handoff(lambda: None), "not to None"),  # type: ignore[arg-type,return-value]  # it is refused
    "another of the same name": (Handoff(lambda: Agent(ScriptedModel([]), name="desk")), "two agents .* named 'desk'"),
}


@pytest.mark.parametrize("name", LATER)
def test_what_is_known_later_is_refused_when_it_runs(name: str) -> None:
    handoff, words = LATER[name]
    agent = Agent(ScriptedModel(["never"]), name="desk", handoffs=[handoff])
    with pytest.raises(UsageError, match=words):
        agent.run_sync("please")


@pytest.mark.parametrize("driver", ["sync", "stream on asyncio"])
def test_over_the_wire(driver: str) -> None:
    def answer(request: Any) -> Any:
        return call("transfer_to_other") if request.json["model"] == "small" else "I am the other."

    with FakeEndpoint(answer) as fake:
        at = {"base_url": fake.base_url, "api_key": fake.api_key}
        other = Agent(ChatModel("large", **at), name="other", instructions="You are the other.", tools=[theirs])
        desk = Agent(ChatModel("small", **at), name="desk", handoffs=[Handoff(other, "For all that is hard.")])
        result = DRIVERS[driver](desk, "please")
        assert result.output == "I am the other."
        first, second = (request.json for request in fake.requests)
        assert first["tools"][0]["function"]["description"] == "For all that is hard."
        assert [each["function"]["name"] for each in second["tools"]] == ["theirs"]
        assert [m["role"] for m in second["messages"]] == ["system", "user", "assistant", "tool"]
