"""Conversations: the store that users hold."""

from __future__ import annotations

from dataclasses import replace
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeAlias, TypeVar

from sqlalchemy import delete, insert

from agentkit._json import dumps, loads
from agentkit.calling import threads
from agentkit.conversations.database import Database
from agentkit.conversations.faults import ConversationBusy
from agentkit.conversations.kept import Kept, Wish
from agentkit.conversations.leases import Heart
from agentkit.conversations.listing import Conversation, Found, known_of, listed, searched
from agentkit.conversations.memory import Memory
from agentkit.conversations.rows import (
    Stored,
    add,
    change,
    checked_name,
    content_of,
    entry_row,
    found,
    read,
    written_metadata,
)
from agentkit.conversations.schema import conversations, entries
from agentkit.errors import UsageError
from agentkit.transcript import VERSION, Transcript

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence

    from sqlalchemy import Connection

    from agentkit.conversations.database import Durability
    from agentkit.conversations.kept import Busy
    from agentkit.messages import Message
    from agentkit.tools import Tool

S = TypeVar("S")
P = ParamSpec("P")
T = TypeVar("T")

# Inside the class, `list` is its verb.
Listing: TypeAlias = list[Conversation]
Findings: TypeAlias = list[Found]
Messages: TypeAlias = list[dict[str, Any]]
Tools: TypeAlias = "list[Tool]"
Rows: TypeAlias = list[dict[str, Any]]


