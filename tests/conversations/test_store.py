"""What is put into a store comes out of it, whatever the database."""

from __future__ import annotations

import json
import os
import threading

import pytest

from agentkit import Transcript
from agentkit.conversations import ConversationBusy, Conversations
from agentkit.errors import UsageError
from tests.conversations.entries import asked, fill, said

TURN = [said("Where is Dune?"), asked("On A3."), said("It is on A3.", "assistant")]


def contents(transcript):
    return [json.loads(entry) for entry in map(transcript.dump_entry, range(len(transcript)))]


def dumped(entries):
    return Transcript.load(f'{{"agentkit": 1, "entries": [{",".join(entries)}]}}')


def test_entries_are_kept_as_they_land(store):
    with store.open("a") as kept:
        assert len(kept.transcript) == 0
        for index, entry in enumerate(TURN):
            kept.record(index, entry.encode())
            assert store.load_sync("a") == dumped(TURN[: index + 1])
    with store.open("a") as kept:
        assert kept.transcript == dumped(TURN)
        assert kept.offset == 0


def test_an_entry_takes_anothers_place(store):
    with store.open("a") as kept:
        kept.record(0, said("Look."))
        kept.record(1, asked(None, None))
        assert [call.call.id for call in store.load_sync("a").pending] == ["call_0", "call_1"]
        kept.record(1, asked(None, "two"))
        kept.record(1, asked("one", "two"))
        assert store.load_sync("a") == dumped([said("Look."), asked("one", "two")])
    fill(store, "a", [said("Done.", "assistant")])
    assert len(store.load_sync("a")) == 3


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("x" * 1_500_000, id="large"),
        pytest.param("词" * 300_000, id="large and wide"),
        pytest.param(" ".join(str(number) for number in range(100_000)), id="many words"),
        pytest.param("nul \0 and \x01", id="control"),
        pytest.param("half \ud83d of a character", id="surrogate"),
        pytest.param('it\'s "quoted" %s :name \\ 😀', id="quotes"),
        pytest.param("", id="empty"),
    ],
)
def test_texts_come_back(store, text):
    fill(store, "a", [said(text)])
    assert store.load_sync("a").entries[0].message.data["content"] == text


def test_bytes_that_are_no_unicode_are_escaped(store):
    fill(store, "a", [b'{"message": {"role": "user", "content": "\xed\xa0\xbd"}}'])
    assert store.load_sync("a").entries[0].message.data["content"] == "\ud83d"


@pytest.mark.sampled(7, each="entry options")
@pytest.mark.parametrize("entry", ["", "{", "[]", "1", "{}", '{"message": "x"}', b"\xff"])
def test_what_is_no_entry_is_refused(store, entry):
    with store.open("a") as kept:
        with pytest.raises(UsageError, match="an entry is"):
            kept.record(0, entry)
        kept.record(0, TURN[0])
    assert len(store.load_sync("a")) == 1


def test_an_entry_after_a_gap_is_refused(store):
    with store.open("a") as kept:
        for index in (-1, 1):
            with pytest.raises(UsageError, match="the next is 0"):
                kept.record(index, TURN[0])


def test_the_last_entries_alone(store):
    entries = [
        entry for number in range(4) for entry in (said(f"q{number}"), asked("r"), said(f"a{number}", "assistant"))
    ]
    fill(store, "a", entries)
    for count in (1, 3, 5, 12, 99):
        assert store.tail_sync("a", count) == dumped(entries[-count:])
    for last, offset in ((3, 9), (2, 6), (4, 4), (7, 0), (99, 0)):
        with store.open("a", last=last) as kept:
            assert kept.transcript == dumped(entries[kept.offset :])
            assert kept.transcript.entries[0].message.role == "user"
            assert kept.offset <= 12 - min(last, 12), offset
    with store.open("a", last=3) as kept:
        assert (kept.offset, len(kept.transcript)) == (9, 3)
        kept.record(1, asked("new"))
        kept.record(3, said("more"))
    assert store.load_sync("a") == dumped([*entries[:10], asked("new"), entries[11], said("more")])


