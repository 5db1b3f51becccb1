"""A research agent asks a reader for each source, all at once, and writes from what they find.

The readers are one agent, used as a tool: each of its runs sees its own errand alone, so that no long text fills the
researcher's conversation. Without AGENTKIT_MODEL the models are scripted.
"""

from __future__ import annotations

import os

from agentkit import Agent, Limits, Retry, tool
from agentkit.chat.request import Request
from agentkit.events import Event, Nested, ToolFinished
from agentkit.testing import ScriptedModel, call, calls
from agentkit.testing.script import Step

MODEL = os.environ.get("AGENTKIT_MODEL")
LIBRARY = {
    "bees": "A honey bee visits some 50 to 1000 flowers on a trip, depending on the flowers. " * 40,
    "bumblebees": "Bumblebees fly from 10 degrees on, and work longer days than honey bees. " * 40,
}


@tool(read_only=True)
def read(source: str) -> str:
    """Read a source."""
    if source not in LIBRARY:
        raise Retry(f"There is no source {source!r}; there are {', '.join(LIBRARY)}.")
    return LIBRARY[source]


def skim(request: Request) -> Step:
    """What the scripted reader does: it reads, then tells the first sentence."""
    last = request.messages[-1]
    if last["role"] == "user":
        return call("read", source="bumblebees" if "bumblebees" in last["content"] else "bees")
    return str(last["content"]).partition(". ")[0] + "."


reader = Agent(
    MODEL or ScriptedModel(skim),
    name="reader",
    tools=[read],
    instructions="Read the source and answer the question from it in one or two sentences.",
    limits=Limits(steps=5),
)
SCRIPT = ScriptedModel(
    [
        calls(
            call("reader", prompt="Source bees: how many flowers does a bee visit on a trip?"),
            call("reader", prompt="Source bumblebees: when do bumblebees fly?"),
        ),
        "Honey bees visit up to 1000 flowers on a trip; bumblebees fly already at 10 degrees.",
    ]
)
researcher = Agent(
    MODEL or SCRIPT,
    tools=[reader.as_tool(description=f"Have a source read. The sources are: {', '.join(LIBRARY)}.")],
    instructions="Have all sources read that may help, then answer from what you were told.",
    limits=Limits(steps=20),
)


def show(event: Event) -> None:
    """Print what the readers read, and what they answer."""
    match event:
        case Nested(_, ToolFinished(made, result)):
            print(f"  {made.name} {made.arguments}: {len(result.content)} characters")
        case ToolFinished(made, result):
            print(f"{made.name}: {result.content}")
        case _:
            pass


if __name__ == "__main__":
    result = researcher.run_sync("Which of them pollinates more, and in which weather?", on_event=show)
    print(result.output)
    print(f"{result.usage.total_tokens} tokens in all, the readers' among them")
