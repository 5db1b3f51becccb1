"""Limits stop a run before the next thing that costs something, and a run that was stopped can go on.

Runs without a key: the model is scripted.
"""

from __future__ import annotations

from agentkit import Agent, Limits
from agentkit.errors import LimitReached
from agentkit.testing import ScriptedModel, call


def look(page: int) -> str:
    """Look at a page."""
    return f"page {page} of 3"


if __name__ == "__main__":
    model = ScriptedModel([*(call("look", page=page) for page in (1, 2, 3)), "I have read all three pages."])
    agent = Agent(model, tools=[look], limits=Limits(steps=2, tool_calls=10, tokens=100_000, seconds=60))
    try:
        agent.run_sync("Read it.")
    except LimitReached as error:
        print(f"{error.limit}={error.value} was reached after {len(error.transcript or ())} messages")
        # The same run goes on, with what it has used so far still counted.
        result = agent.run_sync(transcript=error.transcript, limits=Limits(steps=10))
        print(result.output, f"({len(result.tool_calls)} calls in all)")
