"""Every way to run an agent, as a table: each takes an agent, a prompt and arguments, and gives the Result."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from zlib import crc32

import trio

from agentkit import Agent, Result
from agentkit.errors import AgentKitError
from agentkit.events import TextDelta


def in_sync(agent: Agent[Any], prompt: Any, **args: Any) -> Result:
    """In the caller's thread."""
    return agent.run_sync(prompt, **args)


def in_asyncio(agent: Agent[Any], prompt: Any, **args: Any) -> Result:
    """Awaited on asyncio."""
    return asyncio.run(agent.run(prompt, **args))


def in_trio(agent: Agent[Any], prompt: Any, **args: Any) -> Result:
    """Awaited on trio."""

    async def main() -> Result:
        return await agent.run(prompt, **args)

    return trio.run(main)


def in_sync_in_a_loop(agent: Agent[Any], prompt: Any, **args: Any) -> Result:
    """Sync, called where an event loop is running, as in a notebook."""

    async def main() -> Result:
        return agent.run_sync(prompt, **args)

    return asyncio.run(main())


def in_stream_sync(agent: Agent[Any], prompt: Any, **args: Any) -> Result:
    """Streamed, in the caller's thread."""
    with agent.stream_sync(prompt, **args) as run:
        told = [event.text for event in run if isinstance(event, TextDelta)]
    _same_text(told, run.result)
    return run.result


async def _stream(agent: Agent[Any], prompt: Any, args: dict[str, Any]) -> Result:
    async with agent.stream(prompt, **args) as run:
        told = [event.text async for event in run if isinstance(event, TextDelta)]
    _same_text(told, run.result)
    return run.result


def _same_text(told: list[str], result: Result) -> None:
    texts = [m["content"] or "" for m in result.new_messages if m["role"] == "assistant"]
    assert "".join(told) == "".join(texts)


def in_stream_asyncio(agent: Agent[Any], prompt: Any, **args: Any) -> Result:
    """Streamed on asyncio."""
    return asyncio.run(_stream(agent, prompt, args))


def in_stream_trio(agent: Agent[Any], prompt: Any, **args: Any) -> Result:
    """Streamed on trio."""
    return trio.run(_stream, agent, prompt, args)


Driver = Callable[..., Result]
DRIVERS: dict[str, Driver] = {
    "sync": in_sync,
    "asyncio": in_asyncio,
    "trio": in_trio,
    "sync in a loop": in_sync_in_a_loop,
    "stream_sync": in_stream_sync,
    "stream on asyncio": in_stream_asyncio,
    "stream on trio": in_stream_trio,
}


def some_driver(case: str) -> Driver:
    """One of them for a case, where all of them for each would take long: always the same."""
    return list(DRIVERS.values())[crc32(case.encode()) % len(DRIVERS)]


def outcome(driver: Driver, agent: Agent[Any], prompt: Any, **args: Any) -> Result | AgentKitError:
    """The Result, or agentkit's error in its place."""
    try:
        return driver(agent, prompt, **args)
    except AgentKitError as error:
        return error
