"""A sync run is cancelled, or left, at each of its events, in each of its tools, and at any moment from a thread."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from agentkit import calling
from agentkit.errors import Cancelled
from agentkit.testing import FakeEndpoint
from tests.cancelling import Job, soon, threads
from tests.tiers import SOON_S, WHOLE

STRIDE = 1 if WHOLE else 7
LINES = 5 if WHOLE else 131
MOMENTS = 150 if WHOLE else 12


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
    job.fake.wait_until(lambda: job.fake.connections <= 1, timeout_s=SOON_S)
    job.check_transcript(run.transcript)
    job.fake.requests.clear()


def finish(run: Any) -> bool:
    """Go to the end; whether it was cancelled."""
    try:
        return run.finish().output != "It is done."
    except Cancelled:
        with pytest.raises(Cancelled) as caught:
            _ = run.result
        assert caught.value.transcript is run.transcript
        return True


def strike(run: Any, at: int, then: Callable[[], Any]) -> bool:
    """Do something at an event; whether there was one with that number."""
    for number, _ in enumerate(run, 1):
        if number == at:
            then()
            return True
    return False


def test_at_each_event(job):
    at, struck = 1, True
    while struck:
        with job.agent.stream_sync(f"run {at}") as run:
            struck = strike(run, at, run.cancel)
            finish(run)
        check(job, run)
        at += STRIDE
    assert at > 60


def test_left_at_each_event(job):
    at, struck = 1, True
    while struck:
        with job.agent.stream_sync(f"run {at}") as run:
            struck = strike(run, at, lambda: None)
        check(job, run)
        at += STRIDE
    assert at > 60


class Interrupting:
    """A listener that interrupts at an event."""

    def __init__(self, at: int) -> None:
        self.left = at

    def __call__(self, event: Any) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


def test_by_the_listener_of_a_plain_run_at_each_event(job):
    at, struck = 1, True
    while struck:
        listen = Interrupting(at)
        try:
            job.agent.run_sync(f"run {at}", on_event=listen)
        except KeyboardInterrupt:
            struck = True
        else:
            struck = False
        assert struck == (listen.left <= 0)
        soon(job.idle)
        soon(lambda: threads() == [])
        at += STRIDE
    assert at > 20


def test_from_within_each_tool(job):
    at, struck = 1, True
    while struck:
        run = job.agent.stream_sync(f"run {at}")
        job.before_work = Striking(at, run.cancel)
        with run:
            struck = finish(run)
        job.before_work = None
        check(job, run)
        at += 1
    assert at > 8


class Striking:
    """Does something when it is called for the n-th time."""

    def __init__(self, at: int, then: Callable[[], Any]) -> None:
        self.left, self.then = at, then

    def __call__(self) -> None:
        self.left -= 1
        if self.left == 0:
            self.then()


def seconds_of(job, prompt):
    began = time.monotonic()
    job.agent.run_sync(prompt)
    return time.monotonic() - began


def test_from_a_thread_at_any_moment(job):
    took_s = min(seconds_of(job, f"measure {number}") for number in range(3))
    cancelled = 0
    for number in range(MOMENTS):
        with job.agent.stream_sync(f"run {number}") as run:
            timer = threading.Timer(2 * took_s * number / MOMENTS, run.cancel)
            timer.start()
            cancelled += finish(run)
            timer.cancel()
            timer.join()
        check(job, run)
    assert cancelled >= MOMENTS // 4


class Tracer:
    """Interrupts at the n-th line that is run of the modules that make up a run."""

    MODULES = ("drive", "run", "streams", "state", "transcript", "loop")

    def __init__(self, at: int) -> None:
        self.left = at
        self.files = tuple(f"agentkit/{name}.py" for name in self.MODULES)

    def __call__(self, frame: Any, event: str, arg: Any) -> Any:
        # not where a connection is held: a tracer, unlike a signal, also strikes where a block is about to be left
        code = frame.f_code
        return self.line if code.co_filename.endswith(self.files) and code.co_name != "send" else None

    def line(self, frame: Any, event: str, arg: Any) -> Any:
        if event == "line":
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
        return self.line


@pytest.mark.timeout(900)
def test_interrupted_at_each_line(job):
    at, before = 1, sys.gettrace()
    while True:
        tracer = Tracer(at)
        with job.agent.stream_sync(f"run {at}") as run:
            try:
                sys.settrace(tracer)
                run.finish()
            except KeyboardInterrupt:
                assert tracer.left <= 0
            else:
                break
            finally:
                sys.settrace(before)
        check(job, run)
        at += LINES
    assert at > 2000
