"""Lines that the user types: with editing, history and completion on a terminal, as they come from a pipe."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Protocol

from agentkit.cli.files import history_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import Completer
    from prompt_toolkit.history import History
    from prompt_toolkit.key_binding.key_processor import KeyPressEvent


class Lines(Protocol):
    """Where the user's words come from."""

    def read(self, prompt: str, default: str = "", *, remember: bool = True) -> str | None:
        """What is typed next, several lines as one text; None at the end.

        Raises:
            KeyboardInterrupt: Ctrl-C at an empty prompt.
        """
        ...


class PipedLines:
    """Lines of a pipe or file: nothing is echoed."""

    def read(self, prompt: str, default: str = "", *, remember: bool = True) -> str | None:  # noqa: ARG002  # as Lines
        """The next line; lines that end in a backslash go on in the next one."""
        text = ""
        while line := sys.stdin.readline():
            text += line.rstrip("\n")
            if not text.endswith("\\"):
                return text
            text = f"{text[:-1]}\n"
        return text or None


class TypedLines:
    """Lines typed at a terminal. Enter sends, Alt-Enter or a backslash at the end begins another line."""

    def __init__(self, commands: Sequence[str] = ()) -> None:
        from prompt_toolkit.completion import WordCompleter  # 160 ms, and only a chat needs it
        from prompt_toolkit.history import FileHistory, InMemoryHistory

        path = history_file()
        completer = WordCompleter(list(commands), sentence=True)
        self._session = _session(InMemoryHistory() if path is None else FileHistory(str(path)), completer)
        self._forgetful = _session(InMemoryHistory(), None)

    def read(self, prompt: str, default: str = "", *, remember: bool = True) -> str | None:
        """What is typed next."""
        session = self._session if remember else self._forgetful
        try:
            return session.prompt(prompt, default=default)
        except EOFError:
            return None


def _session(history: History, completer: Completer | None) -> PromptSession[str]:
    from prompt_toolkit import PromptSession

    return PromptSession(
        history=history,
        completer=completer,
        complete_while_typing=False,
        key_bindings=_keys(),
        multiline=True,
        prompt_continuation=_indented,
    )


def _indented(width: int, _number: int, _wrapped: int) -> str:
    return " " * width


def _keys() -> Any:
    from prompt_toolkit.key_binding import KeyBindings

    keys = KeyBindings()

    def enter(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if buffer.document.text_before_cursor.endswith("\\"):
            buffer.delete_before_cursor()
            buffer.insert_text("\n")
        else:
            buffer.validate_and_handle()

    def new_line(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    def interrupt(event: KeyPressEvent) -> None:
        if event.current_buffer.text:
            event.current_buffer.reset()
        else:
            event.app.exit(exception=KeyboardInterrupt(), style="class:aborting")

    keys.add("enter")(enter)
    keys.add("escape", "enter")(new_line)
    keys.add("c-c")(interrupt)
    return keys


def lines_of_stdin(commands: Sequence[str] = ()) -> Lines:
    """The lines of standard input, with editing where somebody sits at a terminal."""
    return TypedLines(commands) if sys.stdin.isatty() and sys.stdout.isatty() else PipedLines()
