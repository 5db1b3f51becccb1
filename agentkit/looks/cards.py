"""What there is to see of each kind of value. Keys, headers and what stands in a store's address are never shown."""

from __future__ import annotations

import inspect
from dataclasses import fields
from functools import singledispatch
from typing import TYPE_CHECKING, Any, Final

from pydantic_core import to_json

from agentkit._json import dumps, is_object
from agentkit.agent import Agent
from agentkit.logs import redacted
from agentkit.looks.parameters import parameters_in, parameters_of
from agentkit.looks.timeline import WAITING, Call, timeline_of, timeline_of_entries
from agentkit.looks.view import Card, Fold, Table, Words
from agentkit.looks.words import counted, summary, totals
from agentkit.model import ChatModel
from agentkit.pending import PendingCall
from agentkit.plain import in_one_line, pretty
from agentkit.prices import dollars
from agentkit.result import Result
from agentkit.tools import Tool
from agentkit.toolsets import Toolset
from agentkit.transcript import Transcript

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from agentkit.chat.settings import Settings
    from agentkit.flow import SupportsFlow
    from agentkit.looks.view import Part
    from agentkit.policy import Limits

_OPEN_ENTRIES: Final = 12
_BRIEF: Final = 120
# Settings that may hold a key of the user's: their names are all that is told.
_CLOSED: Final = ("extra_headers", "extra_body")


@singledispatch
def card_of(value: object) -> Card:
    """What there is to see of a value; modules above register what they have."""
    return Card(type(value).__name__, parts=(Words(redacted(repr(value)), is_code=True),))


@card_of.register
def _transcript(transcript: Transcript) -> Card:
    timeline = timeline_of(transcript)
    mended = tuple(f"mended: {line}" for line in timeline.mended)
    return Card("Transcript", (summary(timeline), *mended), (timeline,))


@card_of.register
def _result(result: Result) -> Card:
    last = result.transcript.last
    own = [] if last is None else [entry for entry in result.transcript if entry.run == last.run]
    timeline = timeline_of_entries(own)
    timeline.usage, timeline.cost = result.usage, result.cost
    earlier = len(result.transcript) - len(own)
    title = "how it came about" + (f", after {counted(earlier, 'earlier message')}" if earlier else "")
    has_calls = any(call.result is not None for moment in timeline.moments for call in moment.calls)
    agent = (f"agent {result.agent}",) if result.agent else ()
    return Card(
        "Result",
        (_end(result), *agent, *totals(timeline)),
        (*_outcome(result), Fold(title, timeline, has_calls and len(own) <= _OPEN_ENTRIES)),
    )


def _end(result: Result[Any]) -> str:
    if result.status == "paused":
        return f"paused: {counted(len(result.pending), 'call')} to be decided" if result.pending else "paused"
    return f"{result.status} ({result.finish_reason})" if result.finish_reason else result.status


def _outcome(result: Result[Any]) -> Iterator[Part]:
    if result.status == "paused":
        for pending in result.pending:
            yield _waiting(pending)
        decisions = ", ".join(f"{_quoted(each.id)}: {_decision(each)}" for each in result.pending)
        decided = f", decisions={{{decisions}}}" if result.pending else ""
        yield Words(f"agent.run_sync(transcript=result.transcript{decided})", "to go on", is_code=True)
    elif isinstance(result.output, str):
        yield Words(redacted(result.output))
    else:
        yield Words(_written(result.output), type(result.output).__name__, is_code=True)


def _written(value: object) -> str:
    """A typed output as JSON, anything else as it shows itself."""
    try:
        return redacted(to_json(value, indent=2, fallback=repr).decode())
    except ValueError:
        return redacted(repr(value))


@card_of.register
def _pending(pending: PendingCall) -> Card:
    decision = Words(f"decisions={{{_quoted(pending.id)}: {_decision(pending)}}}", "to decide it", is_code=True)
    return Card("PendingCall", parts=(_waiting(pending), decision))


def _waiting(pending: PendingCall) -> Call:
    call = pending.call
    return Call(pending.id, call.name, redacted(pretty(call.arguments)), WAITING[pending.hold])


def _quoted(name: str) -> str:
    return dumps(name).decode("utf-8", "replace")


def _decision(pending: PendingCall) -> str:
    return "Answer(…)" if pending.hold == "answer" else "Approve()"


@card_of.register
def _tool(tool: Tool) -> Card:
    described = (Words(tool.description),) if tool.description else ()
    table = _table(parameters_in(tool.parameters), ("parameter", "type", "default", "description"))
    return Card(f"Tool {tool.name}", tuple(_notes(tool)), (Words(_signature(tool), is_code=True), *described, *table))


def _table(rows: Iterable[tuple[str, ...]], head: tuple[str, ...]) -> Iterator[Table]:
    """A table without the columns that are empty, if there is anything in it."""
    known = tuple(rows)
    kept = [index for index in range(len(head)) if any(row[index] for row in known)]
    if known:
        yield Table(tuple(tuple(row[index] for index in kept) for row in known), tuple(head[index] for index in kept))


