"""Many runs against an endpoint that fails in every way: nothing may grow, and every run must be accounted for.

`SOAK_RUNS` (100,000) and `SOAK_AT_ONCE` (100) say how many. The endpoint is a process of its own, so that what it keeps
is not counted here. Half of the runs go on in one event loop, half in threads.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from agentkit import Agent, ChatModel, Retries, Timeouts, tool  # noqa: E402
from agentkit.clock import Clock, clock  # noqa: E402
from agentkit.errors import AgentKitError, EndpointError  # noqa: E402
from agentkit.testing import FakeEndpoint, call, calls, cut, error_event, garbled, raw, reset, say, status  # noqa: E402

RUNS: Final = int(os.environ.get("SOAK_RUNS", "100000"))
AT_ONCE: Final = int(os.environ.get("SOAK_AT_ONCE", "100"))
GROWTH_KB: Final = 16_384
"""What the process may grow by after its first tenth: the allocator's own ways take some."""


# The endpoint


def faulty(request: Any, chance: random.Random) -> Any:
    """Two turns with tools and an answer; one request in five fails."""
    turn = sum(message["role"] == "assistant" for message in request.messages)
    item = [calls(call("look", page=1), call("fetch", page=2)), call("look", page=3), say("done " * 20)][min(turn, 2)]
    faults = [
        status(429, headers={"retry-after": "0"}),
        status(503),
        status(500, "<html>oops</html>"),
        status(400),
        raw(200, {"content-type": "text/html"}, b"<html></html>"),
        reset(),
        cut(item),
        reset(item, after_bytes=1),
        error_event(item),
        garbled(item),
    ]
    return chance.choice(faults) if chance.random() < 0.2 else item


def serve() -> None:
    """Serve until the input ends."""
    chance = random.Random(0)  # noqa: S311  # the same faults each time
    with FakeEndpoint(check=False) as fake:

        def answer(request: Any) -> Any:
            fake.requests.clear()
            fake.problems.clear()
            return faulty(request, chance)

        fake.play(answer)
        print(fake.base_url, flush=True)
        sys.stdin.read()


# The runs


@tool(read_only=True)
def look(page: int) -> str:
    """Look at a page."""
    return f"page {page} " * 20


@tool
async def fetch(page: int) -> str:
    """Fetch a page."""
    if random.random() < 0.05:  # noqa: S311
        raise RuntimeError(f"no page {page}")
    await asyncio.sleep(0)
    return f"page {page}"


class Hasty(Clock):
    """A clock with which waiting for a retry takes no time."""

    def wait_sync(self, seconds: float, unless: threading.Event) -> bool:
        """Do not wait."""
        del seconds
        return unless.is_set()

    async def wait(self, seconds: float) -> None:
        """Let others go on."""
        del seconds
        await asyncio.sleep(0)


def kind_of(error: AgentKitError) -> str:
    """How a run that failed is counted; it has to have what every error has."""
    transcript = error.transcript
    whole = transcript is not None and (not isinstance(error, EndpointError) or error.exchange is not None)
    return type(error).__name__ if whole else f"{type(error).__name__} without its transcript or exchange"


async def one(agent: Agent[Any], number: int) -> str:
    """A run, watched or not."""
    try:
        if number % 2:
            async with agent.stream("go") as run:
                await run.finish()
        else:
            await agent.run("go")
    except AgentKitError as error:
        return kind_of(error)
    except Exception as error:  # what must not be, counted
        return f"untyped {type(error).__name__}: {error}"
    return "done"


def one_sync(agent: Agent[Any], number: int) -> str:
    """The same in a thread."""
    try:
        if number % 2:
            with agent.stream_sync("go") as run:
                run.finish()
        else:
            agent.run_sync("go")
    except AgentKitError as error:
        return kind_of(error)
    except Exception as error:  # what must not be, counted
        return f"untyped {type(error).__name__}: {error}"
    return "done"


