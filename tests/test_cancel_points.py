"""A run is cancelled at each point where it waits, in every way, on both event loops: nothing is left of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import trio

from agentkit import Transcript, calling
from agentkit.errors import Cancelled
from agentkit.testing import FakeEndpoint
from tests.cancelling import Job, soon, soon_async, threads
from tests.tiers import SOON_S, WHOLE

STRIDE = 1 if WHOLE else 9


@pytest.fixture(autouse=True)
def _idle_threads_end_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calling, "IDLE_S", 0.02)


class CountingLoop(asyncio.SelectorEventLoop):
    """Calls a function at its n-th turn."""

    def __init__(self, at: int, then: Callable[[], None]) -> None:
        super().__init__()
        self.turns, self.at, self.then = 0, at, then

    def _run_once(self) -> None:
        self.turns += 1
        if self.turns == self.at:
            self.call_soon(self.then)
        super()._run_once()


class CountingInstrument(trio.abc.Instrument):
    """Calls a function before the n-th step of any task."""

    def __init__(self, at: int, then: Callable[[], None]) -> None:
        self.turns, self.at, self.then = 0, at, then

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.turns += 1
        if self.turns == self.at:
            self.then()


class Point:
    """One run that is cancelled once. `cancel` is what the way of running it sets."""

    def __init__(self, job: Job, number: int) -> None:
        self.job = job
        self.prompt = f"run {number}"
        self.cancel: Callable[[], None] | None = None
        self.too_early = False
        self.was_cancelled = False
        self.transcript: Transcript | None = None

    def strike(self) -> None:
        if self.cancel is None:
            self.too_early = True
        else:
            self.cancel()

    async def watched(self) -> None:
        """A stream that is cancelled from outside."""
        async with self.job.agent.stream(self.prompt) as run:
            self.cancel = run.cancel
            try:
                await run.finish()
            except Cancelled:
                self.was_cancelled = True
        self.transcript = run.transcript

    async def listening(self, cancel: Callable[[], None]) -> None:
        """A stream whose listener is cancelled."""
        self.cancel = cancel
        async with self.job.agent.stream(self.prompt) as run:
            self.transcript = run.transcript
            await run.finish()

    async def plain(self, cancel: Callable[[], None]) -> None:
        """A run whose task is cancelled."""
        self.cancel = cancel
        await self.job.agent.run(self.prompt)


async def in_asyncio(point: Point, way: str) -> None:
    me = asyncio.current_task()
    if way == "watched":
        await point.watched()
    else:
        task = asyncio.create_task(getattr(point, way)(lambda: task.cancel()))  # noqa: PLW0108  # it is not there yet
        try:
            await task
        except asyncio.CancelledError:
            point.was_cancelled = True
    await soon_async(lambda: asyncio.all_tasks() == {me} and point.job.idle())


def run_asyncio(point: Point, at: int, way: str) -> bool:
    """Whether the point was reached."""
    loop = CountingLoop(at, point.strike)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(in_asyncio(point, way))
        return loop.turns >= at


async def in_trio(point: Point, way: str) -> None:
    before = tasks_of_trio()
    if way == "watched":
        await point.watched()
    else:
        with trio.CancelScope() as scope:
            await getattr(point, way)(scope.cancel)
        point.was_cancelled = scope.cancelled_caught
    await soon_async(lambda: tasks_of_trio() == before and point.job.idle())


def tasks_of_trio() -> set[str]:
    root = trio.lowlevel.current_root_task()
    found, waiting = set(), [root] if root else []
    while waiting:
        task = waiting.pop()
        found.add(task.name)
        waiting += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
    return found


def run_trio(point: Point, at: int, way: str) -> bool:
    """Whether the point was reached."""
    instrument = CountingInstrument(at, point.strike)
    trio.run(in_trio, point, way, instruments=[instrument])
    return instrument.turns >= at


@pytest.mark.parametrize("way", ["watched", "listening", "plain"])
@pytest.mark.parametrize("run", [run_asyncio, run_trio], ids=["asyncio", "trio"])
@pytest.mark.timeout(900)
def test_nothing_is_left_wherever_it_is_cancelled(run: Any, way: str) -> None:
    with FakeEndpoint() as fake:
        job = Job(fake, pace_s=0.002)
        struck = 0
        at = 1
        while True:
            point = Point(job, at)
            reached = run(point, at, way)
            fake.wait_until(lambda: fake.connections == 0, timeout_s=SOON_S)
            struck += point.was_cancelled
            if point.transcript is not None:
                job.check_transcript(point.transcript)
                fake.wait_until(lambda: fake.connections <= 1, timeout_s=SOON_S)
                job.agent.model.endpoint.close()
            if not reached:
                break
            at += STRIDE
        # the run is long enough for the points to fall into every part of it
        assert struck > 40 / STRIDE
    soon(lambda: threads() == [])
    assert job.idle()
