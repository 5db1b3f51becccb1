"""What writing a turn to a store costs, beside the least that SQLite does for it: `python -m tests.benchmarks.store`.

A turn is a question, a call as it starts, its result, and the answer: four writes, each on the disk before the next.
The floor is sqlite3 alone: the same texts, one insert and one commit each, in the same folder with the same settings.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Literal

from agentkit.conversations import Conversations
from agentkit.history import KeepTurns, enough_for

Durability = Literal["power", "process"]
WORDS = "Where in the library is the shelf with this book, and who has borrowed it before me? " * 4


def turn(number: int) -> list[tuple[int, str]]:
    """The writes of a turn: the place of the entry, counted from the turn's first, and its JSON."""
    call = {"id": f"call_{number}", "name": "look", "arguments": '{"title": "Dune"}'}
    function = {"name": "look", "arguments": call["arguments"]}
    message = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": call["id"], "type": "function", "function": function}],
    }
    started = {**call, "started_at": 1.0}
    landed = {**started, "result": {"content": WORDS * 4, "status": "ok"}}
    entries = [
        (0, {"message": {"role": "user", "content": WORDS}}),
        (1, {"message": message, "calls": [started]}),
        (1, {"message": message, "calls": [landed]}),
        (2, {"message": {"role": "assistant", "content": WORDS}}),
    ]
    return [(place, json.dumps(entry)) for place, entry in entries]


@contextmanager
def kept(folder: Path, durability: Durability) -> Iterator[Callable[[int], None]]:
    """Writes turns to a store."""
    url = f"sqlite:///{folder}/{durability}.db"
    with Conversations(url, durability=durability) as store, store.open("bench") as conversation:

        def write(number: int) -> None:
            for place, entry in turn(number):
                conversation.record(3 * number + place, entry)

        yield write


@contextmanager
def floor(folder: Path, durability: Durability) -> Iterator[Callable[[int], None]]:
    """Writes turns to a bare table."""
    with closing(sqlite3.connect(folder / f"bare-{durability}.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {'FULL' if durability == 'power' else 'NORMAL'}")
        connection.execute("CREATE TABLE entries (id INTEGER PRIMARY KEY, content TEXT)")

        def write(number: int) -> None:
            for _, entry in turn(number):
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("INSERT INTO entries (content) VALUES (?)", (entry,))
                connection.execute("COMMIT")

        yield write


def measured(turns: int, durability: Durability) -> tuple[list[float], list[float]]:
    """Seconds for each turn, bare and kept, in turns, so that a busy disk hits both."""
    with (
        tempfile.TemporaryDirectory(dir=Path.cwd()) as folder,
        floor(Path(folder), durability) as bare,
        kept(Path(folder), durability) as store,
    ):
        spent: dict[Callable[[int], None], list[float]] = {bare: [], store: []}
        for number in range(turns + 5):
            for write, seconds in spent.items():
                began = time.perf_counter()
                write(number)
                seconds.append(time.perf_counter() - began)
        return spent[bare][5:], spent[store][5:]


def opened(messages: int) -> Iterator[tuple[str, int, float]]:
    """A long conversation, whole and its end: what is opened, how many entries that are, the seconds it takes."""
    plain = [{"role": ("user", "assistant")[number % 2], "content": f"{number}: {WORDS}"} for number in range(messages)]
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder, Conversations(f"sqlite:///{folder}/long.db") as store:
        store.import_sync("long", plain)
        ways: dict[str, dict[str, Any]] = {
            "whole": {},
            "last=100": {"last": 100},
            "what a run with KeepTurns(20) reads": {"enough": enough_for([KeepTurns(20)], None)},
        }
        for what, options in ways.items():
            seconds: list[float] = []
            for _ in range(5):
                began = time.perf_counter()
                with store.open("long", **options) as conversation:
                    seconds.append(time.perf_counter() - began)
            yield what, len(conversation.transcript), statistics.median(seconds)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=200)
    parser.add_argument("--messages", type=int, default=10_000)
    wanted = parser.parse_args()
    for durability in ("power", "process"):
        bare, store = (statistics.median(seconds) * 1e3 for seconds in measured(wanted.turns, durability))
        print(
            f"a turn, durability={durability!r}: {store:.2f} ms; sqlite3 alone {bare:.2f} ms; {store / bare:.2f} times"
        )
    for what, entries, seconds in opened(wanted.messages):
        print(f"{wanted.messages} messages opened, {what}: {entries} entries, {seconds * 1e3:.1f} ms")


if __name__ == "__main__":
    main()
