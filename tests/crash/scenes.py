"""Agents of five turns with two calls each, whose models go by the conversation alone: any process can go on."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

from anyio.lowlevel import checkpoint

from agentkit import Agent, Context, Result, tool
from agentkit.approval import Decision
from agentkit.conversations import Conversations
from agentkit.flow import Steps
from agentkit.messages import Reply
from agentkit.pending import PendingCall
from agentkit.testing import ScriptedModel, call, calls, say
from agentkit.testing.script import Step
from agentkit.tools import Tool
from tests.crash.world import Fuse, Watched, World
from tests.drivers import DRIVERS

PROMPT = "Do it all."


@tool(on_unknown="retry")
def again(context: Context[World], n: int) -> str:
    """May be done twice."""
    return context.deps.do(context, n)


@tool(on_unknown="retry")
async def again_async(context: Context[World], n: int) -> str:
    """May be done twice."""
    await checkpoint()
    return context.deps.do(context, n)


@tool(on_unknown="retry", inline=True)
def count(context: Context[World], n: int) -> Iterator[str]:
    """May be done twice, and tells how far it is."""
    yield "on the way"
    yield context.deps.do(context, n)


@tool(read_only=True)
def look(context: Context[World], n: int) -> str:
    """Changes nothing."""
    return context.deps.do(context, n)


@tool(read_only=True, on_unknown="ask")
def look_once(context: Context[World], n: int) -> str:
    """Changes nothing, and costs much."""
    return context.deps.do(context, n)


@tool
def pay(context: Context[World], n: int) -> str:
    """Must not be done twice."""
    return context.deps.do(context, n)


@tool(exclusive=True)
async def pay_async(context: Context[World], n: int) -> str:
    """Must not be done twice, nor beside anything else."""
    await checkpoint()
    return context.deps.do(context, n)


@tool(on_unknown="fail")
def note(context: Context[World], n: int) -> str:
    """Must not be done twice; the model sees to it."""
    return context.deps.do(context, n)


@tool(approval=True)
def sign(context: Context[World], n: int) -> str:
    """Needs an approval."""
    return context.deps.do(context, n)


PLAIN = (again, again_async, count, look, look_once, pay, pay_async, note)
TOOLS: dict[str, Tool] = {made.name: made for made in (*PLAIN, sign)}
Turn = tuple[str, str]


class ByTurn(ScriptedModel):
    """Makes the calls of the turn that the conversation is at; in the end it repeats all results."""

    def __init__(self, turns: list[Turn], fuse: Fuse) -> None:
        super().__init__(self._next_step)
        self._turns = turns
        self._fuse = fuse

    def _next_step(self, request: Any) -> Step:
        messages = request.messages
        turn = sum(message["role"] == "assistant" for message in messages)
        prompt = next(message["content"] for message in messages if message["role"] == "user")
        first = int(prompt) if prompt.isdigit() else 0  # a helper's prompt tells where its numbers begin
        if turn < len(self._turns):
            numbers = (first + 2 * turn, first + 2 * turn + 1)
            return calls(*(_call(name, n) for name, n in zip(self._turns[turn], numbers, strict=True)))
        results = [message["content"] for message in messages if message["role"] == "tool"]
        return say([f"{each}; " for each in results])

    def flow(self, request: Any) -> Steps[Reply]:
        self._fuse.at("asking")
        reply = yield from super().flow(request)
        self._fuse.at("answered")
        return reply


def _call(name: str, n: int) -> Any:
    if name == "helper":
        return call(name, prompt=str(100 * (n + 1)))
    return call(name) if name.startswith("transfer") else call(name, n=n)


def _turns(chance: random.Random, number: int, *among: str) -> list[Turn]:
    names = among or tuple(made.name for made in PLAIN)
    return [(chance.choice(names), chance.choice(names)) for _ in range(number)]


def plain(chance: random.Random, fuse: Fuse) -> Agent[Any]:
    """One agent."""
    return Agent(ByTurn(_turns(chance, 5), fuse), tools=TOOLS.values())


def within(chance: random.Random, fuse: Fuse) -> Agent[Any]:
    """One that has another one do calls, two of them side by side."""
    helper = Agent(ByTurn(_turns(chance, 2), fuse), tools=TOOLS.values(), name="helper").as_tool()
    turns = [("helper", chance.choice(PLAIN).name), *_turns(chance, 1), ("helper", "helper")]
    return Agent(ByTurn(turns, fuse), tools=[*TOOLS.values(), helper])


def handed(chance: random.Random, fuse: Fuse) -> Agent[Any]:
    """One that hands the conversation to another in the middle."""
    turns = [*_turns(chance, 2), (chance.choice(PLAIN).name, "transfer_to_other"), *_turns(chance, 2)]
    other = Agent(ByTurn(turns, fuse), tools=TOOLS.values(), name="other")
    return Agent(ByTurn(turns, fuse), tools=TOOLS.values(), handoffs=[other], name="desk")


def paused(chance: random.Random, fuse: Fuse) -> Agent[Any]:
    """One that pauses for approvals, in a helper too."""
    inner = Agent(ByTurn([("sign", chance.choice(PLAIN).name)], fuse), tools=TOOLS.values(), name="helper").as_tool()
    turns = [("sign", "look"), ("helper", "pay"), ("sign", "sign"), *_turns(chance, 1, "sign", "again", "pay")]
    return Agent(ByTurn(turns, fuse), tools=[*TOOLS.values(), inner])


SCENES: dict[str, Callable[[random.Random, Fuse], Agent[Any]]] = {
    "plain": plain,
    "within": within,
    "handed": handed,
    "paused": paused,
}
Decide = Callable[[PendingCall], Decision]
Case = tuple[str, int, str]
"""A scene, the number by which it is drawn, a driver."""


def talk(
    case: Case, store: Conversations, name: str, world: World, prompt: str | None, decide: Decide
) -> Iterator[Result]:
    """Run, and go on with what `decide` says of the calls that wait, until it is done; each result on the way."""
    scene, number, driver = case
    agent = SCENES[scene](random.Random(f"{scene} {number}"), world.fuse)
    decisions: dict[str, Decision] | None = None
    while True:
        kept: Any = Watched(store.open(name), world)
        told = lambda _event: world.fuse.at("event")
        args: dict[str, Any] = {"conversation": kept, "deps": world, "on_event": told, "decisions": decisions}
        result = DRIVERS[driver](agent, prompt, **args)
        yield result
        if not result.pending:
            return
        prompt, decisions = None, {waiting.id: decide(waiting) for waiting in result.pending}
