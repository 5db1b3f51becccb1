"""A sample of scripts/load.py: twenty clients at once, some of whom leave."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent.parent / "scripts" / "load.py"


@pytest.mark.slow
def test_nobody_starves_and_nothing_is_left(monkeypatch):
    spec = importlib.util.spec_from_file_location("load_script", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    load = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, load)
    spec.loader.exec_module(load)
    with load.Process("--model", 100) as model, load.Process("--server", f"{model.url}/v1") as server:
        seen = asyncio.run(load.crowd(server.url, 20, 1, 0.2, agent=True))
        held = load.held(server.url)
    assert not seen.errors
    assert set(seen.answers) == {number for number in range(20) if number % 10 != 1}
    assert seen.left >= 2
    assert held["runs"] == 0
    assert held["tasks"] < 10
    assert held["files"] < 20 + 50