def test_listing(store):
    for name, user in (("a/1", "ann"), ("b/1", "bob"), ("a/2", "bob"), ("A/3", None), ("a_4", "ann")):
        fill(store, name, TURN, user=user, metadata={"of": user})
    listed = store.list_sync()
    assert [known.name for known in listed] == ["a_4", "A/3", "a/2", "b/1", "a/1"]
    assert [known.name for known in store.list_sync("a/")] == ["a/2", "a/1"]
    assert [known.name for known in store.list_sync(user="bob")] == ["a/2", "b/1"]
    first = listed[0]
    assert (first.user, first.metadata, first.entries, first.held_by) == ("ann", {"of": "ann"}, 3, None)
    assert first.created_at <= first.updated_at
    pages, before = [], None
    while page := store.list_sync(limit=2, before=before):
        pages.append([known.name for known in page])
        before = json.loads(json.dumps(page[-1].cursor))
    assert pages == [["a_4", "A/3"], ["a/2", "b/1"], ["a/1"]]
    fill(store, "a/1", TURN)
    assert store.list_sync(limit=1)[0].name == "a/1"
    with store.open("a/1"):
        assert str(os.getpid()) in store.list_sync(limit=1)[0].held_by


def test_what_stands_beside_a_conversation(store):
    fill(store, "a", TURN, user="ann", metadata={"n": [1]})
    fill(store, "a", [], user="ann")
    assert store.list_sync()[0].metadata == {"n": [1]}
    fill(store, "a", [], metadata={})
    assert store.list_sync()[0].metadata == {}
    with pytest.raises(UsageError, match="does not belong to user 'bob'"):
        fill(store, "a", [], user="bob")
    with pytest.raises(UsageError, match="metadata"):
        store.open("a", metadata={"x": object()})


def test_forking(store):
    fill(store, "a", TURN, user="ann", metadata={"n": 1})
    for at, count in ((None, 3), (0, 0), (1, 1), (3, 3)):
        forked = store.fork_sync("a", f"fork {at}", at=at)
        assert (forked.entries, forked.user, forked.metadata) == (count, "ann", {"n": 1})
        assert store.load_sync(f"fork {at}") == dumped(TURN[:count])
    fill(store, "fork 1", [said("Other.")])
    assert store.load_sync("a") == dumped(TURN)
    for wrong in (-1, 4):
        with pytest.raises(UsageError, match="must be 0 to 3"):
            store.fork_sync("a", "b", at=wrong)
    with pytest.raises(UsageError, match="already"):
        store.fork_sync("a", "fork 0")
    with pytest.raises(UsageError, match="no conversation 'none'"):
        store.fork_sync("none", "b")


def test_deleting_and_renaming(store):
    fill(store, "a", TURN)
    fill(store, "b", TURN[:1])
    store.rename_sync("a", "c")
    assert store.load_sync("c") == dumped(TURN)
    with pytest.raises(UsageError, match="already"):
        store.rename_sync("b", "c")
    store.delete_sync("c")
    for verb in (store.load_sync, store.delete_sync, store.export_sync, lambda name: store.tail_sync(name, 1)):
        with pytest.raises(UsageError, match="no conversation 'c'"):
            verb("c")
    with pytest.raises(UsageError, match="no conversation 'c'"):
        store.rename_sync("c", "d")
    assert [known.name for known in store.list_sync()] == ["b"]
    assert store.search_sync("dune") == store.search_sync("dune", name="b") != []
    fill(store, "c", [])
    assert len(store.load_sync("c")) == 0
    with store.open("b"):
        for verb in (store.delete_sync, lambda name: store.rename_sync(name, "x")):
            with pytest.raises(ConversationBusy, match="open in process"):
                verb("b")


PLAIN = [
    {"role": "user", "content": "Delete it."},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "1", "type": "function", "function": {"name": "delete", "arguments": "{}"}}],
    },
]


