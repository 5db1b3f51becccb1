"""Who may write to a conversation: a lease with a number that grows each time it changes hands.

Each write names the number, in the transaction that writes: one that comes late, from a process that stood still while
another took the conversation over, finds a higher one and writes nothing.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final
from weakref import WeakSet

from sqlalchemy import bindparam, update

from agentkit.conversations.rows import Stored, add, change, find
from agentkit.conversations.schema import conversations
from agentkit.errors import UsageError
from agentkit.logs import log

if TYPE_CHECKING:
    from agentkit.conversations.database import Database

RENEWALS: Final = 3
"""How often a lease is renewed in the time that it lasts."""


@dataclass(slots=True, eq=False, weakref_slot=True)
class Lease:
    """A conversation that is held here. `renewed` is time.monotonic()."""

    row: Stored
    renewed: float
    lost: bool = False


@dataclass(frozen=True, slots=True)
class HeldElsewhere:
    """Who holds a conversation, and for how much longer if they do not renew it."""

    owner: str
    left_s: float


def owner_here() -> str:
    """What others are told of who holds a conversation."""
    return f"process {os.getpid()} on {socket.gethostname()}"


def take(
    database: Database, name: str, *, lease_s: float, user: str | None, metadata: str | None
) -> Stored | HeldElsewhere:
    """Take the conversation, new or not, unless somebody holds it.

    Raises:
        UsageError: it belongs to another user.
    """
    with database.reading() as connection:
        row = find(database, connection, name)
    if row is None:
        database.check_names()
    elif row.is_held:  # seen without a lock: whoever waits does not hinder those who write
        return HeldElsewhere(row.owner or "", row.expires_at - row.now)
    while True:
        with database.writing() as connection:
            row = find(database, connection, name, lock=True)
            if row is None:
                add(database, connection, name, user, metadata or "{}")
                row = find(database, connection, name, lock=True)
            if row is None:
                continue  # Postgres: made and deleted elsewhere between the two
            if row.is_held:
                return HeldElsewhere(row.owner or "", row.expires_at - row.now)
            if user is not None and row.user_id != user:
                raise UsageError(f"conversation {name!r} does not belong to user {user!r}")
            taken = replace(
                row,
                token=row.token + 1,
                metadata=row.metadata if metadata is None else metadata,
                owner=owner_here(),
                expires_at=row.now + lease_s,
            )
            change(connection, row, taken)
            return taken


_held: Final = update(conversations).where(
    conversations.c.id == bindparam("of"), conversations.c.token == bindparam("held")
)


def give_back(database: Database, row: Stored) -> None:
    """Let others have the conversation, if it is still held by this lease."""
    with database.writing() as connection:
        connection.execute(_held.values(owner=None, expires_at=0.0), {"of": row.id, "held": row.token})


class Heart:
    """Renews the leases of a store in one daemon thread, which lives while there are any."""

    def __init__(self, database: Database, lease_s: float) -> None:
        self._database = database
        self._lease_s = lease_s
        self._every_s = lease_s / RENEWALS
        self._reset()

    def _reset(self) -> None:
        self._process = os.getpid()
        self._changed = threading.Condition()
        self._leases: WeakSet[Lease] = WeakSet()  # whoever is forgotten, not left, must not keep others waiting
        self._beats = False

    def add(self, lease: Lease) -> None:
        """Renew a lease until it is left, or lost."""
        if self._process != os.getpid():  # the parent of the fork renews its own
            self._reset()
        with self._changed:
            self._leases.add(lease)
            if not self._beats:
                self._beats = True
                threading.Thread(target=self._beat, daemon=True, name="agentkit leases").start()

    def leave(self, lease: Lease) -> None:
        """Renew it no more."""
        with self._changed:
            self._leases.discard(lease)
            self._changed.notify()

    def _beat(self) -> None:
        while chosen := self._due():
            try:
                self._renew(chosen)
            except UsageError as error:
                log.warning("leases could not be renewed just now: %s", error)
                time.sleep(min(self._every_s, 1.0))

    def _due(self) -> list[Lease]:
        """Wait for the next renewal: the leases that it is for, none once nobody holds any."""
        with self._changed:
            while leases := list(self._leases):
                left = min(lease.renewed for lease in leases) + self._every_s - time.monotonic()
                if left <= 0:
                    soon = time.monotonic() - self._every_s / 2
                    return [lease for lease in leases if lease.renewed <= soon]
                del leases
                self._changed.wait(left)
            self._beats = False
            return []

    def _renew(self, chosen: list[Lease]) -> None:
        with self._database.writing() as connection:
            until = self._database.now() + self._lease_s
            for lease in chosen:
                values = {"of": lease.row.id, "held": lease.row.token}
                lease.lost = connection.execute(_held.values(expires_at=until), values).rowcount != 1
        for lease in chosen:
            lease.renewed = time.monotonic()
            if lease.lost:
                self.leave(lease)
