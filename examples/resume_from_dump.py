"""A run that stops half-way is dumped to a file, and another process goes on from it. No finished call runs twice.

Runs without a key: the models are scripted.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from agentkit import Agent, Transcript, tool
from agentkit.errors import EndpointError
from agentkit.testing import ScriptedModel, call, calls, status


@tool(exclusive=True)
def charge(customer: str) -> str:
    """Charge a customer the monthly fee."""
    print(f"charging {customer}")
    return "paid"


agent = Agent("openai:gpt-5-mini", tools=[charge])


def begin(file: Path) -> None:
    """Run until the endpoint fails, and keep what was done."""
    failing = ScriptedModel([calls(call("charge", customer="Ann"), call("charge", customer="Bo")), status(401)])
    try:
        agent.run_sync("Charge Ann and Bo.", model=failing)
    except EndpointError as error:
        print(f"stopped: {type(error).__name__}")
        file.write_text((error.transcript or Transcript()).dump(), "utf-8")


def go_on(file: Path) -> None:
    """Go on where the file stands: no prompt, so that the run itself is continued, its limits included."""
    transcript = Transcript.load(file.read_text("utf-8"))
    result = agent.run_sync(transcript=transcript, model=ScriptedModel(["Both have paid."]))
    print(result.output)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        begin(Path(folder, "run.json"))
        go_on(Path(folder, "run.json"))
