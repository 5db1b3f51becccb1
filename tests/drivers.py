"""Every way to run an agent, as a table: each takes an agent, a prompt and arguments, and gives the Result."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import trio

from agentkit import Agent, Result
from agentkit.errors import AgentKitError


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


Driver = Callable[..., Result]
DRIVERS: dict[str, Driver] = {
    "sync": in_sync,
    "asyncio": in_asyncio,
    "trio": in_trio,
    "sync in a loop": in_sync_in_a_loop,
}


def outcome(driver: Driver, agent: Agent[Any], prompt: Any, **args: Any) -> Result | AgentKitError:
    """The Result, or agentkit's error in its place."""
    try:
        return driver(agent, prompt, **args)
    except AgentKitError as error:
        return error
