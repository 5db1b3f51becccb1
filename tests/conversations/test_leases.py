"""One writer at a time, over threads, processes and event loops; whoever comes late writes nothing."""

from __future__ import annotations

import signal
import sqlite3
import threading
import time

import anyio.lowlevel
import pytest
from anyio import create_task_group, fail_after, move_on_after, sleep

from agentkit.conversations import ConversationBusy, Conversations, LeaseLost, StoreError, database
from agentkit.errors import UsageError
from tests.conversations.entries import fill, run_sql, said
from tests.conversations.processes import needs_fork, worker


def texts(store, name="a"):
    return [entry.message.text for entry in store.load_sync(name)]


def until(condition):
    with_patience = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < with_patience
        time.sleep(0.01)


def test_the_second_is_refused(store):
    with store.open("a") as kept:
        for wish in ({"busy": "refuse"}, {"wait_s": 0.05}):
            with pytest.raises(ConversationBusy, match="'a' is open in process"), store.open("a", **wish):
                pass
        with store.open("b", busy="refuse"):
            kept.record(0, said("mine"))
    with store.open("a", busy="refuse") as again:
        assert len(again.transcript) == 1


def test_the_second_waits(store):
    opened = threading.Event()

    def second():
        with store.open("a") as kept:
            opened.set()
            kept.record(1, said("second"))

    with store.open("a") as kept:
        running = threading.Thread(target=second)
        running.start()
        assert not opened.wait(0.1)
        kept.record(0, said("first"))
    running.join()
    assert texts(store) == ["first", "second"]


def test_it_is_given_back_after_an_error(store):
    with pytest.raises(ZeroDivisionError), store.open("a"):
        raise ZeroDivisionError
    with store.open("a", busy="refuse"):
        pass


