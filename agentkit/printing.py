"""A small view of a run for the terminal: text as it comes, reasoning, tool calls with arguments and time, usage.

```
→ time_in(city="Tokyo")
← time_in: 21:40 (0.0 s)
It is 21:40 in Tokyo.
2 steps · 1 tool call · 310 tokens in, 24 out
```
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, Final, TextIO, assert_never

from agentkit._json import dumps, is_object
from agentkit.clock import clock
from agentkit.events import (
    Compacted,
    HandedOff,
    Nested,
    ReasoningDelta,
    Restarted,
    Retrying,
    RunFinished,
    StepFinished,
    TextDelta,
    ToolCallDelta,
    ToolDropped,
    ToolFinished,
    ToolProgress,
    ToolStarted,
)
from agentkit.looks.words import counted, tokens_of
from agentkit.plain import plain

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Iterable

    from agentkit.events import Event
    from agentkit.messages import ToolCall, ToolResult
    from agentkit.result import Result

MAX_CHARS: Final = 200
_PLAIN, _BOLD, _DIM, _RED, _YELLOW = "", "1", "2", "31", "33"


class Printer:
    """Prints each event that it is called with: `agent.run_sync(prompt, on_event=Printer())`.

    Of a model's several choices it shows the first.

    Args:
        file: Where to; sys.stdout if None.
        color: Whether to use ANSI colours; if None, on a terminal, unless the variable NO_COLOR is set.
        max_chars: How much is shown of each argument, result and error.
    """

    def __init__(self, file: TextIO | None = None, *, color: bool | None = None, max_chars: int = MAX_CHARS) -> None:
        self.file = sys.stdout if file is None else file
        self.color = _has_color(self.file) if color is None else color
        self.max_chars = max_chars
        self._at_start = True
        self._reasons = False
        self._began: list[tuple[ToolCall, float]] = []

    def __call__(self, event: Event) -> None:
        """Print an event."""
        match event:
            case TextDelta(text, choice=0):
                self._end_reasoning()
                self._write(text)
            case ReasoningDelta(text, choice=0):
                self._reason(text)
            case ToolStarted(call):
                self._began.append((call, clock.get().monotonic()))
                self._line(f"→ {self._call(call)}", _BOLD)
            case ToolProgress(call, value):
                self._line(f"  {call.name}: {self._short(value)}", _DIM)
            case ToolFinished(call, result):
                self._finish(call, result)
            case ToolDropped(call):
                self._take(call)
                self._line(f"- {self._call(call)}: not asked for in the end", _DIM)
            case Retrying(error, attempt, wait_s):
                self._line(f"! attempt {attempt} failed, the next in {wait_s:.1f} s: {self._short(error)}", _YELLOW)
            case Restarted():
                self._line("! the reply begins anew: what came of it so far does not count", _YELLOW)
            case StepFinished():
                self.end_line()
            case Compacted(entries):
                self._line(f"≡ summed up: the first {entries} entries", _DIM)
            case HandedOff(name):
                self._line(f"⇒ {name} goes on", _BOLD)
            case Nested(call, inner):
                self._nested(call.name, inner)
            case RunFinished(result, step):
                self._line(usage_line(result, step), _DIM)
            case TextDelta() | ReasoningDelta() | ToolCallDelta():
                pass  # a call is shown when it starts
            case _:
                assert_never(event)

    def _nested(self, path: str, event: Event) -> None:
        """What the agent does that does a call."""
        match event:
            case Nested(call, inner):
                self._nested(f"{path} » {call.name}", inner)
            case ToolStarted(call):
                self._line(f"  {path} → {self._call(call)}", _DIM)
            case ToolFinished(call, result):
                self._line(f"  {path} ← {call.name}: {self._short(result.content)}", _DIM)
            case HandedOff(name):
                self._line(f"  {path} ⇒ {name} goes on", _DIM)
            case _:
                pass  # the call's own result tells the rest

    def end_line(self) -> None:
        """End the line that text or reasoning stands in, if there is one."""
        self._end_reasoning()
        if not self._at_start:
            self._write("\n")

    def _reason(self, text: str) -> None:
        if not self._reasons:
            self.end_line()
            self._reasons = True
            text = f"({text.lstrip()}"
        self._write(text, _DIM)

    def _end_reasoning(self) -> None:
        if self._reasons:
            self._reasons = False
            self._write(")\n", _DIM)

    def _finish(self, call: ToolCall, result: ToolResult) -> None:
        began = self._take(call)
        # Of two calls under way the name alone does not tell which it is.
        alike = any(other.name == call.name for other, _ in self._began)
        what = self._call(call) if alike else call.name
        if result.status != "ok":
            what += f" {result.status.replace('_', ' ')}"
        took = "" if began is None else f" ({clock.get().monotonic() - began:.1f} s)"
        said = self._short(result.content) + "".join(f" [{part.get('type')}]" for part in result.parts)
        self._line(f"← {what}: {said}{took}", _PLAIN if result.status == "ok" else _RED)

    def _take(self, call: ToolCall) -> float | None:
        """When a call began. A call that starts early may get its id later, so it is known by what it is."""
        for index, (other, at) in enumerate(self._began):
            if (other.name, other.arguments) == (call.name, call.arguments):
                del self._began[index]
                return at
        return None

    def _call(self, call: ToolCall) -> str:
        try:
            parsed: object = call.parsed
        except ValueError:
            parsed = None
        if not is_object(parsed):
            return f"{call.name}({self._short(call.arguments)})"
        arguments = [f"{name}={self._short(dumps(value).decode())}" for name, value in parsed.items()]
        return f"{call.name}({', '.join(arguments)})"

    def _short(self, value: object) -> str:
        """On one line, and not too long."""
        text = " ".join(str(value).split())
        return text if len(text) <= self.max_chars else f"{text[: self.max_chars - 1]}…"

    def _line(self, text: str, style: str) -> None:
        self.end_line()
        self._write(text, style)
        self._write("\n")

    def _write(self, text: str, style: str = _PLAIN) -> None:
        text = plain(text)
        if not text:
            return
        self._at_start = text.endswith("\n")
        # Not every terminal and pipe can write every letter.
        encoding = getattr(self.file, "encoding", None) or "utf-8"
        text = text.encode(encoding, "replace").decode(encoding)
        self.file.write(f"\x1b[{style}m{text}\x1b[0m" if style and self.color else text)
        self.file.flush()


def print_events(events: Iterable[Event], *, file: TextIO | None = None) -> None:
    """Print a stream's events as they come. Raises what the stream raises.

    `with agent.stream_sync(prompt) as run: print_events(run)`
    """
    printer = Printer(file)
    try:
        for event in events:
            printer(event)
    finally:
        printer.end_line()


async def print_events_async(events: AsyncIterable[Event], *, file: TextIO | None = None) -> None:
    """The same, awaited.

    `async with agent.stream(prompt) as run: await print_events_async(run)`
    """
    printer = Printer(file)
    try:
        async for event in events:
            printer(event)
    finally:
        printer.end_line()


def usage_line(result: Result[Any], steps: int) -> str:
    """What a run used, in one line."""
    calls, usage = len(result.tool_calls), result.usage
    parts = [counted(steps, "step")]
    if calls:
        parts.append(counted(calls, "tool call"))
    if used := tokens_of(usage):
        parts.append(used)
    if result.finish_reason == "length":
        parts.append("cut off at the token limit")
    return " · ".join(parts)


def _has_color(file: TextIO) -> bool:
    return file.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
