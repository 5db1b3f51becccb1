"""Hand-offs: a call after which another agent goes on with the conversation."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from agentkit.errors import UsageError
from agentkit.tools import Tool

if TYPE_CHECKING:
    from collections.abc import Callable

    from agentkit.agent import Agent


class Handoff:
    """An agent that the conversation may be handed to.

    Args:
        agent: The agent, or a function that gives it, for agents that hand over to each other.
        description: What the model is told of when to hand over.
        name: What the model calls it by, "transfer_to_" and the agent's name without it.
        approval: Whether handing over waits for a decision, as with tools.
    """

    def __init__(
        self,
        agent: Agent[Any, Any] | Callable[[], Agent[Any, Any]],
        description: str | None = None,
        *,
        name: str | None = None,
        approval: bool | Callable[..., Any] = False,
    ) -> None:
        if not hasattr(agent, "persona") and not callable(agent):
            raise _no_agent(agent)
        self._agent: Final = agent
        self.description: Final = description
        self.name: Final = name
        self.approval: Final = approval

    @property
    def is_later(self) -> bool:
        """Whether the agent is known only once the function is called."""
        return not hasattr(self._agent, "persona")

    @property
    def agent(self) -> Agent[Any, Any]:
        """The agent. Raises UsageError if it is none, or has no name."""
        agent: Any = self._agent() if callable(self._agent) else self._agent
        if not hasattr(agent, "persona"):
            raise _no_agent(agent)
        if not agent.name:
            raise UsageError(f"an agent that a conversation is handed to needs a name: {agent!r} has none")
        found: Agent[Any, Any] = agent
        return found


def _no_agent(given: object) -> UsageError:
    return UsageError(f"a hand-off goes to an Agent, or to what a function gives that is one, not to {given!r}")


def handoff_tool(handoff: Handoff) -> Tool:
    """The tool by which a model hands over."""
    target = handoff.agent.name

    def transfer() -> str:
        return f"The conversation was handed to {target}, who goes on from here."

    made = Tool(
        transfer,
        name=handoff.name or "transfer_to_" + re.sub(r"[^a-zA-Z0-9_-]", "_", str(target)),
        description=handoff.description or f"Hand the conversation over to {target}, who goes on with it.",
        approval=handoff.approval,
        on_unknown="retry",
        inline=True,
    )
    made.handoff = target
    return made
