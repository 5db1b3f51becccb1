"""Everything that can go wrong, at each effect of a run: it ends well or with a typed error, in time, and leaves a
transcript to go on from and nothing that still runs."""

from __future__ import annotations

import threading
import time

import pytest

from agentkit import Result, Transcript
from agentkit.errors import AgentKitError
from agentkit.testing import FakeEndpoint
from tests import fault_cells
from tests.fault_cells import ALLOWED_S, CELLS, NAMES, TOOLS, WIRE, Cell
from tests.tiers import SOON_S


def test_the_matrix_is_whole():
    assert len({(cell.place, cell.fault) for cell in CELLS}) >= 60
    assert len(CELLS) == len(set(CELLS)) >= 800
    assert {cell.place for cell in CELLS} == {f"turn {n}" for n in range(1, 6)} | {f"tool {name}" for name in NAMES}


@pytest.mark.sampled(60, each="driver place fault+always")
@pytest.mark.parametrize(("driver", "place", "fault", "always"), CELLS, ids=[cell.label for cell in CELLS])
def test_every_cell(driver, place, fault, always):
    cell = Cell(driver, place, fault, always)
    threads = {thread for thread in threading.enumerate() if thread.name == "agentkit loop"}
    with FakeEndpoint() as fake:
        began = time.monotonic()
        ended, trouble = fault_cells.play(cell, fake)
        assert time.monotonic() - began < ALLOWED_S
        assert trouble.quiet(), "a tool still runs"
        left = [t for t in threading.enumerate() if t.name == "agentkit loop" and t not in threads]
        for thread in left:
            thread.join(SOON_S)
            assert not thread.is_alive()
        fake.wait_until(lambda: not fake.connections, timeout_s=SOON_S)
        right_end(cell, ended)
        right_transcript(ended.transcript, fake)


def right_end(cell: Cell, ended: Result | AgentKitError) -> None:
    streamed = cell.driver.startswith("stream")
    if cell.place.startswith("tool"):
        kind, mended = TOOLS[cell.fault], TOOLS[cell.fault] is None
    else:
        fault = WIRE[cell.fault]
        kind, mended = fault.kind, fault.kind is None or (fault.mended and not cell.always)
    if isinstance(ended, Result):
        assert mended, ended
        assert ended.output == "done"
        assert [record.call.name for record in ended.tool_calls] == NAMES
        return
    # of a stream something may have been told, which is not taken back
    told = streamed and cell.fault in ("reset after headers", "cut", "stall", "error in a stream", "bad JSON")
    assert not mended or told, repr(ended)
    assert kind is not None and isinstance(ended, kind), repr(ended)


def right_transcript(transcript: Transcript | None, fake: FakeEndpoint) -> None:
    assert transcript is not None
    assert Transcript.load(transcript.dump()) == transcript
    # a strict endpoint takes what is left, and every call gets its one result
    if transcript.last is not None and transcript.last.message.role == "assistant" and not transcript.last.calls:
        return
    went_on = fault_cells.resumed(transcript, fake)
    assert went_on.output == "done"
    records = [record for entry in went_on.transcript for record in entry.calls]
    assert [record.call.name for record in records] == NAMES
    assert all(record.result is not None for record in records)
