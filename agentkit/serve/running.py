"""One run of an agent for one answer: what the client is shown of it, and what came of it."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from agentkit._json import dumps
from agentkit.approval import Deny
from agentkit.errors import AgentKitError, Cancelled, ContentFilterError, ModelError
from agentkit.messages import Usage
from agentkit.serve.conversation import Held, Steps, linked
from agentkit.serve.decisions import DECIDE, NOBODY
from agentkit.serve.faults import refused
from agentkit.serve.replies import Outcome, Piece, reason_of, visible
from agentkit.serve.showing import Shown

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Iterator, Mapping, Sequence

    from agentkit.agent import Agent
    from agentkit.approval import Decision
    from agentkit.args import RunArgs
    from agentkit.pending import PendingCall
    from agentkit.result import Result
    from agentkit.serve.conversation import Binding, Conversation
    from agentkit.serve.showing import ShowSteps
    from agentkit.transcript import Entry, Transcript

Tell: TypeAlias = "Callable[[Piece], Awaitable[None]]"
# What a message says besides fields that its own endpoint wants to see again.
_SPOKEN: Final = frozenset(
    {"role", "content", "refusal", "name", "annotations", "audio", "tool_calls", "function_call"}
)


class Cuts:
    """The runs that go on, which may have to end before they are done."""

    def __init__(self) -> None:
        self.is_over = False
        self._ends: list[Callable[[], None]] = []

    @contextmanager
    def watching(self, end: Callable[[], None]) -> Generator[None]:
        """`end` is called if what goes on within the block has to end."""
        self._ends.append(end)
        try:
            if self.is_over:
                end()
            yield
        finally:
            self._ends.remove(end)

    def cut(self) -> None:
        """End all of them, and those that would still begin."""
        self.is_over = True
        for end in tuple(self._ends):
            end()


@dataclass(slots=True)
class Job:
    """What a request asks of an agent; each of its choices is a run.

    `names` has the client's own tools by the names that the agent's model is told. `whole` is set if the answer's text
    may be shown at its end alone.
    """

    agent: Agent[Any, Any]
    args: RunArgs
    conversation: Conversation
    binding: Binding
    names: Mapping[str, str] = field(default_factory=dict[str, str])
    decides: bool = False
    whole: bool = False
    show_steps: ShowSteps = None
    state_bytes: int = 1024 * 1024
    cuts: Cuts = field(default_factory=Cuts)

    def is_clients(self, pending: PendingCall) -> bool:
        """Whether the client answers a call."""
        return not pending.path and pending.hold == "answer" and pending.call.name in self.names


async def perform(job: Job, tell: Tell | None = None) -> Outcome:
    """Run the agent; the answer's pieces are told as they come, if anyone wants them. Raises Refused."""
    shown = Shown(job.show_steps, whole=job.whole, hidden=job.names)
    transcript, decisions = job.conversation.transcript, dict(job.conversation.decisions)
    if job.conversation.last_role == "user":
        decisions |= dict.fromkeys(job.conversation.undecided, Deny("the conversation went on without a decision"))
    try:
        while True:
            result = await _ran(job, transcript, decisions, shown, tell)
            held = [pending for pending in result.pending if not job.is_clients(pending)]
            if not held or job.decides:
                break
            transcript, decisions = result.transcript, {pending.id: Deny(NOBODY) for pending in held}
        if result.status == "paused" and not result.pending:
            return _cut(job, result.transcript, shown)
        if tell is not None and (rest := shown.rest(result)):
            await tell(Piece(rest))
        return _outcome(job, result, shown)
    except AgentKitError as error:
        if job.cuts.is_over and isinstance(error, Cancelled):
            return _cut(job, error.transcript, shown)
        if ended := _ended(job, error, shown):
            return ended
        raise refused(error, acted=_acted(job, error.transcript)) from error


async def _ran(
    job: Job, transcript: Transcript, decisions: Mapping[str, Decision], shown: Shown, tell: Tell | None
) -> Result[Any]:
    args = job.args.copy()
    args["transcript"] = transcript
    if decisions:
        args["decisions"] = decisions
    args["on_event"] = shown.clock
    stream = job.agent.stream(**args)
    stream.run.stream = tell is not None  # for a whole answer the model is asked for whole ones
    async with stream:
        with job.cuts.watching(stream.cancel):
            async for event in stream:
                piece = shown.see(event)
                if piece is not None:
                    await _told(piece, shown, tell)
    return stream.result


async def _told(piece: Piece, shown: Shown, tell: Tell | None) -> None:
    if tell is None:
        shown.noted += piece.noted
    else:
        await tell(piece)