def _signature(tool: Tool) -> str:
    """The function as it was written, without what the model does not see of it."""
    known = tool.parameters.get("properties")
    try:
        signature = inspect.signature(tool)
    except (ValueError, TypeError):
        signature = None
    if signature is None or tool.external or not is_object(known) or not known.keys() <= signature.parameters.keys():
        return f"{tool.name}({', '.join(parameters_of(tool.parameters))})"
    shown = [
        each.replace(annotation=_Bare(each.annotation)) if each.annotation is not each.empty else each
        for name, each in signature.parameters.items()
        if name in known
    ]
    returned = signature.return_annotation
    answer = "" if returned is signature.empty else f" -> {_Bare(returned)!r}"
    return f"{tool.name}({', '.join(map(str, shown))}){answer}"


class _Bare:
    """An annotation that is printed without quotes, also where it was postponed."""

    def __init__(self, annotation: object) -> None:
        self._annotation = annotation

    def __repr__(self) -> str:
        annotation = self._annotation
        return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def _notes(tool: Tool) -> Iterator[str]:
    if tool.handoff is not None:
        yield f"hands over to {tool.handoff}"
    if tool.delegate is not None:
        yield "asks another agent"
    if tool.approval is not False:
        yield "needs approval" if tool.approval is True else "may need approval"
    if tool.external:
        yield "answered by the caller"
    if tool.enabled is not True:
        yield "not offered" if tool.enabled is False else "offered on a condition"
    if tool.read_only:
        yield "read-only"
    if tool.exclusive is not False:
        yield "runs alone" if tool.exclusive is True else f"one at a time with {tool.exclusive}"
    if tool.timeout_s is not None:
        yield f"at most {tool.timeout_s:g} s"
    if tool.attempts > 1:
        yield f"up to {tool.attempts} attempts"
    if tool.guards:
        yield counted(len(tool.guards), "guard")
    if tool.spec.strict:
        yield "strict"


@card_of.register
def _toolset(toolset: Toolset) -> Card:
    facts = [counted(len(toolset.known), "tool")]
    if not all(source.is_complete for source in toolset.sources):
        facts.append("more are loaded when it runs")
    if toolset.static is None:
        facts.append("what is offered hangs on the moment")
    return Card(f"Toolset {toolset.name or ''}".rstrip(), tuple(facts), tuple(_tools(toolset.known)))


def _tools(tools: Iterable[Tool]) -> Iterator[Table]:
    rows = (
        (tool.name, in_one_line(tool.description.partition("\n\n")[0], _BRIEF), ", ".join(_notes(tool)))
        for tool in tools
    )
    return _table(rows, ("tool", "what it does", ""))


@card_of.register
def _agent(agent: Agent) -> Card:
    asked = len(agent.persona.asked)
    title = "instructions" + (f", and {counted(asked, 'function')} of the moment" if asked else "")
    told = (Words(redacted(agent.instructions), title),) if agent.instructions or asked else ()
    groups = [tool for group in agent.persona.groups for tool in group.known]
    return Card(
        f"Agent {agent.name or ''}".rstrip(),
        parts=(Table(tuple(_rows(agent))), *told, *_tools([*agent.tools.values(), *groups])),
    )


def _rows(agent: Agent[Any, Any]) -> Iterator[tuple[str, str]]:
    plan = agent.plan
    rows = {
        "model": _model(agent.model),
        "output": "" if agent.output is None else agent.output.label,
        "settings": _settings(agent.settings),
        "limits": _limits(agent.limits),
        "budget": ""
        if agent.budget is None
        else f"{dollars(agent.budget.spent_usd)} of {dollars(agent.budget.usd)} spent",
        "guards": ", ".join(
            counted(len(each), f"guard of {what}", f"guards of {what}")
            for what, each in (
                ("inputs", plan.input_guards),
                ("outputs", plan.output_guards),
                ("tools", plan.tool_guards),
            )
            if each
        ),
        "validators": ", ".join(hook.name for hook in plan.validators),
        "history": ", ".join(
            [*(_name(each) for each in plan.history), *(["summed up when it is long"] if plan.compaction else [])]
        ),
        "conversations": "" if agent.store is None else f"kept by {type(agent.store).__name__}",
    }
    return ((name, text) for name, text in rows.items() if text)


def _model(model: SupportsFlow) -> str:
    name = str(getattr(model, "name", "")) or type(model).__name__
    return f"{name} at {model.endpoint.source}" if isinstance(model, ChatModel) and model.name != "local" else name


def _settings(settings: Settings) -> str:
    given = {each.name: getattr(settings, each.name) for each in fields(settings) if not each.name.startswith("_")}
    return ", ".join(
        f"{name}=…" if name in _CLOSED else f"{name}={in_one_line(repr(value), 60)}"
        for name, value in given.items()
        if value is not None
    )


def _limits(limits: Limits) -> str:
    given = {each.name: getattr(limits, each.name) for each in fields(limits)}
    return ", ".join(f"{name}={value:g}" for name, value in given.items() if value is not None)


def _name(value: object) -> str:
    return str(getattr(value, "__name__", type(value).__name__))
