"""Instructions of the moment: when they are asked for, where they stand, and that all before them stays as it was."""

from __future__ import annotations

import json
import threading
import time
from os.path import commonprefix
from typing import Any

import pytest
from anyio.lowlevel import checkpoint

from agentkit import Agent, Approve, ChatModel, Context, InputGuard, Instruction, Limits, Transcript, tool
from agentkit.errors import UsageError
from agentkit.testing import FakeEndpoint, ScriptedModel, call, calls, fixed_clock, say
from tests.cancelling import soon
from tests.drivers import DRIVERS, outcome
from tests.pausing import by_turn
from tests.test_agents_cancelled import CANCELS

drivers = pytest.mark.parametrize("driver", DRIVERS)


class Moment:
    """An instructions function that says something else each time."""

    def __init__(self, text: str = "Moment") -> None:
        self.text = text
        self.asked = 0

    def __call__(self) -> str:
        self.asked += 1
        return f"{self.text} {self.asked}."


def look() -> str:
    """Look."""
    return "seen"


def shown(messages: list[dict[str, Any]]) -> list[str]:
    """Messages in short."""
    return [f"{m['role']}: {m.get('content') or '…'}" for m in messages]


@drivers
def test_they_are_asked_once_a_run_and_recorded(driver: str) -> None:
    moment = Moment()
    model = by_turn(call("look"), call("look"), "done", "more done")
    agent = Agent(model, instructions=["Fixed.", moment], tools=[look])
    result = DRIVERS[driver](agent, "one")
    assert moment.asked == 1
    assert result.transcript.entries[0].instructions == {"": ("", "Moment 1.")}
    assert all(m.get("content") != "Moment 1." for m in result.transcript.messages)
    for request in model.requests:
        assert shown(request.messages)[:3] == ["system: Fixed.", "system: Moment 1.", "user: one"]
    DRIVERS[driver](agent, "two", transcript=Transcript.load(result.transcript.dump()))
    assert moment.asked == 2
    assert shown(model.requests[-1].messages) == [
        "system: Fixed.",
        "user: one",
        "assistant: …",
        "tool: seen",
        "assistant: …",
        "tool: seen",
        "assistant: done",
        "system: Moment 2.",
        "user: two",
    ]


async def name_async(context: Context[str]) -> str:
    await checkpoint()
    return f"You serve {context.deps}."


@drivers
def test_each_kind_of_them(driver: str) -> None:
    def with_context(context: Context[str]) -> str:
        assert context.transcript.messages == [{"role": "user", "content": "please"}]
        assert (context.step, context.usage.total_tokens, context.cancelled) == (0, 0, False)
        assert (context.deadline, context.allowed_s) == (None, None)
        with pytest.raises(UsageError, match="no tool call"):
            _ = context.call
        return f"For {context.deps}."

    model = ScriptedModel(["done"])
    told = [
        "One.",
        name_async,
        "Two.",
        lambda: "",
        with_context,
        Instruction(lambda: "Head.", position="head"),
        lambda: None,
    ]
    DRIVERS[driver](Agent(model, instructions=told), "please", deps="Ada")
    assert shown(model.requests[0].messages) == [
        "system: One.\n\nTwo.\n\nHead.",
        "system: You serve Ada.\n\nFor Ada.",
        "user: please",
    ]


