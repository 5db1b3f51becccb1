"""Cancelling while something is waited for, from wherever: it is over at once and nothing is left."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import pytest
import trio

from agentkit import Agent, ChatModel, Context, calling, tool
from agentkit.errors import Cancelled, UsageError
from agentkit.events import ToolFinished, ToolStarted
from agentkit.testing import FakeEndpoint, ScriptedModel, call, calls, say, status
from agentkit.testing.script import hang, stall
from tests.cancelling import soon, threads
from tests.tiers import SOON_S
from tests.watching import agent_for

LONG_S = 30.0
CANCELLED = "This call was cancelled before it had a result."


@pytest.fixture(autouse=True)
def _idle_threads_end_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calling, "IDLE_S", 0.02)


class Tools:
    """Tools that work for long, but heed their cancellation; `working` is set when as many as wanted are at work."""

    def __init__(self, wanted: int = 1) -> None:
        self.wanted = wanted
        self.working = threading.Event()
        self.left: list[str] = []
        self._began = 0

    def begin(self) -> None:
        self._began += 1
        if self._began == self.wanted:
            self.working.set()

    def all(self) -> list[Any]:
        def poll(context: Context[None], n: int = 0) -> str:
            """Look now and then."""
            self.begin()
            ends = time.monotonic() + LONG_S
            while not context.cancelled and time.monotonic() < ends:
                time.sleep(0.002)
            self.left.append("poll")
            return "late"

        @tool(timeout_s=LONG_S)
        def timed(context: Context[None], n: int = 0) -> str:
            """Look now and then, with a limit."""
            return poll(context, n)

        async def wait(n: int = 0) -> str:
            """Wait for ever."""
            self.begin()
            try:
                await anyio.sleep(LONG_S)
            finally:
                self.left.append("wait")
            return "late"

        def count(n: int = 0) -> Iterator[str]:
            """Say now and then how far it is."""
            self.begin()
            try:
                while True:
                    time.sleep(0.002)
                    yield "so far"
            finally:
                self.left.append("count")

        return [poll, timed, wait, count]


class Place:
    """Somewhere to wait: the endpoint's script, tools, and how to know that it is waited there."""

    def __init__(self, script: list, told: list[str], *, tools: Tools | None = None, model: Any = None) -> None:
        self.script = script
        self.told = told
        self.tools = tools or Tools()
        self.model = model or {}
        self.in_tool = tools is not None

    def reached(self, fake: FakeEndpoint) -> None:
        if self.in_tool:
            assert self.tools.working.wait(20)
        else:
            fake.wait_until(lambda: len(fake.requests) == len(self.script))


def slow_key() -> tuple[Callable[[], Any], threading.Event]:
    asked = threading.Event()

    async def key() -> str:
        asked.set()
        await anyio.sleep(LONG_S)
        return "never"

    return key, asked


PLACES: dict[str, Callable[[], Place]] = {
    "before the head": lambda: Place([hang()], ["user"]),
    "in the body": lambda: Place([stall(say(["It ", "is"]), after_events=2)], ["user"]),
    "in a retry wait": lambda: Place([status(503, headers={"retry-after": "30"})], ["user"]),
    "in a tool": lambda: Place([call("poll")], ["user", "assistant", "tool"], tools=Tools()),
    "in a tool with a limit": lambda: Place([call("timed")], ["user", "assistant", "tool"], tools=Tools()),
    "in an async tool": lambda: Place([call("wait")], ["user", "assistant", "tool"], tools=Tools()),
    "in a generator": lambda: Place([call("count")], ["user", "assistant", "tool"], tools=Tools()),
    "in several tools": lambda: Place(
        [calls(call("poll"), call("wait"), call("timed"), call("count"), call("poll", n=1))],
        ["user", "assistant", *["tool"] * 5],
        tools=Tools(5),
    ),
}
places = pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)


