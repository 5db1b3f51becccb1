"""A conversation at the terminal."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from agentkit.cli.console import View, complain, out, say
from agentkit.cli.deciding import Approver
from agentkit.cli.files import load_transcript, save_transcript
from agentkit.cli.keeping import Talk
from agentkit.cli.lines import lines_of_stdin
from agentkit.cli.slash import NAMES, obey
from agentkit.errors import AgentKitError, UsageError
from agentkit.plain import in_one_line
from agentkit.tools import Tool
from agentkit.transcript import Transcript

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from agentkit.cli.choosing import Chosen
    from agentkit.pending import Decisions, PendingCall


class Chat:
    """An agent, a conversation, and the user at the terminal.

    `kept` is the file that is saved after each turn, or a conversation in a store, where each entry is kept at once.
    """

    def __init__(self, chosen: Chosen, kept: Path | Talk | None, *, debug: bool = False) -> None:
        self.chosen = chosen
        self.transcript = Transcript()
        if isinstance(kept, Talk):
            self.transcript = kept.load()
        elif kept is not None and kept.exists():
            self.transcript = load_transcript(kept)
        self.is_over = False
        self._kept = kept
        self._debug = debug
        self._lines = lines_of_stdin(tuple(NAMES))
        self._approver = Approver(self._lines)

    @property
    def model_name(self) -> str:
        """The model's name, as far as it has one."""
        model = self.chosen.agent.model
        return model.name or repr(model)

    def greet(self) -> None:
        """Say who answers and how to leave."""
        names = [tool.name for tool in self.chosen.tools if isinstance(tool, Tool)]
        tools = f" with {in_one_line(', '.join(names), 120)}" if names else ""
        say(f"{self.chosen.agent.name or self.model_name}{tools}. /help tells what else there is; Ctrl-D leaves.")
        if len(self.transcript):
            say(f"going on after {len(self.transcript)} messages; /show shows them")
        for line in self.transcript.mended:
            say(f"mended: {line}", "yellow")

    def talk(self) -> None:
        """Question by question, until the user leaves."""
        if self.transcript.pending:
            self._guarded(partial(self.ask, None))
        while not self.is_over:
            try:
                line = self._lines.read("> ")
            except KeyboardInterrupt:
                break
            if line is None:
                break
            self._guarded(partial(self._heed, line))

    def _heed(self, line: str) -> None:
        if not line.strip():
            return
        # a path may begin with a slash as well
        if line.startswith("/") and "/" not in line[1:].partition(" ")[0]:
            obey(self, line)
            return
        if self.transcript.pending:
            self.ask(None)
        if not self.is_over:
            self.ask(line)

    def _guarded(self, work: Callable[[], None]) -> None:
        """Errors and Ctrl-C end what is under way, never the chat."""
        try:
            work()
        except KeyboardInterrupt:
            say("stopped")
        except AgentKitError as error:
            if self._debug:
                out().print_exception()
            complain(error)

    def ask(self, prompt: Any) -> None:
        """Have a question answered; calls that wait are asked about in their place."""
        decisions: Decisions | None = None
        while True:
            pending = self._run(prompt, decisions)
            if not pending:
                return
            decisions = self._approver.decide(pending)
            if decisions is None:
                self.is_over = True
                return
            prompt = None

    def _run(self, prompt: Any, decisions: Decisions | None) -> Sequence[PendingCall]:
        """Run once; the calls that wait for a decision."""
        past = self._kept.open() if isinstance(self._kept, Talk) else self.transcript
        stream = self.chosen.agent.stream_sync(prompt, **self.chosen.args(past, decisions))
        view = View()
        try:
            with view.watching(), stream:
                for event in stream:
                    view(event)
        finally:
            if stream.is_begun:
                # also after an error or Ctrl-C it is one to go on from
                self.transcript = stream.transcript
                self._keep()
        return stream.result.pending

    def _keep(self) -> None:
        if self._kept is not None and not isinstance(self._kept, Talk):
            save_transcript(self._kept, self.transcript)

    def go_on_from(self, transcript: Transcript) -> None:
        """Put another conversation in the place of this one. Raises UsageError where it is in a store."""
        if isinstance(self._kept, Talk):
            raise UsageError(
                f"conversation {self._kept.name!r} is kept as it was, and only goes on: for another one, leave and "
                "give another name with --conversation"
            )
        self.transcript = transcript

    def undo(self) -> Any:
        """Take back the last question and all that came of it; what was asked, or None."""
        entries = list(self.transcript)
        for index in range(len(entries) - 1, -1, -1):
            entry = entries[index]
            if entry.author == "caller" and entry.message.role == "user":
                self.go_on_from(Transcript(entries[:index]))
                self._keep()
                return entry.message.data["content"]
        return None


def check_file(path: Path | None) -> None:
    """Raises UsageError where a conversation could not be kept in a file."""
    if path is not None and path.is_dir():
        raise UsageError(f"{str(path)!r} is a folder: give the name of a file")
