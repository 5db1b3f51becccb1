"""Finding rows by the words in them, whatever full-text index the database has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from sqlalchemy import BigInteger, and_, bindparam, column, literal_column, or_, text
from sqlalchemy.types import Text

from agentkit.conversations.schema import TSVECTOR, WORDS_OF

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement, Table

    from agentkit.conversations.database import Database

Match: TypeAlias = Literal["all", "any start"]
_JOINTS: Final[dict[Match, tuple[str, str]]] = {"all": (" AND ", " & "), "any start": (" OR ", " | ")}


def has_words(database: Database, table: Table, wanted: Sequence[str], match: Match) -> ColumnElement[bool]:
    """Whether a row has all the words, or any word that begins with one of them."""
    joint_sqlite, joint_postgres = _JOINTS[match]
    prefix = match == "any start"
    if not database.has_words:
        found = [table.c.words.like(f"% {word}{'' if prefix else ' '}%") for word in wanted]
        return or_(*found) if prefix else and_(*found)
    if database.is_sqlite:
        index = WORDS_OF[table.name]
        query = joint_sqlite.join([f'"{word}"{"*" if prefix else ""}' for word in wanted])
        rows = text(f"SELECT rowid FROM {index} WHERE {index} MATCH :wanted")  # noqa: S608  # our own names
        return table.c.id.in_(rows.bindparams(bindparam("wanted", query, Text)).columns(column("rowid", BigInteger)))
    query = joint_postgres.join([f"'{word}'{':*' if prefix else ''}" for word in wanted])
    return literal_column(TSVECTOR).op("@@", is_comparison=True)(
        text("CAST(:wanted AS tsquery)").bindparams(wanted=query)
    )
