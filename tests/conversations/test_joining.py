"""Runs that go on with a kept conversation: each entry is there as it lands, and any end can be gone on from."""

from __future__ import annotations

import time

import pytest

from agentkit import Agent, Context, tool
from agentkit.approval import Approve, Deny
from agentkit.conversations import ConversationBusy, Conversations, LeaseLost
from agentkit.errors import EndpointError, ToolFailed
from agentkit.testing import ScriptedModel, call, calls, status
from tests.conversations.entries import run_sql
from tests.drivers import DRIVERS


@pytest.fixture
def store(url):
    with Conversations(url, durability="process") as opened:
        yield opened


def agent_of(store, *replies, tools=()):
    return Agent(ScriptedModel(list(replies)), tools=tools, store=store)


def test_a_conversation_goes_on(store):
    agent = agent_of(store, "On A3.", "On the left.")
    first = agent.run_sync("Where is Dune?", conversation="a")
    assert store.load_sync("a") == first.transcript
    second = agent.run_sync("Left or right?", conversation="a")
    assert second.output == "On the left."
    assert store.load_sync("a") == second.transcript
    assert len(second.transcript) == 4


async def test_async_runs_and_streams_too(store):
    agent = agent_of(store, "One.", "Two.", "Three.")
    await agent.run("1", conversation="a")
    async with agent.stream("2", conversation="a") as run:
        async for _ in run:
            pass
    with agent.stream_sync("3", conversation="a") as run:
        assert list(run)[-1].result.output == "Three."
    assert [entry.message.text for entry in store.load_sync("a")] == ["1", "One.", "2", "Two.", "3", "Three."]


def test_a_result_is_kept_before_anything_else_happens(store):
    seen = []

    @tool(exclusive=True)
    def look(context: Context[None]) -> str:
        records = store.load_sync("a").entries[1].calls
        seen.append([(record.started_at is not None, record.result is not None) for record in records])
        return "seen"

    agent = agent_of(store, calls(call("look"), call("look")), status(401), tools=[look])
    with pytest.raises(EndpointError):
        agent.run_sync("Look.", conversation="a")
    assert seen == [[(True, False), (False, False)], [(True, True), (True, False)]]
    assert [record.result.content for record in store.load_sync("a").entries[1].calls] == ["seen", "seen"]
    assert agent_of(store, "Done.", tools=[look]).run_sync(conversation="a").output == "Done."
    assert len(seen) == 2


@pytest.mark.parametrize("decision", [Approve(), Deny("no")])
def test_a_paused_run_is_resumed_from_the_store(store, decision):
    keys = []

    @tool(approval=True)
    def delete(context: Context[None]) -> str:
        keys.append(context.idempotency_key)
        return "deleted"

    agent_of(store, "Hello.").run_sync("Hi.", conversation="a")
    paused = agent_of(store, call("delete"), tools=[delete]).run_sync("Delete it.", conversation="a")
    assert paused.status == "paused"
    (waiting,) = paused.pending
    again = agent_of(store, "Done.", tools=[delete])
    done = again.run_sync(conversation=store.open("a", last=1), decisions={waiting.id: decision})
    assert done.output == "Done."
    assert keys == ([waiting.key] if isinstance(decision, Approve) else [])
    assert len(store.load_sync("a")) == 5
    assert not store.load_sync("a").pending


def test_one_run_at_a_time(store):
    def inner() -> str:
        """Ask in the same conversation."""
        agent_of(store, "No.").run_sync("?", conversation="a", busy="refuse")
        return "unreachable"

    agent = Agent(ScriptedModel([call("inner")]), tools=[inner], store=store, on_tool_error="raise")
    with pytest.raises((ToolFailed, ConversationBusy), match="'a' is open in process"):
        agent.run_sync("Ask.", conversation="a")


def test_a_run_that_lost_its_conversation_ends(url):
    def steal() -> str:
        """Take the conversation over."""
        run_sql(url, "UPDATE agentkit_conversations SET token = token + 1")
        return "stolen"

    with Conversations(url) as store:
        with pytest.raises(LeaseLost) as caught:
            agent_of(store, call("steal"), "Done.", tools=[steal]).run_sync("Steal.", conversation="a")
        assert caught.value.transcript is not None
        assert caught.value.transcript.entries[1].calls[0].result.content == "stolen"


class Slow:
    """A kept conversation that takes its time over each write."""

    def __init__(self, kept):
        self._kept = kept

    def record(self, index, entry_json):
        time.sleep(0.02)
        self._kept.record(index, entry_json)

    def __getattr__(self, name):
        return getattr(self._kept, name)

    def __enter__(self):
        self._kept.__enter__()
        return self

    def __exit__(self, *error):
        self._kept.__exit__(*error)

    async def __aenter__(self):
        await self._kept.__aenter__()
        return self

    async def __aexit__(self, *error):
        await self._kept.__aexit__(*error)


@pytest.mark.parametrize("driver", ["sync", "asyncio", "stream on trio"])
@pytest.mark.parametrize("nested", [False, True])
def test_no_call_starts_before_that_is_written(tmp_path, driver, nested):
    early = []

    def begun(transcript):
        for entry in transcript:
            for record in entry.calls:
                yield from begun(record.transcript) if record.transcript is not None else ()
                if record.started_at is not None:
                    yield record.call.arguments

    def look(context: Context[None], n: int) -> str:
        early.append(context.call.arguments not in begun(store.load_sync("a")))
        return "seen"

    async def wait(context: Context[None], n: int) -> str:
        early.append(context.call.arguments not in begun(store.load_sync("a")))
        return "seen"

    def steps(first):
        return [calls(call("look", n=first), call("wait", n=first + 1), call("look", n=first + 2)), "Done."]

    with Conversations(f"sqlite:///{tmp_path}/bot.db", durability="process") as store:
        agent = Agent(ScriptedModel(steps(0)), tools=[look, wait])
        if nested:
            helpers = [agent.with_(model=ScriptedModel(steps(10 * n)), name=f"helper_{n}") for n in (1, 2)]
            asked = calls(*(call(helper.name, prompt="?") for helper in helpers))
            agent = Agent(ScriptedModel([asked, "Done."]), tools=[helper.as_tool() for helper in helpers])
        DRIVERS[driver](agent, "Look.", conversation=Slow(store.open("a")))
    assert early == [False] * (6 if nested else 3)
