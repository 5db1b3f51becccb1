"""The kinds of tools: any callable is one, and `@tool` says more of it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from agentkit import Agent, Context, Retry, tool

MODEL = os.environ.get("AGENTKIT_MODEL", "openai:gpt-5-mini")


# A plain function. Types and docstring become what the model is told; "7" from the model arrives as 7.
def add(a: int, b: int) -> int:
    """Add two numbers.

    Args:
        a: The first number.
        b: The second number.
    """
    return a + b


# Models, dataclasses, enums, unions and the like are parameters as they are.
class Item(BaseModel):
    """One line of an order."""

    product: str
    count: Annotated[int, Field(ge=1, description="how many")] = 1
    size: Literal["S", "M", "L"] = "M"


@dataclass
class Shop:
    """What the tools work on; it reaches them through their Context, and is never told to the model."""

    orders: list[Item] = field(default_factory=list[Item])


def order(ctx: Context[Shop], items: list[Item]) -> str:
    """Order something from the shop."""
    if any(item.product == "cat" for item in items):
        raise Retry("The shop has no cats; ask for something else.")  # the model reads this, and may do better
    ctx.deps.orders += items
    return f"order {ctx.idempotency_key}: {sum(item.count for item in items)} pieces"


# Async functions, and generators: each yield is told at once as progress, the last value is the result.
async def nap(seconds: float) -> str:
    """Wait a little."""
    await asyncio.sleep(min(seconds, 1))
    return "rested"


def search(word: str) -> Iterator[list[str]]:
    """List the Python files in this folder that contain a word."""
    found: list[str] = []
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if word in path.read_text("utf-8"):
            found.append(path.name)
            yield found


# More said of a tool: here that it only looks, may be tried twice, and takes two seconds at most.
@tool(read_only=True, timeout_s=2, attempts=2, retry_on=OSError, max_output_chars=500)
def read(name: Annotated[str, "the name of a file in this folder"]) -> str:
    """Read a file."""
    return (Path(__file__).parent / Path(name).name).read_text("utf-8")


# Methods are tools too.
class Counter:
    """Counts."""

    def __init__(self) -> None:
        self.value = 0

    def count_up(self, by: int = 1) -> int:
        """Count up, and tell the new value."""
        self.value += by
        return self.value


agent = Agent[Shop](MODEL, tools=[add, order, nap, search, read, Counter().count_up])

if __name__ == "__main__":
    for name, made in agent.tools.items():
        print(f"{name}: {made.description} {list(made.parameters['properties'])}")
    shop = Shop()
    result = agent.run_sync("Order two large shirts, then tell me how many letters 'shirt' has, plus 7.", deps=shop)
    print(result.output, shop.orders)