@needs_fork
@pytest.mark.slow
def test_processes_take_turns(url):
    with Conversations(url) as store, worker(url, "a", "take_turns") as one, worker(url, "a", "take_turns") as two:
        assert one.line() == two.line() == "done"
        assert texts(store) == [str(number // 2 * 2) for number in range(40)]


@needs_fork
@pytest.mark.slow
def test_a_dead_holder_keeps_it_no_longer_than_its_lease(url):
    with Conversations(url) as store, worker(url, "a", "hold", lease_s=1) as other:
        assert other.line() == "open"
        assert other.say("from there") == "recorded"
        with pytest.raises(ConversationBusy, match=f"process {other.pid} "), store.open("a", busy="refuse"):
            pass
        other.kill()
        with store.open("a") as kept:
            kept.record(1, said("from here"))
    with Conversations(url) as store:
        assert texts(store) == ["from there", "from here"]


@needs_fork
@pytest.mark.slow
@pytest.mark.parametrize("meanwhile", ["taken over", "taken and given back", "deleted", "renamed", "left alone"])
def test_whoever_stood_still_writes_nothing(url, meanwhile):
    with Conversations(url) as store, worker(url, "a", "hold", lease_s=0.6) as other:
        assert other.line() == "open"
        assert other.say("one") == "recorded"
        other.send_signal(signal.SIGSTOP)
        if meanwhile == "taken over":
            with store.open("a") as kept:
                kept.record(1, said("two"))
                other.send_signal(signal.SIGCONT)
                assert other.say("late") == "LeaseLost"
                kept.record(2, said("three"))
            assert texts(store) == ["one", "two", "three"]
            return
        until(lambda: store.list_sync()[0].held_by is None)
        if meanwhile == "taken and given back":
            fill(store, "a", [said("two")])
        elif meanwhile == "deleted":
            store.delete_sync("a")
        elif meanwhile == "renamed":
            store.rename_sync("a", "b")
        other.send_signal(signal.SIGCONT)
        expected, late = {
            "taken and given back": ("LeaseLost", ["one", "two"]),
            "deleted": ("LeaseLost", None),
            "renamed": ("LeaseLost", ["one"]),
            "left alone": ("recorded", ["one", "late"]),
        }[meanwhile]
        assert other.say("late") == expected
        assert other.say("later") == expected
        if late is None:
            assert store.list_sync() == []
        else:
            assert texts(store, "b" if meanwhile == "renamed" else "a")[: len(late)] == late


def test_a_lost_lease_is_noticed_and_stays_lost(url):
    with Conversations(url, lease_s=0.3) as store, store.open("a") as kept:
        kept.record(0, said("one"))
        run_sql(url, "UPDATE agentkit_conversations SET token = token + 1")
        until(lambda: kept.lost)
        for _ in range(2):
            with pytest.raises(LeaseLost, match="taken over or deleted"):
                kept.record(1, said("two"))


@pytest.mark.slow
def test_a_lease_is_renewed_while_nothing_is_written(url):
    with Conversations(url, lease_s=3) as store, Conversations(url) as other:
        with store.open("a") as kept, store.open("b"):
            with pytest.raises(ConversationBusy), other.open("a", wait_s=6):
                pass
            kept.record(0, said("still mine"))
        assert texts(other) == ["still mine"]


def test_the_thread_that_renews_ends(store):
    with store.open("a"):
        assert "agentkit leases" in [thread.name for thread in threading.enumerate()]
    until(lambda: "agentkit leases" not in [thread.name for thread in threading.enumerate()])


async def test_async_code_waits_its_turn(store):
    seen: list[int] = []

    async def turn() -> None:
        async with store.open("a") as kept:
            seen.append(len(kept.transcript))
            await anyio.lowlevel.checkpoint()
            kept.record(len(kept.transcript), said("x"))

    with fail_after(50):
        async with create_task_group() as group:
            for _ in range(5):
                group.start_soon(turn)
    assert seen == [0, 1, 2, 3, 4]
    with store.open("a"), pytest.raises(ConversationBusy):
        async with store.open("a", busy="refuse"):
            pass


async def test_a_cancelled_wait_leaves_nothing_behind(store):
    for number in range(8):
        with move_on_after(0.002 * number):
            async with store.open("a"):
                await sleep(10)
    with store.open("a", wait_s=20) as kept, move_on_after(0.03):
        async with store.open("a"):
            raise AssertionError
    with fail_after(25):
        async with store.open("a", wait_s=20):
            assert len(kept.transcript) == 0


def test_after_a_failed_write_it_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(database, "BUSY_S", 0.05)
    path = tmp_path / "bot.db"
    with Conversations(f"sqlite:///{path}") as store, store.open("a") as kept:
        kept.record(0, said("one"))
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="in use elsewhere"):
            kept.record(1, said("two"))
        other.execute("ROLLBACK")
        other.close()
        with pytest.raises(UsageError, match="the next is 1"):
            kept.record(2, said("three"))
        kept.record(1, said("two"))
        kept.record(1, said("two again"))
        assert texts(store) == ["one", "two again"]


def test_postgres_may_drop_its_connections(postgres_url):
    with Conversations(postgres_url) as store, store.open("a") as kept:
        kept.record(0, said("one"))
        run_sql(
            postgres_url,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
            "AND datname = current_database() AND query LIKE '%agentkit_%'",
        )
        kept.record(1, said("two"))
        assert texts(store) == ["one", "two"]


@needs_fork
@pytest.mark.slow
def test_after_a_fork(url):
    with worker(url, "a", "fork") as process:
        assert [process.line() for _ in range(3)] == ["UsageError", "1", "2"]
    with Conversations(url) as store:
        assert texts(store) == ["parent", "parent"]
        assert texts(store, "of the child") == ["child"]


@needs_fork
@pytest.mark.slow
def test_processes_may_make_the_database_together(url):
    with (
        worker(url, "a", "make") as one,
        worker(url, "a", "make") as two,
        worker(url, "a", "make") as three,
    ):
        everyone = (one, two, three)
        assert [process.line() for process in everyone] == ["ready"] * 3
        for process in everyone:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        assert [process.line() for process in everyone] == ["made"] * 3
    with Conversations(url) as store:
        assert len(store.list_sync()) == 3
