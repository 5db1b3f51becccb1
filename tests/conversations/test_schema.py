"""Databases that are older, newer, of somebody else or of nobody."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect

from agentkit.conversations import Conversations, StoreDamaged, StoreError, database, schema
from agentkit.conversations.schema import MIGRATIONS, Migration
from agentkit.errors import UsageError
from tests.conversations.entries import asked, fill, run_sql, said

KEPT = Path(__file__).parent / "versions"
"""A database of each version of the tables, as it was made then."""
VERSIONS = range(1, len(MIGRATIONS) + 1)
TURN = [said("Where is Dune?"), asked("On A3."), said("It is on A3.", "assistant")]


def opened(url: str) -> None:
    with Conversations(url):
        pass


def in_version(url: str, tmp_path: Path, version: int) -> None:
    if url.startswith("sqlite"):
        shutil.copy(KEPT / f"{version}.db", tmp_path / "bot.db")
        return
    import psycopg

    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute((KEPT / f"{version}.sql").read_text("utf-8"))


@pytest.mark.parametrize("version", VERSIONS)
def test_each_version_is_read(url, tmp_path, version):
    in_version(url, tmp_path, version)
    with Conversations(url) as store:
        assert [known.name for known in store.list_sync(user="ann")] == ["second", "first"]
        assert store.list_sync("first")[0].metadata == {"topic": "books"}
        assert [entry.message.text for entry in store.load_sync("first")] == ["Where is Dune?", "", "It is on A3."]
        assert store.load_sync("first").entries[1].calls[0].result.content == "On A3."
        assert len(store.load_sync("second").pending) == 1
        assert [found.index for found in store.search_sync("dune", name="first")] == [0]
        assert store.memory("ann")[1].call_sync() == [{"id": 1, "text": "Ann likes green tea."}]
        fill(store, "first", TURN)
        assert len(store.load_sync("first")) == 6


def test_the_tables_are_as_queries_name_them(url):
    opened(url)
    engine = create_engine(url)
    found = inspect(engine)
    for table in (schema.conversations, schema.entries, schema.memories):
        kept = {column["name"]: column["nullable"] for column in found.get_columns(table.name)}
        # SQLite says of its own keys that they may be null
        named = {column.name: column.nullable for column in table.columns}
        assert kept.keys() == named.keys()
        assert {name: kept[name] for name in kept if name != "id"} == {
            name: named[name] for name in kept if name != "id"
        }
    engine.dispose()


MORE = Migration(both=["ALTER TABLE agentkit_memories ADD COLUMN more {int}"])
BROKEN = Migration(both=["ALTER TABLE agentkit_memories ADD COLUMN lost {int}", "nonsense"])


def test_an_older_database_is_brought_up_to_date(url):
    with Conversations(url) as store:
        fill(store, "a", TURN)
    MIGRATIONS.append(BROKEN)
    try:
        with pytest.raises(StoreError, match="nonsense"):
            opened(url)
        MIGRATIONS[-1] = MORE
        with Conversations(url) as store:
            fill(store, "a", TURN)
            assert len(store.load_sync("a")) == 6
        run_sql(url, "SELECT more FROM agentkit_memories")
        with pytest.raises(Exception, match="lost"):
            run_sql(url, "SELECT lost FROM agentkit_memories")
        opened(url)
    finally:
        MIGRATIONS.pop()
    with pytest.raises(StoreError, match=f"has version {len(MIGRATIONS) + 1} .* upgrade agentkit"):
        opened(url)


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE agentkit_schema SET version = 99", "version 99 of the tables"),
        ("UPDATE agentkit_schema SET version = 0", "damaged"),
        ("DELETE FROM agentkit_schema", "has 0 rows"),
        ("INSERT INTO agentkit_schema VALUES (1, 1)", "has 2 rows"),
        ("DROP TABLE agentkit_schema", "no such table|not of a store"),
    ],
)
def test_a_version_that_is_none(url, statement, message):
    opened(url)
    run_sql(url, statement)
    with pytest.raises(StoreError, match=message):
        opened(url)


@pytest.mark.parametrize(
    "statement",
    [
        "DROP INDEX agentkit_conversations_newest",
        "DROP TRIGGER agentkit_entry_words_added",
        "ALTER TABLE agentkit_entries RENAME COLUMN words TO wards",
        "UPDATE agentkit_schema SET layout = layout + 1",
    ],
)
def test_tables_that_somebody_changed(tmp_path, statement):
    url = f"sqlite:///{tmp_path}/bot.db"
    opened(url)
    run_sql(url, statement)
    with pytest.raises(StoreDamaged, match="its tables are not those of version"):
        opened(url)


def test_more_in_the_database_does_no_harm(url):
    opened(url)
    run_sql(url, "CREATE TABLE mine (x INTEGER)", "ANALYZE")
    opened(url)


def test_a_postgres_table_of_that_name_is_left_alone(postgres_url):
    run_sql(postgres_url, "CREATE TABLE agentkit_entries (mine INTEGER)")
    with pytest.raises(StoreError, match="has a table agentkit_entries that is not of a store"):
        opened(postgres_url)


def foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("CREATE TABLE mine (x); INSERT INTO mine VALUES (1)")


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (foreign, "none that agentkit made"),
        (lambda path: path.write_text("Dear diary, " * 999), "no SQLite database"),
        (lambda path: path.write_text("short"), "no SQLite database|damaged"),
        (lambda path: path.touch(), "is empty"),
        (lambda path: path.mkdir(), "unable to open"),
        (lambda path: path.with_name("bot.db-wal").write_text("left"), "is missing, but bot.db-wal"),
        (lambda path: path.parent.rmdir(), "no folder"),
    ],
)
def test_a_file_that_is_no_store_is_left_alone(tmp_path, prepare, message):
    path = tmp_path / "sub" / "bot.db"
    path.parent.mkdir()
    prepare(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(StoreError, match=message):
        opened(f"sqlite:///{path}")
    assert (path.read_bytes() if path.is_file() else None) == before
    assert not list(path.parent.glob(".bot.db*")) if path.parent.exists() else True


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_to(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(StoreError, match=r"bot\.db cannot be made"):
        opened(f"sqlite:///{tmp_path}/bot.db")


def test_a_server_that_is_not_there(tmp_path):
    with pytest.raises(StoreError, match="cannot be used") as caught:
        opened(f"postgresql+psycopg://user:secret@/db?host={tmp_path}")
    assert "secret" not in str(caught.value)


def test_where_files_have_no_links(tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError("not supported here")

    monkeypatch.setattr(os, "link", refuse)
    with Conversations(f"sqlite:///{tmp_path}/bot.db") as store:
        fill(store, "a", TURN)
    opened(f"sqlite:///{tmp_path}/bot.db")
    assert [path.name for path in tmp_path.iterdir()] == ["bot.db"]


def test_a_relative_path_stays_where_it_was(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = Conversations("sqlite:///bot.db")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with store:
        fill(store, "a", TURN)
    assert (tmp_path / "bot.db").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bot.db", "elsewhere"]


def test_without_fts5(tmp_path, monkeypatch):
    """A SQLite that lacks it makes a store without an index, and leaves one that has an index to others."""
    made, makes = f"sqlite:///{tmp_path}/made.db", f"sqlite:///{tmp_path}/makes.db"
    opened(made)
    monkeypatch.setattr(database, "_has_fts5", lambda _: False)
    with pytest.raises(StoreError, match="no FTS5"):
        opened(made)
    with Conversations(makes) as store:
        fill(store, "a", TURN)
        assert len(store.search_sync("dune")) == 1
    monkeypatch.undo()
    with Conversations(makes) as store:
        fill(store, "a", TURN)
        assert len(store.search_sync("dune")) == 2


def test_a_sqlite_that_is_too_old(monkeypatch):
    monkeypatch.setattr(database, "OLDEST_SQLITE", (99, 1))
    with pytest.raises(UsageError, match=r"a store takes 99\.1 or newer"):
        Conversations("sqlite://")


def test_postgres_keeps_all_letters_or_none(postgres):
    import psycopg

    with psycopg.connect(postgres.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute("CREATE DATABASE plain ENCODING 'LATIN1' TEMPLATE template0")
    with pytest.raises(StoreError, match="encoding UTF8"):
        opened(postgres.replace("/postgres?", "/plain?"))


@pytest.mark.parametrize("durability", ["power", "process"])
def test_how_lasting_a_write_is(url, durability):
    with Conversations(url, durability=durability) as store:
        fill(store, "a", TURN)
        assert len(store.load_sync("a")) == 3


def test_what_is_missing_is_told():
    script = "import sys; sys.modules['sqlalchemy'] = None; import agentkit; import agentkit.conversations"
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=KEPT.parents[2], capture_output=True, text=True, check=False
    )
    assert "pip install 'agentkit[store]'" in ran.stderr