@contextmanager
def cancelled_soon(place: Place, fake: FakeEndpoint) -> Iterator[dict[str, Any]]:
    """Cancels, from another thread, what is put under "run" once it waits at the place, and looks at how that went."""
    box: dict[str, Any] = {}

    def cancel() -> None:
        place.reached(fake)
        time.sleep(0.01)
        box["at"] = time.monotonic()
        box["run"].cancel()

    thread = threading.Thread(target=cancel)
    thread.start()
    try:
        yield box
    finally:
        thread.join()
    assert time.monotonic() - box["at"] < SOON_S
    run = box["run"]
    assert [m["role"] for m in run.transcript.messages] == place.told
    for entry in run.transcript:
        for record in entry.calls:
            assert (record.result.status, record.result.content) == ("cancelled", CANCELLED)
    with pytest.raises(Cancelled) as caught:
        _ = run.result
    assert caught.value.transcript is run.transcript
    fake.wait_until(lambda: fake.connections == 0 or place.in_tool or place.told == ["user"], timeout_s=SOON_S)
    if place.in_tool:
        soon(lambda: len(place.tools.left) == place.tools.wanted)
    soon(lambda: threads() == [])
    # and it goes on from there
    fake.play(["Here I am."])
    assert agent_for(fake, place.tools.all()).run_sync(transcript=run.transcript).output == "Here I am."


@places
def test_another_thread_cancels_a_sync_stream(place):
    place = place()
    with FakeEndpoint(place.script) as fake, cancelled_soon(place, fake) as box:
        with agent_for(fake, place.tools.all(), model=place.model).stream_sync("x") as run:
            box["run"] = run
            events = []
            with pytest.raises(Cancelled):
                events.extend(run)
        soon(lambda: threads() == [])


@places
async def test_another_thread_cancels_a_stream(place, anyio_backend):
    place = place()
    with FakeEndpoint(place.script) as fake, cancelled_soon(place, fake) as box:
        async with agent_for(fake, place.tools.all(), model=place.model).stream("x") as run:
            box["run"] = run
            events = []
            with pytest.raises(Cancelled):  # noqa: PT012  # the loop is what raises
                async for event in run:
                    events.append(event)  # noqa: PERF401  # what was told counts
            told = [event for event in events if isinstance(event, ToolFinished)]
            assert len(told) == place.told.count("tool")


@pytest.mark.parametrize("sync", [True, False])
def test_while_a_key_is_waited_for(sync):
    key, asked = slow_key()
    agent = Agent(ChatModel("m", base_url="http://127.0.0.1:9/v1", api_key=key))

    def cancel() -> None:
        assert asked.wait(20)
        run.cancel()

    thread = threading.Thread(target=cancel)
    if sync:
        with agent.stream_sync("x") as run:
            thread.start()
            with pytest.raises(Cancelled):
                run.finish()
    else:

        async def main() -> None:
            nonlocal run
            async with agent.stream("x") as run:
                thread.start()
                with pytest.raises(Cancelled):
                    await run.finish()

        run: Any = None
        asyncio.run(main())
    thread.join()
    soon(lambda: threads() == [])


@pytest.mark.parametrize("sync", [True, False])
def test_a_model_alone(sync):
    with FakeEndpoint([stall(say(["It ", "is"]), after_events=2)]) as fake:
        model = ChatModel("m", base_url=fake.base_url, api_key=fake.api_key)
        if sync:
            with model.stream_sync("x") as stream:
                next(stream)
                threading.Timer(0.05, stream.cancel).start()
                with pytest.raises(Cancelled):
                    stream.finish()
        else:

            async def main() -> None:
                async with model.stream("x") as stream:
                    await anext(stream)
                    threading.Timer(0.05, stream.cancel).start()
                    with pytest.raises(Cancelled):
                        await stream.finish()

            trio.run(main)
        fake.wait_until(lambda: fake.requests[0].disconnected.is_set() and fake.connections == 0, timeout_s=SOON_S)


