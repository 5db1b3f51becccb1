"""A reply's calls as they are recorded: what they wait for, and which of them cannot run."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from agentkit.messages import Reply, ToolCall, ToolResult, is_cut
from agentkit.tools import Tool, find_tool
from agentkit.transcript import CallRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from agentkit.entries import Entry, Hold
    from agentkit.output import Output
    from agentkit.transcript import Pending, Transcript

UNKNOWN: Final = (
    "It is not known whether this call was done: the program ended while it ran. See what there is before you make it "
    "again."
)
CUT: Final = (
    "This call was not run: the reply was cut off at its token limit before the call was whole. "
    "Make the call again with shorter arguments, or split the work into several calls."
)
NOT_YET: Final = (
    "This is not taken as the answer, since other calls were made beside it. Give the answer again once you have seen "
    "their results."
)
ONE_ANSWER: Final = "This was not taken: there is another answer in the same reply."
PASSED_BY: Final = "This was not taken as the answer: the conversation went on."
ONE_HANDOFF: Final = "This was not done: the conversation was handed to another agent by an earlier call."


def records_of(reply: Reply, tools: Mapping[str, Tool], output: Output[Any] | None) -> list[CallRecord]:
    """The calls of a reply; one that cannot run has its result."""
    resolved = _resolved_by(tools)
    calls = [CallRecord(resolved(call)) for call in reply.tool_calls]
    if calls and is_cut(reply.finish_reason):
        calls[-1].result = ToolResult(CUT, status="not_run")
    handed = answered = False
    for record in calls:
        tool = tools.get(record.call.name)
        if tool is not None:
            record.hold = _hold(tool)
            if tool.handoff is not None:
                handed = _only(record, ONE_HANDOFF, earlier=handed)
        elif output is not None and output.handles(record.call.name):
            record.hold = "output"
            answered = _only(record, ONE_ANSWER, earlier=answered)
    if any(record.result is None and record.hold != "output" for record in calls):
        for record in calls:
            if record.hold == "output" and record.result is None:
                record.result = ToolResult(NOT_YET, "not_run")
    return calls


def adopted_by(tools: Mapping[str, Tool], output: Output[Any] | None) -> Callable[[CallRecord], CallRecord]:
    """A function that makes a call of a conversation from elsewhere one of these tools: it waits for what they wait."""
    resolved = _resolved_by(tools)

    def adopted(record: CallRecord) -> CallRecord:
        call = resolved(record.call)
        tool = tools.get(call.name)
        hold = _hold(tool) if tool is not None else None
        if tool is None and output is not None and output.handles(call.name):
            hold = "output"
        return replace(record, call=call, hold=hold if record.result is None else record.hold)

    return adopted


def handed_to(entry: Entry) -> str | None:
    """The agent that the calls of a message hand the conversation to, once all of them have their results."""
    results = [record.result for record in entry.calls]
    if None in results:
        return None
    return next((result.handoff for result in results if result is not None and result.handoff is not None), None)


def look_after_unknown(
    transcript: Transcript, tools: Mapping[str, Tool], land: Callable[[Pending, ToolResult], None]
) -> None:
    """See to the calls that were started by a process that died, by what their tools say."""
    for pending in transcript.pending:
        record = transcript.record(pending)
        tool = tools.get(record.call.name)
        if record.started_at is None or record.hold == "unknown" or record.transcript is not None or tool is None:
            continue
        if tool.delegate is not None:
            continue  # an agent does nothing before its own conversation has begun
        if tool.on_unknown == "ask":
            transcript.hold(pending, "unknown")
        elif tool.on_unknown == "fail":
            land(pending, ToolResult(UNKNOWN, "failed"))


def _resolved_by(tools: Mapping[str, Tool]) -> Callable[[ToolCall], ToolCall]:
    """A function that gives a call the name of the tool that it means."""

    def resolved(call: ToolCall) -> ToolCall:
        tool = find_tool(tools, call.name)
        return call if tool is None or tool.name == call.name else replace(call, name=tool.name)

    return resolved


def _hold(tool: Tool) -> Hold | None:
    return "ask" if tool.external or tool.approval is not False else None


def _only(record: CallRecord, refusal: str, *, earlier: bool) -> bool:
    """Let a call stand if it is the first of its kind in a reply."""
    if record.result is not None:
        return earlier
    if earlier:
        record.result = ToolResult(refusal, "not_run")
    return True
