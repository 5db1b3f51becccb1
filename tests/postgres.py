"""A private Postgres server, for the tests of what is kept in one."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest

_numbers = count()


def _postgres_program(name: str) -> str | None:
    """Where Debian puts a server's programs, newest version first; elsewhere they are on the PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[4]), reverse=True)
    return str(found[0]) if found else shutil.which(name)


def _other_user() -> str | None:
    """Who runs the server: it refuses root."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return None
    import pwd  # Windows has none

    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    return None


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a database on a server of its own, which listens on a socket in a folder of its own."""
    pytest.importorskip("psycopg", reason="needs psycopg, which is not installed")
    initdb, pg_ctl = _postgres_program("initdb"), _postgres_program("pg_ctl")
    if initdb is None or pg_ctl is None:
        pytest.skip("needs a Postgres server: Debian's package postgresql, or initdb and pg_ctl on the PATH")
    user = _other_user()
    folder = tempfile.mkdtemp(prefix="agentkit-")  # a socket's path is short
    if user is not None:
        shutil.chown(folder, user)

    def run(*command: str) -> None:
        with Path(folder, "output").open("ab") as output:
            subprocess.run(command, user=user, cwd=folder, check=True, stdout=output, stderr=output)

    data = f"{folder}/data"
    server = f"-k {folder} -c listen_addresses='' -c fsync=off -c max_connections=60"
    try:
        run(initdb, "-D", data, "-A", "trust", "-U", "agentkit", "-E", "UTF8", "--locale=C", "--no-sync")
        run(pg_ctl, "-D", data, "-w", "-t", "60", "-l", f"{folder}/log", "-o", server, "start")
        try:
            yield f"postgresql+psycopg://agentkit@/postgres?host={folder}"
        finally:
            run(pg_ctl, "-D", data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_url(postgres: str) -> str:
    """A schema of its own on that server."""
    import psycopg

    name = f"test_{next(_numbers)}"
    with psycopg.connect(postgres.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}")
    return f"{postgres}&options=-csearch_path%3D{name}"
