"""Make the databases that this folder keeps, once for each version of the tables, with `python -m` and this module.

A version that was released is never made anew. For Postgres: `make.py URL`, then
`pg_dump --schema=public --no-owner --inserts`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from agentkit.conversations import Conversations
from agentkit.conversations.schema import MIGRATIONS
from tests.conversations.entries import asked, fill, said


def make(url: str) -> None:
    """Fill a new database."""
    with Conversations(url) as store:
        turn = [said("Where is Dune?"), asked("On A3."), said("It is on A3.", "assistant")]
        fill(store, "first", turn, user="ann", metadata={"topic": "books"})
        fill(store, "second", [said("And Emma?"), asked(None)], user="ann")
        store.memory("ann")[0].call_sync({"text": "Ann likes green tea."})


if __name__ == "__main__":
    make(sys.argv[1] if sys.argv[1:] else f"sqlite:///{Path(__file__).parent}/{len(MIGRATIONS)}.db")
