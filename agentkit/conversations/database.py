"""The database underneath: opened on first need, its version looked at, one transaction at a time handed out."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from sqlalchemy import create_engine, event, literal, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import QueuePool

from agentkit.conversations.creating import create
from agentkit.conversations.faults import StoreDamaged, StoreError
from agentkit.conversations.schema import APPLICATION_ID, MIGRATIONS, POSTGRES_NOW, layout_of, migrate
from agentkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Generator

    from sqlalchemy import URL, ColumnElement, Connection, Engine, RootTransaction

BUSY_S: Final = 30.0
"""How long a write waits for another process's."""
OLDEST_SQLITE: Final = (3, 35)  # the first with RETURNING
Durability: TypeAlias = Literal["power", "process"]
_LOCK: Final = 0x61676B74  # what Postgres' advisory lock is called while tables are made

_SYNCHRONOUS: Final[dict[Durability, str]] = {"power": "FULL", "process": "NORMAL"}
_COMMIT: Final[dict[Durability, str]] = {"power": "on", "process": "off"}


class Database:
    """A SQLite or Postgres database. Safe to use from any thread, and in a child after a fork."""

    def __init__(self, url: str, *, durability: Durability, full_text: bool) -> None:
        self.url = _checked(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self.path = _path_of(self.url) if self.is_sqlite else None
        if self.is_sqlite and sqlite3.sqlite_version_info < OLDEST_SQLITE:
            raise UsageError(
                f"this Python comes with SQLite {sqlite3.sqlite_version}; a store takes "
                f"{'.'.join(map(str, OLDEST_SQLITE))} or newer"
            )
        if durability not in _SYNCHRONOUS:
            raise UsageError(f"durability is 'power' or 'process', not {durability!r}")
        self.durability: Durability = durability
        self.wants_words = full_text
        self.has_words = False
        self.closed = False
        self._names_checked = False
        self._engine: Engine | None = None
        self._of_process = 0
        self._renew_locks()

    def _renew_locks(self) -> None:
        self._opening = threading.Lock()
        # SQLite's own waiting is a sleep and another try: threads of one process stand in line instead.
        self._writer = threading.Lock() if self.is_sqlite else nullcontext()

    @property
    def name(self) -> str:
        """What messages call it, the password left out."""
        return str(self.path) if self.path else self.url.render_as_string(hide_password=True)

    def open(self) -> Engine:
        """The engine; the first time the database is made or looked at.

        Raises:
            StoreError: it is newer, foreign or out of reach.
            StoreDamaged: it is not as it was written.
        """
        engine, here = self._engine, os.getpid()
        if engine is not None and self._of_process == here:
            return engine
        if engine is not None:  # the connections are the parent's
            self._renew_locks()
            engine.dispose(close=False)
            self._engine = None
        with self._opening:
            if self.closed:
                raise UsageError(f"the store {self.name} is closed: make a new Conversations")
            if self._engine is None:
                with self._told():
                    if self.path is not None:
                        create(self.path, self._fill)
                    self._engine = self._opened(self.path)
                self._of_process = here
        return self._engine

    def close(self) -> None:
        """Let go of the database; it stays closed."""
        with self._opening:
            self.closed = True
            engine, self._engine = self._engine, None
        if engine is not None:
            engine.dispose(close=self._of_process == os.getpid())

    @contextmanager
    def reading(self) -> Generator[Connection]:
        """A transaction that sees one moment of the database."""
        options: dict[str, Any] = {} if self.is_sqlite else {"isolation_level": "REPEATABLE READ"}
        engine = self.open()
        with self._told(), engine.connect().execution_options(**options) as connection:
            with connection.begin():
                yield connection
            self._let_go(connection)

    @contextmanager
    def writing(self) -> Generator[Connection]:
        """A transaction that nobody else's write comes between. It is on the disk when the block has been left."""
        engine = self.open()
        with self._writer, self._told(), engine.connect() as connection:
            with _immediate(connection):
                yield connection
            self._let_go(connection)

    def _let_go(self, connection: Connection) -> None:
        """Close a connection if the store was closed meanwhile: its pool, to which it goes back, is gone."""
        if self.closed:
            connection.invalidate()

    def now(self) -> ColumnElement[float]:
        """The time that all who use the database agree on: Postgres' own, or this machine's."""
        if self.is_sqlite:
            return literal(time.time())
        return POSTGRES_NOW

    def check_names(self) -> None:
        """See that SQLite's index of names has each conversation: only then is a name that it lacks a new one."""
        if self._names_checked or self.path is None:  # once: what changes on a disk does so while nobody looks
            return
        with self.reading() as connection:
            found = connection.exec_driver_sql("PRAGMA integrity_check('agentkit_conversations')").scalars().all()
        if found != ["ok"]:
            raise StoreDamaged(f"{self.name} is damaged: {found[0] if found else 'its check tells nothing'}")
        self._names_checked = True

    def _fill(self, path: Path) -> None:
        engine = self._engine_for(path)
        try:
            _use_log(engine)
            with engine.connect() as connection, _immediate(connection):
                migrate(connection, since=0, full_text=self.wants_words and _has_fts5(connection))
        finally:
            engine.dispose()

    def _opened(self, path: Path | None) -> Engine:
        engine = self._engine_for(path)
        try:
            if self.is_sqlite:
                if path is None:
                    with engine.begin() as connection:
                        migrate(connection, since=0, full_text=self.wants_words and _has_fts5(connection))
                self._check_sqlite(engine)
            else:
                self._check_postgres(engine)
        except BaseException:
            engine.dispose()
            raise
        return engine

    def _check_sqlite(self, engine: Engine) -> None:
        with engine.connect() as connection, connection.begin():
            mark = connection.exec_driver_sql("PRAGMA application_id").scalar()
            if mark != APPLICATION_ID:
                raise StoreError(f"{self.name} is a SQLite database, but none that agentkit made: name another file")
            version = self._version(connection)
        if version < len(MIGRATIONS):
            with engine.connect() as connection, _immediate(connection):
                words = self._find_words(connection)
                migrate(connection, since=self._version(connection), full_text=words)
        with engine.connect() as connection, connection.begin():
            self.has_words = self._find_words(connection)
        if self.path is not None and not _use_log(engine):
            raise StoreError(f"{self.name} cannot be kept with a write-ahead log: put it on a local disk")

    def _find_words(self, connection: Connection) -> bool:
        found = connection.exec_driver_sql("SELECT 1 FROM sqlite_master WHERE name = 'agentkit_entry_words'").scalar()
        if found and not _has_fts5(connection):
            raise StoreError(f"{self.name} has a full-text index, but this Python's SQLite has no FTS5 to keep it with")
        return bool(found)

    def _check_postgres(self, engine: Engine) -> None:
        self.has_words = True
        with engine.begin() as connection:
            encoding = connection.exec_driver_sql("SHOW server_encoding").scalar()
            if encoding != "UTF8":
                raise StoreError(f"{self.name} keeps text as {encoding}: it takes a database with the encoding UTF8")
            if _is_there(connection, "agentkit_schema") and self._version(connection) == len(MIGRATIONS):
                return
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
            since = 0
            if _is_there(connection, "agentkit_schema"):
                since = self._version(connection)
            elif taken := [
                name for name in ("agentkit_conversations", "agentkit_entries") if _is_there(connection, name)
            ]:
                raise StoreError(f"{self.name} has a table {taken[0]} that is not of a store: name another database")
            migrate(connection, since=since, full_text=True)

    def _version(self, connection: Connection) -> int:
        """The version of the tables. Raises StoreError if it is not one that this agentkit can use."""
        rows = connection.exec_driver_sql("SELECT version, layout FROM agentkit_schema").all()
        if len(rows) != 1 or not all(isinstance(value, int) for value in rows[0]):
            raise StoreDamaged(f"{self.name} is damaged: agentkit_schema has {len(rows)} rows that tell its version")
        version: int = rows[0][0]
        layout: int = rows[0][1]
        if version > len(MIGRATIONS):
            raise StoreError(
                f"{self.name} has version {version} of the tables; this agentkit knows up to {len(MIGRATIONS)}: "
                "upgrade agentkit"
            )
        if version < 1 or layout != layout_of(connection):
            raise StoreDamaged(f"{self.name} is damaged: its tables are not those of version {version}")
        return version

    def _engine_for(self, path: Path | None) -> Engine:
        if not self.is_sqlite:
            engine = create_engine(self.url, pool_pre_ping=True, hide_parameters=True)
            if self.durability == "process":
                event.listen(engine, "connect", self._prepare_postgres)
            return engine
        url = self.url.set(database=":memory:" if path is None else str(path))
        arguments = {"timeout": BUSY_S, "check_same_thread": False}
        # what is in memory lives in one connection, which all share
        size = {"pool_size": 1, "max_overflow": 0} if path is None else {}
        engine = create_engine(url, poolclass=QueuePool, connect_args=arguments, hide_parameters=True, **size)
        event.listen(engine, "connect", self._prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine

    def _prepare_sqlite(self, connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # the driver would begin its transactions late, and deferred
        connection.execute(f"PRAGMA synchronous = {_SYNCHRONOUS[self.durability]}")
        connection.execute("PRAGMA cell_size_check = ON")  # notices damage sooner

    def _prepare_postgres(self, connection: Any, _record: object) -> None:
        connection.execute(f"SET synchronous_commit TO {_COMMIT[self.durability]}")
        connection.commit()

    @contextmanager
    def _told(self) -> Generator[None]:
        """Errors of the database, in words that say what to do."""
        try:
            yield
        except (SQLAlchemyError, sqlite3.Error) as error:
            cause = error.orig if isinstance(error, DBAPIError) else None
            raise self._fault(error, cause or error) from (cause or error)
        except UnicodeDecodeError as error:  # SQLite quotes what it cannot read in its message
            raise StoreDamaged(f"{self.name} is damaged: {error}") from error

    def _fault(self, error: Exception, cause: BaseException) -> StoreError:
        code = getattr(cause, "sqlite_errorname", "")
        said = str(cause).strip()
        if code == "SQLITE_NOTADB":
            return StoreError(f"{self.name} is no SQLite database, or its head is damaged")
        if code.startswith("SQLITE_CORRUPT") or "Could not decode to UTF-8" in said:
            return StoreDamaged(f"{self.name} is damaged: {said}")
        if isinstance(error, IntegrityError):
            return StoreDamaged(f"{self.name} is damaged: a row is there that was never counted: {said}")
        if code.startswith("SQLITE_BUSY"):
            return StoreError(f"{self.name} was in use elsewhere for {BUSY_S:g} seconds: {said}")
        return StoreError(f"{self.name} cannot be used: {said or type(cause).__name__}")


def _immediate(connection: Connection) -> RootTransaction:
    """A transaction that is the only writer from its begin: none that reads first and is then too late to write."""
    return connection.execution_options(agentkit_begin="BEGIN IMMEDIATE").begin()


def _use_log(engine: Engine) -> bool:
    """Have SQLite keep a write-ahead log, which is set once for a file, outside of a transaction."""
    connection = engine.raw_connection()
    try:
        mode: str = connection.cursor().execute("PRAGMA journal_mode = WAL").fetchone()[0]
    finally:
        connection.close()
    return mode == "wal"


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("agentkit_begin", "BEGIN"))


def _has_fts5(connection: Connection) -> bool:
    return bool(connection.exec_driver_sql("SELECT 1 FROM pragma_module_list WHERE name = 'fts5'").scalar())


def _is_there(connection: Connection, table: str) -> bool:
    # not to_regclass: what it did not find before a lock was waited for, it does not find after that either
    visible = "pg_catalog.pg_table_is_visible(oid)"
    query = f"SELECT 1 FROM pg_catalog.pg_class WHERE relname = '{table}' AND {visible}"  # noqa: S608  # our names
    return connection.exec_driver_sql(query).scalar() is not None


def _checked(url: str) -> URL:
    try:
        made = make_url(url)
        made.get_dialect()
    except (ArgumentError, NoSuchModuleError) as error:
        # the URL may hold a password: it is not repeated
        raise UsageError(f"a store's URL is 'sqlite:///bot.db' or 'postgresql+psycopg://…': {error}") from None
    if made.get_backend_name() not in ("sqlite", "postgresql"):
        raise UsageError(f"conversations are kept in SQLite or Postgres, not in {made.get_backend_name()}")
    if made.drivername not in ("sqlite", "sqlite+pysqlite") and made.get_dialect().is_async:
        raise UsageError(f"{made.drivername} is an async driver: take its sync one; agentkit waits in threads")
    return made


def _path_of(url: URL) -> Path | None:
    """Where the file is, also if the program changes its folder later; None for a database in memory."""
    name = url.database
    if not name or name == ":memory:":
        return None
    if name.startswith("file:"):
        raise UsageError(f"give SQLite's file as a plain path, 'sqlite:///bot.db', not as {name!r}")
    return Path(name).absolute()
