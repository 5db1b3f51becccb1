"""Who waits where: threads and event loops are made when they are needed, and never hold anything up."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import trio

from agentkit import Agent, Context, Result, tool
from agentkit.errors import AgentKitError
from agentkit.events import Event
from agentkit.testing import FakeEndpoint, ScriptedModel, call, calls, say
from tests.drivers import DRIVERS

ROOT = Path(__file__).parent.parent
drivers = pytest.mark.parametrize("driver", DRIVERS)
who = contextvars.ContextVar[str]("who", default="nobody")


def agent_of(*tools: Any, script: list[Any] | None = None, **options: Any) -> Agent[Any]:
    """An agent that calls each tool once, together."""
    names = [each.__name__ for each in tools]
    steps = script or [calls(*[call(name) for name in names]), say("done")]
    return Agent(ScriptedModel(steps), tools=tools, **options)


def contents(result: Result) -> list[str]:
    return [record.result.content for record in result.tool_calls if record.result is not None]


# Sync is sync


def idle() -> None:
    """Wait until the threads of earlier runs have ended."""
    for thread in threading.enumerate():
        if thread.name in ("agentkit tool", "agentkit loop"):
            thread.join(20)
            assert not thread.is_alive()


def test_a_single_sync_call_starts_no_thread_and_no_loop() -> None:
    idle()
    before = set(threading.enumerate())
    seen: list[Any] = []

    def look() -> str:
        """Look."""
        seen.extend((threading.current_thread() is threading.main_thread(), set(threading.enumerate()) - before))
        with pytest.raises(RuntimeError, match="no running event loop"):
            asyncio.get_running_loop()
        return "seen"

    for script in ([call("look"), call("look"), say("done")], [call("nope"), call("look"), say("done")]):
        assert agent_of(look, script=script).run_sync("x").output == "done"
    assert seen == [True, set()] * 3
    assert set(threading.enumerate()) == before


def test_nor_does_a_request_over_the_wire() -> None:
    from agentkit import ChatModel

    with FakeEndpoint([call("look"), say("done")]) as fake:
        idle()
        before = set(threading.enumerate())
        seen: list[set[threading.Thread]] = []

        def look() -> str:
            """Look."""
            seen.append(set(threading.enumerate()) - before)
            return "seen"

        agent = Agent(ChatModel("m", base_url=fake.base_url, api_key=fake.api_key), tools=[look])
        assert agent.run_sync("x").output == "done"
        assert seen == [set()]


def test_exclusive_calls_are_run_one_by_one_in_the_callers_thread() -> None:
    places: list[threading.Thread] = []

    @tool(exclusive="disk")
    def write() -> str:
        """Write."""
        places.append(threading.current_thread())
        return "written"

    agent = agent_of(write, script=[calls(call("write"), call("write")), say("done")])
    assert contents(agent.run_sync("x")) == ["written", "written"]
    assert places == [threading.main_thread()] * 2


def test_an_async_tool_has_one_private_loop_for_the_whole_run() -> None:
    idle()
    loops: list[Any] = []

    async def look() -> str:
        """Look."""
        loops.append((asyncio.get_running_loop(), threading.current_thread().name, threading.current_thread().daemon))
        return "seen"

    script = [calls(call("look"), call("look")), call("look"), say("done")]
    assert agent_of(look, script=script).run_sync("x").output == "done"
    assert len(loops) == 3
    assert len({loop for loop, _, _ in loops}) == 1
    assert loops[0][1:] == ("agentkit loop", True)
    idle()
    assert loops[0][0].is_closed()


@drivers
def test_calls_of_one_reply_really_run_together(driver: str) -> None:
    meeting = threading.Barrier(3, timeout=20)

    def left() -> str:
        """Meet."""
        return str(meeting.wait() >= 0)

    def right() -> str:
        """Meet."""
        return str(meeting.wait() >= 0)

    @tool(timeout_s=30)
    def middle() -> str:
        """Meet."""
        return str(meeting.wait() >= 0)

    assert contents(DRIVERS[driver](agent_of(left, right, middle), "x")) == ["True"] * 3


@drivers
def test_async_calls_really_run_together(driver: str) -> None:
    met: list[anyio.Event] = []

    async def meet() -> str:
        """Wait until the other is there."""
        if not met:
            met.append(anyio.Event())
            await met[0].wait()
        else:
            met[0].set()
        return "met"

    script = [calls(call("meet"), call("meet")), say("done")]
    assert contents(DRIVERS[driver](agent_of(meet, script=script), "x")) == ["met", "met"]


@drivers
def test_results_land_as_they_come_and_stand_in_call_order(driver: str) -> None:
    second_landed = threading.Event()
    order: list[str] = []

    def first() -> str:
        """Wait for the second."""
        assert second_landed.wait(20)
        return "1"

    def second() -> str:
        """Be first."""
        return "2"

    def told(event: Event) -> None:
        if type(event).__name__ == "ToolFinished":
            order.append(event.call.name)  # type: ignore[union-attr]
            second_landed.set()

    assert contents(DRIVERS[driver](agent_of(first, second), "x", on_event=told)) == ["1", "2"]
    assert order == ["second", "first"]


@drivers
def test_an_exclusive_call_runs_alone(driver: str) -> None:
    at_work = 0
    most: list[int] = []
    lock = threading.Lock()

    def work() -> str:
        nonlocal at_work
        with lock:
            at_work += 1
            most.append(at_work)
        time.sleep(0)
        with lock:
            at_work -= 1
        return "ok"

    @tool(exclusive=True)
    def alone() -> str:
        """Work alone."""
        with lock:
            assert at_work == 0
        return work()

    @tool(exclusive="a")
    def locked() -> str:
        """Work, locked."""
        return work()

    script = [calls(call("locked"), call("locked"), call("alone"), call("locked"), call("alone")), say("done")]
    assert contents(DRIVERS[driver](agent_of(alone, locked, script=script), "x")) == ["ok"] * 5
    assert most == [1] * 5


# Loops in loops


def test_run_sync_in_a_running_loop_with_an_async_tool() -> None:
    async def inner() -> str:
        """Look."""
        await asyncio.sleep(0)
        return "seen"

    async def main() -> str:
        return agent_of(inner).run_sync("x").output

    async def main_in_trio() -> str:
        return agent_of(inner).run_sync("x").output

    assert asyncio.run(main()) == "done"
    assert trio.run(main_in_trio) == "done"


@drivers
@pytest.mark.parametrize("inner_is_async", [False, True])
def test_a_run_inside_of_a_tool(driver: str, inner_is_async: bool) -> None:
    async def inner_async() -> str:
        """Look."""
        await asyncio.sleep(0)
        return "seen"

    def inner() -> str:
        """Look."""
        return "seen"

    def outer() -> str:
        """Ask another agent."""
        return contents(agent_of(inner_async if inner_is_async else inner).run_sync("y"))[0]

    async def outer_async() -> str:
        """Ask another agent, in a loop."""
        return contents(agent_of(inner_async if inner_is_async else inner).run_sync("y"))[0]

    assert contents(DRIVERS[driver](agent_of(outer, outer_async), "x")) == ["seen", "seen"]


@drivers
def test_a_run_in_a_thread(driver: str) -> None:
    async def look() -> str:
        """Look."""
        return threading.current_thread().name

    ended: list[list[str]] = []
    thread = threading.Thread(target=lambda: ended.append(contents(DRIVERS[driver](agent_of(look), "x"))))
    thread.start()
    thread.join(20)
    assert len(ended) == 1


@pytest.mark.parametrize("library", ["asyncio", "trio"])
def test_successive_loops_with_sync_tools(library: str) -> None:
    places: list[threading.Thread] = []

    def look() -> str:
        """Look."""
        places.append(threading.current_thread())
        return "seen"

    script = [item for _ in range(3) for item in (calls(call("look"), call("look")), say("done"))]
    agent = agent_of(look, script=script)
    for _ in range(3):
        assert DRIVERS[library](agent, "x").output == "done"
    assert len(places) == 6
    assert threading.main_thread() not in places


@pytest.mark.parametrize("library", ["asyncio", "trio"])
def test_an_inline_tool_runs_in_the_loops_own_thread(library: str) -> None:
    @tool(inline=True)
    def look() -> bool:
        """Look."""
        return threading.current_thread() is threading.main_thread()

    @tool(inline=True, timeout_s=30)
    def look_with_a_limit() -> bool:
        """Look."""
        return threading.current_thread() is threading.main_thread()

    assert contents(DRIVERS[library](agent_of(look, look_with_a_limit), "x")) == ["true", "false"]


@drivers
def test_context_variables_follow_everywhere(driver: str) -> None:
    def in_sync() -> str:
        """Tell who."""
        return who.get()

    async def in_async() -> str:
        """Tell who."""
        await anyio.lowlevel.checkpoint()
        return who.get()

    @tool(timeout_s=30)
    def in_time() -> str:
        """Tell who."""
        return who.get()

    @tool(inline=True)
    def in_line() -> str:
        """Tell who."""
        return who.get()

    token = who.set("Ada")
    try:
        for tools in ((in_sync, in_async, in_time, in_line), (in_sync,), (in_async,), (in_time,)):
            assert contents(DRIVERS[driver](agent_of(*tools), "x")) == ["Ada"] * len(tools)
    finally:
        who.reset(token)


# Ends


@drivers
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("together", [False, True])
def test_what_is_no_exception_passes_unchanged(driver: str, error: type[BaseException], together: bool) -> None:
    def stop() -> str:
        """Stop it all."""
        raise error("now")

    def other() -> str:
        """Do something."""
        return "ok"

    with pytest.raises(error, match="now") as caught:
        DRIVERS[driver](agent_of(stop, other) if together else agent_of(stop), "x")
    assert type(caught.value) is error
    del caught
    gc.collect()  # asyncio logs that nobody asked the task for its error: here, and not at the very end


@drivers
def test_an_error_of_ones_own_comes_out_as_itself(driver: str) -> None:
    def listener(event: Event) -> None:
        if type(event).__name__ == "ToolFinished":
            raise ZeroDivisionError("in the listener")

    def one() -> str:
        """Do something."""
        return "1"

    def two() -> str:
        """Do something else."""
        return "2"

    with pytest.raises(ZeroDivisionError, match="in the listener"):
        DRIVERS[driver](agent_of(one, two), "x", on_event=listener)


@drivers
def test_a_call_that_still_runs_hears_that_nobody_waits(driver: str) -> None:
    heard = threading.Event()
    started = threading.Event()

    def slow(ctx: Context[None]) -> str:
        """Look now and then whether the result is wanted."""
        started.set()
        while not ctx.cancelled:
            time.sleep(0.001)  # it is the work
        heard.set()
        return "late"

    def fails() -> str:
        """Fail once the other runs."""
        assert started.wait(20)
        raise OSError("no")

    def told(event: Event) -> None:
        if type(event).__name__ == "ToolFinished":
            raise ZeroDivisionError("enough")

    with pytest.raises((ZeroDivisionError, AgentKitError)):
        DRIVERS[driver](agent_of(slow, fails), "x", on_event=told)
    assert heard.wait(20)


HANGS = """
import asyncio, sys, time
import trio
from agentkit import Agent, tool
from agentkit.testing import ScriptedModel, call, calls, say

@tool(timeout_s=0.2)
def hang():
    '''Hang.'''
    time.sleep(60)

def fine():
    '''Be fine.'''
    return "fine"

agent = Agent(ScriptedModel([calls(call("hang"), call("fine")), say("done")]), tools=[hang, fine])
how = sys.argv[1]
if how == "sync":
    result = agent.run_sync("x")
elif how == "asyncio":
    result = asyncio.run(agent.run("x"))
else:
    async def main():
        return await agent.run("x")
    result = trio.run(main)
print(result.output, [record.result.content for record in result.tool_calls])
"""


def test_a_tool_that_hangs_never_holds_up_the_end_of_the_interpreter() -> None:
    began = time.monotonic()
    runs = {
        how: subprocess.Popen([sys.executable, "-c", HANGS, how], stdout=subprocess.PIPE, text=True, cwd=ROOT)
        for how in ("sync", "asyncio", "trio")
    }
    for how, process in runs.items():
        output, _ = process.communicate(timeout=50)
        assert output == "done ['hang was given up: it took longer than 0.2 seconds.', 'fine']\n", how
        assert process.returncode == 0, how
    assert time.monotonic() - began < 50
