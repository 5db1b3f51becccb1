"""A cassette of the local model: what it said comes again without it."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentkit import Agent
from agentkit.endpoint import Endpoint
from agentkit.testing import fixed_clock, record, replay

pytest.importorskip("xllamacpp")


def multiply(a: int, b: int) -> int:
    """Multiply two whole numbers."""
    return a * b


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.usefixtures("one_at_a_time")
def test_a_run_of_the_local_model_comes_again_without_it(tmp_path: Path) -> None:
    agent = Agent("local", tools=[multiply], settings={"temperature": 0, "max_tokens": 100})
    with fixed_clock(), record(tmp_path / "local.json"):
        before = agent.run_sync("What is 12 times 34?")

    def start() -> None:
        raise AssertionError("it was started")

    unstarted = Endpoint(None, agent.model.endpoint.dialect, start=start)  # type: ignore[attr-defined,arg-type]
    agent.model.endpoint = unstarted  # type: ignore[attr-defined]
    with fixed_clock(), replay(tmp_path / "local.json") as tape:
        after = agent.run_sync("What is 12 times 34?")
    assert tape.played == len(tape.exchanges) > 0
    assert after.transcript.dump() == before.transcript.dump()
