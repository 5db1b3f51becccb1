"""Ask ten questions that take a tool each, and count what was right. The exit code is 1 under eight.

A call is right if it is the only one that ran, of the right tool with the right arguments (one that a tool turned down,
so that the model could do better, does not count); an answer, if it also holds what that call gave.

All tools are offered with each question; with --alone, only the one that it takes.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo, available_timezones

from agentkit import Agent, Result, Retry, ToolCall
from agentkit.errors import AgentKitError

MODEL = os.environ.get("AGENTKIT_MODEL", "local")
ENOUGH = 8

# Written before the first try. Whatever comes out, they stay as they are.
QUESTIONS: list[tuple[str, str, dict[str, Any]]] = [
    ("What time is it in Tokyo?", "time_in", {"city": "Tokyo"}),
    ("Tell me the current time in Cairo.", "time_in", {"city": "Cairo"}),
    ("What is the local time in Buenos Aires right now?", "time_in", {"city": "Buenos Aires"}),
    ("How many words are in the file notes.txt?", "word_count", {"file": "notes.txt"}),
    ("Count the words of letters/anna.txt.", "word_count", {"file": "letters/anna.txt"}),
    ("How many bytes does the folder letters take up?", "folder_size", {"folder": "letters"}),
    ("How large is the folder reports/2026?", "folder_size", {"folder": "reports/2026"}),
    ("How many miles are 42 kilometers?", "convert", {"amount": 42, "source": "kilometers", "target": "miles"}),
    ("Convert 150 pounds to kilograms.", "convert", {"amount": 150, "source": "pounds", "target": "kilograms"}),
    ("What do 1234 and 5678 add up to?", "add", {"a": 1234, "b": 5678}),
]

FILES = {
    "notes.txt": "Buy bread, milk and eggs. Call the plumber about the tap in the kitchen. " * 3,
    "letters/anna.txt": "Dear Anna, the garden is in full bloom and the cat has found a new place to sleep. " * 7,
    "letters/ben.txt": "Dear Ben, thank you for the book. I read it in one night. ",
    "reports/2026/march.txt": "Sales went up by four percent, mostly in the north. " * 25,
}

ZONES = {name.rpartition("/")[2].replace("_", " ").casefold(): name for name in sorted(available_timezones())}
UNITS = {"kilometers": 1000.0, "miles": 1609.344, "kilograms": 1.0, "pounds": 0.45359237}


def time_in(city: str) -> str:
    """Tell the current time in a city.

    Args:
        city: The city's name.
    """
    zone = ZONES.get(city.strip().replace("_", " ").casefold())
    if zone is None:
        raise Retry(f"There is no time zone named after {city!r}. Name the nearest large city.")
    return f"{datetime.now(ZoneInfo(zone)):%H:%M}"


def word_count(file: str) -> int:
    """Count the words in a file.

    Args:
        file: The path of the file.
    """
    if not Path(file).is_file():
        raise Retry(f"There is no file {file!r}. Give its path as it was written.")
    return len(Path(file).read_text("utf-8").split())


def folder_size(folder: str) -> int:
    """Tell the size of a folder in bytes.

    Args:
        folder: The path of the folder.
    """
    if not Path(folder).is_dir():
        raise Retry(f"There is no folder {folder!r}. Give its path as it was written.")
    return sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())


def convert(
    amount: float,
    source: Literal["kilometers", "miles", "kilograms", "pounds"],
    target: Literal["kilometers", "miles", "kilograms", "pounds"],
) -> float:
    """Convert an amount from one unit to another.

    Args:
        amount: How much.
        source: The unit to convert from.
        target: The unit to convert to.
    """
    return round(amount * UNITS[source] / UNITS[target], 2)


def add(a: float, b: float) -> float:
    """Add two numbers.

    Args:
        a: The first number.
        b: The second number.
    """
    return a + b


TOOLS = {tool.__name__: tool for tool in (time_in, word_count, folder_size, convert, add)}
agent = Agent(MODEL, tools=TOOLS.values(), settings={"temperature": 0})


def is_right(call: ToolCall, tool: str, arguments: dict[str, Any]) -> bool:
    """Whether that call was made, the case of letters and the kind of a number apart."""
    made: Any = call.parsed
    return call.name == tool and {name: _plain(made[name]) for name in made} == {
        name: _plain(value) for name, value in arguments.items()
    }


def _plain(value: object) -> object:
    return value.strip().casefold() if isinstance(value, str) else value


def holds(answer: str, content: str) -> bool:
    """Whether a text has the tool's result in it: not as a part of a longer number, thousands grouped or not."""
    number = re.escape(content.removesuffix(".0"))
    return re.search(rf"(?<![\d.]){number}(?:\.0+)?(?!\d|\.\d)", re.sub(r"(?<=\d),(?=\d{3})", "", answer)) is not None


def judge(result: Result, tool: str, arguments: dict[str, Any]) -> tuple[bool, bool]:
    """Whether the call was right, and whether the answer holds its result."""
    ran = [(each.call, each.result.content) for each in result.tool_calls if each.result and each.result.status == "ok"]
    called = len(ran) == 1 and is_right(ran[0][0], tool, arguments)
    return called, called and holds(result.output, ran[0][1])


def ask(question: str, tool: str, arguments: dict[str, Any], *, alone: bool) -> tuple[bool, bool]:
    """Ask one question, and print what was wrong, if anything was."""
    try:
        result = (agent.with_(tools=[TOOLS[tool]]) if alone else agent).run_sync(question)
    except AgentKitError as error:
        print(f"- {question}\n    wanted {tool}({arguments})\n    {type(error).__name__}: {error}")
        return False, False
    called, answered = judge(result, tool, arguments)
    if not answered:
        print(f"- {question}\n    wanted {tool}({arguments})")
        for each in result.tool_calls:
            told = each.result.content if each.result else "no result"
            print(f"    called {each.call.name}({each.call.arguments}): {told}")
        print(f"    answer {result.output!r}")
    return called, answered


def main() -> int:
    """Ask them all, in a folder that has the files they are about."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for name, text in FILES.items():
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).write_text(text, "utf-8")
        judged = [ask(*question, alone="--alone" in sys.argv) for question in QUESTIONS]
    called, answered = (sum(column) for column in zip(*judged, strict=True))
    print(f"{called} of {len(QUESTIONS)} calls were right, {answered} of {len(QUESTIONS)} answers hold the result.")
    return 0 if min(called, answered) >= ENOUGH else 1


if __name__ == "__main__":
    sys.exit(main())
