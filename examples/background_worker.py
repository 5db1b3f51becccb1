"""A queue of jobs and several workers. A job whose worker was killed goes on in another, and nothing is done twice.

A job is a kept conversation that has a prompt and no answer yet. Whoever opens it has it, for as long as its process
lives, and what was done of it is in the conversation. So a worker may be killed at any time; at a SIGTERM it ends
between two steps, and its job is free at once. Without arguments a few workers do a few jobs, and one is killed.
Without AGENTKIT_MODEL the model is scripted. Needs the extra `store`.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path

from agentkit import Agent, Context, tool
from agentkit.chat.request import Request
from agentkit.conversations import ConversationBusy, Conversations
from agentkit.errors import AgentKitError
from agentkit.testing import ScriptedModel, call
from agentkit.testing.script import Step

TRIES = 3
ending = threading.Event()
TABLES = """
CREATE TABLE IF NOT EXISTS jobs (name PRIMARY KEY, state DEFAULT 'open', tries DEFAULT 0, due DEFAULT 0, answer);
CREATE TABLE IF NOT EXISTS letters (key PRIMARY KEY, name, text, asked DEFAULT 1);
"""


def database(folder: Path) -> closing[sqlite3.Connection]:
    """The queue, and what the tools write to."""
    connection = sqlite3.connect(folder / "queue.db", isolation_level=None)
    connection.executescript(TABLES)
    return closing(connection)


def store_in(folder: Path) -> Conversations:
    """Where the jobs' conversations are. A lease is how long a killed worker keeps its job; usually 30 seconds."""
    return Conversations(f"sqlite:///{folder / 'conversations.db'}", lease_s=1)


def add(folder: Path, name: str, task: str) -> None:
    """Put a job into the queue."""
    with store_in(folder) as store, database(folder) as db:
        store.import_sync(name, [{"role": "user", "content": task}])
        db.execute("INSERT INTO jobs (name) VALUES (?)", (name,))


@tool(on_unknown="retry")
def send_letter(context: Context[Path], name: str, text: str) -> str:
    """Send a letter to a customer."""
    with database(context.deps) as db:
        # A call that is repeated, in whatever process, has the same key: the letter is sent once.
        values = (context.idempotency_key, name, text)
        db.execute("INSERT INTO letters VALUES (?, ?, ?, 1) ON CONFLICT DO UPDATE SET asked = asked + 1", values)
    if "doomed" in sys.argv:
        os.kill(os.getpid(), signal.SIGKILL)  # a power cut, an out-of-memory killer, a deployment
    return f"The letter to {name} is on its way."


def respond(request: Request) -> Step:
    """What the scripted model does: it writes a letter to whom the task names."""
    name = request.messages[0]["content"].split()[1]
    if request.messages[-1]["role"] == "user":
        return call("send_letter", name=name, text=f"Dear {name}, please pay your bill.")
    return f"{name} has been reminded."


def attempt(agent: Agent[Path], db: sqlite3.Connection, folder: Path, name: str) -> None:
    """Begin a job, or go on with it: a run without a prompt does what is left to do."""
    try:
        result = agent.run_sync(conversation=name, busy="refuse", deps=folder, pause=ending.is_set)
    except ConversationBusy:
        return  # another worker has it, or had it until it died
    except AgentKitError as error:
        db.execute(
            "UPDATE jobs SET tries = tries + 1, due = ? + 10 * tries, state = iif(tries + 1 < ?, 'open', 'failed'), "
            "answer = ? WHERE name = ?",
            (time.time(), TRIES, str(error), name),
        )
    else:
        if result.status == "done":  # or else this worker is to end, and another goes on
            db.execute("UPDATE jobs SET state = 'done', answer = ? WHERE name = ?", (result.output, name))


def end(*_: object) -> None:
    """Have this worker end."""
    ending.set()


def work(folder: Path) -> None:
    """Do jobs until none is open, or until a SIGTERM comes. In earnest a worker would wait for more."""
    signal.signal(signal.SIGTERM, end)
    with store_in(folder) as store, database(folder) as db:
        agent = Agent[Path](
            os.environ.get("AGENTKIT_MODEL") or ScriptedModel(respond), tools=[send_letter], store=store
        )
        while jobs := db.execute("SELECT name, due FROM jobs WHERE state = 'open' ORDER BY rowid").fetchall():
            for name, due in jobs:
                if due <= time.time():
                    attempt(agent, db, folder, name)
            if ending.wait(0.1):
                return


def worker(folder: Path, *options: str) -> subprocess.Popen[bytes]:
    """Start a worker."""
    return subprocess.Popen([sys.executable, __file__, str(folder), *options])  # noqa: S603  # this file


def main(folder: Path) -> None:
    """Three jobs, and a worker that does not live to see the end of the first."""
    for name in ("Ann", "Bo", "Cy"):
        add(folder, f"reminders/{name}", f"Remind {name} of the bill.")
    print("a worker ended with", worker(folder, "doomed").wait())
    print("two more ended with", *[each.wait() for each in [worker(folder), worker(folder)]])
    with database(folder) as db:
        for job in db.execute("SELECT name, state, answer FROM jobs ORDER BY name"):
            print(*job, sep=" | ")
        for name, asked in db.execute("SELECT name, asked FROM letters ORDER BY name"):
            print(f"one letter to {name}, asked for {asked} times" if asked > 1 else f"one letter to {name}")


if __name__ == "__main__":
    if sys.argv[1:]:
        work(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as folder:
            main(Path(folder))
