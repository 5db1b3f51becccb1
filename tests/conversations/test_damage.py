"""A database file that was cut, or in which bytes changed: a clear error or a right conversation, never a wrong one."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from agentkit.conversations import ConversationBusy, Conversations, StoreDamaged, StoreError
from tests.conversations.entries import asked, said

CASES = range(500 if os.environ.get("HYPOTHESIS_PROFILE") == "deep" else 12)
NAMES = [f"conversation {number}" for number in range(6)]
MORE = said("more")


class Whole(NamedTuple):
    folder: Path
    states: dict[str, list[str]]
    """What each conversation ever was, as dumps, oldest first."""
    settled: int
    """How many of the states had been closed for good; what is in the log alone may be lost with it."""

    def possible(self, name: str) -> list[str]:
        return self.states[name][self.settled - 1 :]


def grow(store: Conversations, states: dict[str, list[str]], rounds: range) -> None:
    for number in rounds:
        for name in NAMES:
            with store.open(name, user="ann", metadata={"name": name}) as kept:
                index = len(kept.transcript)
                ids = f"call{number}"
                question, result = said(f"{name}: question {number} " * 9), asked(f"result {number} " * 300, ids=ids)
                for place, entry in ((0, question), (1, asked(None, ids=ids)), (1, result)):
                    kept.record(index + place, entry)
                    states[name].append(store.load_sync(name).dump())


@pytest.fixture(scope="module", params=["closed", "with a log", "half copied"])
def whole(request, tmp_path_factory) -> Whole:
    """A database as it is left by an orderly end; by a kill; by a power failure while its log was being copied back."""
    folder, kept = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("kept")
    states: dict[str, list[str]] = {name: [""] for name in NAMES}
    path = folder / "bot.db"
    with Conversations(f"sqlite:///{path}", durability="process") as store:
        store.memory("ann")[0].call_sync({"text": "Ann likes tea."})
        grow(store, states, range(2))
    settled = len(states[NAMES[0]])
    if request.param == "closed":
        return Whole(folder, states, settled)
    with Conversations(f"sqlite:///{path}", durability="process") as store:
        grow(store, states, range(2, 4))
        for name in ("bot.db", "bot.db-wal"):
            shutil.copy(folder / name, kept)
    assert (kept / "bot.db-wal").stat().st_size
    if request.param == "half copied":
        old, new = (kept / "bot.db").read_bytes(), path.read_bytes()
        chance = random.Random(1)
        pages = [chance.choice((old, new))[at : at + 4096] or new[at : at + 4096] for at in range(0, len(new), 4096)]
        (kept / "bot.db").write_bytes(b"".join(pages))
    return Whole(kept, states, settled)


def flip(data: bytearray, chance: random.Random) -> None:
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def overwrite(data: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(data))
    data[at : at + 8] = chance.randbytes(len(data[at : at + 8]))


def flip_in_heads(data: bytearray, chance: random.Random) -> None:
    page = chance.randrange(0, len(data), 4096)
    data[min(page + chance.randrange(120), len(data) - 1)] ^= 1 << chance.randrange(8)


def blank(data: bytearray, chance: random.Random) -> None:
    at = chance.randrange(0, len(data), 512)
    data[at : at + 512] = bytes(len(data[at : at + 512]))


def cut(data: bytearray, chance: random.Random) -> None:
    del data[chance.randrange(len(data)) :]


def cut_at_a_page(data: bytearray, chance: random.Random) -> None:
    del data[chance.randrange(0, len(data), 4096) :]


def swap_pages(data: bytearray, chance: random.Random) -> None:
    one, two = (chance.randrange(len(data) // 4096) * 4096 for _ in range(2))
    data[one : one + 4096], data[two : two + 4096] = data[two : two + 4096], data[one : one + 4096]


WAYS = [flip, flip, flip_in_heads, overwrite, blank, cut, cut_at_a_page, swap_pages]


@pytest.mark.parametrize("number", CASES)
def test_damage_is_noticed(whole, number, tmp_path):
    chance = random.Random(number)
    files = [name for name in ("bot.db", "bot.db-wal") if (whole.folder / name).exists()]
    for name in files:
        shutil.copy(whole.folder / name, tmp_path)
    hurt = tmp_path / chance.choice(files)
    data = bytearray(hurt.read_bytes())
    chance.choice(WAYS)(data, chance)
    hurt.write_bytes(data)
    store = Conversations(f"sqlite:///{tmp_path}/bot.db", durability="process")
    look(store)
    for name in NAMES:
        read_right(store, whole.possible(name), name)
    for name in chance.sample(NAMES, 2):
        go_on_right(store, whole.possible(name), name)
    store.close()


def attempt(action: Callable[[], Any]) -> Any:
    """What it gives; None if it ended in an error that says what is wrong."""
    try:
        return action()
    except StoreError as error:
        if "bot.db" not in str(error):
            raise
    except ConversationBusy:  # who holds it, and until when, has no seal
        pass
    return None


def look(store: Conversations) -> None:
    """What is told of all conversations is so, as far as it is told."""
    for known in attempt(store.list_sync) or ():
        assert known.name in NAMES
        assert (known.user, known.metadata) == ("ann", {"name": known.name})
    for found in attempt(lambda: store.search_sync("question")) or ():
        assert found.conversation in NAMES
        assert found.excerpt.startswith(found.conversation)
    for memory in attempt(store.memory("ann")[1].call_sync) or ():
        assert memory["text"] == "Ann likes tea."


def read_right(store: Conversations, possible: list[str], name: str) -> None:
    """A conversation that can be read is one that there was."""
    dumped = attempt(lambda: store.load_sync(name).dump())
    assert dumped in [None, *possible]
    tail = attempt(lambda: store.tail_sync(name, 2).dump())
    assert tail is None or any(state.endswith(tail.partition("[")[2]) for state in possible)


def go_on_right(store: Conversations, possible: list[str], name: str) -> None:
    """A conversation that can be opened goes on from one that there was, and keeps what is added."""

    def go_on() -> tuple[str, str]:
        with store.open(name, busy="refuse") as kept:
            before = kept.transcript.dump()
            kept.record(len(kept.transcript), MORE)
        return before, store.load_sync(name).dump()

    outcome = attempt(go_on)
    if outcome is not None:
        before, after = outcome
        assert before in possible
        assert after == before.removesuffix("]}") + "," + MORE.replace('": ', '":').replace(", ", ",") + "]}"


def test_damage_is_told(tmp_path):
    """The right words for the plain cases, byte by byte, of a content that stands there in the clear."""
    path = tmp_path / "bot.db"
    with Conversations(f"sqlite:///{path}") as store, store.open("a", user="ann", metadata={"x": "beside"}) as kept:
        kept.record(0, said("needle in the text"))
    whole = path.read_bytes()
    for needle, message in (
        (b'"needle in', "entry 0 of conversation 'a' has changed"),
        (b'"beside', "row of conversation 'a'"),
    ):
        path.write_bytes(whole.replace(needle, needle.swapcase()))
        with Conversations(f"sqlite:///{path}") as store:
            for verb in (
                store.load_sync,
                lambda name: store.tail_sync(name, 1),
                lambda name: store.open(name).__enter__(),
            ):
                with pytest.raises(StoreDamaged, match=message):
                    verb("a")
    path.write_bytes(whole)
    with Conversations(f"sqlite:///{path}") as store:
        assert len(store.load_sync("a")) == 1


def test_a_note_of_the_tables_that_is_no_text(tmp_path):
    path = tmp_path / "bot.db"
    with Conversations(f"sqlite:///{path}"):
        pass
    path.write_bytes(path.read_bytes().replace(b"CREATE TRIGGER", b"CREATE TRIGG\xe2R"))
    with pytest.raises(StoreDamaged, match=r"bot\.db is damaged"), Conversations(f"sqlite:///{path}"):
        pass
