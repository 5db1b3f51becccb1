"""What toolsets offer: the functions that they ask are run, and the tools named."""

from __future__ import annotations

from typing import Any

import anyio

from agentkit.context import Context
from agentkit.tools import Tool
from agentkit.toolsets import Toolset
from agentkit.toolsources import Offering
from agentkit.transcript import Transcript


class View:
    """A run as a context sees it."""

    def __init__(self, transcript: Transcript) -> None:
        self.transcript = transcript

    usage: Any = None


def context(deps: Any = None, transcript: Transcript | None = None) -> Context[Any]:
    """The context of a run that has come so far."""
    return Context(deps, view=View(Transcript() if transcript is None else transcript))


def ended(offering: Offering) -> tuple[list[Tool], list[str]]:
    """The tools that are offered, and the names of the functions that were run for it."""
    ran: list[str] = []
    try:
        invoke = next(offering)
        while True:
            ran.append(invoke.target.name)
            invoke = offering.send(anyio.run(invoke.run) if invoke.target.is_async else invoke.run_sync())
    except StopIteration as stop:
        return stop.value, ran


def performed(offering: Offering) -> tuple[list[str], list[str]]:
    """The same, the tools by name."""
    tools, ran = ended(offering)
    return [made.name for made in tools], ran


def tools_of(toolset: Toolset, deps: Any = None, transcript: Transcript | None = None) -> list[Tool]:
    """The tools that a set offers to a run."""
    return ended(toolset.offer(context(deps, transcript)))[0]


def names(toolset: Toolset, deps: Any = None, transcript: Transcript | None = None) -> list[str]:
    """Their names."""
    return [made.name for made in tools_of(toolset, deps, transcript)]