def _outcome(job: Job, result: Result[Any], shown: Shown) -> Outcome:
    if job.whole and not shown.content:
        shown.rest(result)
    last = result.transcript.last
    outcome = Outcome(
        "".join(shown.content),
        "".join(shown.reasoning),
        audio=None if last is None else last.message.data.get("audio"),
        finish_reason=reason_of(result.finish_reason),
        usage=sum(_spent(job.conversation.transcript, result.transcript), Usage()),
        steps=_steps(job, result.transcript),
        noted=shown.noted,
    )
    steps = _hidden(job, result.transcript)
    for pending in result.pending:
        outer, *path = (*pending.path, pending.call.id)
        place = _place(steps, outer)
        if job.is_clients(pending):
            name, arguments, call_id = job.names[pending.call.name], pending.call.arguments, outer
            steps.calls[call_id] = place
        else:
            call_id = f"decide_{job.conversation.visible}_{pending.id.replace('/', '_')}"
            name, arguments = DECIDE, _asked(pending)
            steps.decide[call_id] = Held(*place, path, pending.hold)
        function = {"name": name, "arguments": arguments}
        outcome.calls.append({"id": call_id, "type": "function", "function": function})
    if outcome.calls:
        outcome.finish_reason = "tool_calls"
    _seal(job, steps, outcome)
    return outcome


def _seal(job: Job, steps: Steps, outcome: Outcome) -> None:
    if _is_worth_it(steps):
        state = job.binding.seal(steps, linked(job.conversation.link, visible(outcome)))
        if len(state) <= job.state_bytes or steps.decide or steps.is_open:
            outcome.state = state


def _cut(job: Job, transcript: Transcript | None, shown: Shown) -> Outcome:
    """What is left of a run that ended because the server does: what was shown, and what was done."""
    acted = shown.has_acted or (transcript is not None and _acted(job, transcript))
    outcome = Outcome("".join(shown.content), "".join(shown.reasoning), finish_reason=None, acted=acted)
    if transcript is not None:
        steps = _hidden(job, transcript)
        steps.is_open = True
        _seal(job, steps, outcome)
    return outcome


def _place(steps: Steps, call_id: str) -> tuple[int, int]:
    return next(
        (index, position)
        for index, entry in enumerate(steps.entries)
        for position, record in enumerate(entry.calls)
        if record.call.id == call_id
    )


def _asked(pending: PendingCall) -> str:
    """What whoever decides is told of a call."""
    try:
        arguments: Any = pending.call.parsed
    except ValueError:
        arguments = pending.call.arguments
    asked = {"id": pending.id, "name": pending.call.name, "arguments": arguments, "hold": pending.hold}
    return dumps(asked).decode()


def _hidden(job: Job, transcript: Transcript) -> Steps:
    """The entries that the client keeps: the new ones, and earlier ones that changed or wait."""
    past, owners = job.conversation.transcript.entries, job.conversation.owners
    first = job.conversation.visible
    for index, (before, after) in enumerate(zip(past, transcript.entries, strict=False)):
        changed = before.message is not after.message or before.calls != after.calls
        if changed or any(record.result is None for record in after.calls):
            first = min(first, owners[index])
    start = next((index for index, owner in enumerate(owners) if owner >= first), len(past))
    return Steps(first, list(transcript.entries[start:]))


def _is_worth_it(steps: Steps) -> bool:
    """Whether the entries say more than the message that the client sees."""
    if len(steps.entries) != 1 or steps.entries[0].calls:
        return bool(steps.entries)
    data = steps.entries[0].message.data
    return any(value is not None and name not in _SPOKEN for name, value in data.items())


def _ended(job: Job, error: AgentKitError, shown: Shown) -> Outcome | None:
    """The answer that an error is, if it is one: the model refuses, or a filter stopped it."""
    last = None if error.transcript is None else error.transcript.last
    if error.transcript is None or last is None or len(error.transcript) <= len(job.conversation.transcript):
        return None
    outcome = Outcome(
        "".join(shown.content),
        "".join(shown.reasoning),
        usage=sum(_spent(job.conversation.transcript, error.transcript), Usage()),
        steps=_steps(job, error.transcript),
    )
    refusal = last.message.data.get("refusal")
    if isinstance(error, ModelError) and isinstance(refusal, str) and refusal:
        outcome.refusal = refusal
        return outcome
    if isinstance(error, ContentFilterError) and last.finish_reason == "content_filter":
        outcome.finish_reason = "content_filter"
        return outcome
    return None


def _steps(job: Job, transcript: Transcript) -> int:
    return sum(entry.author == "model" for entry in transcript.entries[len(job.conversation.transcript) :])


def _spent(before: Transcript | None, after: Transcript) -> Iterator[Usage]:
    """What the replies cost that are new in a transcript, those of sub-agents among them."""
    known: Sequence[Entry] = () if before is None else before.entries
    for index, entry in enumerate(after.entries):
        if index >= len(known) and entry.usage is not None:
            yield entry.usage
        for position, record in enumerate(entry.calls):
            if record.transcript is not None:
                inner = known[index].calls[position].transcript if index < len(known) else None
                yield from _spent(inner, record.transcript)


def _acted(job: Job, transcript: Transcript | None) -> bool:
    """Whether a tool ran. Without a transcript one may have."""
    if transcript is None:
        return True
    known = job.conversation.transcript.entries
    return any(
        record.started_at is not None and (index >= len(known) or known[index].calls[position] != record)
        for index, entry in enumerate(transcript.entries)
        for position, record in enumerate(entry.calls)
    )
