"""Cancelling a run whose calls other agents do: it is over soon, nothing is left, and it can be gone on from."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import pytest
import trio

from agentkit import Agent, ChatModel, Transcript, calling
from agentkit.errors import Cancelled
from agentkit.testing import FakeEndpoint, call, calls, say
from agentkit.testing.script import stall
from tests.cancelling import soon, threads
from tests.drivers import DRIVERS
from tests.pausing import Told, by_turn
from tests.test_agents_together import look, pair
from tests.test_cancel import Tools
from tests.test_pause import kinds
from tests.test_scenarios import assert_each_call_has_one_result


@pytest.fixture(autouse=True)
def _idle_threads_end_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calling, "IDLE_S", 0.02)


def cancelled_sync(agent: Agent[Any], reached: Callable[[], Any], **args: Any) -> Transcript:
    """Cancel a sync stream from another thread, once it is somewhere; its transcript."""
    with agent.stream_sync("please", **args) as run, cancelling(run.cancel, reached), pytest.raises(Cancelled):
        list(run)
    return run.transcript


async def cancelled(agent: Agent[Any], reached: Callable[[], Any], args: dict[str, Any]) -> Transcript:
    """The same, awaited."""
    async with agent.stream("please", **args) as run:
        with cancelling(run.cancel, reached), pytest.raises(Cancelled):
            async for _ in run:
                pass
    return run.transcript


@contextmanager
def cancelling(cancel: Callable[[], Any], reached: Callable[[], Any]) -> Iterator[None]:
    """Cancels meanwhile, in a thread."""

    def work() -> None:
        soon(reached)
        cancel()

    thread = threading.Thread(target=work)
    thread.start()
    yield
    thread.join()


CANCELS: dict[str, Callable[..., Transcript]] = {
    "sync": cancelled_sync,
    "asyncio": lambda agent, reached, **args: asyncio.run(cancelled(agent, reached, args)),
    "trio": lambda agent, reached, **args: trio.run(cancelled, agent, reached, args),
}
cancels = pytest.mark.parametrize("cancel", CANCELS.values(), ids=CANCELS)
several = pytest.mark.parametrize("together", [False, True], ids=["alone", "two of them"])
INNER_TOOLS = ["poll", "timed", "wait", "count"]


@cancels
@pytest.mark.parametrize("name", INNER_TOOLS)
@several
def test_cancelled_while_its_tool_runs(name: str, cancel: Any, together: bool) -> None:
    tools = Tools(1 + together)
    asked = [call("helper", prompt="a"), call("helper", prompt="b")][: 1 + together]

    def make() -> Agent[Any]:
        return pair(by_turn(call(name), "late"), outer=by_turn(calls(*asked), "done"), tools=tools.all())

    transcript = cancel(make(), tools.working.is_set)
    soon(lambda: len(tools.left) == 1 + together)
    soon(lambda: threads() == [])
    loaded = Transcript.load(transcript.dump())
    assert loaded.pending == []
    records = [each for each in Told(loaded).records.values() if each.call.name == "helper"]
    assert [each.result.status for each in records if each.result] == ["cancelled"] * (1 + together)
    result = make().run_sync(transcript=loaded)
    assert result.output == "done"
    assert_each_call_has_one_result(result.transcript.messages)


@pytest.mark.parametrize("library", ["asyncio", "trio"])
def test_a_callers_own_cancel_scope_around_a_run(library: str) -> None:
    tools = Tools()

    told: list[Any] = []

    async def main() -> None:
        async with anyio.create_task_group() as group:

            def cancel() -> None:
                assert tools.working.wait(5)

            async def wait() -> None:
                await anyio.to_thread.run_sync(cancel)
                group.cancel_scope.cancel()

            group.start_soon(wait)
            agent = pair(by_turn(call("wait"), "late"), tools=tools.all())
            await agent.run("please", on_event=told.append)

    anyio.run(main, backend=library)
    assert tools.left == ["wait"]
    assert kinds(told)[-2:] == [">ToolFinished wait", "ToolFinished helper"]
    soon(lambda: threads() == [])


@cancels
@several
def test_cancelled_while_its_model_answers(cancel: Any, together: bool) -> None:
    asked = [call("helper", prompt="a"), call("helper", prompt="b")][: 1 + together]
    with FakeEndpoint(lambda _: stall(say(["It ", "is"]), after_events=2)) as fake:
        model = ChatModel("m", base_url=fake.base_url, api_key=fake.api_key)
        made = Agent(model, name="helper").as_tool()
        agent = Agent(by_turn(calls(*asked), "done"), tools=[made])
        transcript = cancel(agent, lambda: len(fake.requests) == 1 + together)
        fake.wait_until(lambda: all(request.disconnected.is_set() for request in fake.requests))
    soon(lambda: threads() == [])
    records = list(Told(Transcript.load(transcript.dump())).records.values())
    assert [each.result.status for each in records if each.result] == ["cancelled"] * (1 + together)
    assert [len(each.transcript) for each in records if each.transcript] == [1] * (1 + together)


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_tool_within_that_interrupts_the_program(driver: str) -> None:
    def stop() -> str:
        """Stop all."""
        raise KeyboardInterrupt

    for script in (call("helper", prompt="a"), calls(call("helper", prompt="a"), call("look"))):
        boss = by_turn(script, "done")
        made = Agent(by_turn(call("stop"), "late"), tools=[stop], name="helper").as_tool()
        with pytest.raises(KeyboardInterrupt):
            DRIVERS[driver](Agent(boss, tools=[made, look]), "please")
    soon(lambda: threads() == [])
    gc.collect()  # asyncio tells of its tasks' errors when they are collected: here, and not in a later test