def test_plain_lists_go_out_and_in(store):
    fill(store, "a", TURN)
    plain = store.export_sync("a")
    assert [message["role"] for message in plain] == ["user", "assistant", "tool", "assistant"]
    assert store.import_sync("b", plain, user="ann", metadata={"x": 1}) == store.load_sync("b")
    assert store.export_sync("b") == plain
    assert (store.list_sync()[0].user, store.list_sync()[0].metadata) == ("ann", {"x": 1})
    assert store.import_sync("c", PLAIN).mended
    assert not store.load_sync("c").pending
    store.import_sync("d", PLAIN, trusted=True)
    assert len(store.load_sync("d").pending) == 1
    store.import_sync("e", store.load_sync("a"))
    store.import_sync("f", store.load_sync("a").dump())
    assert store.load_sync("a") == store.load_sync("e") == store.load_sync("f")
    with pytest.raises(UsageError, match="already"):
        store.import_sync("a", PLAIN)
    with pytest.raises(UsageError, match="not trusted"):
        store.import_sync("g", [{"role": "system", "content": "x"}])
    assert "g" not in [known.name for known in store.list_sync()]
    fill(store, "e", [said("More.")])
    assert len(store.load_sync("e")) == 4


async def test_async_code_has_the_same(options):
    async with Conversations(**options) as store:
        async with store.open("a", user="ann") as kept:
            kept.record(0, TURN[0])
        await store.import_("b", PLAIN)
        await store.fork("a", "c", at=1)
        await store.rename("c", "d")
        await store.delete("b")
        assert [known.name for known in await store.list()] == ["d", "a"]
        assert [found.conversation for found in await store.search("dune")] == ["d", "a"]
        assert await store.load("a") == await store.tail("a", 1) == dumped(TURN[:1])
        assert [message["role"] for message in await store.export("a")] == ["user"]
        assert Conversations.load.__name__ == "load"
    with pytest.raises(UsageError, match="closed"):
        await store.list()


def test_any_thread_may_use_it(store):
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for _ in range(3):
                fill(store, f"own {number}", TURN)
                fill(store, "shared", TURN[:1])
        except BaseException as error:
            errors.append(error)

    running = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    assert errors == []
    assert len(store.load_sync("shared")) == 18
    assert all(len(store.load_sync(f"own {number}")) == 9 for number in range(6))


@pytest.mark.sampled(7, each="name options")
@pytest.mark.parametrize("name", ["", "x" * 501, "a\nb", "nul\0", "half \ud800", 7, None])
def test_names_that_no_database_keeps(store, name):
    for verb in (
        store.open,
        store.load_sync,
        store.delete_sync,
        store.memory,
        lambda name: store.import_sync(name, []),
    ):
        with pytest.raises(UsageError, match="name"):
            verb(name)


@pytest.mark.parametrize("name", ["x" * 500, "ünï 日本 😀", 'it\'s 100% "a_b"', " "])
def test_names_that_every_database_keeps(store, name):
    fill(store, name, TURN)
    assert store.list_sync(name)[0].name == name
    assert len(store.load_sync(name)) == 3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Conversations("nonsense"), "a store's URL is"),
        (lambda: Conversations("nosuch://user:secret@host/db"), "a store's URL is"),
        (lambda: Conversations("mysql+pymysql://host/db"), "a store's URL is|not in mysql"),
        (lambda: Conversations("sqlite:///file:x.db?uri=true"), "plain path"),
        (lambda: Conversations("sqlite+aiosqlite:///x.db"), "async driver|a store's URL is"),
        (lambda: Conversations(lease_s=0), "lease_s=0"),
        (lambda: Conversations(durability="none"), "'power' or 'process'"),
        (lambda: Conversations("sqlite://").open("a", busy="no"), "'wait' or 'refuse'"),
        (lambda: Conversations("sqlite://").open("a", last=0), "last=0"),
        (lambda: Conversations("sqlite://").tail_sync("a", 0), "count=0"),
        (lambda: Conversations("sqlite://").list_sync(limit=0), "limit=0"),
        (lambda: Conversations("sqlite://").search_sync("a", limit=-1), "limit=-1"),
        (lambda: Conversations("sqlite://").open("a").transcript, "not open yet"),
        (lambda: Conversations("sqlite://").open("a").record(0, "{}"), "not open yet"),
    ],
)
def test_what_cannot_work_is_told(make, message):
    with pytest.raises(UsageError, match=message) as caught:
        make()
    assert "secret" not in str(caught.value)


def test_a_kept_conversation_is_used_once(store):
    kept = store.open("a")
    with kept:
        kept.record(0, TURN[0])
    with pytest.raises(UsageError, match="is closed"):
        kept.record(1, TURN[1])
    with pytest.raises(UsageError, match="already"), kept:
        pass
    assert "closed" in repr(kept)
    assert "Conversations(" in repr(store)
