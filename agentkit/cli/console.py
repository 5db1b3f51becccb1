"""What the command prints with: consoles for what was asked for and for what is said about it."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from agentkit.events import Retrying, ToolCallDelta, ToolDropped, ToolFinished, ToolStarted
from agentkit.plain import plain
from agentkit.printing import Printer

if TYPE_CHECKING:
    from collections.abc import Generator

    from rich.status import Status

    from agentkit.events import Event


def out() -> Console:
    """The console for what was asked for."""
    return Console(highlight=False, soft_wrap=True)


def for_tables() -> Console:
    """The console for tables: as wide as the terminal, and wide where there is none."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else 160)


def err() -> Console:
    """The console for errors and remarks."""
    return Console(highlight=False, soft_wrap=True, stderr=True)


def say(text: str, style: str = "dim") -> None:
    """A remark on stderr."""
    err().print(Text(plain(text), style))


def complain(error: BaseException) -> None:
    """One red line for an error, on stderr."""
    message = " ".join(str(error).split()) or type(error).__name__
    err().print(Text(plain(f"agentkit: {message}"), "bold red"))


class View:
    """A run on the terminal: what agentkit.printing shows, and something that turns while the model is waited for."""

    def __init__(self) -> None:
        self.printer = Printer()
        self._status: Status | None = None
        self._running = 0

    def __call__(self, event: Event) -> None:
        """Show an event."""
        if isinstance(event, ToolCallDelta):
            return  # nothing is shown of it, so what turns goes on
        self.rest()
        self.printer(event)
        match event:
            case ToolStarted():
                self._running += 1
            case ToolFinished() | ToolDropped():
                self._running -= 1
            case _:
                pass
        # not beside a tool: it may print or ask something itself
        if isinstance(event, ToolFinished | Retrying) and not self._running:
            self.turn()

    def turn(self) -> None:
        """Show that something goes on, where there is a terminal to show it on."""
        if self._status is None and sys.stdout.isatty():
            self.printer.end_line()
            self._status = out().status("", spinner="dots")
            self._status.start()

    def rest(self) -> None:
        """Take it away again."""
        if self._status is not None:
            self._status.stop()
            self._status = None

    @contextmanager
    def watching(self) -> Generator[View]:
        """From the question to the end of the answer, however it comes."""
        self.turn()
        try:
            yield self
        finally:
            self.rest()
            self.printer.end_line()
