"""Calls that do harm are put to whoever sits at the terminal: `python examples/approve_in_terminal.py`.

"y" lets a call run; anything else is told to the model as the reason why not. Without AGENTKIT_MODEL the model is
scripted.
"""

from __future__ import annotations

import os

from agentkit import Agent, Approve, Context, Deny, ToolCall, tool
from agentkit.approval import Decision
from agentkit.testing import ScriptedModel, call, calls

FILES = {"report.txt": 120, "draft.txt": 90, "photo.raw": 48_000}  # names and sizes; a real one would look at a folder


@tool(read_only=True)
def list_files(context: Context[dict[str, int]]) -> dict[str, int]:
    """Tell which files there are, and their sizes in kB."""
    return context.deps


@tool(approval=True)
def delete(context: Context[dict[str, int]], name: str) -> str:
    """Delete a file."""
    return f"deleted {name}, {context.deps.pop(name)} kB"


def ask(wanted: ToolCall) -> Decision:
    """What the person decides."""
    print(f"The model wants to call {wanted.name} with {wanted.arguments}.")
    try:
        said = input("May it? [y, or why not] ").strip()
    except EOFError:
        said = "nobody is there to ask"
    return Approve() if said.casefold() in ("y", "yes") else Deny(said)


SCRIPT = ScriptedModel(
    [
        call("list_files"),
        calls(call("delete", name="photo.raw"), call("delete", name="report.txt")),
        "I made the room that I was allowed to make.",
    ]
)
agent = Agent[dict[str, int]](os.environ.get("AGENTKIT_MODEL") or SCRIPT, tools=[list_files, delete])

if __name__ == "__main__":
    files = dict(FILES)
    result = agent.run_sync("The disk is full. Make some room.", deps=files, approve=ask)
    for record in result.tool_calls:
        if record.call.name == "delete" and record.result is not None:
            print(f"{record.result.status}: {record.result.content}")
    print(result.output)
    print("left:", ", ".join(files))
