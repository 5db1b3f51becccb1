"""A conversation's row and its entries: read with their seals checked, and written under a lease."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import BigInteger, Double, bindparam, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from agentkit._json import dumps, is_object, loads
from agentkit.conversations.faults import LeaseLost, StoreDamaged
from agentkit.conversations.schema import POSTGRES_NOW, conversations, entries
from agentkit.conversations.seals import entry_seal, seal_of
from agentkit.conversations.words import entry_text, stored_words
from agentkit.errors import UsageError
from agentkit.transcript import VERSION, Transcript

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sqlalchemy import ColumnElement, Connection, Update

    from agentkit.conversations.database import Database

MAX_NAME_CHARS: Final = 500
READ_BACK: Final = 256
"""At least so many entries are read of a conversation, and fewer than twice as many where they are enough."""
_UNKEEPABLE: Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Stored:
    """A conversation's row, and the database's time when it was read.

    `system_at` is where the first system message stands, `summary_at` where the last summary does: both are sent,
    however far back they are.
    """

    id: int
    name: str
    user_id: str | None
    metadata: str
    created_at: float
    updated_at: float
    entries: int
    digest: int
    system_at: int | None
    summary_at: int | None
    token: int
    owner: str | None = None
    expires_at: float = 0.0
    now: float = 0.0

    @property
    def seal(self) -> int:
        """The seal over what must not change unseen; who holds it, and until when, are not that."""
        return seal_of(
            self.name,
            self.user_id,
            self.metadata,
            self.created_at,
            self.entries,
            self.digest,
            self.system_at,
            self.summary_at,
            self.token,
        )

    def grown(self, value: Mapping[str, Any], *, seal: int) -> Stored:
        """The row once an entry was added."""
        return replace(
            self,
            entries=self.entries + 1,
            digest=self.digest ^ seal,
            system_at=self.entries if self.system_at is None and _is_system(value) else self.system_at,
            summary_at=self.entries if value.get("covers") else self.summary_at,
        )

    @property
    def is_held(self) -> bool:
        """Whether somebody has it open."""
        return self.owner is not None and self.expires_at > self.now


@dataclass(slots=True)
class Part:
    """Entries of a conversation that follow each other, from `first` on, each as its JSON with its version and seal."""

    first: int
    contents: list[str] = field(default_factory=list[str])
    layouts: list[int] = field(default_factory=list[int])
    seals: list[int] = field(default_factory=list[int])

    def transcript(self) -> Transcript:
        """As a transcript, which knows where they stand. Raises UsageError if a newer agentkit wrote them."""
        texts = [
            f'{{"agentkit":{layout},"entries":[{",".join([self.contents[place] for place in places])}]}}'
            for layout, places in groupby(range(len(self.contents)), key=self.layouts.__getitem__)
        ]
        loaded = [Transcript.load(dumped) for dumped in texts]
        transcript = loaded[0] if len(loaded) == 1 else Transcript([entry for each in loaded for entry in each])
        transcript.offset = self.first
        return transcript


def _is_system(value: Mapping[str, Any]) -> bool:
    return value["message"].get("role") in ("system", "developer")


def checked_name(name: object, what: str = "a conversation's name") -> str:
    """A name that every database can keep. Raises UsageError."""
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME_CHARS:
        raise UsageError(f"{what} is text of 1 to {MAX_NAME_CHARS} characters, not {str(name)[:60]!r}")
    if _UNKEEPABLE.search(name):
        raise UsageError(f"{what} has no control characters and no halves of characters; {name[:60]!r} has")
    return name


def written_metadata(metadata: Mapping[str, Any]) -> str:
    """Metadata as JSON. Raises UsageError."""
    try:
        return dumps(dict(metadata)).decode()
    except (ValueError, TypeError) as error:
        raise UsageError(f"metadata is a dict that can be written as JSON: {error}") from None


_COLUMNS: Final = [conversations.c[name] for name in Stored.__slots__ if name != "now"]


def rows_of(database: Database) -> Any:
    """The query for conversations' rows, which `stored` reads."""
    return select(*_COLUMNS, database.now().label("now"), conversations.c.seal)


def stored(database: Database, row: Sequence[Any]) -> Stored:
    """A row that was read, its seal checked. Raises StoreDamaged."""
    values: list[Any] = list(row)
    seal = values.pop()
    found = Stored(*values)
    try:
        right = found.seal == seal and isinstance(found.updated_at + found.expires_at, float)
    except (ValueError, TypeError):
        right = False
    if not right:
        raise StoreDamaged(f"{database.name} is damaged: the row of conversation {str(found.name)[:80]!r} has changed")
    return found


