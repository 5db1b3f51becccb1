"""What was recorded survives kill -9, whenever it comes."""

from __future__ import annotations

import random

import pytest

from agentkit.conversations import Conversations
from tests.conversations.processes import needs_fork, worker


@needs_fork
@pytest.mark.slow
@pytest.mark.parametrize("number", range(3))
def test_what_was_recorded_survives(url, number):
    with Conversations(url, lease_s=30) as store:
        told = 0
        for _ in range(2):
            with worker(url, "a", "write", lease_s=0.5) as writer:
                for _ in range(random.Random(number).randrange(1, 60)):
                    told_line = writer.line()
                writer.kill()  # in the middle of whatever it is at
                for rest in writer.stdout:  # what it had told by then
                    told_line = rest.strip()
            index, state = told_line.split()
            with store.open("a") as kept:
                entries = kept.transcript.entries
                assert len(entries) in (int(index) + 1, int(index) + 2)
                assert all(entry.calls[0].result is not None for entry in entries[told : int(index)])
                if state == "answered":
                    result = entries[int(index)].calls[0].result
                    assert result is not None
                    assert result.content == f"result {index}"
            assert len(entries) > told
            told = len(entries)
