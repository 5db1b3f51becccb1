"""The databases that the store's tests run on: SQLite with and without a full-text index, and a private Postgres."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentkit.conversations import Conversations

KINDS: dict[str, dict[str, Any]] = {
    "sqlite": {"durability": "process"},
    "sqlite-plain": {"full_text": False},
    "memory": {"url": "sqlite://"},
    "postgres": {},
}


@pytest.fixture(params=KINDS)
def options(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """What a store is made with, for each kind of database."""
    if request.param == "postgres":
        return {"url": request.getfixturevalue("postgres_url")}
    return {"url": f"sqlite:///{tmp_path}/bot.db", **KINDS[request.param]}


@pytest.fixture
def store(options: dict[str, Any]) -> Iterator[Conversations]:
    with Conversations(**options) as opened:
        yield opened


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database that several stores and processes may share."""
    if request.param == "postgres":
        return request.getfixturevalue("postgres_url")
    return f"sqlite:///{tmp_path}/bot.db"
