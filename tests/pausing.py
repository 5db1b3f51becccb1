"""Agents that pause for decisions: alone, within others, after a hand-off. Their models go by the conversation alone,
so that any process can go on with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from agentkit import Agent, Context, Transcript, tool
from agentkit.testing import ScriptedModel, call, calls
from agentkit.testing.script import Step
from agentkit.transcript import CallRecord

Ran = list[tuple[str, float, str]]
"""What the tools did: name, amount, idempotency key. It is the deps of the runs."""


def by_turn(*steps: Step | None) -> ScriptedModel:
    """A model whose reply depends on how many there are in the conversation."""

    def reply(request: Any) -> Step:
        step = steps[sum(m["role"] == "assistant" for m in request.messages)]
        assert step is not None, "another agent should have been asked"
        return step

    return ScriptedModel(reply)


@tool(approval=True)
def pay(context: Context[Ran], amount: float) -> str:
    """Pay."""
    context.deps.append(("pay", amount, context.idempotency_key))
    return f"paid {amount:g}"


@tool(approval=lambda call: "100" in call.arguments)
async def lend(context: Context[Ran], amount: float) -> str:
    """Lend; much of it only if it is approved."""
    context.deps.append(("lend", amount, context.idempotency_key))
    return f"lent {amount:g}"


@tool(external=True)
def ask_user(question: str) -> str:  # type: ignore[empty-body]  # its caller answers it
    """Ask the user."""


@tool(read_only=True)
def look() -> str:
    """Look."""
    return "seen"


TOOLS = (pay, lend, ask_user, look)
ASKED = calls(call("look"), call("pay", amount=3))


def plain(first: Step = ASKED, *more: Step) -> Agent[Any]:
    """One agent."""
    return Agent(by_turn(first, *more, "done"), tools=TOOLS, name="plain")


def within(first: Step = ASKED, *more: Step) -> Agent[Any]:
    """The same in another one's call."""
    return Agent(by_turn(call("plain", prompt="do"), "done"), tools=[plain(first, *more).as_tool()], name="within")


def twice(first: Step = ASKED, *more: Step) -> Agent[Any]:
    """The same in a third one's call."""
    inner = within(first, *more).as_tool()
    return Agent(by_turn(calls(call("look"), call("within", prompt="do")), "done"), tools=[inner, look], name="twice")


def handed(first: Step = ASKED, *more: Step) -> Agent[Any]:
    """One that the conversation is handed to."""
    other = Agent(by_turn(None, first, *more, "done"), tools=TOOLS, name="other")
    return Agent(by_turn(call("transfer_to_other")), handoffs=[other], name="desk")


SHAPES: dict[str, Callable[..., Agent[Any]]] = {"plain": plain, "within": within, "twice": twice, "handed": handed}


@dataclass
class Told:
    """The calls of a transcript, its sub-agents' among them, by their ids and those of the calls around them."""

    transcript: Transcript
    records: dict[str, CallRecord] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.records = dict(_records(self.transcript, ""))

    def of(self, name: str) -> CallRecord:
        """The one call of that name."""
        (record,) = [each for each in self.records.values() if each.call.name == name]
        return record

    def result(self, name: str) -> tuple[str, str]:
        """Status and content of its result."""
        result = self.of(name).result
        assert result is not None
        return result.status, result.content


def _records(transcript: Transcript, path: str) -> Iterator[tuple[str, CallRecord]]:
    for entry in transcript:
        for record in entry.calls:
            yield path + record.call.id, record
            if record.transcript is not None:
                yield from _records(record.transcript, f"{path}{record.call.id}/")
