"""Agents for the command to run, each with a model that follows a script."""

from __future__ import annotations

import sys
import time
from typing import Any

from agentkit import Agent, Context, Limits, tool
from agentkit.testing import ScriptedModel, call, calls, say, status


@tool(read_only=True)
def shelf_of(title: str, *, exact: bool = False) -> str:
    """Tell on which shelf a book stands.

    Args:
        title: The book's title.
        exact: Whether the title is spelt exactly.
    """
    return f"A3 has {title}"


def announced():
    """A function for tools to tell the test by, where nothing is shown of them."""
    return lambda text: sys.stderr.write(f"{text}\n")


@tool
def wait_for(ctx: Context[Any], minutes: float) -> str:
    """Wait."""
    if ctx.deps is not None:
        ctx.deps("it waits")
    end = time.monotonic() + minutes * 60
    while time.monotonic() < end:
        time.sleep(0.05)  # an interrupt that comes just as a sleep begins is not heard before its end
    return "waited"


@tool(approval=True)
def burn(title: str, copies: int = 1) -> str:
    """Burn a book."""
    return f"burnt {copies} of {title}"


@tool(external=True)
def ask_owner(question: str) -> str:
    """Ask the owner of the library."""


def _results(messages):
    """The contents of the last tool messages."""
    after = max(index for index, message in enumerate(messages) if message["role"] == "assistant")
    return [message["content"] for message in messages[after + 1 :]]


def respond(request):
    """What the librarian says to the last message."""
    last = request.messages[-1]
    if last["role"] == "tool":
        return f"It says: {' and '.join(_results(request.messages))}."
    asked = last["content"]
    if "shelf" in asked:
        return calls(call("shelf_of", title="Dune"), reasoning="A book is asked for.")
    if "wait" in asked:
        return call("wait_for", minutes=10)
    if "burn" in asked:
        return calls(call("burn", title="Emma"), call("burn", title="Dune"))
    if "owner" in asked:
        return call("ask_owner", question="May I?")
    if "how many" in asked:
        return f"You said {sum(message['role'] == 'user' for message in request.messages)} things."
    return f"You said {asked!r}."


agent = Agent(
    ScriptedModel(respond), tools=[shelf_of, wait_for, burn, ask_owner], name="librarian", instructions="Be brief."
)
short = agent.with_(limits=Limits(steps=1))
broken = agent.with_(model=ScriptedModel(lambda _: status(500, message="the disk is full")))
mute = agent.with_(model=ScriptedModel(lambda _: say("", refusal="I will not.")))
number = 7
_hidden = agent


def make():
    """An agent made when it is asked for."""
    return agent


def make_with(name):
    return agent


async def make_later():
    return agent
