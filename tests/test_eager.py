"""Tools that start while the message that asks for them still comes."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from anyio.lowlevel import checkpoint

from agentkit import Agent, Context, Limits, ToolCall, tool
from agentkit.errors import LimitReached
from agentkit.events import StepFinished, ToolDropped, ToolFinished, ToolProgress, ToolStarted
from agentkit.testing import FakeEndpoint, call, calls
from agentkit.testing.script import stall
from tests.watching import WATCHERS, agent_for, names, until_begun

watchers = pytest.mark.parametrize("watch", WATCHERS.values(), ids=WATCHERS)
WAIT_S = 5


@dataclass
class Bench:
    """Tools, and what has been done with them; `fake` holds its stream back until `go` is set."""

    go: threading.Event = field(default_factory=threading.Event)
    began: list[str] = field(default_factory=list)
    early: list[str] = field(default_factory=list)
    on_start: Callable[[str], None] | None = None

    def start(self, name: str) -> str:
        self.began.append(name)
        if not self.go.is_set():
            self.early.append(name)
        if self.on_start is not None:
            self.on_start(name)
        return name

    @property
    def tools(self) -> list[Any]:
        @tool(read_only=True)
        def look(key: str) -> str:
            """Look something up."""
            return self.start(f"look:{key}")

        @tool(read_only=True)
        async def look_async(key: str) -> str:
            """Look something up, awaited."""
            await checkpoint()
            return self.start(f"look_async:{key}")

        @tool(read_only=True)
        def look_in_pieces(key: str) -> Iterator[str]:
            """Look something up, piece by piece."""
            yield "so far"
            yield self.start(f"look_in_pieces:{key}")

        @tool(read_only=True, exclusive=True)
        def look_alone(key: str) -> str:
            """Look something up, with nothing beside it."""
            return self.start(f"look_alone:{key}")

        @tool(read_only=True, exclusive="door")
        def look_locked(key: str) -> str:
            """Look something up behind a lock."""
            return self.start(f"look_locked:{key}")

        def write(key: str) -> str:
            """Write something."""
            return self.start(f"write:{key}")

        return [look, look_async, look_in_pieces, look_alone, look_locked, write]


def go_when(bench: Bench, *started: str) -> None:
    """Let the stream go on once all these have started."""

    def on_start(_: str) -> None:
        if set(started) <= set(bench.began):
            bench.go.set()

    bench.on_start = on_start


@contextmanager
def held(bench: Bench, asked: list, until: int, *rest: Any) -> Iterator[FakeEndpoint]:
    """An endpoint whose reply with these calls stops when the call `until` has begun, and goes on with `bench.go`."""
    step = stall(calls(*asked), after_events=until_begun(asked, until), until=bench.go)
    with FakeEndpoint([step, *(rest or ["done"])]) as fake:
        yield fake


@watchers
@pytest.mark.parametrize("name", ["look", "look_async", "look_in_pieces"])
def test_a_look_runs_while_the_message_still_comes(watch, name):
    bench = Bench()
    go_when(bench, f"{name}:a")
    asked = [call(name, key="a"), call(name, key="b")]
    # the stream goes on only when the first call has run
    with held(bench, asked, 1) as fake:
        seen = watch(agent_for(fake, bench.tools), "x")
    assert seen.result.output == "done"
    assert bench.began == [f"{name}:a", f"{name}:b"]
    assert [record.result.content for record in seen.result.tool_calls] == [f"{name}:a", f"{name}:b"]
    assert names(seen.events, ToolStarted) == [f"{name}:a", f"{name}:b"]
    assert sorted(names(seen.events, ToolFinished)) == [f"{name}:a", f"{name}:b"]
    order = [type(event) for event in seen.events]
    assert order.index(ToolStarted) < order.index(StepFinished) < order.index(ToolFinished)
    assert {event.step for event in seen.events if isinstance(event, ToolStarted | ToolFinished)} == {1}
    assert ToolDropped not in order


@watchers
def test_all_looks_but_the_last_run_before_the_end(watch):
    bench = Bench()
    asked = [call("look", key=str(n)) for n in range(6)]
    go_when(bench, *[f"look:{n}" for n in range(5)])
    with held(bench, asked, 5) as fake:
        seen = watch(agent_for(fake, bench.tools), "x")
    assert sorted(bench.early) == [f"look:{n}" for n in range(5)]
    assert bench.began[-1] == "look:5"
    assert len(seen.result.tool_calls) == 6


@watchers
def test_progress_of_an_early_tool_is_told_before_its_reply_is_whole(watch):
    bench = Bench()

    def on_event(event: Any) -> None:
        if isinstance(event, ToolProgress):
            bench.go.set()

    if watch is WATCHERS["sync"]:
        # it hears what tools say when more of the stream comes, and so it may not be waited for
        go_when(bench, "look_in_pieces:a")
    with held(bench, [call("look_in_pieces", key="a"), call("look", key="b")], 1) as fake:
        seen = watch(agent_for(fake, bench.tools), "x", on_event=on_event)
    order = [type(event) for event in seen.events]
    assert order.index(ToolProgress) < order.index(StepFinished)


# What does not start early. Each is a reply's calls, how many of them have begun where the stream stops, and which of
# the calls that are sealed there may run.


def looks(*keys: str) -> list:
    return [call("look", key=key) for key in keys]


NOT_EARLY: dict[str, tuple[list, int, list[str], dict[str, Any]]] = {
    "the last call so far": (looks("a"), 0, [], {}),
    "the second, which nothing follows": (looks("a", "b"), 1, ["look:a"], {}),
    "a write": ([call("write", key="a"), *looks("b")], 1, [], {}),
    "a look after a write": ([call("write", key="a"), *looks("b", "c")], 2, [], {}),
    "a look between writes": ([*looks("a"), call("write", key="b"), *looks("c", "d")], 3, ["look:a"], {}),
    "an exclusive look": ([call("look_alone", key="a"), *looks("b")], 1, [], {}),
    "a look after an exclusive one": ([call("look_alone", key="a"), *looks("b", "c")], 2, [], {}),
    "a look with a lock": ([call("look_locked", key="a"), *looks("b")], 1, [], {}),
    "an unknown tool": ([call("fly", key="a"), *looks("b")], 1, [], {}),
    "a look after an unknown tool": ([call("fly", key="a"), *looks("b", "c")], 2, [], {}),
    "with eager=False": (looks("a", "b"), 1, [], {"eager": False}),
    "past the limit": (looks("a", "b", "c"), 2, ["look:a"], {"limits": Limits(tool_calls=1)}),
    "at the limit": (looks("a", "b"), 1, [], {"limits": Limits(tool_calls=0)}),
}


@watchers
@pytest.mark.parametrize(("asked", "until", "early", "args"), NOT_EARLY.values(), ids=NOT_EARLY)
def test_what_does_not_start_early(watch, asked, until, early, args):
    bench = Bench()
    # Once all has been told that came before the stop, and what may start has, the stream goes on.
    shown = threading.Event()
    go_when(bench, *early)
    if not early:
        pieces = sum(-(-len(each.tool_calls[0].arguments) // 6) for each in asked[:until])

        counted = itertools.count(1)

        def on_event(event: Any) -> None:
            if getattr(event, "arguments", "") and next(counted) == pieces:
                bench.go.set()

        if not pieces:
            bench.go.set()
    else:
        on_event = lambda _: shown.set()
    with held(bench, asked, until) as fake:
        watch(agent_for(fake, bench.tools, **args), "x", on_event=on_event)
    assert bench.early == early


@watchers
def test_on_a_cut_reply_the_last_call_never_starts(watch):
    bench = Bench()
    go_when(bench, "look:a")
    asked = looks("a", "b")
    step = stall(calls(*asked, finish_reason="length"), after_events=until_begun(asked, 1), until=bench.go)
    with FakeEndpoint([step, "done"]) as fake:
        seen = watch(agent_for(fake, bench.tools), "x")
    assert bench.began == ["look:a"]
    assert [record.result.status for record in seen.result.tool_calls] == ["ok", "not_run"]


@watchers
def test_a_limit_that_the_whole_reply_breaks(watch):
    bench = Bench()
    go_when(bench, "look:a", "look:b")
    with held(bench, looks("a", "b", "c"), 2) as fake:
        seen = watch(agent_for(fake, bench.tools, limits=Limits(tool_calls=2)), "x")
        assert isinstance(seen.ended, LimitReached)
        # what had been done by then is kept, and not done again
        fake.play(["done"])
        assert agent_for(fake, bench.tools).run_sync(transcript=seen.transcript).output == "done"
    assert sorted(bench.began) == ["look:a", "look:b", "look:c"]


@watchers
def test_two_calls_alike_are_both_run_once_each(watch):
    bench = Bench()
    go_when(bench, "look:a")
    with held(bench, looks("a", "a", "b"), 2) as fake:
        seen = watch(agent_for(fake, bench.tools), "x")
    assert sorted(bench.began) == ["look:a", "look:a", "look:b"]
    assert len({record.call.id for record in seen.result.tool_calls}) == 3


@watchers
@pytest.mark.parametrize("arguments", ["", "{}", " { } "])
def test_a_call_without_arguments_is_run_once(watch, arguments):
    ran = []

    @tool(read_only=True)
    def glance() -> str:
        """Look around."""
        ran.append(1)
        return "clear"

    asked = [ToolCall("1", "glance", arguments), ToolCall("2", "glance", arguments)]
    with FakeEndpoint([calls(*asked), "done"]) as fake:
        seen = watch(agent_for(fake, [glance]), "x")
    assert len(ran) == 2
    assert [record.result.content for record in seen.result.tool_calls] == ["clear", "clear"]


@watchers
@pytest.mark.parametrize("name", ["Look", "functions.look", "look "])
def test_a_name_that_is_not_quite_right_is_run_once(watch, name):
    bench = Bench()
    go_when(bench, "look:a")
    asked = [ToolCall("1", name, '{"key": "a"}'), ToolCall("2", name, '{"key": "b"}')]
    with held(bench, asked, 1) as fake:
        watch(agent_for(fake, bench.tools), "x")
    assert bench.began == ["look:a", "look:b"]


@watchers
def test_arguments_that_do_not_fit_are_told_once(watch):
    bench = Bench()
    asked = [call("look", wrong=1), call("look", key="b")]
    with FakeEndpoint([calls(*asked), "done"]) as fake:
        seen = watch(agent_for(fake, bench.tools), "x")
    assert [record.result.status for record in seen.result.tool_calls] == ["not_run", "ok"]
    assert bench.began == ["look:b"]


@watchers
def test_an_early_tool_that_fails_is_told_in_its_place(watch):
    go = threading.Event()

    @tool(read_only=True)
    def look(key: str) -> str:
        """Look something up."""
        go.set()
        raise OSError(key)

    asked = looks("a", "b")
    with FakeEndpoint([stall(calls(*asked), after_events=until_begun(asked, 1), until=go), "done"]) as fake:
        seen = watch(agent_for(fake, [look]), "x")
    assert [record.result.status for record in seen.result.tool_calls] == ["failed", "failed"]
    assert seen.result.output == "done"


@watchers
def test_a_call_has_the_same_context_early_as_late(watch):
    contexts: dict[str, Context[str]] = {}
    go = threading.Event()

    @tool(read_only=True)
    def look(context: Context[str], key: str) -> str:
        """Look something up."""
        contexts[key] = context
        go.set()
        return key

    asked = looks("a", "b")
    with FakeEndpoint([stall(calls(*asked), after_events=until_begun(asked, 1), until=go), "done"]) as fake:
        agent: Agent[str] = agent_for(fake, [look])
        seen = watch(agent, "x", deps="mine")
    entry = seen.transcript.entries[1]
    assert [contexts[key].idempotency_key for key in "ab"] == [f"{entry.run}:1:0", f"{entry.run}:1:1"]
    assert {context.deps for context in contexts.values()} == {"mine"}
    assert {context.step for context in contexts.values()} == {1}
    assert all(record.started_at for record in entry.calls)


@watchers
def test_a_plain_run_starts_nothing_early(watch):
    bench = Bench()
    with FakeEndpoint([calls(*looks("a", "b")), "done"]) as fake:
        events: list[Any] = []
        agent_for(fake, bench.tools).run_sync("x", on_event=events.append)
    order = [type(event) for event in events]
    assert order.index(StepFinished) < order.index(ToolStarted)
