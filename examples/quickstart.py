"""A model calls a Python function and answers from its result: `python examples/quickstart.py [question]`.

The model is a small one that runs on this machine. Another is another string, here or in AGENTKIT_MODEL:
"openai:gpt-5-mini", "tokenhub:gpt-4", "ollama:qwen3".
"""

from __future__ import annotations

import os
import sys
from datetime import datetime
from zoneinfo import ZoneInfo, available_timezones

from agentkit import Agent, Retry
from agentkit.printing import print_events

MODEL = os.environ.get("AGENTKIT_MODEL") or "local"
ZONES = {name.rpartition("/")[2].replace("_", " ").casefold(): name for name in sorted(available_timezones())}


def time_in(city: str) -> str:
    """Tell the current time in a city.

    Args:
        city: The city's name.
    """
    zone = ZONES.get(city.strip().casefold())
    if zone is None:
        raise Retry(f"There is no time zone named after {city!r}. Name a large city near it.")
    return f"{datetime.now(ZoneInfo(zone)):%H:%M}"


agent = Agent(MODEL, tools=[time_in])


def main() -> None:
    """Ask, and show what happens."""
    question = " ".join(sys.argv[1:]) or "What time is it in Tokyo?"
    print(question)
    with agent.stream_sync(question) as run:
        print_events(run)


if __name__ == "__main__":
    main()
