"""Calls of tools: which may start, from a call to its result, and a value as the model is told it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from pydantic_core import PydanticSerializationError, to_json, to_jsonable_python

from agentkit._json import dumps, is_list, is_object
from agentkit.context import Context, Invoke, Retry, TookTooLong
from agentkit.errors import AgentKitError, BadArguments, UsageError
from agentkit.guards import Refuse, ToolGuard
from agentkit.messages import Audio, File, Image, ToolCall, ToolResult
from agentkit.outputs import shortened, with_handle
from agentkit.tools import MAX_OUTPUT_CHARS, Tool, find_tool

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Mapping, Sequence

    from agentkit.transcript import Pending


def startable(waiting: Sequence[Pending], running: Collection[Pending], tools: Mapping[str, Tool]) -> list[Pending]:
    """Which of the waiting calls may start beside the running ones, in call order."""
    locks = {_lock(pending, tools) for pending in running}
    if True in locks:
        return []
    chosen: list[Pending] = []
    for pending in waiting:
        lock = _lock(pending, tools)
        if lock is True:
            if not running and not chosen:
                chosen.append(pending)
            break  # a barrier: what stands after it waits for it
        if lock is False or lock not in locks:
            chosen.append(pending)
        locks.add(lock)
    return chosen


def _lock(pending: Pending, tools: Mapping[str, Tool]) -> bool | str:
    made = tools.get(pending.call.name)
    return made is not None and made.exclusive


def early_calls(sealed: Sequence[ToolCall], tools: Mapping[str, Tool]) -> list[ToolCall]:
    """Which calls of a reply that is still being read may start: the first ones, as long as they only look.

    A look must not overtake a write, so the first call of another kind ends the list.
    """
    chosen: list[ToolCall] = []
    for call in sealed:
        made = find_tool(tools, call.name)
        if made is None or not made.may_overtake:
            break
        chosen.append(call if made.name == call.name else replace(call, name=made.name))
    return chosen


@dataclass(slots=True, eq=False)
class Delegate:
    """Let another agent do this call; the outcome is its answer, or PAUSED."""

    tool: Tool
    pending: Pending
    arguments: dict[str, Any]
    context: Context[Any]


CallEffect: TypeAlias = Invoke | Delegate
PAUSED: Final = object()
"""The outcome of a delegated call whose agent waits for a decision."""


def call_steps(
    tools: Mapping[str, Tool], pending: Pending, context: Context[Any], guards: Sequence[ToolGuard] = ()
) -> Generator[CallEffect, Any, ToolResult | None]:
    """From a call to its result: the arguments are checked, the function is run, its value is written for the model.

    None if there is no result yet, since the agent that the call was given to waits for a decision.
    """
    made = tools.get(pending.call.name)
    if made is None:
        return unknown(pending.call.name, tools)
    guards = (*guards, *made.guards)
    try:
        call, changed = yield from _before(pending, context, guards)
        invoke = made.bind(call.arguments, context)
    except (BadArguments, Retry) as error:
        return ToolResult(str(error), "not_run")
    except Refuse as error:
        return ToolResult(f"The call of {made.name} was refused: {error}", "denied")
    except Exception as error:  # of a guard
        return _guard_failed(f"{made.name} was not run", error, "not_run")
    outcome = yield from _run(made, pending, invoke)
    if outcome is None:
        return None
    try:
        result = yield from _after(made, call, outcome, context, guards)
    except Refuse as error:
        return ToolResult(f"{made.name} was run, but its result is withheld: {error}", "denied")
    except Exception as error:  # of a guard
        return _guard_failed(f"{made.name} was run, but its result is withheld", error, "failed")
    if changed and result.status == "ok":
        told = f"The arguments were changed before the call was made. It was called with: {call.arguments}\n"
        result = replace(result, content=told + result.content)
    return result


def _before(
    pending: Pending, context: Context[Any], guards: Sequence[ToolGuard]
) -> Generator[Invoke, Any, tuple[ToolCall, bool]]:
    """The call as it is to be made, after whoever approved it and the guards."""
    call, changed = pending.call, pending.arguments is not None
    if pending.arguments is not None:
        call = replace(call, arguments=pending.arguments)
    for guard in guards:
        if guard.before is not None:
            others = yield Invoke(guard.before, context, (call,))
            if others is not None:
                if not is_object(others):
                    raise UsageError(f"it returned {others!r}, and a guard returns None or a dict of arguments")
                call, changed = replace(call, arguments=dumps(others).decode()), True
    return call, changed


def _run(made: Tool, pending: Pending, invoke: Invoke) -> Generator[CallEffect, Any, ToolResult | None]:
    attempt = 1
    while True:
        try:
            value = yield (Delegate(made, pending, invoke.kwargs, invoke.context) if made.delegate else invoke)
        except Exception as error:  # whatever it is, the model is told and the caller has it
            # what was given up may still be at work, and is not started a second time beside that
            if attempt >= made.attempts or isinstance(error, TookTooLong) or not isinstance(error, made.retry_on):
                return failed(made, error)
        else:
            return None if value is PAUSED else result_of(made, value)
        attempt += 1


def _after(
    made: Tool, call: ToolCall, result: ToolResult, context: Context[Any], guards: Sequence[ToolGuard]
) -> Generator[Invoke, Any, ToolResult]:
    for guard in guards:
        if guard.after is not None:
            other = yield Invoke(guard.after, context, (call, result))
            if other is not None:
                changed = result_of(made, other)
                if changed.whole is result.whole and changed.content != result.content:
                    changed = replace(changed, whole=None)  # what the guard took out would stay in it
                result = changed
    return result


def _guard_failed(what: str, error: Exception, status: Literal["not_run", "failed"]) -> ToolResult:
    shown = f"{type(error).__name__}: {error}"
    return ToolResult(f"{what}: a guard failed with {type(error).__name__}.", status, error=shown, raised=error)


def unknown(name: str, tools: Mapping[str, Tool]) -> ToolResult:
    """What the model is told that called a tool that there is not."""
    known = ", ".join(sorted(tools)) or "none"
    return ToolResult(f"There is no tool {name!r}. The tools are: {known}.", "not_run")


def failed(made: Tool, error: Exception) -> ToolResult:
    """What the model is told of an error: the words meant for it, of an unexpected one only its type."""
    shown = f"{type(error).__name__}: {error}"
    if isinstance(error, Retry | AgentKitError):
        content = str(error)
    elif isinstance(error, TookTooLong):
        content = f"{made.name} was given up: {error}."
    else:
        content = f"{made.name} failed with {type(error).__name__}."
    return ToolResult(content, "failed", error=shown, raised=error)


def result_of(made: Tool, value: Any) -> ToolResult:
    """A function's value as the model gets it: text as it is, values as JSON, images and files as parts beside it."""
    result = told(made.name, value, made.max_output_chars, keep=made.keep_output)
    return replace(result, handoff=made.handoff) if made.handoff is not None else result


