"""What the command's exit code says, for scripts to go by."""

from __future__ import annotations

from typing import Final

from agentkit.errors import Cancelled, LimitReached, UsageError

DONE: Final = 0
FAILED: Final = 1
USAGE: Final = 2
LIMIT: Final = 3
PAUSED: Final = 4
CANCELLED: Final = 130  # what a shell says of a program that Ctrl-C ended

MEANINGS: Final = {
    DONE: "the answer is there",
    FAILED: "the model, the endpoint or a tool failed",
    USAGE: "the command or the agent was given something that cannot work",
    LIMIT: "a limit of the run was reached",
    PAUSED: "calls wait for a decision",
    CANCELLED: "cancelled by Ctrl-C",
}


def code_of(error: BaseException) -> int:
    """The exit code that an error ends the command with."""
    match error:
        case UsageError():
            return USAGE
        case LimitReached():
            return LIMIT
        case Cancelled() | KeyboardInterrupt():
            return CANCELLED
        case _:
            return FAILED
