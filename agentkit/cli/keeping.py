"""Conversations in a store: where it is, which there are, and one to talk in."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from agentkit.cli.console import out, say
from agentkit.cli.extras import load_extra
from agentkit.cli.files import data_folder
from agentkit.errors import UsageError
from agentkit.plain import in_one_line

if TYPE_CHECKING:
    from agentkit.conversations import Conversations, Kept
    from agentkit.transcript import Transcript

SHOWN = 50
"""How many conversations are listed at a time."""


class Talk:
    """A conversation in a store, which is held while an answer is made and free in between."""

    def __init__(self, store: Conversations, name: str) -> None:
        self._store = store
        self.name = name

    def open(self) -> Kept:
        """To go on with it. It is refused where somebody else is at it."""
        return self._store.open(self.name, busy="refuse")

    def load(self) -> Transcript:
        """As it is now. Raises UsageError if it cannot be gone on with."""
        with self.open() as kept:
            return kept.transcript


def store_of(url: str | None) -> Conversations:
    """The store that a URL names, else the user's own. Raises UsageError."""
    store: type[Conversations] = load_extra("conversations", "store").Conversations
    if url is not None:
        return store(url)
    folder = data_folder()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"no conversations can be kept in {str(folder)!r} ({error.strerror or error}): name another place with "
            "--store sqlite:////some/where.db"
        ) from None
    return store(f"sqlite:///{folder / 'conversations.db'}")


def print_conversations(store: Conversations, prefix: str) -> None:
    """Print which conversations there are, newest first."""
    found = store.list_sync(prefix, limit=SHOWN + 1)
    for known in found[:SHOWN]:
        when = datetime.fromtimestamp(known.updated_at).strftime("%Y-%m-%d %H:%M")  # noqa: DTZ006  # the user's own time
        held = f"  open in {known.held_by}" if known.held_by else ""
        out().print(f"{when}  {known.entries:>5}  {in_one_line(known.name, 500)}{held}", markup=False)
    if len(found) > SHOWN:
        say(f"and more: agentkit conversations PREFIX shows those whose names begin so (the newest {SHOWN} are shown)")
    if not found:
        say("there are none" + (f" whose names begin with {prefix!r}" if prefix else ""))
