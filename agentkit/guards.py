"""Guards: functions that look at what goes in, what comes out and what tools do, and pass, change or refuse it.

A guard returns None to let things pass, or what is to stand in their place; it refuses by raising Refuse.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from agentkit.context import Hook
from agentkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class Refuse(Exception):  # it is a verdict, raised by guards
    """Raised by a guard: what it looked at is not to go on. The text says why."""


class InputGuard:
    """A guard of what the caller asks: a function of the prompt's content, or of the context and that.

    It runs beside the first request to the model, which it stops, and nothing of the answer is told before all guards
    have passed; with `wait` the model is asked only afterwards. What it returns takes the prompt's place.
    """

    def __init__(self, function: Callable[..., Any], *, wait: bool = False) -> None:
        self.hook: Final = Hook(function, "input guard", takes=1)
        self.wait: Final = wait


class ToolGuard:
    """A guard of calls: `before` a call runs (a function of the call), `after` it (of the call and its ToolResult).

    Either may take the context first. `before` returns None or a dict of other arguments; `after` None or another
    result. Of a refusal the model is told.
    """

    def __init__(self, before: Callable[..., Any] | None = None, *, after: Callable[..., Any] | None = None) -> None:
        if before is None and after is None:
            raise UsageError("a ToolGuard has a function before=, after=, or both")
        self.before: Final = None if before is None else Hook(before, "tool guard", takes=1)
        self.after: Final = None if after is None else Hook(after, "tool guard", takes=2)


def input_guards_of(guards: Iterable[InputGuard | Callable[..., Any]]) -> tuple[InputGuard, ...]:
    """Functions as guards of the input. Raises UsageError."""
    return tuple([guard if isinstance(guard, InputGuard) else InputGuard(guard) for guard in guards])


def tool_guards_of(guards: Iterable[ToolGuard | Callable[..., Any]]) -> tuple[ToolGuard, ...]:
    """Functions as guards of calls, before they run. Raises UsageError."""
    return tuple([guard if isinstance(guard, ToolGuard) else ToolGuard(guard) for guard in guards])
