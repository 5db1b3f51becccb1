"""A run of five turns and eight calls to be cancelled anywhere, and a look at what is left of it then."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import anyio
from anyio.lowlevel import checkpoint

from agentkit import Agent, Context, Transcript, tool
from agentkit.testing import FakeEndpoint, call, calls, say, status
from agentkit.testing.script import Request, drip
from tests.test_scenarios import assert_each_call_has_one_result
from tests.tiers import SOON_S
from tests.watching import agent_for

TURNS = [
    calls(call("look", key="a"), call("look_async", key="b"), text="First I look."),
    calls(call("write", key="a"), call("fetch", key="b"), reasoning="Now both."),
    call("count", to=2),
    calls(call("count_async", to=2), call("quick", key="c"), call("look", key="d")),
    say("It is done."),
]


class Job:
    """The agent, its endpoint, and which of its functions are at work at the moment."""

    def __init__(self, fake: FakeEndpoint, *, pace_s: float = 0.0) -> None:
        self.fake = fake
        self.pace_s = pace_s
        self.at_work: Counter[str] = Counter()
        self.before_work: Callable[[], None] | None = None
        self._lock = threading.Lock()
        self._refused: set[str] = set()
        fake.play(self._answer)
        self.agent: Agent[Any] = agent_for(fake, self._tools(), model={"wait": lambda _: pace_s})

    def _answer(self, request: Request) -> Any:
        turn = sum(m["role"] == "assistant" for m in request.messages)
        prompt = str(request.messages[0]["content"])
        if turn == 2 and prompt not in self._refused:
            self._refused.add(prompt)
            return status(503)
        return drip(TURNS[turn], 0.0)  # each event is a read of its own

    def enter(self, name: str) -> None:
        with self._lock:
            self.at_work[name] += 1
            if self.before_work is not None:
                self.before_work()

    def leave(self, name: str) -> None:
        with self._lock:
            self.at_work[name] -= 1

    def work(self, name: str, context: Context[Any]) -> str:
        """What a function in a thread does: some work, with a look now and then at whether it is still wanted."""
        self.enter(name)
        try:
            ends = time.monotonic() + self.pace_s
            while not context.cancelled and time.monotonic() < ends:
                time.sleep(0.001)
            return name
        finally:
            self.leave(name)

    async def work_async(self, name: str) -> str:
        """What an async function does."""
        self.enter(name)
        try:
            await checkpoint()
            await anyio.sleep(self.pace_s)
            return name
        finally:
            self.leave(name)

    def _tools(self) -> list[Any]:
        @tool(read_only=True)
        def look(context: Context[Any], key: str) -> str:
            """Look something up."""
            return self.work("look", context)

        @tool(read_only=True)
        async def look_async(key: str) -> str:
            """Look something up, awaited."""
            return await self.work_async("look_async")

        def write(context: Context[Any], key: str) -> str:
            """Write something."""
            return self.work("write", context)

        async def fetch(key: str) -> str:
            """Fetch something."""
            return await self.work_async("fetch")

        def count(context: Context[Any], to: int) -> Iterator[str]:
            """Count."""
            for _ in range(to):
                yield self.work("count", context)

        async def count_async(to: int) -> AsyncIterator[str]:
            """Count, awaited."""
            for _ in range(to):
                yield await self.work_async("count_async")

        @tool(inline=True)
        def quick(key: str) -> str:
            """Something short."""
            return key

        return [look, look_async, write, fetch, count, count_async, quick]

    def idle(self) -> bool:
        """Whether none of the functions is at work."""
        with self._lock:
            return not any(self.at_work.values())

    def check_transcript(self, transcript: Transcript) -> None:
        """It can be kept, and be gone on from to the end."""
        assert transcript.pending == []
        for entry in transcript:
            for record in entry.calls:
                assert record.result is not None
                assert record.result.status in ("ok", "cancelled")
        assert Transcript.load(transcript.dump()) == transcript
        assert_each_call_has_one_result(transcript.messages)
        result = self.agent.run_sync(transcript=transcript)
        assert result.output == "It is done."
        assert sum(m["role"] == "assistant" for m in result.transcript.messages) == len(TURNS)


def soon(condition: Any) -> None:
    """Fail unless it comes true soon."""
    ends = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < ends, f"something is left after {SOON_S} s"
        time.sleep(0.005)


async def soon_async(condition: Any) -> None:
    """The same, awaited."""
    ends = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < ends, f"something is left after {SOON_S} s"
        await anyio.sleep(0.002)


def threads() -> list[str]:
    """The names of agentkit's threads, those of a fake endpoint apart."""
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if name.startswith("agentkit") and "fake" not in name]
