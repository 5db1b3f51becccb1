"""One client in a process of its own: an order as a line of JSON comes in, and what came of it goes out."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import resource
import sys
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from typing import Any

from tests.benchmarks.clients import CLIENTS
from tests.benchmarks.server import Scenario
from tests.benchmarks.tasks import Task, functions, world

Measured = dict[str, float]


class Worker:
    def __init__(self, name: str, base_url: str) -> None:
        self.loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self.loop)
        self.client = CLIENTS[name](base_url)
        self.made: dict[Task, Any] = {}

    def obey(self, order: dict[str, Any]) -> Measured:
        """Do what an order says."""
        task = Task(**{**order["task"], "scenario": Scenario(**order["task"].get("scenario", {}))})
        if task not in self.made:
            self.made[task] = self.client.prepare(task)
        measure: Callable[[Any, Task, int], Measured] = getattr(self, order["do"])
        return measure(self.made[task], task, order.get("count", 1))

    def run(self, made: Any, task: Task, count: int) -> Measured:
        """`count` runs, one after another."""
        return self._timed(lambda: self.loop.run_until_complete(self.client.run(made, task)), task, count)

    def run_sync(self, made: Any, task: Task, count: int) -> Measured:
        return self._timed(lambda: self.client.run_sync(made, task), task, count)

    def stream(self, made: Any, task: Task, count: int) -> Measured:
        """The same, streamed; `first_s` is when the first piece of text was told."""
        firsts: list[float] = []

        def once() -> str:
            started = time.perf_counter()
            told: list[float] = []
            answer = self.loop.run_until_complete(
                self.client.stream(made, task, lambda _: told or told.append(time.perf_counter() - started))
            )
            firsts.append(told[0])
            return answer

        return self._timed(once, task, count) | {"first_s": min(firsts)}

    def _timed(self, once: Callable[[], str], task: Task, count: int) -> Measured:
        world.calls = 0
        cpu, wall = time.process_time(), time.perf_counter()
        for _ in range(count):
            answer = once()
            assert answer == task.scenario.text, answer
        assert world.calls == count * task.scenario.rounds * task.scenario.calls, world.calls
        return {"cpu_s": (time.process_time() - cpu) / count, "wall_s": (time.perf_counter() - wall) / count}

    def burst(self, made: Any, task: Task, count: int) -> Measured:
        """`count` runs at once."""

        async def all_at_once() -> None:
            answers = await asyncio.gather(*[self.client.run(made, task) for _ in range(count)])
            assert set(answers) == {task.scenario.text}

        cpu = time.process_time()
        self.loop.run_until_complete(all_at_once())
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return {"cpu_s": (time.process_time() - cpu) / count, "peak_mb": peak_mb}

    def schemas(self, made: Any, task: Task, count: int) -> Measured:
        """Describe so many functions."""
        listed = functions(count)
        cpu = time.process_time()
        schemas = self.client.schemas(listed)
        assert all(len(schema["properties"]) == 6 for schema in schemas)
        return {"cpu_s": time.process_time() - cpu}

    # Memory

    def live(self, made: Any, task: Task, count: int) -> Measured:
        """KB of each of so many runs whose tools are at work."""

        async def hold(watched: int) -> float:
            world.calls, world.gate = 0, asyncio.Event()
            before = _traced()
            runs = [asyncio.ensure_future(self.client.run(made, task)) for _ in range(watched)]
            while world.calls < watched:  # noqa: ASYNC110  # one event would be the work of every call
                await asyncio.sleep(0.001)
            used = _traced() - before
            world.gate.set()
            await asyncio.gather(*runs)
            return used / watched

        return self._traced(lambda: hold(count), lambda: hold(1))

    def crowd(self, made: Any, task: Task, count: int) -> Measured:
        """MB by which the process grows for so many runs whose tools are at work, all at once.

        They begin a hundred at a time: httpx's pool takes time by the square of how many wait for it.
        """

        async def gather(wanted: int) -> None:
            runs: list[asyncio.Future[str]] = []
            while len(runs) < wanted:
                wave = min(100, wanted - len(runs))
                runs += [asyncio.ensure_future(self.client.run(made, task)) for _ in range(wave)]
                while world.calls < len(runs):  # noqa: ASYNC110  # as in `live`
                    await asyncio.sleep(0.001)
            used.append(_resident_kb())
            for run in runs:
                run.cancel()
            await asyncio.gather(*runs, return_exceptions=True)

        used: list[float] = []
        for wanted in (1, count):
            world.calls = 0
            self.loop.run_until_complete(gather(wanted))
        return {"mb": (used[1] - used[0]) / 1024}

    def idle(self, made: Any, task: Task, count: int) -> Measured:
        """KB of each of so many conversations that nobody goes on with at the moment."""

        async def keep(watched: int) -> float:
            before = _traced()
            kept = [await self.client.keep(made, task) for _ in range(watched)]
            used = _traced() - before
            assert len(kept) == watched
            return used / watched

        return self._traced(lambda: keep(count), lambda: keep(1))

    def _traced(self, measure: Callable[[], Awaitable[float]], warm: Callable[[], Awaitable[float]]) -> Measured:
        async def both() -> float:
            await warm()
            return await measure()

        tracemalloc.start()
        try:
            return {"kb": self.loop.run_until_complete(both()) / 1024}
        finally:
            tracemalloc.stop()

    def growth(self, made: Any, task: Task, count: int) -> Measured:
        """KB by which the process has grown after so many runs, beyond what the first tenth of them took."""
        for _ in range(count // 10):
            self.loop.run_until_complete(self.client.run(made, task))
        before = _resident_kb()
        for _ in range(count):
            self.loop.run_until_complete(self.client.run(made, task))
        return {"kb": _resident_kb() - before}


def _traced() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def _resident_kb() -> float:
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)  # else it tells what was used at the worst moment
    with open("/proc/self/statm") as file:  # noqa: PTH123  # no file of ours
        return int(file.read().split()[1]) * resource.getpagesize() / 1024


def main(name: str, base_url: str) -> None:
    """Obey until standard input ends."""
    worker = Worker(name, base_url)
    print("{}", flush=True)
    for line in sys.stdin:
        try:
            told = worker.obey(json.loads(line))
        except NotImplementedError:
            told = {"failed": 1.0}
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