class Soak:
    """The runs that are left, what became of the others, and what the process has grown to."""

    def __init__(self, base_url: str) -> None:
        model = ChatModel(
            "m", base_url=base_url, api_key="sk-fake", retries=Retries(2), timeouts=Timeouts(first_byte_s=20, read_s=20)
        )
        self.agent = Agent[Any](model, tools=[look, fetch])
        self.numbers: Iterator[int] = iter(range(RUNS))
        self.lock = threading.Lock()
        self.ends: Counter[str] = Counter()
        self.seen: list[tuple[int, int, int, int]] = []
        self.began = time.monotonic()
        self.tasks = 0

    def next(self) -> int | None:
        """The number of the next run."""
        with self.lock:
            return next(self.numbers, None)

    def note(self, end: str, tasks: int | None = None) -> None:
        """Count a run; now and then look at what the process holds."""
        with self.lock:
            self.ends[end] += 1
            self.tasks = self.tasks if tasks is None else tasks
            done = self.ends.total()
            if done % max(RUNS // 10, 1) == 0:
                gc.collect()
                files = len(os.listdir("/proc/self/fd"))  # noqa: PTH208  # they come and go
                self.seen.append((memory_kb(), files, threading.active_count(), self.tasks))
                rate = done / (time.monotonic() - self.began)
                kb, *others = self.seen[-1]
                print(f"{done} runs, {rate:.0f}/s: {kb} kB, descriptors, threads, tasks {others}", flush=True)

    async def in_loop(self) -> None:
        """Half of the runs at once, in this loop."""

        async def work() -> None:
            while (number := self.next()) is not None:
                self.note(await one(self.agent, number), len(asyncio.all_tasks()))

        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE - AT_ONCE // 2):
                group.create_task(work())
        await asyncio.sleep(0)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        if left:
            self.ends[f"{len(left)} tasks left"] += 1

    def in_thread(self) -> None:
        """One run after another, in this thread."""
        clock.set(Hasty())
        while (number := self.next()) is not None:
            self.note(one_sync(self.agent, number))

    def run(self) -> None:
        """All of them."""
        clock.set(Hasty())
        threads = [threading.Thread(target=self.in_thread) for _ in range(AT_ONCE // 2)]
        for thread in threads:
            thread.start()
        asyncio.run(self.in_loop())
        for thread in threads:
            thread.join()

    def problems(self) -> list[str]:
        """What is wrong."""
        wrong = [f"{end}: {count}" for end, count in self.ends.items() if " " in end]
        if self.ends.total() != RUNS:
            wrong.append(f"{self.ends.total()} runs of {RUNS} are accounted for")
        if not self.ends["done"] > RUNS // 2:
            wrong.append(f"only {self.ends['done']} runs of {RUNS} have an answer")
        first, last = self.seen[0], self.seen[-1]
        if last[0] - first[0] > GROWTH_KB:
            wrong.append(f"memory grew from {first[0]} to {last[0]} kB")
        # each of those at once has a connection or two, a task, a tool's thread
        for what, before, after in zip(("descriptors", "threads", "tasks"), first[1:], last[1:], strict=True):
            if after > max(before, 4 * AT_ONCE):
                wrong.append(f"{what} grew from {before} to {after}")
        return wrong


def memory_kb() -> int:
    """What the process holds in memory."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


def main() -> int:
    """Run the soak; the exit status says whether all is well."""
    with subprocess.Popen(
        [sys.executable, __file__, "serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        assert server.stdin is not None
        soak = Soak(server.stdout.readline().strip())
        soak.run()
        server.stdin.close()
    for end, count in soak.ends.most_common():
        print(f"{count:>8} {end}")
    problems = soak.problems()
    print("\n".join(problems) or "nothing grew, and every run is accounted for")
    return 1 if problems else 0


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        serve()
    else:
        sys.exit(main())
