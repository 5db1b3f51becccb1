from __future__ import annotations

import os
from pathlib import Path

import pytest

collect_ignore = [] if hasattr(os, "fork") else ["test_crash.py", "test_two_at_once.py"]


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgres":
        return request.getfixturevalue("postgres_url")
    return f"sqlite:///{tmp_path}/bot.db"
