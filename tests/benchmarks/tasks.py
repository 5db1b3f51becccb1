"""What each client has to do, and the tool that it does it with."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from tests.benchmarks.server import Scenario

PROMPT = "Look up every key, then answer."
SYSTEM = "You are a benchmark agent. Use the tools."
PARAMETERS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "key": {"type": "string", "description": "The key to look up."},
        "pad": {"type": "string", "default": "", "description": "Ignored filler."},
    },
    "required": ["key"],
}


class Task(NamedTuple):
    """A scenario of the server's, and what the tool does: wait `sleep_ms` and return `result_bytes`.

    `first_sleep_ms` is for the first call of a reply. `held` tools wait until `world.gate` opens.
    """

    scenario: Scenario = Scenario()
    result_bytes: int = 32
    sleep_ms: int = 0
    first_sleep_ms: int = 0
    held: bool = False


class _World:
    """What a task's tools and its measurement both see."""

    def __init__(self) -> None:
        self.calls = 0
        self.gate = asyncio.Event()


world = _World()


def async_tool(task: Task) -> Callable[..., Any]:
    filler = "r" * (task.result_bytes - 8)

    async def lookup(key: str, pad: str = "") -> str:
        """Look a key up in the store.

        Args:
            key: The key to look up.
            pad: Ignored filler.
        """
        world.calls += 1
        if task.held:
            await world.gate.wait()
        if task.sleep_ms:
            await asyncio.sleep((task.first_sleep_ms if key.endswith("_0") else 0 or task.sleep_ms) / 1000)
        return f"{filler}{world.calls:08}"  # no two are one string

    return lookup


def sync_tool(task: Task) -> Callable[..., Any]:
    filler = "r" * (task.result_bytes - 8)

    def lookup(key: str, pad: str = "") -> str:
        """Look a key up in the store.

        Args:
            key: The key to look up.
            pad: Ignored filler.
        """
        world.calls += 1
        if task.sleep_ms:
            time.sleep(task.sleep_ms / 1000)
        return f"{filler}{world.calls:08}"  # no two are one string

    return lookup


SOURCE = '''
def tool_{i}(name: str, count: int, ratio: float = 0.5, tags: Optional[list[str]] = None,
             mode: Literal["fast", "slow", "m{i}"] = "fast", flag: bool = False) -> str:
    """Do thing number {i} with a name.

    Args:
        name: The name of the thing.
        count: How many of them.
        ratio: A ratio between 0 and 1.
        tags: Tags to attach.
        mode: How to do it.
        flag: Whether to force it.
    """
    return name
'''


def functions(count: int) -> list[Callable[..., Any]]:
    """As many functions with typed parameters and docstrings, all new."""
    names: dict[str, Any] = {}
    source = "".join(SOURCE.replace("{i}", str(i)) for i in range(count))
    exec("from typing import Literal, Optional\n" + source, names)
    return [names[f"tool_{i}"] for i in range(count)]
