"""What a model remembers of a user from one conversation to the next: three tools over the store."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import delete, insert, select

from agentkit.context import Retry
from agentkit.conversations.faults import StoreDamaged
from agentkit.conversations.rows import checked_name
from agentkit.conversations.schema import memories
from agentkit.conversations.seals import seal_of
from agentkit.conversations.searching import has_words
from agentkit.conversations.words import stored_words, wanted_words
from agentkit.tools import Tool

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection

    from agentkit.conversations.database import Database

MAX_MEMORY_CHARS: Final = 4_000
MOST_RECALLED: Final = 10
CANDIDATES: Final = 500
"""So many of the newest memories that fit are weighed against each other."""


class Memory:
    """The memories of one user. Each method is a tool for a model; see `tools`."""

    def __init__(self, database: Database, user: str) -> None:
        self._database = database
        self._user = checked_name(user, "a user's name")

    @property
    def tools(self) -> list[Tool]:
        """The tools remember, recall and forget."""
        return [
            Tool(self.remember, exclusive="memory"),
            Tool(self.recall, read_only=True, exclusive="memory"),
            Tool(self.forget, exclusive="memory"),
        ]

    def remember(self, text: str) -> dict[str, Any]:
        """Keep a fact about the user for later conversations. What is known already is not kept twice.

        Args:
            text: The fact, in a sentence that can be understood by itself.
        """
        text = text.strip()
        if not text or len(text) > MAX_MEMORY_CHARS:
            raise Retry(f"A memory is a text of 1 to {MAX_MEMORY_CHARS} characters.")
        text = text.encode("utf-8", "replace").decode().replace("\0", "")
        of_user = select(memories.c.id).where(memories.c.user_id == self._user, memories.c.content == text)
        with self._database.writing() as connection:
            known = connection.execute(of_user.order_by(memories.c.id)).scalars().first()
            if known is None:
                made = insert(memories).values(
                    user_id=self._user,
                    created_at=time.time(),
                    seal=seal_of(self._user, text),
                    words=stored_words(text),
                    content=text,
                )
                known = connection.execute(made.returning(memories.c.id)).scalar_one()
        return {"id": known, "text": text}

    def recall(self, query: str = "") -> list[dict[str, Any]]:
        """Look up what is known about the user from earlier conversations: the facts that fit best come first.

        Args:
            query: Words to look for; leave it empty for the newest facts.
        """
        wanted = wanted_words(query)
        rows = select(memories.c.id, memories.c.content, memories.c.seal, memories.c.words).where(
            memories.c.user_id == self._user
        )
        if wanted:
            rows = rows.where(has_words(self._database, memories, wanted, "any start"))
        with self._database.reading() as connection:
            found = self._read(connection, rows.order_by(memories.c.id.desc()).limit(CANDIDATES))
        best = _best_first(found, wanted)[:MOST_RECALLED]
        return [{"id": number, "text": text} for number, text, _ in best]

    def forget(self, id: int) -> str:  # noqa: A002  # the model's name for it
        """Delete a fact about the user, which is wrong by now or unwanted.

        Args:
            id: Its number, as recall tells it.
        """
        gone = delete(memories).where(memories.c.user_id == self._user, memories.c.id == id)
        with self._database.writing() as connection:
            if not connection.execute(gone).rowcount:
                raise Retry(f"There is no memory {id}; recall tells the numbers.")
        return f"Memory {id} is deleted."

    def _read(self, connection: Connection, rows: Any) -> list[tuple[int, str, str]]:
        found: list[tuple[int, str, str]] = []
        row: Any
        for row in connection.execute(rows):
            number, content, seal, words = row
            if not isinstance(content, str) or seal_of(self._user, content) != seal:
                raise StoreDamaged(f"{self._database.name} is damaged: memory {number} has changed")
            found.append((number, content, words))
        return found


def _best_first(found: list[tuple[int, str, str]], wanted: Iterable[str]) -> list[tuple[int, str, str]]:
    """Those with more of the words first, a word that few have counting more; the order stays where they are even."""
    fitting = {row[0]: [word for word in wanted if f" {word}" in row[2]] for row in found}
    frequency = Counter(word for words in fitting.values() for word in words)
    return sorted(found, key=lambda row: -sum(1 / frequency[word] for word in fitting[row[0]]))
