"""Which agent answers, by the options of the command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agentkit.agent import Agent
from agentkit.cli.loading import load_agent, load_deps, load_tool
from agentkit.cli.localmodel import make_ready
from agentkit.cli.stock import stock_tools
from agentkit.tools import as_tool
from agentkit.transcript import Transcript

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentkit.args import Kept, RunArgs
    from agentkit.pending import Decisions
    from agentkit.tools import Tool
    from agentkit.toolsets import Toolset


@dataclass(slots=True)
class Chosen:
    """An agent, what its tools are given, and tools that it gets besides its own."""

    agent: Agent[Any, Any]
    deps: Any = None
    more: tuple[Tool, ...] = ()

    @property
    def tools(self) -> list[Tool | Toolset]:
        """All the tools, as far as they are known without a run."""
        return [*self.agent.tools.values(), *self.agent.persona.groups, *self.more]

    def args(self, past: Transcript | Kept, decisions: Decisions | None) -> RunArgs:
        """What its runs are given besides the prompt."""
        args: RunArgs = {"deps": self.deps, "tools": self.more, "decisions": decisions}
        if isinstance(past, Transcript):
            args["transcript"] = past
        else:
            args["conversation"] = past
        return args


def choose(
    agent: str | None,
    *,
    model: str | None,
    instructions: str | None,
    tools: Sequence[str],
    no_tools: bool,
    deps: str | None,
) -> Chosen:
    """The agent that is named, with what else was said of it; without one the local model. Raises UsageError."""
    more = tuple([as_tool(load_tool(spec)) for spec in tools])
    given = None if deps is None else load_deps(deps)
    if agent is None:
        make_ready(model or "local")
        own = () if no_tools or more else stock_tools()
        return Chosen(Agent(model or "local", tools=own, instructions=instructions or ""), given, more)
    changes: dict[str, Any] = {}
    if model is not None:
        changes["model"] = model
    if instructions is not None:
        changes["instructions"] = instructions
    if no_tools:
        changes["tools"] = ()
    chosen = load_agent(agent)
    return Chosen(chosen.with_(**changes) if changes else chosen, given, more)
