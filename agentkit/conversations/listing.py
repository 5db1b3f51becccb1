"""What a store tells of its conversations: listed, and found by their words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, or_, select

from agentkit._json import loads
from agentkit.conversations.faults import StoreDamaged
from agentkit.conversations.rows import Stored, rows_of, stored
from agentkit.conversations.schema import conversations, entries
from agentkit.conversations.seals import entry_seal
from agentkit.conversations.searching import has_words
from agentkit.conversations.words import entry_text, excerpt, wanted_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentkit.conversations.database import Database

LAST: str = "\U0010ffff"


@dataclass(frozen=True, slots=True)
class Conversation:
    """What is known of a conversation without reading it. Times are Unix time; `held_by` says who has it open."""

    name: str
    user: str | None
    metadata: dict[str, Any]
    created_at: float
    updated_at: float
    entries: int
    held_by: str | None = None

    @property
    def cursor(self) -> tuple[float, str]:
        """Where it stands in a listing: `before` of the page that follows it."""
        return (self.updated_at, self.name)


@dataclass(frozen=True, slots=True)
class Found:
    """An entry that has the words: where it is, who said it, and the text around the first word."""

    conversation: str
    index: int
    role: str
    excerpt: str


def known_of(row: Stored) -> Conversation:
    """A row as the caller sees it."""
    held_by = row.owner if row.is_held else None
    return Conversation(
        row.name, row.user_id, loads(row.metadata), row.created_at, row.updated_at, row.entries, held_by
    )


def listed(
    database: Database, *, prefix: str, user: str | None, limit: int, before: Sequence[Any] | None
) -> list[Conversation]:
    """The conversations, those with the newest entries first."""
    table = conversations.c
    rows = rows_of(database).order_by(table.updated_at.desc(), table.name.desc()).limit(limit)
    if prefix:
        rows = rows.where(table.name >= prefix, table.name < prefix + LAST)
    if user is not None:
        rows = rows.where(table.user_id == user)
    if before is not None:
        at, name = before
        rows = rows.where(or_(table.updated_at < at, and_(table.updated_at == at, table.name < name)))
    with database.reading() as connection:
        return [known_of(stored(database, row)) for row in connection.execute(rows)]


def searched(database: Database, words: str, *, user: str | None, name: str | None, limit: int) -> list[Found]:
    """The entries that have all the words, newest first. Raises StoreDamaged."""
    wanted = wanted_words(words)
    if not wanted:
        return []
    table = entries.c
    rows = (
        select(conversations.c.name, table.conversation_id, table.position, table.layout, table.seal, table.content)
        .join(conversations, conversations.c.id == table.conversation_id)
        .where(has_words(database, entries, wanted, "all"))
        .order_by(table.id.desc())
        .limit(limit)
    )
    if user is not None:
        rows = rows.where(conversations.c.user_id == user)
    if name is not None:
        rows = rows.where(conversations.c.name == name)
    found: list[Found] = []
    with database.reading() as connection:
        for title, conversation, position, layout, seal, content in connection.execute(rows):
            if not isinstance(content, str) or entry_seal(conversation, position, layout, content) != seal:
                raise StoreDamaged(f"{database.name} is damaged: entry {position} of {title!r} has changed")
            entry = loads(content)
            found.append(Found(title, position, entry["message"]["role"], excerpt(entry_text(entry), wanted)))
    return found
