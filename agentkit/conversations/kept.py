"""A conversation that is open for writing: its transcript, and each entry recorded as it lands."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Final, Literal, Self, TypeAlias

from anyio import move_on_after
from anyio import sleep as sleep_async

from agentkit.calling import threads
from agentkit.conversations.faults import ConversationBusy, LeaseLost
from agentkit.conversations.leases import HeldElsewhere, Lease, give_back, take
from agentkit.conversations.rows import find, lost, read, read_enough, read_last, write
from agentkit.errors import UsageError
from agentkit.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    from agentkit.conversations.database import Database
    from agentkit.conversations.leases import Heart
    from agentkit.conversations.rows import Part, Stored
    from agentkit.transcript import Transcript

Busy: TypeAlias = Literal["wait", "refuse"]
FIRST_LOOK_S: Final = 0.02
LAST_LOOK_S: Final = 0.5
LEAVING_S: Final = 5.0
"""How long a cancelled run waits for its conversation to be given back; after that it runs out by itself."""


@dataclass(frozen=True, slots=True)
class Wish:
    """How a conversation is to be opened."""

    name: str
    busy: Busy
    wait_s: float | None
    user: str | None
    metadata: str | None
    last: int | None
    enough: Callable[[Transcript], bool] | None


class Kept:
    """A conversation that this process alone may write to, from entering the block to leaving it.

    Enter it with `with` or `async with`. `transcript` is what is kept; `record` is to be called with each entry as it
    is appended or replaced there. While it is open its lease is renewed in a thread of the store.
    """

    def __init__(self, database: Database, heart: Heart, lease_s: float, wish: Wish) -> None:
        self._database = database
        self._heart = heart
        self._lease_s = lease_s
        self._wish = wish
        self._lock = threading.Lock()
        self._lease: Lease | None = None
        self._left = False
        self._process = 0
        self._seals: list[int] = []
        self._is_unsure = False
        self._since = 0.0
        self._pause_s = FIRST_LOOK_S / 2
        self._transcript: Transcript | None = None
        self.offset = 0
        """How many of the conversation's entries stand before the transcript's first."""

    @property
    def name(self) -> str:
        """The conversation's name."""
        return self._wish.name

    @property
    def transcript(self) -> Transcript:
        """The conversation as it was when it was opened, all of it or its last entries."""
        if self._transcript is None:
            raise UsageError(f"conversation {self.name!r} is not open yet: use it in a `with` or `async with` block")
        return self._transcript

    @property
    def lost(self) -> bool:
        """Whether somebody else took the conversation over. It is known at the latest when something is recorded."""
        return self._lease is not None and self._lease.lost

    def record(self, index: int, entry_json: str | bytes) -> None:
        """Write the transcript's entry `index`, new or changed, as its dump has it. It is on the disk on return.

        Waits for the database; async code calls it in a worker thread. To be called in the order of the changes.

        Raises:
            LeaseLost: somebody else has the conversation by now; nothing was written.
            StoreError: the database could not be written to; nothing was written.
        """
        with self._lock:
            lease = self._writable()
            try:
                with self._database.writing() as connection:
                    if self._is_unsure:
                        self._look_again(connection, lease)
                    old = self._seal_at(index)
                    row, seal = write(
                        self._database,
                        connection,
                        lease.row,
                        self.offset + index,
                        entry_json,
                        old=old,
                        lease_s=self._lease_s,
                    )
            except LeaseLost:
                lease.lost = True
                raise
            except BaseException:  # the commit itself may have failed, after it was done
                self._is_unsure = True
                raise
            lease.row, lease.renewed = row, time.monotonic()
            self._seals[index : index + 1] = [seal]

    def _writable(self) -> Lease:
        lease = self._lease
        if lease is None:
            state = "closed" if self._left else "not open yet"
            raise UsageError(f"conversation {self.name!r} is {state}: record inside its `with` or `async with` block")
        if self._process != os.getpid():
            raise UsageError(f"conversation {self.name!r} was opened before a fork, by the parent: open it here anew")
        if lease.lost:
            raise lost(self.name)
        return lease

    def _seal_at(self, index: int) -> int | None:
        if not 0 <= index <= len(self._seals):
            raise UsageError(
                f"entry {index} of conversation {self.name!r} cannot be recorded: the next is {len(self._seals)}"
            )
        return self._seals[index] if index < len(self._seals) else None

    def _look_again(self, connection: Connection, lease: Lease) -> None:
        """See what is kept: it is not known of the last write whether it was done."""
        row = find(self._database, connection, self.name, lock=True)
        if row is None or row.token != lease.row.token:
            raise lost(self.name)
        self._seals = read(self._database, connection, row, first=self.offset).seals
        lease.row, self._is_unsure = row, False

    def _look(self) -> float | None:
        """Try to open it: None if it is open now, else how many seconds to wait for the next try."""
        wish = self._wish
        taken = take(self._database, self.name, lease_s=self._lease_s, user=wish.user, metadata=wish.metadata)
        if isinstance(taken, HeldElsewhere):
            return self._pause(taken)
        lease = Lease(taken, time.monotonic())
        self._heart.add(lease)
        try:
            with self._database.reading() as connection:
                part, self._transcript = self._read(connection, taken)
            self.offset, self._seals, self._process = part.first, part.seals, os.getpid()
            with self._lock:
                if not self._left:
                    self._lease = lease
        finally:
            if self._lease is None:
                self._give_back(lease)
        return None

    def _read(self, connection: Connection, row: Stored) -> tuple[Part, Transcript]:
        if self._wish.last is not None:
            return read_last(self._database, connection, row, self._wish.last)
        if self._wish.enough is not None:
            return read_enough(self._database, connection, row, self._wish.enough)
        part = read(self._database, connection, row)
        return part, part.transcript()

    def _pause(self, held: HeldElsewhere) -> float:
        now = time.monotonic()
        left = inf if self._wish.wait_s is None else self._since + self._wish.wait_s - now
        if self._wish.busy == "refuse" or left <= 0:
            raise ConversationBusy(
                f"conversation {self.name!r} is open in {held.owner}: wait for it with busy='wait' (and a longer "
                f"wait_s), or try again; if that process is gone, it is free in {held.left_s:.1f} seconds"
            )
        self._pause_s = min(2 * self._pause_s, LAST_LOOK_S)
        return min(self._pause_s, left, held.left_s)

    def _begin(self) -> None:
        if self._since:
            raise UsageError(f"conversation {self.name!r} was opened by this already: take another from store.open()")
        self._since = time.monotonic()

    def _release(self) -> None:
        with self._lock:
            lease, self._lease, self._left = self._lease, None, True
        if lease is not None:
            self._give_back(lease)

    def _give_back(self, lease: Lease) -> None:
        self._heart.leave(lease)
        if lease.lost or self._process not in (0, os.getpid()):
            return
        try:
            give_back(self._database, lease.row)
        except UsageError as error:
            log.warning("conversation %r could not be given back, and is held for a while: %s", self.name, error)

    def __enter__(self) -> Self:
        self._begin()
        while (pause := self._look()) is not None:
            time.sleep(pause)
        return self

    def __exit__(self, *_: object) -> None:
        self._release()

    async def __aenter__(self) -> Self:
        self._begin()
        try:
            while (pause := await threads.run(self._look)) is not None:  # noqa: ASYNC110  # another process gives it back
                await sleep_async(pause)
        except BaseException:
            # cancelled, the thread may still be at it: what it takes, it gives back, or this does
            threads.submit(self._release)
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        with move_on_after(LEAVING_S, shield=True):
            await threads.run(self._release)

    def __repr__(self) -> str:
        state = "closed" if self._left else "open" if self._lease else "not open"
        return f"Kept({self.name!r}, {state})"