def test_before_it_begins_and_after_it_has_ended_sync():
    with FakeEndpoint(["fine"]) as fake:
        with agent_for(fake).stream_sync("x") as run:
            run.cancel()
            with pytest.raises(Cancelled):
                next(run)
        assert fake.requests == []
        with agent_for(fake).stream_sync("x") as run:
            run.finish()
            run.cancel()
            assert run.result.output == "fine"


async def test_before_it_begins_and_after_it_has_ended(anyio_backend):
    with FakeEndpoint(["fine"]) as fake:
        stream = agent_for(fake).stream("x")
        stream.cancel()
        async with stream as run:
            with pytest.raises(Cancelled):
                await anext(run)
        assert fake.requests == []
        async with agent_for(fake).stream("x") as run:
            await run.finish()
            run.cancel()
            assert run.result.output == "fine"


def test_a_scripted_model_is_cancelled_too():
    with Agent(ScriptedModel(["a b c"])).stream_sync("x") as run:
        next(run)
        run.cancel()
        with pytest.raises(Cancelled):
            run.finish()


def test_what_was_finished_by_then_is_kept():
    first_done, second_runs = threading.Event(), threading.Event()

    def quick() -> str:
        """Be quick."""
        first_done.set()
        return "kept"

    def slow(context: Context[None]) -> str:
        """Be slow."""
        second_runs.set()
        while not context.cancelled:
            time.sleep(0.002)
        return "too late"

    with FakeEndpoint([calls(call("quick"), call("slow"))]) as fake:
        with agent_for(fake, [quick, slow]).stream_sync("x") as run:
            while not isinstance(next(run), ToolStarted):
                pass
            assert first_done.wait(20) and second_runs.wait(20)
            run.cancel()  # before the loop has taken in that one of them is done
            with pytest.raises(Cancelled):
                run.finish()
        results = [record.result for record in run.transcript.entries[1].calls]
        assert [(r.status, r.content) for r in results] == [("ok", "kept"), ("cancelled", CANCELLED)]


# Interrupts


@contextmanager
def interrupt(place: Place, fake: FakeEndpoint) -> Iterator[None]:
    def strike() -> None:
        place.reached(fake)
        time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=strike)
    thread.start()
    yield
    thread.join()


def finish(way: str, agent: Agent[Any], runs: list[Any]) -> None:
    """Go through a stream to its end; it is kept in `runs`."""

    async def main() -> None:
        async with agent.stream("x") as run:
            runs.append(run)
            await run.finish()

    if way == "sync":
        with agent.stream_sync("x") as run:
            runs.append(run)
            run.finish()
    elif way == "asyncio":
        asyncio.run(main())
    else:
        trio.run(main)


@places
@pytest.mark.parametrize("way", ["sync", "asyncio", "trio"])
def test_a_keyboard_interrupt_passes_unchanged(place, way):
    place, runs = place(), []
    with FakeEndpoint(place.script) as fake:
        agent = agent_for(fake, place.tools.all(), model=place.model)

        with interrupt(place, fake), pytest.raises(KeyboardInterrupt):
            finish(way, agent, runs)
        if place.in_tool and not (way == "sync" and place.tools.wanted == 1 and not place.tools.left):
            soon(lambda: len(place.tools.left) == place.tools.wanted)
        soon(lambda: threads() == [])
        [run] = runs
        assert [m["role"] for m in run.transcript.messages] == place.told
        fake.play(["Here I am."])
        assert agent.run_sync(transcript=run.transcript).output == "Here I am."


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("way", ["sync", "trio"])
def test_what_a_tool_raises_to_end_the_program_passes_unchanged(way, error, count):
    def end(n: int) -> str:
        """End the program."""
        raise error

    with FakeEndpoint([calls(*[call("end", n=n) for n in range(count)])]) as fake:
        agent, runs = agent_for(fake, [end]), []

        with pytest.raises(error):
            finish(way, agent, runs)
        statuses = [record.result.status for record in runs[0].transcript.entries[1].calls]
        assert statuses == ["cancelled"] * count


