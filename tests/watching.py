"""Runs that are watched: each way to go through a stream as a table, and what was seen of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import trio

from agentkit import Agent, ChatModel, Result, ToolCall, Transcript
from agentkit.events import Event, TextDelta
from agentkit.testing import FakeEndpoint
from agentkit.testing.script import Item, raw

SSE = {"content-type": "text/event-stream"}


def agent_for(fake: FakeEndpoint, tools: Iterable[object] = (), *, model: Any = None, **args: Any) -> Agent[Any]:
    """An agent whose model is behind the fake endpoint; `model` has arguments for the ChatModel."""
    return Agent(ChatModel("m", base_url=fake.base_url, api_key=fake.api_key, **(model or {})), tools=tools, **args)


@dataclass
class Seen:
    """What was told of a run, and how it ended."""

    events: list[Event]
    ended: Any
    transcript: Transcript

    @property
    def result(self) -> Result:
        assert isinstance(self.ended, Result), repr(self.ended)
        return self.ended

    @property
    def text(self) -> str:
        return text_of(self.events)

    @property
    def kinds(self) -> list[str]:
        return kinds(self.events)


def text_of(events: Iterable[Event]) -> str:
    """All text that was told."""
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def kinds(events: Iterable[Event]) -> list[str]:
    """The events' types in order, of several alike in a row one."""
    return [name for name, _ in groupby(type(event).__name__ for event in events)]


def names(events: Iterable[Event], kind: type[Any]) -> list[str]:
    """Of the calls that events of one type are about, name and first argument."""
    return [label(event.call) for event in events if isinstance(event, kind)]


def label(call: ToolCall) -> str:
    """A call as name:value."""
    return ":".join([call.name, *map(str, json.loads(call.arguments or "{}").values())])


def watch_sync(agent: Agent[Any], prompt: Any, **args: Any) -> Seen:
    """To the end, in the caller's thread."""
    events: list[Event] = []
    with agent.stream_sync(prompt, **args) as run:
        try:
            events.extend(run)
        except Exception as error:  # it is what the test is about
            return Seen(events, error, run.transcript)
        return Seen(events, run.result, run.transcript)


async def watch(agent: Agent[Any], prompt: Any, **args: Any) -> Seen:
    """To the end, awaited."""
    events: list[Event] = []
    async with agent.stream(prompt, **args) as run:
        try:
            async for event in run:
                events.append(event)  # noqa: PERF401  # what was told before an error counts
        except Exception as error:  # it is what the test is about
            return Seen(events, error, run.transcript)
        return Seen(events, run.result, run.transcript)


def watch_asyncio(agent: Agent[Any], prompt: Any, **args: Any) -> Seen:
    """To the end, on asyncio."""
    return asyncio.run(watch(agent, prompt, **args))


def watch_trio(agent: Agent[Any], prompt: Any, **args: Any) -> Seen:
    """To the end, on trio."""

    async def main() -> Seen:
        return await watch(agent, prompt, **args)

    return trio.run(main)


WATCHERS: dict[str, Callable[..., Seen]] = {"sync": watch_sync, "asyncio": watch_asyncio, "trio": watch_trio}


def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
    """An event of a stream."""
    return (
        b"data: " + json.dumps({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}).encode() + b"\n\n"
    )


def told(text: str) -> bytes:
    """An event with a piece of text."""
    return chunk({"content": text})


STOP = chunk({}, "stop")
DONE = b"data: [DONE]\n\n"


def stream_of(*events: bytes) -> Item:
    """A stream of exactly these events, whose end is the body's."""
    return raw(200, SSE, b"".join(events), chunked=True)


def until_begun(calls: Iterable[Item | ToolCall], number: int) -> int:
    """How many events a reply of these calls has up to the beginning of that one, counted from 0, and with it."""
    flat = [each for one in calls for each in (one.tool_calls if isinstance(one, Item) else (one,))]
    return 2 + sum(1 + -(-len(call.arguments) // 6) for call in flat[:number])
