"""A conversation that outgrows the model's window is summed up on its way, and the transcript keeps all of it.

Runs without a key: the model is scripted, and says that its window of 2000 tokens fills up.
"""

from __future__ import annotations

from agentkit import Agent, tool
from agentkit.events import Compacted, Event
from agentkit.history import ClearResults, Compaction
from agentkit.testing import ScriptedModel, call, calls, say

CHAPTERS = [f"Chapter {n}: " + f"what happens in chapter {n} " * 80 for n in range(1, 4)]


@tool(keep_output=True, max_output_chars=300)
def chapter(number: int) -> str:
    """Read a chapter."""
    return CHAPTERS[number - 1]


def show(event: Event) -> None:
    """Tell when the conversation is summed up."""
    if isinstance(event, Compacted):
        print(f"(the first {event.entries} entries are summed up)")


SCRIPT = [
    calls(call("chapter", number=1), usage=(500, 20)),
    calls(call("chapter", number=2), usage=(1100, 20)),
    calls(call("chapter", number=3), usage=(1700, 20)),
    # the model is asked for a summary here
    say("I read chapters 1 and 2; chapter 3 is open.", usage=(1700, 60)),
    # and what it has lost sight of, it reads again
    calls(call("read_output", handle="1.0", start=100, chars=50), usage=(400, 20)),
    say("The first chapter is my favourite.", usage=(500, 10)),
]

agent = Agent(
    ScriptedModel(SCRIPT),
    tools=[chapter],
    history=ClearResults(2),
    compaction=Compaction(window=2000, keep=1),
)

if __name__ == "__main__":
    result = agent.run_sync("Read all three chapters. Which one do you like best?", on_event=show)
    print(result.output)
    print(f"{len(result.transcript)} entries are kept, {result.usage.total_tokens} tokens were used")
