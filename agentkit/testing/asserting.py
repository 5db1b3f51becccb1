"""Assertions on the calls of a run, and what they say when they fail."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeAlias

from agentkit._json import is_object
from agentkit.approval import Approve
from agentkit.chat.settings import nearest
from agentkit.errors import AgentKitError, UsageError
from agentkit.result import Result
from agentkit.tools import Tool, as_tool
from agentkit.transcript import CallRecord, Transcript

if TYPE_CHECKING:
    from collections.abc import Iterator

Called: TypeAlias = Callable[..., Any] | Tool | str
"""A tool: its function, the Tool itself, or its name."""

Ran: TypeAlias = Result[Any] | Transcript | AgentKitError
"""What a run left: its result, its transcript, or the error that ended it."""

_SHOWN_CHARS = 120
_SHOWN_CALLS = 20


def assert_called(
    result: Ran, tool: Called, arguments: Mapping[str, Any] | None = None, /, **some: Any
) -> tuple[CallRecord, ...]:
    """The calls of a tool that were made with these arguments; AssertionError if there are none.

    `arguments` are all of a call's, as the model gave them; keywords are some of them. Values are compared with ==, so
    `pytest.approx` and the like work. What was denied or did not fit the parameters was not called. Calls that agents
    made as part of this run count.
    """
    __tracebackhide__ = True
    made = _made(result)
    name = _name(tool)
    own = [each for each in made if each.name == name]
    found = [each for each in own if each.ran and not each.misses(arguments, some)]
    if not found:
        raise AssertionError(_not_found(name, own, made, arguments, some))
    return tuple([each.record for each in found])


def assert_not_called(result: Ran, tool: Called, arguments: Mapping[str, Any] | None = None, /, **some: Any) -> None:
    """AssertionError if a tool was called with these arguments, or without any given, at all."""
    __tracebackhide__ = True
    made = _made(result)
    name = _name(tool)
    found = [each for each in made if each.name == name and each.ran and not each.misses(arguments, some)]
    if found:
        raise AssertionError(f"{name} was called{_with(arguments, some)}:\n{_listed(found)}")


def assert_order(result: Ran, /, *tools: Called) -> None:
    """AssertionError unless each of the tools was called, and first called in a later turn than the one before it.

    Calls of one message are made side by side, so none of them comes before another.
    """
    __tracebackhide__ = True
    if len(tools) < 2:
        raise UsageError("assert_order takes two tools or more, in the order in which they are to be called")
    made = _made(result)
    ran = [each for each in made if each.ran]
    firsts: list[_Made] = []
    for name in map(_name, tools):
        first = next((each for each in ran if each.name == name), None)
        if first is None:
            raise AssertionError(_not_found(name, [each for each in made if each.name == name], made, None, {}))
        firsts.append(first)
    for before, after in pairwise(firsts):
        if before.turn < after.turn:
            continue
        if before.turn == after.turn:
            why = f"{before.name} and {after.name} were called in the same message, side by side"
        else:
            why = f"{after.name} was called before {before.name}"
        raise AssertionError(f"{why}; in order:\n{_listed(ran)}")


@dataclass(slots=True)
class _Made:
    """A call of a run. `turn` is the place of the message that asked for it, inside those of the runs around it."""

    record: CallRecord
    turn: tuple[int, ...]

    @property
    def name(self) -> str:
        return self.record.call.name

    @property
    def arguments(self) -> Any:
        """Those that it was made with: whoever approved it may have put others in their place."""
        decision = self.record.decision
        if isinstance(decision, Approve) and decision.arguments is not None:
            return dict(decision.arguments)
        try:
            return self.record.call.parsed
        except ValueError:
            return self.record.call.arguments

    @property
    def ran(self) -> bool:
        result = self.record.result
        if result is None or result.status == "cancelled":
            return self.record.started_at is not None
        return result.status in ("ok", "failed")

    def misses(self, arguments: Mapping[str, Any] | None, some: Mapping[str, Any]) -> list[str]:
        """How it differs from what is looked for, one line for each argument."""
        given = self.arguments
        if not is_object(given):
            return [f"its arguments are no object: {_short(given)}"]
        wanted = {**(arguments or {}), **some}
        lines = [
            f"{name} was not given" if name not in given else f"{name} is {_short(given[name])}, not {_short(value)}"
            for name, value in wanted.items()
            if name not in given or not _equal(value, given[name])
        ]
        if arguments is not None:
            lines += [f"{name} was given too: {_short(given[name])}" for name in given if name not in wanted]
        return lines

    def __str__(self) -> str:
        given = self.arguments
        told = ", ".join(f"{name}={_short(value)}" for name, value in given.items()) if is_object(given) else given
        result = self.record.result
        status = "no result yet" if result is None else result.status
        note = "" if result is None or result.status == "ok" else f": {_short(result.content)}"
        return f"{self.name}({told}) → {status}{note}"


def _equal(wanted: Any, given: Any) -> bool:
    # True == 1, but a model that sends the one has not sent the other
    if isinstance(wanted, bool) or isinstance(given, bool):
        return wanted is given or (not isinstance(wanted, bool | int | float) and bool(wanted == given))
    return bool(wanted == given)


def _made(ran: Ran) -> list[_Made]:
    if isinstance(ran, Result):
        own = {id(record) for record in ran.tool_calls}
        return list(_in_transcript(ran.transcript, (), own))
    transcript = ran.transcript if isinstance(ran, AgentKitError) else ran
    if not isinstance(transcript, Transcript):
        raise UsageError(f"calls are looked for in a Result, a Transcript or an error of a run, not in {ran!r}")
    return list(_in_transcript(transcript, ()))


def _in_transcript(transcript: Transcript, outer: tuple[int, ...], own: set[int] | None = None) -> Iterator[_Made]:
    for index, entry in enumerate(transcript):
        for record in entry.calls:
            if own is not None and id(record) not in own:
                continue
            yield _Made(record, (*outer, index))
            if record.transcript is not None:
                yield from _in_transcript(record.transcript, (*outer, index))


def _name(tool: Called) -> str:
    return tool if isinstance(tool, str) else as_tool(tool).name


def _not_found(
    name: str, own: list[_Made], made: list[_Made], arguments: Mapping[str, Any] | None, some: Mapping[str, Any]
) -> str:
    head = f"{name} was not called{_with(arguments, some)}"
    if own:
        asked = [each for each in own if each.ran]
        if not asked:
            return f"{head}: the model asked for it, but it did not run:\n{_listed(own)}"
        near = min(asked, key=lambda each: len(each.misses(arguments, some)))
        lines = "\n".join(f"  - {line}" for line in near.misses(arguments, some))
        return f"{head}; its calls:\n{_listed(own)}\nnearest is call {own.index(near) + 1}:\n{lines}"
    if not made:
        return f"{head}: no tool was"
    near_name = nearest(name, {each.name for each in made})
    hint = f" (did you mean {near_name!r}?)" if near_name else ""
    return f"{head}{hint}; what was called:\n{_listed(made)}"


def _with(arguments: Mapping[str, Any] | None, some: Mapping[str, Any]) -> str:
    wanted = {**(arguments or {}), **some}
    if arguments is None and not some:
        return ""
    told = ", ".join(f"{name}={_short(value)}" for name, value in wanted.items())
    return f" with {'exactly ' if arguments is not None else ''}{told or 'no arguments'}"


def _listed(made: list[_Made]) -> str:
    lines = [f"  {number}. {each}" for number, each in enumerate(made[:_SHOWN_CALLS], 1)]
    more = len(made) - _SHOWN_CALLS
    return "\n".join([*lines, *([f"  … and {more} more"] if more > 0 else [])])


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 1] + "…"