def check_entry(
    database: Database, row: Stored, position: object, layout: object, seal: object, content: object
) -> None:
    """See that an entry that was read is as it was written. Raises StoreDamaged."""
    if (
        not isinstance(position, int)
        or not isinstance(layout, int)
        or not isinstance(content, str)
        or entry_seal(row.id, position, layout, content) != seal
    ):
        raise StoreDamaged(f"{database.name} is damaged: entry {position} of conversation {row.name!r} has changed")


def find(database: Database, connection: Connection, name: str, *, lock: bool = False) -> Stored | None:
    """The conversation's row, kept from others until the transaction ends if `lock`. Raises StoreDamaged."""
    query = rows_of(database).where(conversations.c.name == name)
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    found = None if row is None else stored(database, tuple(row))
    if found is not None and found.name != name:
        raise StoreDamaged(f"{database.name} is damaged: under {name!r} it has conversation {found.name!r}")
    return found


def found(database: Database, connection: Connection, name: str, *, lock: bool = False) -> Stored:
    """The same. Raises UsageError if there is none."""
    row = find(database, connection, checked_name(name), lock=lock)
    if row is None:
        database.check_names()
        raise UsageError(f"there is no conversation {name!r} in {database.name}")
    return row


def add(database: Database, connection: Connection, name: str, user: str | None, metadata: str) -> bool:
    """Add an empty conversation; False if the name is taken."""
    at = time.time()
    row = Stored(0, name, user, metadata, at, at, 0, 0, None, None, 0)
    values = {column.name: getattr(row, column.name) for column in _COLUMNS[1:]}
    made = (sqlite if database.is_sqlite else postgresql).insert(conversations).values(**values, seal=row.seal)
    made = made.on_conflict_do_nothing(index_elements=["name"])
    return connection.execute(made.returning(conversations.c.id)).first() is not None


def change(connection: Connection, old: Stored, new: Stored) -> None:
    """Write a row that was read with `lock`."""
    values = {column.name: getattr(new, column.name) for column in _COLUMNS[1:]}
    connection.execute(update(conversations).where(conversations.c.id == old.id).values(**values, seal=new.seal))


_entries_from: Final = (
    select(entries.c.position, entries.c.layout, entries.c.seal, entries.c.earlier, entries.c.content)
    .where(entries.c.conversation_id == bindparam("of"), entries.c.position >= bindparam("first"))
    .order_by(entries.c.position)
)


def read(database: Database, connection: Connection, row: Stored, *, first: int = 0) -> Part:
    """The conversation's entries from `first` on. Raises StoreDamaged if anything is missing or has changed."""
    part, digest = Part(first), None if first else 0
    for place, (position, layout, seal, earlier, content) in enumerate(
        connection.execute(_entries_from, {"of": row.id, "first": first}), first
    ):
        is_next = position == place and isinstance(earlier, int) and earlier == (earlier if digest is None else digest)
        check_entry(database, row, place, layout, seal if is_next else None, content)
        part.contents.append(content)
        part.layouts.append(layout)
        part.seals.append(seal)
        digest = earlier ^ seal
    if first + len(part.seals) != row.entries or digest != row.digest:
        raise StoreDamaged(
            f"{database.name} is damaged: conversation {row.name!r} has entries that do not add up to the "
            f"{row.entries} that were written"
        )
    return part


def read_last(database: Database, connection: Connection, row: Stored, last: int) -> tuple[Part, Transcript]:
    """At least so many entries from the end: from the nearest message of the user before them, as a part."""
    while True:
        part = read(database, connection, row, first=max(0, row.entries - last))
        found = part.transcript()
        if not part.first or found.entries[0].message.role == "user":
            return part, found
        last *= 2


