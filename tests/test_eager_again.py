"""Tools that started early, and a stream that then breaks; and what starting early is worth."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from agentkit import Context, tool
from agentkit.errors import ConnectionFailed, EndpointError
from agentkit.events import Restarted, Retrying, ToolDropped, ToolFinished, ToolStarted
from agentkit.testing import FakeEndpoint, call, calls, fixed_clock, say
from agentkit.testing.script import cut, stall
from tests.tiers import SOON_S
from tests.watching import WATCHERS, agent_for, names, until_begun, watch_sync

watchers = pytest.mark.parametrize("watch", WATCHERS.values(), ids=WATCHERS)


@pytest.fixture(autouse=True)
def _clock() -> Iterator[None]:
    with fixed_clock():
        yield


class Looks:
    """Looks, sync and awaited, that say when they have run."""

    def __init__(self, *wanted: str) -> None:
        self.wanted = set(wanted)
        self.ran: list[str] = []
        self.go = threading.Event()

    def note(self, key: str) -> str:
        self.ran.append(key)
        if self.wanted <= set(self.ran):
            self.go.set()
        return f"{key} was seen"

    @property
    def tools(self) -> list[Any]:
        @tool(read_only=True)
        def look(key: str) -> str:
            """Look something up."""
            return self.note(key)

        @tool(read_only=True)
        async def look_async(key: str) -> str:
            """Look something up, awaited."""
            await checkpoint()
            return self.note(key)

        return [look, look_async]

    def broken(self, *keys: str, name: str = "look") -> Any:
        """A reply with these calls that breaks off when the wanted ones have run, and the last one has begun."""
        asked = [call(name, key=key) for key in keys]
        events = until_begun(asked, len(asked) - 1)
        return cut(stall(calls(*asked), after_events=events, until=self.go), after_events=events + 1)


def asked_for(*keys: str, name: str = "look") -> Any:
    return calls(*[call(name, key=key) for key in keys])


# The calls of the stream that breaks (all but the last have run by then), those of the stream that then comes, all that
# has run in the end, and what was dropped.
AGAIN: dict[str, tuple[str, str, str, str]] = {
    "the same": ("ab", "ab", "ab", ""),
    "the same, and more": ("abc", "abcd", "abcd", ""),
    "another": ("ab", "cd", "acd", "a"),
    "some of them": ("abc", "ad", "abd", "b"),
    "in another order": ("abc", "ba", "ab", ""),
    "one that is now the last": ("abc", "a", "ab", "b"),
    "once, where there were two": ("aab", "ab", "aab", "a"),
    "twice, where there was one": ("ab", "aab", "aab", ""),
}


@watchers
@pytest.mark.parametrize("name", ["look", "look_async"])
@pytest.mark.parametrize(("first", "second", "ran", "dropped"), AGAIN.values(), ids=AGAIN)
def test_results_of_calls_that_come_again_are_used(watch, name, first, second, ran, dropped):
    looks = Looks(*first[:-1])
    if first == "aab":  # both
        looks.go = go = threading.Event()
        looks.note = lambda key: (looks.ran.append(key), len(looks.ran) > 1 and go.set()) and f"{key} was seen"
    with FakeEndpoint([looks.broken(*first, name=name), asked_for(*second, name=name), "done"]) as fake:
        seen = watch(agent_for(fake, looks.tools), "x", resume_stream=True)
        assert len(fake.requests) == 3
    assert seen.result.output == "done"
    assert sorted(looks.ran) == sorted(ran)
    assert [record.result.content for record in seen.result.tool_calls] == [f"{key} was seen" for key in second]
    assert names(seen.events, ToolDropped) == [f"{name}:{key}" for key in dropped]
    assert sorted(names(seen.events, ToolStarted)) == sorted(f"{name}:{key}" for key in ran)
    assert sorted(names(seen.events, ToolFinished)) == sorted(f"{name}:{key}" for key in second)
    assert [type(e) for e in seen.events if isinstance(e, Retrying | Restarted)] == [Retrying, Restarted]


@watchers
def test_an_answer_in_place_of_the_calls_drops_them(watch):
    looks = Looks("a")
    with FakeEndpoint([looks.broken("a", "b"), say("I know it.")]) as fake:
        seen = watch(agent_for(fake, looks.tools), "x", resume_stream=True)
    assert (seen.result.output, looks.ran) == ("I know it.", ["a"])
    assert names(seen.events, ToolDropped) == ["look:a"]
    assert seen.result.tool_calls == ()


@watchers
def test_what_is_dropped_while_it_runs_hears_of_it(watch):
    go, seen_it = threading.Event(), threading.Event()

    @tool(read_only=True)
    def look(context: Context[None], key: str) -> str:
        """Look something up, until told to stop."""
        go.set()
        ends = time.monotonic() + 30
        while not context.cancelled and time.monotonic() < ends:
            time.sleep(0.002)
        if context.cancelled:
            seen_it.set()
        return key

    @tool(read_only=True)
    async def look_async(key: str) -> str:
        """Look something up, for ever."""
        go.set()
        try:
            await anyio.sleep(30)
        finally:
            seen_it.set()
        return key

    for name in ["look"] if watch is watch_sync else ["look", "look_async"]:
        go.clear()
        seen_it.clear()
        looks = Looks("never")
        looks.go = go
        with FakeEndpoint([looks.broken("a", "b", name=name), "done"]) as fake:
            seen = watch(agent_for(fake, [look, look_async]), "x", resume_stream=True)
        assert seen.result.output == "done"
        assert seen_it.wait(SOON_S)
        assert names(seen.events, ToolDropped) == [f"{name}:a"]


@watchers
def test_without_the_wish_to_resume_it_is_an_error_and_they_are_dropped(watch):
    looks = Looks("a")
    with FakeEndpoint([looks.broken("a", "b")]) as fake:
        seen = watch(agent_for(fake, looks.tools), "x")
    assert isinstance(seen.ended, ConnectionFailed)
    assert names(seen.events, ToolDropped) == ["look:a"]
    assert {event.step for event in seen.events} == {1}
    assert seen.ended.transcript is seen.transcript
    assert [m["role"] for m in seen.transcript.messages] == ["user"]


@watchers
def test_when_nothing_helps_they_are_dropped_at_the_end(watch):
    looks = Looks("a")
    with FakeEndpoint([looks.broken("a", "b")] * 3) as fake:
        seen = watch(agent_for(fake, looks.tools), "x", resume_stream=True)
        assert len(fake.requests) == 3
    assert isinstance(seen.ended, EndpointError)
    assert looks.ran == ["a"]
    assert names(seen.events, ToolDropped) == ["look:a"]


# Eight calls that take 100 ms each to stream and 300 ms each to run
