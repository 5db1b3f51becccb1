"""What does not change while a run goes on."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal

from agentkit.chat.settings import Settings
from agentkit.outputs import needs_reader, output_reader
from agentkit.policy import Limits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agentkit.context import Hook
    from agentkit.flow import SupportsFlow
    from agentkit.guards import InputGuard, ToolGuard
    from agentkit.history import Compaction, History
    from agentkit.instructions import Instruction
    from agentkit.output import Output
    from agentkit.tools import Tool
    from agentkit.toolsets import Toolset
    from agentkit.transcript import Transcript


@dataclass(slots=True)
class Persona:
    """What an agent is to a run, and all that a hand-off changes.

    `asked` are the instructions, and `groups` the toolsets, that depend on the moment; so do the tools whose `enabled`
    is a function.
    """

    tools: Mapping[str, Tool] = field(default_factory=dict[str, "Tool"])
    name: str | None = None
    instructions: str = ""
    settings: Settings = field(default_factory=Settings)
    asked: tuple[Instruction, ...] = ()
    groups: tuple[Toolset, ...] = ()
    model: SupportsFlow | None = None

    @property
    def is_fixed(self) -> bool:
        """Whether its tools are known without a run."""
        return not self.groups and all(tool.enabled is True for tool in self.tools.values())


@dataclass(slots=True)
class Plan(Persona):
    """What does not change while a run goes on: the agent that was started, and what holds for all it hands over to.

    `personas` are the agents that may be handed over to, by name.
    """

    limits: Limits = field(default_factory=Limits)
    on_length: Literal["return", "error"] = "return"
    output: Output[Any] | None = None
    validators: tuple[Hook, ...] = ()
    input_guards: tuple[InputGuard, ...] = ()
    output_guards: tuple[Hook, ...] = ()
    tool_guards: tuple[ToolGuard, ...] = ()
    approve: Hook | None = None
    history: tuple[History, ...] = ()
    compaction: Compaction | None = None
    personas: Mapping[str, Persona] = field(default_factory=dict[str, Persona])


def fields_of(persona: Persona) -> dict[str, Any]:
    """What a persona is made from, by name."""
    return {each.name: getattr(persona, each.name) for each in fields(Persona)}


def with_reader(plan: Plan, transcript: Transcript) -> Plan:
    """The plan with the tool that reads on in outputs, for all its agents, if there may be such outputs."""
    everyone = (plan, *plan.personas.values())
    if not needs_reader([made for each in everyone for made in each.tools.values()], transcript):
        return plan
    reader = output_reader()
    changed = {
        id(each): each if reader.name in each.tools else replace(each, tools={**each.tools, reader.name: reader})
        for each in everyone
    }
    own = replace(plan, tools=changed[id(plan)].tools)
    own.personas = {name: own if each is plan else changed[id(each)] for name, each in plan.personas.items()}
    return own
