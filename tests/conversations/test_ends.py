"""However a run ends, its conversation is kept as its transcript has it, is given back, and can be gone on with."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
import trio

from agentkit import Agent, Context, Limits, tool
from agentkit.conversations import ConversationBusy, Conversations
from agentkit.errors import AgentKitError, Cancelled, EndpointError, LimitReached, ModelError, ToolFailed, UsageError
from agentkit.events import ToolFinished
from agentkit.testing import ScriptedModel, call, calls, say, status
from tests.drivers import DRIVERS, outcome

VERBS = ["sync", "asyncio", "trio", "stream_sync", "stream on asyncio", "stream on trio"]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Conversations]:
    with Conversations(f"sqlite:///{tmp_path}/bot.db", durability="process") as opened:
        yield opened


@tool(on_unknown="retry")
def look(n: int) -> str:
    """Look."""
    return f"seen {n}"


def broken(n: int) -> str:
    """Fail."""
    raise OSError("the disk is full")


TWO = calls(call("look", n=1), call("look", n=2))
ENDS: dict[str, tuple[Any, dict[str, Any], type[AgentKitError]]] = {
    "an endpoint's error": (status(401), {}, EndpointError),
    "a refusal": (say("", refusal="No."), {}, ModelError),
    "a limit": ("unreachable", {"limits": Limits(steps=1)}, LimitReached),
    "a tool's error": (calls(call("broken", n=1), call("look", n=3)), {"on_tool_error": "raise"}, ToolFailed),
}


@pytest.mark.sampled(8, each="end verb")
@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("end", ENDS)
def test_an_error(store: Conversations, end: str, verb: str) -> None:
    step, options, kind = ENDS[end]
    agent = Agent(ScriptedModel([TWO, step]), tools=[look, broken], store=store, **options)
    error = outcome(DRIVERS[verb], agent, "Look.", conversation="a")
    assert isinstance(error, kind)
    assert error.transcript == store.load_sync("a")
    assert [record.result is not None for record in store.load_sync("a").entries[1].calls] == [True, True]
    again = agent.with_(model=ScriptedModel(["Done.", "Done."]), limits=None)
    assert DRIVERS[verb](again, "Go on.", conversation="a", busy="refuse").output == "Done."


@pytest.mark.parametrize("verb", VERBS)
def test_what_the_store_opens_is_taken_by_every_verb(store: Conversations, verb: str) -> None:
    agent = Agent(ScriptedModel(["One.", "Two.", "Three."]))  # it knows no store
    for prompt, metadata in (("1", {"title": "x"}), ("2", None)):
        kept = store.open("a", user="ann", metadata=metadata)
        assert DRIVERS[verb](agent, prompt, conversation=kept).output in ("One.", "Two.")
    (known,) = store.list_sync(user="ann")
    assert (known.name, known.metadata, known.entries) == ("a", {"title": "x"}, 4)
    with pytest.raises(UsageError, match="does not belong to user 'bob'"):
        DRIVERS[verb](agent, "3", conversation=store.open("a", user="bob"))
    with store.open("a"), pytest.raises(ConversationBusy):
        DRIVERS[verb](agent, "3", conversation=store.open("a", wait_s=0.02))
    with pytest.raises(UsageError, match="opened by this already"):
        DRIVERS[verb](agent, "3", conversation=kept)
    with pytest.raises(UsageError, match="busy= goes with a conversation's name"):
        DRIVERS[verb](agent, "3", conversation=store.open("a"), busy="refuse")
    assert DRIVERS[verb](agent, "3", conversation=store.open("a", last=2)).output == "Three."
    assert len(store.load_sync("a")) == 6


LEFT_AT = ["TextDelta", "ToolStarted", "ToolFinished", "StepFinished", "RunFinished"]


def script() -> ScriptedModel:
    return ScriptedModel([calls(call("look", n=1), call("look", n=2), text="I look."), "Done."])


def check_left(store: Conversations, run: Any) -> None:
    assert run.transcript == store.load_sync("a")
    assert not run.transcript.pending
    again = Agent(ScriptedModel(["Go on."]), tools=[look], store=store)
    assert again.run_sync("Go on.", conversation="a", busy="refuse").output == "Go on."


@pytest.mark.parametrize("left_at", LEFT_AT)
def test_a_stream_that_is_left_half_way(store: Conversations, left_at: str) -> None:
    with Agent(script(), tools=[look], store=store).stream_sync("Look.", conversation="a") as run:
        for event in run:
            if type(event).__name__ == left_at:
                break
    check_left(store, run)


@pytest.mark.sampled(5, each="left_at anyio_backend")
@pytest.mark.parametrize("left_at", LEFT_AT)
async def test_an_async_stream_that_is_left_half_way(store: Conversations, left_at: str) -> None:
    async with Agent(script(), tools=[look], store=store).stream("Look.", conversation="a") as run:
        async for event in run:
            if type(event).__name__ == left_at:
                break
    check_left(store, run)


def test_a_cancelled_run(store: Conversations) -> None:
    working, looked = threading.Event(), threading.Event()

    def work(context: Context[None]) -> str:
        """Work until it is cancelled."""
        working.set()
        while not context.cancelled:
            time.sleep(0.002)
        return "late"

    agent = Agent(ScriptedModel([calls(call("look", n=1), call("work"))]), tools=[look, work], store=store)
    with agent.stream_sync("Work.", conversation="a") as run:

        def watch(run: Iterable[Any]) -> None:
            for event in run:
                if isinstance(event, ToolFinished):
                    looked.set()

        def cancel() -> None:
            working.wait(20)
            looked.wait(20)
            run.cancel()

        cancelling = threading.Thread(target=cancel)
        cancelling.start()
        with pytest.raises(Cancelled) as caught:
            watch(run)
        cancelling.join()
    assert caught.value.transcript == store.load_sync("a")
    check_left(store, run)
    assert [record.result.status for record in run.transcript.entries[1].calls if record.result] == ["ok", "cancelled"]


@pytest.mark.parametrize("library", ["asyncio", "trio"])
def test_a_cancelled_task(store: Conversations, library: str) -> None:
    scopes: list[anyio.CancelScope] = []

    async def work() -> str:
        """Work until it is cancelled."""
        scopes[0].cancel()
        await anyio.sleep(20)
        return "late"

    agent = Agent(ScriptedModel([calls(call("look", n=1), call("work"))]), tools=[look, work], store=store)

    async def main() -> None:
        with anyio.CancelScope() as scope:
            scopes.append(scope)
            await agent.run("Work.", conversation="a")
        async with store.open("a", busy="refuse") as kept:
            assert not kept.transcript.pending

    asyncio.run(main()) if library == "asyncio" else trio.run(main)
    work_record = store.load_sync("a").entries[1].calls[1]
    assert work_record.result is not None and work_record.result.status == "cancelled"
    again = Agent(ScriptedModel(["Go on."]), tools=[look], store=store)
    assert again.run_sync("Go on.", conversation="a", busy="refuse").output == "Go on."
