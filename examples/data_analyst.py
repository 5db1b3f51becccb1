"""Questions about a SQLite database, answered by SQL that the model writes and that can only read.

`python examples/data_analyst.py DATABASE QUESTION`; without arguments a sample is asked. Without AGENTKIT_MODEL the
model is scripted: it gets a column wrong, and tries to delete what it may only look at.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import tempfile
from contextlib import closing
from pathlib import Path

from agentkit import Agent, Context, Instruction, Retry, tool
from agentkit.events import Event, ToolFinished, ToolStarted
from agentkit.testing import ScriptedModel, call

SAMPLE = Path(__file__).parent / "data" / "shop.sql"
MAX_ROWS = 50
READING = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}


def connect(database: Path) -> sqlite3.Connection:
    """Open a database so that nothing can be changed in it, and no other file be reached from it."""
    connection = sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True)
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 1_000_000)
    connection.set_authorizer(only_reading)
    return connection


def only_reading(action: int, *_: str | None) -> int:
    """Whether a statement may do something: look, and nothing else."""
    return sqlite3.SQLITE_OK if action in READING else sqlite3.SQLITE_DENY


def schema(context: Context[Path]) -> str:
    """What the model is told of the database."""
    with closing(connect(context.deps)) as connection:
        tables = [sql for (sql,) in connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")]
    return "The database:\n\n" + ";\n\n".join(tables)


@tool(read_only=True, timeout_s=10)
def query(context: Context[Path], sql: str) -> str:
    """Run a SELECT statement, in the dialect of SQLite.

    Args:
        sql: One statement.
    """
    with closing(connect(context.deps)) as connection:
        connection.set_progress_handler(lambda: context.cancelled, 10_000)  # once its time is over, it stops
        try:
            cursor = connection.execute(sql)
            rows = cursor.fetchmany(MAX_ROWS + 1)
        except (sqlite3.Error, sqlite3.Warning) as error:
            raise Retry(f"{error}. The database can only be read, by one SELECT at a time.") from error
    names = [column[0] for column in cursor.description or ()]
    lines = [" | ".join(map(str, row)) for row in (names, *rows[:MAX_ROWS])]
    if len(rows) > MAX_ROWS:
        lines.append(f"There are more than these {MAX_ROWS} rows: sum them up, or ask for fewer.")
    return "\n".join(lines)


TAKINGS = (
    "SELECT name, sum(count * %s) AS total FROM orders JOIN products ON products.id = product "
    "WHERE status = 'paid' GROUP BY name ORDER BY total DESC"
)
SCRIPT = ScriptedModel(
    [
        call("query", sql=TAKINGS % "price"),
        call("query", sql=TAKINGS % "euros"),
        "Green tea brought in the most: 143 euros.",
        call("query", sql="DELETE FROM orders WHERE status = 'cancelled'"),
        "I can only look at the orders, not delete them.",
    ]
)
analyst = Agent[Path](
    os.environ.get("AGENTKIT_MODEL") or SCRIPT,
    tools=[query],
    instructions=[
        "You answer questions about a database. Look before you answer, and say only what you found.",
        Instruction(schema, position="head"),
    ],
)


def show(event: Event) -> None:
    """Print what is looked up, and what is found."""
    match event:
        case ToolStarted(made):
            print("→", made.arguments)
        case ToolFinished(_, result):
            print("←", result.content.replace("\n", "\n  "))
        case _:
            pass


def ask(database: Path, *questions: str) -> None:
    """Ask, and show what is done for the answers."""
    for question in questions:
        print(f"> {question}")
        print(analyst.run_sync(question, deps=database, on_event=show).output)


if __name__ == "__main__":
    if sys.argv[1:]:
        ask(Path(sys.argv[1]), " ".join(sys.argv[2:]))
    else:
        with tempfile.TemporaryDirectory() as folder:
            with closing(sqlite3.connect(Path(folder, "shop.db"))) as sample:
                sample.executescript(SAMPLE.read_text("utf-8"))
            ask(Path(folder, "shop.db"), "Which product brought in the most?", "Delete the orders that were cancelled.")
