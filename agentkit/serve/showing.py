"""What a client is shown of a run while it goes on: text, reasoning, and the agent's own steps if that is wanted."""

from __future__ import annotations

import time
from itertools import count
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from pydantic_core import to_jsonable_python

from agentkit._json import dumps
from agentkit.events import (
    HandedOff,
    Nested,
    ReasoningDelta,
    Retrying,
    StepFinished,
    TextDelta,
    ToolDropped,
    ToolFinished,
    ToolProgress,
    ToolStarted,
)
from agentkit.serve.replies import Piece

if TYPE_CHECKING:
    from collections.abc import Container

    from agentkit.events import Event
    from agentkit.messages import ToolCall
    from agentkit.result import Result

ShowSteps: TypeAlias = Literal["text", "reasoning", "asked"] | None
NOTED_CHARS: Final = 20_000
"""How much of a call's arguments, or of its result, is told to a client that asks for the agent's steps."""
_SHOWN_CHARS: Final = 200


class Shown:
    """What has been shown of one answer.

    `whole` is set if its text may be shown at the end alone; `hidden` has the names of calls that are no step of the
    agent's: they are the client's own.
    """

    def __init__(self, show_steps: ShowSteps, *, whole: bool, hidden: Container[str]) -> None:
        self.show_steps = show_steps
        self.whole = whole
        self.hidden = hidden
        self.content: list[str] = []
        self.reasoning: list[str] = []
        self.noted: list[dict[str, Any]] = []
        self.has_acted = False
        self._parted = False
        self._number = count()  # clients that put deltas together ask for it
        self._known: set[str] = set()
        self._began: dict[str, float] = {}
        self._took: dict[str, float] = {}

    def clock(self, event: Event, within: str = "") -> None:
        """Note how long a call takes, when it happens: whoever reads slowly sees events later."""
        if isinstance(event, Nested):
            self.clock(event.event, f"{within}{event.call.id}/")
        elif isinstance(event, ToolStarted):
            self._began[within + event.call.id] = time.monotonic()
        elif isinstance(event, ToolFinished):
            call_id = within + event.call.id
            # what a decision denied has never begun
            self._took[call_id] = time.monotonic() - self._began.pop(call_id, time.monotonic())

    def see(self, event: Event) -> Piece | None:
        """The piece of the answer that an event is, if it is one."""
        self.has_acted = self.has_acted or isinstance(event, ToolStarted)
        match event:
            case TextDelta(text) if not self.whole:
                return self._say(text)
            case ReasoningDelta(text):
                return self._think(text)
            case StepFinished():
                self._parted = True
                return None
            case _ if self.show_steps == "asked":
                noted = [{"index": next(self._number), **step} for step in self._noted(event, "")]
                return Piece(noted=noted) if noted else None
            case ToolStarted(call):
                return self._step(f"→ {call.name} {_short(call.arguments)}")
            case ToolFinished(call, result) if call.name not in self.hidden:
                return self._step(f"← {call.name} {result.status}: {_short(result.content)}")
            case _:
                return None

    def rest(self, result: Result[Any]) -> str:
        """The text that could not be shown before the end."""
        if not self.whole:
            return ""
        text = "" if result.status == "paused" else _written(result.output)
        if text:
            self.content.append(text)
        return text

    def _say(self, text: str) -> Piece:
        if self._parted and self.content and self.content[-1][-1:] != "\n":
            text = f"\n\n{text}"
        self._parted = False
        self.content.append(text)
        return Piece(text)

    def _think(self, text: str) -> Piece:
        self.reasoning.append(text)
        return Piece(reasoning=text)

    def _step(self, line: str) -> Piece | None:
        if self.show_steps == "reasoning":
            return self._think(f"\n{line}\n" if self.reasoning and self.reasoning[-1][-1:] != "\n" else f"{line}\n")
        if self.show_steps == "text" and not self.whole:
            self._parted = False
            self.content.append(f"\n{line}\n" if self.content and self.content[-1][-1:] != "\n" else f"{line}\n")
            return Piece(self.content[-1])
        return None

    def _noted(self, event: Event, within: str) -> list[dict[str, Any]]:
        """An event as it stands in the answer; `within` is the id of the call that it is part of, and a stroke."""
        match event:
            case ToolStarted(call) if within or call.name not in self.hidden:
                return [self._called(call, within)]
            case ToolProgress(call, value):
                return [{"type": "progress", "id": within + call.id, "content": _cut(_written(value))}]
            case ToolFinished(call, result) if within or call.name not in self.hidden:
                call_id = within + call.id
                told = [] if call_id in self._known else [self._called(call, within)]
                self._known.discard(call_id)
                noted = {"type": "result", "id": call_id, "status": result.status, "content": _cut(result.content)}
                return [*told, {**noted, "seconds": round(self._took.pop(call_id, 0), 3)}]
            case ToolDropped(call):
                self._known.discard(within + call.id)
                return [{"type": "dropped", "id": within + call.id}]
            case HandedOff(name):
                return [{"type": "agent", "name": name}]
            case Retrying(wait_s=wait_s):
                return [{"type": "retry", "seconds": round(wait_s, 3)}]
            case Nested(call, inner):
                return self._noted(inner, f"{within}{call.id}/")
            case _:
                return []

    def _called(self, call: ToolCall, within: str) -> dict[str, Any]:
        self._known.add(within + call.id)
        return {"type": "call", "id": within + call.id, "name": call.name, "arguments": _cut(call.arguments)}


def _written(output: Any) -> str:
    return output if isinstance(output, str) else dumps(to_jsonable_python(output, fallback=repr)).decode()


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"


def _cut(text: str) -> str:
    return text if len(text) <= NOTED_CHARS else f"{text[:NOTED_CHARS]}…"