# What cannot be stopped


@pytest.fixture
def stubborn() -> Iterator[Any]:
    """A function that does not heed anything, until the test is over."""
    release = threading.Event()

    def hold(n: int = 0) -> str:
        """Hold on."""
        hold.began.set()  # type: ignore[attr-defined]
        release.wait(LONG_S)
        return "at last"

    hold.began = threading.Event()  # type: ignore[attr-defined]
    yield hold
    release.set()
    soon(lambda: threads() == [])


def reports(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if "does not heed" in r.getMessage()]


def test_a_thread_that_cannot_be_stopped_is_reported_sync(stubborn, caplog):
    script = [calls(call("hold"), call("hold", n=1))]
    with FakeEndpoint(script) as fake, agent_for(fake, [stubborn]).stream_sync("x") as run:
        threading.Thread(target=lambda: (stubborn.began.wait(20), run.cancel())).start()
        with pytest.raises(Cancelled):
            run.finish()
    assert (
        reports(caplog)
        == ["tool hold was cancelled and does not heed it: its thread goes on until the function returns"] * 2
    )
    assert all(record.levelno == logging.WARNING for record in caplog.records)


async def test_a_thread_that_cannot_be_stopped_is_reported(stubborn, caplog, anyio_backend):
    with FakeEndpoint([call("hold")]) as fake:
        async with agent_for(fake, [stubborn]).stream("x") as run:
            async for event in run:
                if isinstance(event, ToolStarted):
                    break
            began = time.monotonic()
        assert time.monotonic() - began < SOON_S
    assert len(reports(caplog)) == 1
    assert run.transcript.pending == []


async def test_an_async_tool_that_does_not_heed_is_reported(caplog, anyio_backend):
    release, began = anyio.Event(), anyio.Event()

    async def hold() -> str:
        """Hold on."""
        began.set()
        with anyio.CancelScope(shield=True):
            await release.wait()
        return "at last"

    with FakeEndpoint([call("hold")]) as fake:
        async with agent_for(fake, [hold]).stream("x") as run:
            await began.wait()
            at = time.monotonic()
        assert 0.9 < time.monotonic() - at < 0.5 + SOON_S
        assert len(reports(caplog)) == 1
        assert run.transcript.pending == []
        with pytest.raises(UsageError):
            await run.__aenter__()
        release.set()
        with anyio.fail_after(SOON_S), pytest.raises(Cancelled):
            await run.finish()
        statuses = [record.result.status for record in run.transcript.entries[1].calls]
        assert statuses == ["cancelled"]


PROGRAM = """
import asyncio, logging, sys, threading, time
from agentkit import Agent
from agentkit.errors import Cancelled
from agentkit.testing import ScriptedModel, call, calls

began = threading.Event()
logging.basicConfig(level=logging.WARNING)

def hold(n: int = 0) -> str:
    "Hold on."
    began.set()
    time.sleep(60)

def cancel(run):
    began.wait()
    run.cancel()

agent = Agent(ScriptedModel([calls(call("hold"), call("hold", n=1))]), tools=[hold])

async def main():
    async with agent.stream("x") as run:
        threading.Thread(target=cancel, args=[run]).start()
        await run.finish()

try:
    if sys.argv[1] == "sync":
        with agent.stream_sync("x") as run:
            threading.Thread(target=cancel, args=[run]).start()
            run.finish()
    else:
        asyncio.run(main())
except Cancelled:
    print("cancelled")
"""


@pytest.mark.parametrize("way", ["sync", "asyncio"])
def test_a_thread_that_cannot_be_stopped_does_not_hold_up_the_exit(way):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM, way], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout == "cancelled\n"
    assert done.stderr.count("does not heed") == 2
    assert len(done.stderr.splitlines()) == 2