def awaited(method: Callable[Concatenate[S, P], T]) -> Callable[Concatenate[S, P], Coroutine[Any, Any, T]]:
    """The same method for async code: its work is done in a worker thread."""

    @wraps(method)
    async def run(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await threads.run(partial(method, self, *args, **kwargs))

    run.__name__ = method.__name__.removesuffix("_sync")
    return run


class Conversations:
    """Conversations that outlive the process: in a SQLite file, or in Postgres.

    Each verb is there twice: `await store.load(name)`, and `store.load_sync(name)` for sync code. `open` is entered
    with `async with` or with `with`. A store is safe to use from any thread and any event loop. The database is opened
    at first use, or by `connect`.
    """

    def __init__(
        self,
        url: str = "sqlite:///conversations.db",
        *,
        lease_s: float = 30.0,
        durability: Durability = "power",
        full_text: bool = True,
    ) -> None:
        """A store in the database that an SQLAlchemy URL names.

        Args:
            url: "sqlite:///bot.db", or "postgresql+psycopg://user:password@host/database".
            lease_s: How long a conversation stays held by a process that stood still or died.
            durability: What an entry that was recorded survives: "power" a power failure, "process" the end of the
                process alone, kill -9 too, which takes a fraction of the time.
            full_text: Whether a SQLite file that is made now gets a full-text index; without, a search reads all.

        Raises:
            UsageError: the URL is none, or names another kind of database.
        """
        if not lease_s > 0:
            raise UsageError(f"lease_s={lease_s} must be more than 0")
        self._database = Database(url, durability=durability, full_text=full_text)
        self._lease_s = lease_s
        self._heart = Heart(self._database, lease_s)

    def connect_sync(self) -> None:
        """Open the database now; a new one is made, an older one brought up to date.

        Raises:
            StoreError: it is newer than this agentkit, of another program, or out of reach.
            StoreDamaged: it is not as it was written.
        """
        self._database.open()

    def close(self) -> None:
        """Let go of the database. Conversations that are open now can no longer be recorded."""
        self._database.close()

    def open(
        self,
        name: str,
        *,
        busy: Busy = "wait",
        wait_s: float | None = None,
        user: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        last: int | None = None,
        enough: Callable[[Transcript], bool] | None = None,
    ) -> Kept:
        """A conversation to go on with, for a `with` or `async with` block; a name that is new begins one.

        Args:
            name: Its name.
            busy: Where it is open elsewhere: "wait" for it, or "refuse".
            wait_s: How long to wait at most; None is as long as it takes.
            user: Whose it is. One that exists has to be this user's.
            metadata: What to keep beside it, in place of what was kept; None leaves that.
            last: Read this many of its last entries, and those before them back to the user's message.
            enough: Read backwards from its end until this says of what was read that it is enough.

        Raises:
            ConversationBusy: on entering: it is open elsewhere.
            UsageError: on entering: it is another user's.
            StoreDamaged: on entering: it is not as it was written.
        """
        if busy not in ("wait", "refuse"):
            raise UsageError(f"busy is 'wait' or 'refuse', not {busy!r}")
        if last is not None and last < 1:
            raise UsageError(f"last={last} must be 1 or more")
        if user is not None:
            checked_name(user, "a user's name")
        written = None if metadata is None else written_metadata(metadata)
        if last is not None and enough is not None:
            raise UsageError("last= and enough= both say how much is read: leave one of them out")
        wish = Wish(checked_name(name), busy, wait_s, user, written, last, enough)
        return Kept(self._database, self._heart, self._lease_s, wish)

    def memory(self, user: str) -> Tools:
        """The tools remember, recall and forget: facts about one user, which every conversation shares."""
        return Memory(self._database, user).tools

    def list_sync(
        self, prefix: str = "", *, user: str | None = None, limit: int = 100, before: Sequence[Any] | None = None
    ) -> Listing:
        """The conversations whose names begin so, newest first; `before` is the `cursor` of one, to go on after it."""
        return listed(self._database, prefix=prefix, user=user, limit=limit, before=before)

    def search_sync(self, words: str, *, user: str | None = None, name: str | None = None, limit: int = 20) -> Findings:
        """The entries that have all these words, newest first: of every user, of one, or of one conversation."""
        return searched(self._database, words, user=user, name=name, limit=limit)

    def load_sync(self, name: str) -> Transcript:
        """The whole conversation, to look at; to go on with it, `open` it. Raises UsageError if there is none."""
        with self._database.reading() as connection:
            row = found(self._database, connection, name)
            part = read(self._database, connection, row)
        return part.transcript()

    def tail_sync(self, name: str, count: int) -> Transcript:
        """The last entries of a conversation; the others are not read."""
        if count < 1:
            raise UsageError(f"count={count} must be 1 or more")
        with self._database.reading() as connection:
            row = found(self._database, connection, name)
            part = read(self._database, connection, row, first=max(0, row.entries - count))
        return part.transcript()

    def export_sync(self, name: str) -> Messages:
        """The conversation as a plain Chat Completions list."""
        return self.load_sync(name).messages

    def import_sync(
        self,
        name: str,
        source: Transcript | str | bytes | Sequence[Mapping[str, Any] | Message],
        *,
        trusted: bool = False,
        user: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Transcript:
        """Begin a conversation with a transcript, a dump or a plain Chat Completions list.

        A plain list is read as `Transcript.load` does, which says what `trusted` means; returns what was kept.

        Raises:
            UsageError: the name is taken, or the source cannot be read.
        """
        kept = source if isinstance(source, Transcript) else Transcript.load(source, trusted=trusted)
        if kept.offset:
            raise UsageError(
                f"this transcript begins after {kept.offset} entries of a conversation: import the whole of it, "
                "as store.load(name) gives it"
            )
        dumped = loads(kept.dump())["entries"]
        contents = [dumps(entry).decode() for entry in dumped]
        written = "{}" if metadata is None else written_metadata(metadata)
        self._begin(name, user, written, [VERSION] * len(contents), contents)
        return kept

    def fork_sync(self, name: str, new_name: str, *, at: int | None = None) -> Conversation:
        """Begin a conversation with the first `at` entries of another, or with all.

        What is copied is the record as it stands: a call that waits for a decision waits in both.

        Raises:
            UsageError: there is no such conversation, or no such entry; or the new name is taken.
        """
        with self._database.reading() as connection:
            row = found(self._database, connection, name)
            part = read(self._database, connection, row)
        if at is not None and not 0 <= at <= row.entries:
            raise UsageError(f"at={at} must be 0 to {row.entries}, the number of entries of {name!r}")
        contents, layouts = part.contents[:at], part.layouts[:at]
        return known_of(self._begin(new_name, row.user_id, row.metadata, layouts, contents))

    def delete_sync(self, name: str) -> None:
        """Delete a conversation.

        Raises:
            UsageError: there is none of this name.
            ConversationBusy: somebody has it open.
        """
        with self._database.writing() as connection:
            row = self._free(connection, name)
            connection.execute(delete(entries).where(entries.c.conversation_id == row.id))
            connection.execute(delete(conversations).where(conversations.c.id == row.id))

    def rename_sync(self, name: str, new_name: str) -> None:
        """Give a conversation another name.

        Raises:
            UsageError: there is none of this name, or the new one is taken.
            ConversationBusy: somebody has it open.
        """
        with self._database.writing() as connection:
            row = self._free(connection, name)
            if not add(self._database, connection, checked_name(new_name), None, "{}"):
                raise _taken(new_name)
            connection.execute(delete(conversations).where(conversations.c.name == new_name))
            # a holder that stood still has the old name in mind: it is shut out
            change(connection, row, replace(row, name=new_name, token=row.token + 1, owner=None, expires_at=0.0))

    def _free(self, connection: Connection, name: str) -> Stored:
        row = found(self._database, connection, name, lock=True)
        if row.is_held:
            raise ConversationBusy(f"conversation {name!r} is open in {row.owner}: close it there first")
        return row

    def _begin(
        self, name: str, user: str | None, metadata: str, layouts: Sequence[int], contents: Sequence[str]
    ) -> Stored:
        """A new conversation with these entries, all or nothing."""
        if user is not None:
            checked_name(user, "a user's name")
        self._database.check_names()
        with self._database.writing() as connection:
            if not add(self._database, connection, checked_name(name), user, metadata):
                raise _taken(name)
            row = found(self._database, connection, name, lock=True)
            rows: Rows = []
            for position, (layout, content) in enumerate(zip(layouts, contents, strict=True)):
                kept, value = content_of(content)
                rows.append(entry_row(row, position, kept, value, layout))
                row = row.grown(value, seal=rows[-1]["seal"])
            if rows:
                connection.execute(insert(entries), rows)
            change(connection, row, row)
            return row

    connect = awaited(connect_sync)
    list = awaited(list_sync)
    search = awaited(search_sync)
    load = awaited(load_sync)
    tail = awaited(tail_sync)
    export = awaited(export_sync)
    import_ = awaited(import_sync)
    fork = awaited(fork_sync)
    delete = awaited(delete_sync)
    rename = awaited(rename_sync)

    def __enter__(self) -> Self:
        self.connect_sync()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        await threads.run(self.close)

    def __repr__(self) -> str:
        return f"Conversations({self._database.name!r})"


def _taken(name: str) -> UsageError:
    return UsageError(f"there is a conversation {name!r} already: choose another name, or delete that one first")
