"""Calls that wait for a decision: which they are, and what is decided of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from agentkit._json import dumps, loads
from agentkit.approval import Answer, Approve, Decision, Deny
from agentkit.errors import UsageError
from agentkit.messages import ToolCall, ToolResult
from agentkit.shown import Shown, brief
from agentkit.toolcalls import told

if TYPE_CHECKING:
    from agentkit.entries import CallRecord, Hold
    from agentkit.transcript import Pending, Transcript

Decisions: TypeAlias = Mapping[str, Decision | bool] | Decision | bool
"""Decisions by the ids of pending calls; one alone stands for all of them. True is Approve(), False is Deny()."""


@dataclass(slots=True)
class PendingCall(Shown):
    """A call that waits for a decision.

    `id` is what it is decided by: the call's id, and in front of that, with slashes, those of the calls whose agents
    it is made in (`path`). `hold` is "approval" (Approve or Deny it), "answer" (it has no function here: give its
    Answer) or "unknown" (it was started by a process that died; Approve runs it again, under the same key). `key` is
    its idempotency key.
    """

    id: str
    call: ToolCall
    hold: Hold
    key: str
    path: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"PendingCall({self.id!r}, {self.call.name}, {brief(self.call.arguments)}, hold={self.hold!r})"


def is_waiting(record: CallRecord) -> bool:
    """Whether a call without a result cannot go on before something is decided."""
    if record.transcript is not None:
        return is_paused(record.transcript)
    if record.hold == "unknown":
        return True
    return record.decision is None and record.hold in ("approval", "answer")


def is_paused(transcript: Transcript) -> bool:
    """Whether calls are open, and each of them waits for a decision."""
    records = [transcript.record(pending) for pending in transcript.pending]
    return bool(records) and all(map(is_waiting, records))


def pending_calls(transcript: Transcript, path: tuple[str, ...] = ()) -> list[PendingCall]:
    """All calls that wait for a decision, those of sub-agents in place of the call that they are part of."""
    calls: list[PendingCall] = []
    for pending in transcript.pending:
        record = transcript.record(pending)
        if record.transcript is not None:
            calls += pending_calls(record.transcript, (*path, pending.call.id))
        elif record.hold is not None and is_waiting(record):
            calls.append(PendingCall("/".join((*path, pending.call.id)), pending.call, record.hold, pending.key, path))
    return calls


def apply(transcript: Transcript, decisions: Decisions) -> list[Pending]:
    """Record decisions; returns the transcript's own calls that have their results by that.

    Raises:
        UsageError: no call of that id waits for a decision, or it cannot be decided that way.
    """
    waiting = {each.id: each for each in pending_calls(transcript)}
    if not isinstance(decisions, Mapping):
        if not waiting:
            raise UsageError(f"no call waits for a decision, but one was given: {decisions!r}")
        decisions = dict.fromkeys(waiting, decisions)
    decided: dict[str, Decision] = {}
    for call_id, given in decisions.items():
        if call_id not in waiting:
            known = ", ".join(f"{each.id!r} ({each.call.name})" for each in waiting.values()) or "none"
            raise UsageError(f"no call {call_id!r} waits for a decision; those that do: {known}")
        decided[call_id] = _checked(given, waiting[call_id])
    return [
        done
        for call_id, decision in decided.items()
        if (done := _apply(transcript, (*waiting[call_id].path, waiting[call_id].call.id), decision)) is not None
    ]


def _checked(given: object, waiting: PendingCall) -> Decision:
    decision = (Approve() if given else Deny()) if isinstance(given, bool) else given
    if isinstance(decision, Approve) and decision.arguments is not None:
        try:
            dumps(dict(decision.arguments))
        except ValueError as error:
            raise UsageError(f"Approve(arguments=…) for {waiting.id!r}: they {error}") from None
    if not isinstance(decision, Approve | Deny | Answer):
        raise UsageError(f"a decision is Approve(), Deny(…), Answer(…) or a bool, not {given!r} for {waiting.id!r}")
    if waiting.hold == "answer" and isinstance(decision, Approve):
        raise UsageError(
            f"{waiting.call.name} ({waiting.id}) has no function that an approval could run: "
            "decide it with Answer(value) or Deny(…)"
        )
    return decision


def _kept(decision: Decision) -> Decision:
    """A decision as it is recorded, and comes back from a dump: an Answer's value is in the call's result."""
    match decision:
        case Approve(arguments) if arguments is not None:
            return Approve(loads(dumps(dict(arguments))))
        case Answer():
            return Answer()
        case _:
            return decision


def _apply(transcript: Transcript, path: tuple[str, ...], decision: Decision) -> Pending | None:
    pending = next(each for each in transcript.pending if each.call.id == path[0])
    record = transcript.record(pending)
    inner = record.transcript
    if len(path) > 1:
        assert inner is not None  # the path goes through it
        inner = inner.copy()
        _apply(inner, path[1:], decision)
        transcript.delegate(pending, inner)
        return None
    if isinstance(decision, Approve) and record.hold == "unknown":
        before = record.decision.arguments if isinstance(record.decision, Approve) else None
        transcript.restart(pending, _kept(Approve(before if decision.arguments is None else decision.arguments)))
        return None
    transcript.decide(pending, _kept(decision))
    match decision:
        case Approve():
            return None
        case Deny(reason):
            why = f": {reason}" if reason else "."
            transcript.land(pending, ToolResult(f"This call was denied{why}", "denied"))
        case Answer(value):
            transcript.land(pending, told(pending.call.name, value))
    return pending
