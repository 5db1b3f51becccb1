"""A typed value out of each file of a folder, several at a time, with a progress bar. What failed is tried next time.

`python examples/extract_folder.py LETTERS RESULTS` writes a JSON file for each letter. A letter that has one is not
read again, so that a run that was stopped goes on where it was. Needs the extra `cli`, for the bar. Without arguments
sample letters are read, twice; without AGENTKIT_MODEL the model is scripted, and its endpoint is overloaded once.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Literal

import anyio
from pydantic import BaseModel
from rich.console import Console
from rich.progress import Progress

from agentkit import Agent, Limits
from agentkit.chat.request import Request
from agentkit.errors import AgentKitError
from agentkit.testing import ScriptedModel, status
from agentkit.testing.script import Step

SAMPLE = Path(__file__).parent / "data" / "letters"
AT_ONCE = 4


class Letter(BaseModel):
    """What a customer writes about."""

    customer: str
    order: int
    wants: Literal["refund", "replacement", "answer"]


outages = ["Dora Weiss"]


def respond(request: Request) -> Step:
    """What the scripted model does: it looks for words. Where there is no order number, it has none."""
    letter = str(request.messages[1]["content"]).strip()
    customer = letter.splitlines()[-1]
    if customer in outages:
        outages.remove(customer)
        return status(503)
    order, wants = re.search(r"order (\d+)", letter), re.search("refund|replacement", letter)
    return json.dumps({"customer": customer, "order": order and order[1], "wants": wants[0] if wants else "answer"})


reader = Agent(
    os.environ.get("AGENTKIT_MODEL") or ScriptedModel(respond),
    output=Letter,
    instructions="Extract what the letter is about.",
    limits=Limits(corrections=1),
)


def keep(letter: Letter, result: Path) -> None:
    """Write a result. What has its name is whole, however the program ends."""
    new = result.with_suffix(".new")
    new.write_text(letter.model_dump_json(), "utf-8")
    new.replace(result)


async def extract(results: dict[Path, Path]) -> dict[str, str]:
    """Read each letter into its result; returns why some could not be read."""
    failed: dict[str, str] = {}
    slots = asyncio.Semaphore(AT_ONCE)
    with Progress(console=Console(stderr=True)) as progress:
        bar = progress.add_task("letters", total=len(results))

        async def read(letter: Path) -> None:
            async with slots:
                try:
                    result = await reader.run(await anyio.Path(letter).read_text("utf-8"))
                    keep(result.output, results[letter])
                except (AgentKitError, OSError, ValueError) as error:
                    failed[letter.name] = f"{type(error).__name__}: {error}"
            progress.advance(bar)

        async with asyncio.TaskGroup() as tasks:
            for letter in results:
                tasks.create_task(read(letter))
    return failed


def main(folder: Path, results: Path) -> int:
    """Read the letters that have no result yet, and tell what came of it; returns the exit code."""
    results.mkdir(parents=True, exist_ok=True)
    letters = {letter: results / f"{letter.stem}.json" for letter in sorted(folder.glob("*.txt"))}
    waiting = {letter: result for letter, result in letters.items() if not result.exists()}
    failed = asyncio.run(extract(waiting))
    print(f"{len(letters) - len(waiting)} of {len(letters)} had been read, now {len(letters) - len(failed)} are")
    for name in sorted(failed):
        print(f"- {name}: {' '.join(failed[name].split())}")
    return int(bool(failed))


if __name__ == "__main__":
    if sys.argv[1:]:
        sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(2):
            main(SAMPLE, Path(folder))
        for result in sorted(Path(folder).iterdir()):
            print(f"{result.name}: {result.read_text('utf-8')}")
