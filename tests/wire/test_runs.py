"""Every wire case over HTTP: one model call, and a whole run of an agent, sync and async."""

from __future__ import annotations

import pytest

from agentkit import Transcript
from tests.wire import replay
from tests.wire.verbs import WAYS, observed_call, observed_run

# A run waits for the first answer as long as the client allows, three times.
SLOW = {case["id"] for case in replay.load() if case.get("end") in ("hang", "hang_before_headers", "repeat_body")}


def each_way(marks):
    """Every case by each way that asks as the case does."""
    return pytest.mark.parametrize(
        ("case", "way"),
        [
            pytest.param(case, way, id=f"{case['id']} {way.name}", marks=marks(case["id"]))
            for case in replay.load()
            for way in WAYS
            if way.streamed == replay.wants_stream(case)
        ],
    )


def marks_of_run(case_id):
    return pytest.mark.slow if case_id in SLOW else ()


@each_way(lambda _: ())
def test_one_call(case, way):
    with replay.Server(case) as server:
        seen = observed_call(case, server, way)
        assert replay.compare_client(case, seen) == []
        assert [replay.history_problems(body) for _, _, body in server.requests] == [[]]
        assert server.api_key not in str(seen)


@each_way(marks_of_run)
def test_a_run(case, way):
    with replay.Server(case) as server:
        seen = observed_run(case, server, way)
        assert replay.compare_loop(case, seen, server) == []
        assert [problem for _, _, body in server.requests for problem in replay.history_problems(body)] == []
        assert all(path.endswith("/chat/completions") for path, _, _ in server.requests)
        if "error" in seen:
            assert Transcript.load(seen["transcript"].dump()) == seen["transcript"]
            assert server.api_key not in str(seen["error"])
