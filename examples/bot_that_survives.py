"""A bot that is killed in the middle of a payment goes on in another process, and pays nobody twice.

Runs without a key: the model is scripted, and goes by the conversation alone. Needs the extra `store`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from agentkit import Agent, Answer, Context, tool
from agentkit.chat.request import Request
from agentkit.conversations import Conversations
from agentkit.testing import ScriptedModel, call
from agentkit.testing.script import Step

PEOPLE = ("Ann", "Bo", "Cy")


@tool
def pay(context: Context[Path], name: str) -> str:
    """Pay somebody's wages."""
    with context.deps.open("a") as ledger:
        ledger.write(f"{name}\n")
    if name == "Bo" and "child" in sys.argv:
        os.kill(os.getpid(), signal.SIGKILL)  # a power cut, an out-of-memory killer, a deployment
    return f"{name} is paid"


def respond(request: Request) -> Step:
    """What the model says: one payment after another."""
    paid = sum(message["role"] == "assistant" for message in request.messages)
    return call("pay", name=PEOPLE[paid]) if paid < len(PEOPLE) else "All are paid."


def agent_in(folder: Path) -> Agent:
    """The same agent in each process. The lease is how long a dead process keeps its conversation."""
    store = Conversations(f"sqlite:///{folder / 'bot.db'}", lease_s=1)
    return Agent(ScriptedModel(respond), tools=[pay], store=store)


def go_on(folder: Path) -> None:
    """Go on where the conversation stands: no prompt. What nobody knows is asked."""
    agent, ledger = agent_in(folder), folder / "ledger"
    result = agent.run_sync(conversation="wages", deps=ledger)
    for waiting in result.pending:
        print(f"was it done? {waiting.call.name}({waiting.call.arguments})")
        name = str(waiting.call.parsed["name"])
        answer = Answer(f"{name} is paid") if name in ledger.read_text().split() else Answer(f"{name} was not paid")
        result = agent.run_sync(conversation="wages", deps=ledger, decisions={waiting.id: answer})
    print(result.output)
    print("paid:", *ledger.read_text().split())


if __name__ == "__main__":
    if "child" in sys.argv:
        agent_in(Path(sys.argv[-1])).run_sync("Pay everybody.", conversation="wages", deps=Path(sys.argv[-1], "ledger"))
    else:
        with tempfile.TemporaryDirectory() as folder:
            ended = subprocess.run([sys.executable, __file__, "child", folder], check=False)  # noqa: S603  # this file
            print(f"the child ended with {ended.returncode}")
            go_on(Path(folder))
