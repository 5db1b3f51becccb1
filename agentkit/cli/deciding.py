"""Calls that wait for a decision: asked about at the terminal, or decided by options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.text import Text

from agentkit._json import is_object, loads
from agentkit.approval import Answer, Approve, Decision, Deny
from agentkit.cli.console import out, say
from agentkit.errors import UsageError
from agentkit.plain import plain, pretty

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentkit.cli.lines import Lines
    from agentkit.messages import ToolCall
    from agentkit.pending import Decisions, PendingCall


_KEYS = "y: run it, n: don't, n WHY: don't, and tell the model why, e: change the arguments, a: y from now on"


class Approver:
    """Asks about each call in its place. `always` are the tools that need no further word in this chat."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self.always: set[str] = set()

    def decide(self, pending: Sequence[PendingCall]) -> dict[str, Decision] | None:
        """A decision for each call; None if the user turns away. Raises KeyboardInterrupt."""
        decisions: dict[str, Decision] = {}
        for waiting in pending:
            if waiting.hold == "approval" and waiting.call.name in self.always:
                decisions[waiting.id] = Approve()
                continue
            _show(waiting)
            decision = self._answer(waiting) if waiting.hold == "answer" else self._approval(waiting)
            if decision is None:
                return None
            decisions[waiting.id] = decision
        return decisions

    def _approval(self, waiting: PendingCall) -> Decision | None:
        while (typed := self._lines.read("run it? y/n/e/a ", remember=False)) is not None:
            word, _, why = typed.strip().partition(" ")
            match word.lower():
                case "y" | "yes":
                    return Approve()
                case "n" | "no":
                    return Deny(why.strip())
                case "a" | "always":
                    self.always.add(waiting.call.name)
                    return Approve()
                case "e" | "edit":
                    if (changed := self._changed(waiting.call)) is not None:
                        return changed
                case _:
                    say(_KEYS)
        return None

    def _changed(self, call: ToolCall) -> Approve | None:
        typed = self._lines.read("arguments: ", default=pretty(call.arguments), remember=False)
        if typed is None or not typed.strip():
            return None
        try:
            value = loads(typed)
        except ValueError as error:
            say(f"that is no JSON: {error}", "red")
            return None
        if not is_object(value):
            say('the arguments are a JSON object, as in {"city": "Tokyo"}', "red")
            return None
        return Approve(value)

    def _answer(self, waiting: PendingCall) -> Decision | None:
        say(f"{waiting.call.name} is done outside: type its result (text or JSON); !WHY says that it was not done")
        typed = self._lines.read("result: ", remember=False)
        if typed is None:
            return None
        return Deny(typed[1:].strip()) if typed.startswith("!") else Answer(json_or_text(typed))


def _show(waiting: PendingCall) -> None:
    console = out()
    console.print(Text("? ", "bold yellow").append(f"{plain(waiting.call.name)}  {plain(waiting.id)}", "bold"))
    # all of it: what is approved has to be seen
    console.print(Text(plain(pretty(waiting.call.arguments)), "yellow"))
    if waiting.hold == "unknown":
        say("it was started before, and what came of it is not known: y runs it again", "yellow")


def json_or_text(typed: str) -> Any:
    """A value from what was typed: JSON where it is some, else the text."""
    try:
        return loads(typed)
    except ValueError:
        return typed


def decisions_of(approve: Sequence[str], deny: Sequence[str], answer: Sequence[str]) -> Decisions | None:
    """The decisions that options spell: `--approve all`, `--approve ID`, `--deny ID=WHY`, `--answer ID=VALUE`.

    None where there are none. Raises UsageError.
    """
    given: list[tuple[str, Decision]] = [(name, Approve()) for name in approve]
    for text in deny:
        name, _, why = text.partition("=")
        given.append((name, Deny(why)))
    for text in answer:
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"--answer {text!r} lacks a value: write --answer ID=VALUE")
        given.append((name, Answer(json_or_text(value))))
    decisions = dict(given)
    if len(decisions) < len(given):
        twice = next(name for name, _ in given if [other for other, _ in given].count(name) > 1)
        raise UsageError(f"{twice!r} is decided twice: give one decision for each call")
    if "all" not in decisions:
        return decisions or None
    if len(decisions) > 1:
        raise UsageError("'all' stands for every call: give no other decision beside it")
    return decisions["all"]
