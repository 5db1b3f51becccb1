"""What a chat does besides asking: /help, /save and the like."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.text import Text

from agentkit.cli.console import out, say
from agentkit.cli.files import load_transcript, save_transcript
from agentkit.cli.tools import print_tools
from agentkit.errors import UsageError
from agentkit.looks.terminal import Look, lines_of
from agentkit.looks.timeline import timeline_of
from agentkit.looks.words import summary
from agentkit.plain import plain
from agentkit.transcript import Transcript

if TYPE_CHECKING:
    from collections.abc import Callable

    from agentkit.cli.chat import Chat


def _help(_chat: Chat, _text: str) -> None:
    for name, (_, what) in COMMANDS.items():
        out().print(Text(f"{name:<16}", "bold").append(what, "not bold"))
    say("Enter sends; Alt-Enter, or a \\ at the end, begins another line. Ctrl-C stops an answer, or leaves.")


def _tools(chat: Chat, _text: str) -> None:
    print_tools(chat.chosen.tools)


def _model(chat: Chat, text: str) -> None:
    if text:
        chat.chosen.agent = chat.chosen.agent.with_(model=text)
    say(f"model: {chat.model_name}")


def _system(chat: Chat, text: str) -> None:
    if text:
        chat.chosen.agent = chat.chosen.agent.with_(instructions=text)
    say(f"instructions: {chat.chosen.agent.instructions or 'none'}")


def _clear(chat: Chat, _text: str) -> None:
    chat.go_on_from(Transcript())
    say("a new conversation")


def _save(chat: Chat, text: str) -> None:
    if not text:
        raise UsageError("/save needs a file, as in /save talk.json")
    save_transcript(Path(text).expanduser(), chat.transcript)
    say(f"saved {len(chat.transcript)} messages to {text}")


def _load(chat: Chat, text: str) -> None:
    if not text:
        raise UsageError("/load needs a file, as in /load talk.json")
    chat.go_on_from(load_transcript(Path(text).expanduser()))
    say(f"loaded {len(chat.transcript)} messages from {text}")
    for line in chat.transcript.mended:
        say(f"mended: {line}", "yellow")


def _usage(chat: Chat, _text: str) -> None:
    say(summary(timeline_of(chat.transcript)))


def _show(chat: Chat, _text: str) -> None:
    console = out()
    for line in lines_of(timeline_of(chat.transcript), Look(width=console.width if console.is_terminal else None)):
        console.print(line)


def _undo(chat: Chat, _text: str) -> None:
    prompt = chat.undo()
    say("nothing to take back" if prompt is None else f"taken back: {plain(str(prompt))[:80]}")


def _retry(chat: Chat, _text: str) -> None:
    prompt = chat.undo()
    if prompt is None:
        say("nothing to ask again")
    else:
        chat.ask(prompt)


def _quit(chat: Chat, _text: str) -> None:
    chat.is_over = True


COMMANDS: Final[dict[str, tuple[Callable[[Chat, str], None], str]]] = {
    "/help": (_help, "these commands"),
    "/tools": (_tools, "the tools that the model may call"),
    "/model NAME": (_model, "which model answers; with a name, another one from now on"),
    "/system TEXT": (_system, "the instructions; with a text, others from now on"),
    "/clear": (_clear, "begin a new conversation"),
    "/save FILE": (_save, "write the conversation to a file"),
    "/load FILE": (_load, "go on with the conversation in a file"),
    "/show": (_show, "the conversation so far"),
    "/usage": (_usage, "what the conversation took: replies, calls, tokens"),
    "/undo": (_undo, "take back the last question and its answer"),
    "/retry": (_retry, "ask the last question again"),
    "/quit": (_quit, "leave"),
}
NAMES: Final = {name.partition(" ")[0]: run for name, (run, _) in COMMANDS.items()}


def obey(chat: Chat, line: str) -> None:
    """Do what a line that begins with a slash says. Raises UsageError if it is no command."""
    name, _, text = line.strip().partition(" ")
    command = NAMES.get(name)
    if command is None:
        raise UsageError(f"there is no {name}; the commands are {', '.join(NAMES)}")
    command(chat, text.strip())
