"""A bot for the terminal: answers stream, and the conversation goes on from line to line, until Ctrl-D."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from agentkit import Agent, Retry, Transcript, tool
from agentkit.errors import AgentKitError
from agentkit.printing import print_events

MODEL = os.environ.get("AGENTKIT_MODEL", "openai:gpt-5-mini")


@tool(read_only=True, max_output_chars=4_000)
def read_file(path: str) -> str:
    """Read a text file in the current folder.

    Args:
        path: The file's path.
    """
    file = Path(path).resolve()
    if not file.is_relative_to(Path.cwd()) or not file.is_file():
        raise Retry(f"There is no file {path!r} here; list_files tells which there are.")
    return file.read_text("utf-8", errors="replace")


@tool(read_only=True)
def list_files() -> list[str]:
    """List the files in the current folder."""
    return sorted(path.name for path in Path.cwd().iterdir() if path.is_file())


bot = Agent(MODEL, tools=[read_file, list_files], instructions="Answer briefly. You may look at the user's files.")


def main() -> None:
    """Answer each line of the standard input."""
    print(f"Talking to {MODEL}. Ctrl-C stops an answer, Ctrl-D ends.")
    transcript = Transcript()
    while line := _next_line():
        run = bot.stream_sync(line, transcript=transcript)
        try:
            with run:
                print_events(run)
        except KeyboardInterrupt:
            print("stopped")
        except AgentKitError as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
        transcript = run.transcript  # also after an error or Ctrl-C it can be gone on from


def _next_line() -> str:
    """The next line that says something; "" at the end."""
    print("> ", end="", flush=True)
    for line in sys.stdin:
        if text := line.strip():
            return text
        print("> ", end="", flush=True)
    print()
    return ""


if __name__ == "__main__":
    main()
