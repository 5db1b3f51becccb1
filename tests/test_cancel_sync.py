"""A sync run is cancelled, or left, at each of its events, in each of its tools, and at any moment from a thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from agentkit import calling
from agentkit.errors import Cancelled
from agentkit.testing import FakeEndpoint
from tests.cancelling import Job, soon, threads

stride = pytest.mark.parametrize("stride", [pytest.param(7, id="some"), pytest.param(1, id="all", marks=pytest.mark.slow)])


@pytest.fixture(autouse=True)
def _idle_threads_end_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calling, "IDLE_S", 0.02)


@pytest.fixture
def job() -> Iterator[Job]:
    with FakeEndpoint() as fake:
        yield Job(fake, pace_s=0.001)


def check(job: Job, run: Any) -> None:
    """Nothing is left of the run, and it goes on."""
    soon(job.idle)
    soon(lambda: threads() == [])
    for request in job.fake.requests:
        assert request.number == len(job.fake.requests) or not request.disconnected.is_set()
    job.fake.wait_until(lambda: job.fake.connections <= 1, timeout_s=1)
    job.check_transcript(run.transcript)
    job.fake.requests.clear()


@stride
def test_at_each_event(job, stride):
    at, struck = 1, True
    while struck:
        struck = False
        with job.agent.stream_sync(f"run {at}") as run:
            try:
                for number, _ in enumerate(run, 1):
                    if number == at:
                        struck = True
                        run.cancel()
            except Cancelled as error:
                assert error.transcript is run.transcript
            else:
                assert run.result.output == "It is done."
        check(job, run)
        at += stride
    assert at > 60


@stride
def test_by_the_listener_of_a_plain_run_at_each_event(job, stride):
    at, struck = 1, True
    while struck:
        struck = False
        seen: list[Any] = []

        def listen(event: Any) -> None:
            nonlocal struck
            seen.append(event)
            if len(seen) == at:
                struck = True
                raise KeyboardInterrupt

        try:
            job.agent.run_sync(f"run {at}", on_event=listen)
        except KeyboardInterrupt:
            assert struck
        soon(job.idle)
        soon(lambda: threads() == [])
        at += stride
    assert at > 20


@stride
def test_left_at_each_event(job, stride):
    at, struck = 1, True
    while struck:
        struck = False
        with job.agent.stream_sync(f"run {at}") as run:
            for number, _ in enumerate(run, 1):
                if number == at:
                    struck = True
                    break
        check(job, run)
        at += stride
    assert at > 60


def test_from_within_each_tool(job):
    work, began = job.work, 0
    for at in range(1, 12):
        began = 0

        def cancelling(name: str, context: Any) -> str:
            nonlocal began
            began += 1
            if began == at:
                run.cancel()
            return work(name, context)

        job.work = cancelling  # type: ignore[method-assign]
        with job.agent.stream_sync(f"run {at}") as run:
            try:
                run.finish()
            except Cancelled as error:
                assert error.transcript is run.transcript
            else:
                assert began < at
        job.work = work  # type: ignore[method-assign]
        check(job, run)
    assert began < at


@pytest.mark.parametrize(
    "moments", [pytest.param(12, id="some"), pytest.param(150, id="all", marks=pytest.mark.slow)]
)
def test_from_a_thread_at_any_moment(job, moments):
    began = time.monotonic()
    job.agent.run_sync("the measure")
    took_s = time.monotonic() - began
    cancelled = 0
    for number in range(moments):
        with job.agent.stream_sync(f"run {number}") as run:
            timer = threading.Timer(2 * took_s * number / moments, run.cancel)
            timer.start()
            try:
                run.finish()
            except Cancelled as error:
                cancelled += 1
                assert error.transcript is run.transcript
            timer.cancel()
            timer.join()
        check(job, run)
    assert cancelled >= moments // 4