def read_enough(
    database: Database, connection: Connection, row: Stored, enough: Callable[[Transcript], bool]
) -> tuple[Part, Transcript]:
    """As many entries from the end as are enough, and all that is sent however far back it stands.

    The part begins at a multiple of its length, so that it begins there the next times too, and what is sent of it.
    """
    stays = min((at for at in (row.system_at, row.summary_at) if at is not None), default=row.entries)
    length = READ_BACK
    while True:
        part = read(database, connection, row, first=max(0, row.entries // length - 1) * length)
        found = part.transcript()
        if not part.first or (part.first <= stays and enough(found)):
            return part, found
        length *= 4


def lost(name: str) -> LeaseLost:
    """The error of a holder that came too late."""
    return LeaseLost(
        f"conversation {name!r} was taken over or deleted while this process stood still: nothing more is written to "
        "it from here; open it again to go on from what the other one wrote"
    )


def content_of(entry_json: str | bytes) -> tuple[str, dict[str, Any]]:
    """A dumped entry as text that every database can keep, and as a value. Raises UsageError if it is none."""
    try:
        value = loads(entry_json)
    except ValueError as error:
        raise UsageError(f"an entry is JSON, as a dump has it: {error}") from None
    if not is_object(value) or not is_object(value.get("message")):
        raise UsageError(f"an entry is a JSON object with a 'message', as a dump has it, not {entry_json[:60]!r}")
    try:
        text = entry_json.decode() if isinstance(entry_json, bytes) else entry_json
        text.encode()
    except UnicodeError:  # what a model sent may hold halves of characters; written anew, they are escaped
        text = dumps(value).decode()
    return text, value


def entry_row(row: Stored, position: int, content: str, value: Mapping[str, Any], layout: int) -> dict[str, Any]:
    """What is kept of an entry that takes its place in a conversation, at the end if it is new."""
    return {
        "conversation_id": row.id,
        "position": position,
        "layout": layout,
        "seal": entry_seal(row.id, position, layout, content),
        "earlier": row.digest,
        "words": stored_words(entry_text(value)),
        "content": content,
    }


_CHANGED: Final = ("entries", "digest", "system_at", "summary_at", "seal", "updated_at")


def _marking(now: ColumnElement[float]) -> Update:
    """The change of a conversation's row with a write; made once, for SQLAlchemy takes longer over it than SQLite."""
    changed: dict[str, Any] = {name: bindparam(f"new_{name}") for name in _CHANGED}
    changed["expires_at"] = now + bindparam("lease_s", type_=Double)
    return (
        update(conversations)
        .where(conversations.c.id == bindparam("of"), conversations.c.token == bindparam("held"))
        .values(changed)
    )


_marking_sqlite: Final = _marking(bindparam("now", type_=Double))
_marking_postgres: Final = _marking(POSTGRES_NOW)
_add_entry: Final = insert(entries)
_change_entry: Final = (
    update(entries)
    .where(entries.c.conversation_id == bindparam("of"), entries.c.position == bindparam("at"))
    .values({name: bindparam(f"new_{name}") for name in ("layout", "seal", "words", "content")})
)
_bits: Final = bindparam("bits", type_=BigInteger)
# SQLite has no XOR
_change_later: Final = (
    update(entries)
    .where(entries.c.conversation_id == bindparam("of"), entries.c.position > bindparam("at"))
    .values(earlier=entries.c.earlier.bitwise_or(_bits) - entries.c.earlier.bitwise_and(_bits))
)


def write(
    database: Database,
    connection: Connection,
    row: Stored,
    position: int,
    entry_json: str | bytes,
    *,
    old: int | None,
    lease_s: float,
) -> tuple[Stored, int]:
    """Write an entry if the lease is still the holder's, and renew the lease: the row as it is now, the entry's seal.

    `old` is the seal of the entry whose place it takes, None for a new one.

    Raises:
        LeaseLost: somebody else has the conversation; nothing was written.
    """
    content, value = content_of(entry_json)
    made = entry_row(row, position, content, value, VERSION)
    bits: int = made["seal"] ^ (old or 0)
    new = row.grown(value, seal=bits) if old is None else replace(row, digest=row.digest ^ bits)
    new = replace(new, updated_at=time.time())
    changes: dict[str, Any] = {"of": row.id, "held": row.token, "lease_s": lease_s}
    changes |= {f"new_{name}": getattr(new, name) for name in _CHANGED}
    if database.is_sqlite:
        changes["now"] = time.time()
    if connection.execute(_marking_sqlite if database.is_sqlite else _marking_postgres, changes).rowcount != 1:
        raise lost(row.name)
    if old is None:
        connection.execute(_add_entry, made)
        return new, made["seal"]
    values = {f"new_{name}": made[name] for name in ("layout", "seal", "words", "content")}
    if connection.execute(_change_entry, {"of": row.id, "at": position, **values}).rowcount != 1:
        raise StoreDamaged(f"{database.name} is damaged: entry {position} of conversation {row.name!r} is missing")
    if position < row.entries - 1:
        connection.execute(_change_later, {"of": row.id, "at": position, "bits": bits})
    return new, made["seal"]