@pytest.mark.parametrize("wrong", [lambda: 3, lambda: 1 // 0])
@pytest.mark.parametrize("driver", ["sync", "trio", "stream_sync"])
def test_what_is_no_text_is_the_callers_own_fault(wrong: Any, driver: str) -> None:
    model = ScriptedModel(["never"])
    error = outcome(DRIVERS[driver], Agent(model, instructions=wrong), "please")
    assert type(error) is UsageError
    assert "<lambda>" in str(error)
    assert model.requests == []


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (3, "instructions are texts, functions or Instruction"),
        ([3], "not 3"),
        (lambda a, b: "", "instructions function <lambda> takes 2 arguments"),
    ],
)
def test_what_cannot_be_is_refused(wrong: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Agent(ScriptedModel([]), instructions=wrong)
    with pytest.raises(UsageError, match="position='tail' is not one of 'turn', 'head'"):
        Instruction(lambda: "", position="tail")  # type: ignore[arg-type]  # it is refused


@drivers
def test_after_a_pause_they_are_not_asked_again(driver: str) -> None:
    @tool(approval=True)
    def act() -> str:
        """Act."""
        return "acted"

    moment = Moment()
    model = by_turn(call("act"), "done")
    agent = Agent(model, instructions=moment, tools=[act])
    paused = DRIVERS[driver](agent, "one")
    result = DRIVERS[driver](agent, None, transcript=Transcript.load(paused.transcript.dump()), decisions=Approve())
    assert (result.output, moment.asked) == ("done", 1)
    assert [shown(request.messages)[0] for request in model.requests] == ["system: Moment 1."] * 2


@drivers
def test_each_agent_has_its_own_after_a_hand_off(driver: str) -> None:
    mine, theirs = Moment("Mine"), Moment("Theirs")
    other = by_turn(None, "done", "done again")
    desk = Agent(by_turn(call("transfer_to_other")), name="desk", instructions=[mine, "Desk."],
                 handoffs=[Agent(other, name="other", instructions=[theirs, "Other."])])  # fmt: skip
    result = DRIVERS[driver](desk, "one")
    assert result.transcript.entries[0].instructions == {"desk": ("", "Mine 1."), "other": ("", "Theirs 1.")}
    assert shown(other.requests[0].messages)[:3] == ["system: Other.", "system: Theirs 1.", "user: one"]
    DRIVERS[driver](desk, "two", transcript=Transcript.load(result.transcript.dump()))
    assert (mine.asked, theirs.asked) == (1, 2)
    assert shown(other.requests[1].messages)[-2:] == ["system: Theirs 2.", "user: two"]


def test_a_sub_agent_is_asked_for_each_call() -> None:
    moment = Moment()
    helper = Agent(by_turn("helped"), name="helper", instructions=moment)
    twice = calls(call("helper", prompt="a"), call("helper", prompt="b"))
    boss = Agent(by_turn(twice, "done"), tools=[helper.as_tool()])
    for number, driver in enumerate(DRIVERS.values(), 1):
        driver(boss, "please")
        assert moment.asked == 2 * number


# On the wire


def bodies(agent: Agent[Any], fake: FakeEndpoint, driver: str, prompts: list[str]) -> list[str]:
    transcript = None
    for prompt in prompts:
        transcript = DRIVERS[driver](agent, prompt, transcript=transcript).transcript
    return [request.body.decode() for request in fake.requests]


@drivers
@pytest.mark.parametrize("position", ["turn", "head"])
def test_what_stands_before_them_is_sent_the_same_in_every_turn(position: Any, driver: str) -> None:
    script = [call("look"), say("one done"), say("two done"), call("look"), say("three done")]
    with FakeEndpoint(script) as fake:
        model = ChatModel("m", base_url=fake.base_url, api_key=fake.api_key)
        agent = Agent(model, instructions=["Fixed.", Instruction(Moment(), position=position)], tools=[look])
        sent = bodies(agent, fake, driver, ["one", "two", "three"])
    # within a turn each body goes on from the one before
    for before, after in ((0, 1), (3, 4)):
        assert sent[after].startswith(sent[before].removesuffix("]}"))
    # what the next turn shares with this one: up to this one's last message of the caller, or nothing but the tools
    for body in sent[1], sent[2]:
        later = sent[sent.index(body) + 1]
        shared = commonprefix([body, later])  # noqa: RUF071  # these are no paths
        if position == "turn":
            at = body.index('{"role":"system","content":"Moment')
            assert shared.startswith(body[:at])
        else:
            assert "Fixed." in shared
            assert '"user"' not in shared


@drivers
def test_their_text_is_found_in_the_dump_alone(driver: str) -> None:
    with fixed_clock():
        result = DRIVERS[driver](Agent(by_turn("done"), instructions=Moment(), name="a"), "one")
    dump = json.loads(result.transcript.dump())
    assert dump["entries"][0]["instructions"] == {"a": ["", "Moment 1."]}
    assert Transcript.load(result.transcript.dump()) == result.transcript
    assert result.new_messages[0] == {"role": "user", "content": "one"}


# What functions know of the run


@drivers
def test_what_a_context_shows(driver: str) -> None:
    seen: dict[str, Any] = {}

    def note(name: str, context: Context[str]) -> None:
        left = None if context.deadline is None else context.deadline - clock.monotonic()
        transcript = context.transcript
        seen.setdefault(name, []).append(
            (context.deps, context.step, context.usage.total_tokens, left, context.cancelled, len(transcript))
        )
        transcript.append(transcript.entries[0])  # a copy: it changes nothing

    def instructions(context: Context[str]) -> str:
        note("instructions", context)
        return ""

    def act(context: Context[str]) -> str:
        """Act."""
        note("tool", context)
        assert context.idempotency_key == "run-1:1:0"
        clock.at += 2
        return "acted"

    def approval(context: Context[str], made: Any) -> bool:
        note("approval", context)
        assert context.call == made
        assert context.idempotency_key == "run-1:1:0"
        return True

    def approve(context: Context[str], made: Any) -> bool:
        note("approve", context)
        return True

    def validator(context: Context[str], text: str) -> None:
        note("validator", context)
        assert context.idempotency_key == ""

    def guard(context: Context[str], text: str) -> None:
        note("guard", context)

    with fixed_clock() as clock:
        agent = Agent(by_turn(call("act"), "done"), instructions=instructions, tools=[tool(approval=approval)(act)],
                      validators=[validator], output_guards=[guard], limits=Limits(seconds=10))  # fmt: skip
        DRIVERS[driver](agent, "please", deps="Ada", approve=approve)
    assert seen == {
        "instructions": [("Ada", 0, 0, 10, False, 1)],
        "approval": [("Ada", 1, 15, 10, False, 2)],
        "approve": [("Ada", 1, 15, 10, False, 2)],
        "tool": [("Ada", 1, 15, 10, False, 2)],
        "validator": [("Ada", 2, 30, 8, False, 3)],
        "guard": [("Ada", 2, 30, 8, False, 3)],
    }


@pytest.mark.parametrize("cancel", CANCELS.values(), ids=CANCELS)
@pytest.mark.parametrize("place", ["instructions", "validator", "input guard", "approve"])
def test_a_function_that_is_asked_hears_of_a_cancel(place: str, cancel: Any) -> None:
    working = threading.Event()
    heard: list[bool] = []

    def work(context: Context[None]) -> None:
        working.set()
        ends = time.monotonic() + 5
        while not context.cancelled and time.monotonic() < ends:
            time.sleep(0.002)
        heard.append(context.cancelled)

    @tool(approval=True)
    def act() -> str:
        """Act."""
        return "acted"

    def zero(context: Context[None]) -> str:
        work(context)
        return ""

    def one(context: Context[None], _: Any) -> None:
        work(context)

    args: dict[str, dict[str, Any]] = {
        "instructions": {"instructions": zero},
        "validator": {"validators": [one]},
        "input guard": {"input_guards": [InputGuard(one, wait=True)]},
        "approve": {"tools": [act]},
    }
    agent = Agent(ScriptedModel([call("act") if place == "approve" else "done"]), **args[place])
    cancel(agent, working.is_set, **({"approve": one} if place == "approve" else {}))
    soon(lambda: heard == [True])
