"""A generator around a stream is dropped half-way: whoever ends it, wherever, ends the run."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import anyio
import pytest
import trio
from anyio.lowlevel import checkpoint

from agentkit import Agent, calling, tool
from agentkit.events import Event, ToolStarted
from agentkit.testing import FakeEndpoint, ScriptedModel, calls, say
from agentkit.testing import call as asked
from agentkit.testing.script import stall
from tests.cancelling import soon, threads
from tests.test_cancel_points import tasks_of_trio
from tests.tiers import SOON_S
from tests.watching import agent_for

STALLED = stall(say(["a ", "b ", "c ", "d"]), after_events=4)


@pytest.fixture(autouse=True)
def _idle_threads_end_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calling, "IDLE_S", 0.02)


@pytest.fixture(autouse=True)
def _nothing_is_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """asyncio tells of forgotten tasks, and of generators that it could not close, in its log."""
    caplog.set_level(logging.INFO)
    yield
    gc.collect()
    assert [(r.name, r.getMessage()) for r in caplog.records if r.levelno > logging.INFO] == []


class Tools:
    """A tool that is at work when the generator is dropped."""

    def __init__(self) -> None:
        self.working, self.left = threading.Event(), threading.Event()

    @property
    def all(self) -> list[Any]:
        @tool(read_only=True)
        async def wait(n: int) -> str:
            """Wait for ever."""
            self.working.set()
            try:
                await anyio.sleep(30)
            finally:
                self.left.set()
            return "late"

        return [wait]


async def around(agent: Agent[Any]) -> AsyncIterator[Event]:
    """What a web handler would send."""
    async with agent.stream("x") as run:
        async for event in run:
            yield event


async def half_way(agent: Agent[Any], kind: str, tools: Tools) -> AsyncIterator[Event]:
    """The generator after its third event, or where a tool is at work, or where nothing has been waited for yet."""
    if kind == "at once":
        generator = at_once(agent)
        await anext(generator)
        return generator
    generator = around(agent)
    for _ in range(3):
        await anext(generator)
    if kind != "text":
        while not isinstance(await anext(generator), ToolStarted):
            pass
        while not tools.working.is_set():
            await checkpoint()
    return generator


async def at_once(agent: Agent[Any]) -> AsyncIterator[Any]:
    async with agent.stream("x"):
        yield None


SCRIPTS: dict[str, Callable[[], list[Any]]] = {
    "text": lambda: [STALLED],
    "a tool": lambda: [calls(asked("wait", n=1), asked("wait", n=2), text="one two three")],
    "an early tool": lambda: [
        stall(calls(asked("wait", n=1), asked("wait", n=2), text="one two three"), after_events=8)
    ],
    "at once": list,
}
kinds = pytest.mark.parametrize("kind", SCRIPTS)


def agent_of(fake: FakeEndpoint, kind: str, tools: Tools) -> Agent[Any]:
    if kind == "at once":
        return Agent(ScriptedModel([asked("wait", n=1)]), tools=tools.all)
    return agent_for(fake, tools.all)


def is_over(fake: FakeEndpoint, kind: str, tools: Tools) -> bool:
    if kind == "at once":
        return tools.left.is_set() == tools.working.is_set()
    if kind in ("a tool", "an early tool") and not tools.left.is_set():
        return False
    return kind == "a tool" or all(request.disconnected.is_set() for request in fake.requests)


async def settled(fake: FakeEndpoint, kind: str, tools: Tools, nothing_left: Callable[[], bool]) -> None:
    ends = time.monotonic() + SOON_S
    while not (is_over(fake, kind, tools) and nothing_left()):
        assert time.monotonic() < ends, f"something is left after {SOON_S} s"
        await anyio.sleep(0.005)


async def by_the_collector(generator: Any) -> None:
    del generator
    gc.collect()


async def by_another_task(generator: Any) -> None:
    async def close() -> None:
        await generator.aclose()

    async with anyio.create_task_group() as group:
        group.start_soon(close)


async def by_a_cancelled_task(generator: Any) -> None:
    """Cancelled while it waits for the next event."""

    async def listen() -> None:
        async for _ in generator:
            pass

    async with anyio.create_task_group() as group:
        group.start_soon(listen)
        await anyio.sleep(0.02)
        group.cancel_scope.cancel()


ENDINGS = [by_the_collector, by_another_task, by_a_cancelled_task]


@kinds
@pytest.mark.parametrize("end", ENDINGS)
def test_in_asyncio(kind: str, end: Any) -> None:
    tools = Tools()

    async def main() -> None:
        me = asyncio.current_task()
        holder = [await half_way(agent, kind, tools)]
        await end(holder.pop())
        await settled(fake, kind, tools, lambda: asyncio.all_tasks() == {me})

    with FakeEndpoint(SCRIPTS[kind]()) as fake:
        agent = agent_of(fake, kind, tools)
        asyncio.run(main())
    soon(lambda: threads() == [])


@kinds
@pytest.mark.parametrize("end", ENDINGS)
def test_in_trio(kind: str, end: Any) -> None:
    tools = Tools()

    async def main() -> None:
        before = tasks_of_trio()
        holder = [await half_way(agent, kind, tools)]
        if end is by_the_collector:
            # trio's own words on any generator that is left to the collector, not ours
            with pytest.warns(ResourceWarning, match="Async generator 'tests.test_cancel_dropped.a"):
                await end(holder.pop())
        else:
            await end(holder.pop())
        await settled(fake, kind, tools, lambda: tasks_of_trio() == before)

    with FakeEndpoint(SCRIPTS[kind]()) as fake:
        agent = agent_of(fake, kind, tools)
        trio.run(main)
    soon(lambda: threads() == [])


@kinds
@pytest.mark.parametrize("loop", [asyncio, trio], ids=["asyncio", "trio"])
def test_by_the_loops_shutdown(kind: str, loop: Any) -> None:
    tools, kept, at = Tools(), [], []

    async def main() -> None:
        kept.append(await half_way(agent, kind, tools))
        at.append(time.monotonic())

    with FakeEndpoint(SCRIPTS[kind]()) as fake:
        agent = agent_of(fake, kind, tools)
        if loop is asyncio:
            asyncio.run(main())
        else:
            trio.run(main)
        assert time.monotonic() - at[0] < SOON_S
        soon(lambda: is_over(fake, kind, tools))
        fake.wait_until(lambda: fake.connections == 0, timeout_s=SOON_S)
    soon(lambda: threads() == [])


@pytest.mark.parametrize("loop", [asyncio, trio], ids=["asyncio", "trio"])
def test_texts_and_steps_that_are_not_gone_through_leave_nothing_to_collect(loop: Any) -> None:
    async def main() -> None:
        for _ in range(2):
            async with agent.stream("x") as run:
                async for _ in run.text():
                    break
                async for _ in run.steps():
                    break
        gc.collect()

    with FakeEndpoint(["a b c"] * 2) as fake:
        agent = agent_for(fake)
        if loop is asyncio:
            asyncio.run(main())
        else:
            trio.run(main)


def test_a_sync_generator_that_is_dropped() -> None:
    def around_sync() -> Iterator[Event]:
        with agent.stream_sync("x") as run:
            yield from run

    with FakeEndpoint([STALLED]) as fake:
        agent = agent_for(fake)
        generator = around_sync()
        for _ in range(3):
            next(generator)
        del generator
        gc.collect()
        fake.wait_until(fake.requests[0].disconnected.is_set, timeout_s=SOON_S)
    assert threads() == []


@pytest.mark.parametrize("kind", ["text", "a tool", "an early tool"])
async def test_a_deadline_of_the_callers_own(kind: str, anyio_backend: str) -> None:
    tools = Tools()
    with FakeEndpoint(SCRIPTS[kind]()) as fake:
        agent = agent_of(fake, kind, tools)
        began = time.monotonic()
        with anyio.move_on_after(0.6) as scope:
            async with agent.stream("x") as run:
                await run.finish()
        assert scope.cancelled_caught
        assert time.monotonic() - began < 0.6 + SOON_S
        await settled(fake, kind, tools, lambda: True)
        assert run.transcript.pending == []


@pytest.mark.parametrize("streamed", [True, False])
def test_a_timeout_of_asyncio(streamed: bool) -> None:
    async def main() -> None:
        me = asyncio.current_task()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(run_it(), 0.2)
        await settled(fake, "text", Tools(), lambda: asyncio.all_tasks() == {me})

    async def run_it() -> None:
        if not streamed:
            await agent.run("x")
        async with asyncio.timeout(0.2), agent.stream("x") as run:
            await run.finish()

    with FakeEndpoint([STALLED]) as fake:
        agent = agent_for(fake)
        asyncio.run(main())