def told(name: str, value: Any, limit: int = MAX_OUTPUT_CHARS, *, keep: bool = False) -> ToolResult:
    """The same for a tool of that name, in at most `limit` characters; with `keep` a longer text is kept beside it."""
    if isinstance(value, ToolResult):
        return value
    parts: tuple[dict[str, Any], ...] = ()
    if isinstance(value, str):
        content = value
    elif value is None:
        content = ""
    else:
        items: Sequence[Any] = value if is_list(value) else (value,)
        parts = tuple([item.data for item in items if isinstance(item, _PARTS)])
        try:
            content = _beside(parts, items) if parts else _written(value)
        except ValueError as error:
            message = f"{name} returned a {type(value).__name__}, which cannot be written as JSON."
            return ToolResult(message, "failed", error=f"{type(error).__name__}: {error}", value=value, raised=error)
    if keep and len(content) > limit:
        return ToolResult(with_handle(content, limit), parts=parts, whole=content, value=value)
    return ToolResult(shortened(content, limit), parts=parts, value=value)


_PARTS: Final = (Image, Audio, File)


def _beside(parts: Sequence[Mapping[str, Any]], items: Sequence[Any]) -> str:
    rest = [item for item in items if not isinstance(item, _PARTS)]
    texts = [item if isinstance(item, str) else _written(item) for item in rest]
    return "\n".join([*texts, f"({len(parts)} attached in the next message: {', '.join(p['type'] for p in parts)})"])


def _written(value: object) -> str:
    try:
        return to_json(value).decode()
    except PydanticSerializationError:  # of a name that is no Unicode, as a folder may hold, too
        return dumps(to_jsonable_python(value)).decode()
