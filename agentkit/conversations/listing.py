"""What a store tells of its conversations: listed, and found by their words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import and_, or_

from agentkit._json import loads
from agentkit.conversations.rows import Stored, check_entry, rows_of, stored
from agentkit.conversations.schema import conversations, entries
from agentkit.conversations.searching import has_words
from agentkit.conversations.words import entry_text, excerpt, wanted_words
from agentkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentkit.conversations.database import Database

LAST: Final = "\U0010ffff"


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


def at_least_one(limit: int) -> None:
    """Raise UsageError if a limit lets nothing through."""
    if limit < 1:
        raise UsageError(f"limit={limit} must be 1 or more")


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
    at_least_one(limit)
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
    at_least_one(limit)
    wanted = wanted_words(words)
    if not wanted:
        return []
    table = entries.c
    rows = (
        rows_of(database)
        .add_columns(table.position, table.layout, table.seal, table.content)
        .join(entries, conversations.c.id == table.conversation_id)
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
        for row in connection.execute(rows):
            values: list[Any] = list(row)
            position, layout, seal, content = values[-4:]
            known = stored(database, values[:-4])
            check_entry(database, known, position, layout, seal, content)
            entry = loads(content)
            found.append(Found(known.name, position, entry["message"]["role"], excerpt(entry_text(entry), wanted)))
    return found
