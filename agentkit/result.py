"""Result: what came of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal

from typing_extensions import TypeVar

from agentkit.errors import UsageError
from agentkit.events import RunFinished
from agentkit.pending import PendingCall, pending_calls
from agentkit.prices import cost_of_entries
from agentkit.shown import Shown, brief
from agentkit.transcript import CallRecord, Transcript, entry_messages

if TYPE_CHECKING:
    from agentkit.chat.exchange import Exchange
    from agentkit.messages import Usage
    from agentkit.run import Run

Out = TypeVar("Out", default=str)


@dataclass(slots=True)
class Result(Shown, Generic[Out]):
    """What came of a run.

    `output` is the answer, of the agent's output type; `text` is it as the model wrote it. `status` is "done", or
    "paused" while calls wait for a decision, which `pending` names, or where `pause=` ended the run before it was done;
    `output` then raises. `transcript` is the whole conversation, to go on from or to dump. `tool_calls` are this run's
    calls with their results, in order. `usage` sums up this run's replies, those of sub-agents included.
    `finish_reason` is the last reply's. `agent` is the name of the agent that had the last word. `exchanges` are the
    requests and responses as they went over the wire.
    """

    transcript: Transcript
    usage: Usage
    finish_reason: str | None
    tool_calls: tuple[CallRecord, ...]
    new_messages: list[dict[str, Any]]
    exchanges: tuple[Exchange, ...] = ()
    status: Literal["done", "paused"] = "done"
    pending: tuple[PendingCall, ...] = ()
    agent: str | None = None
    _output: Any = None
    _run: str = ""

    @property
    def output(self) -> Out:
        """The answer. Raises UsageError while the run is paused."""
        if self.status == "paused":
            if not self.pending:
                raise UsageError("the run was paused by its pause=; go on with run(transcript=result.transcript)")
            names = ", ".join(f"{call.call.name} ({call.id})" for call in self.pending)
            raise UsageError(
                f"the run is paused, since these calls wait for a decision: {names}; go on with "
                "run(transcript=result.transcript, decisions={id: Approve()})"
            )
        output: Out = self._output
        return output

    @property
    def text(self) -> str:
        """The last message's text; for a call that gave the answer, its arguments."""
        last = self.transcript.last
        if last is None:
            return ""
        return last.message.text or "".join(record.call.arguments for record in last.calls if record.hold == "output")

    @property
    def cost(self) -> float | None:
        """What this run's replies cost in USD, those of sub-agents included; None if a price is not known.

        agentkit.prices.unpriced tells of which model.
        """
        return cost_of_entries([entry for entry in self.transcript if entry.run == self._run])

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        if self.status == "paused":
            return f"Result(paused, pending={[call.call.name for call in self.pending]})"
        return f"Result({brief(self.output)}, tool_calls={len(self.tool_calls)})"


def result_of(run: Run, past: Transcript) -> Result[Any]:
    """The result of a run that is finished; `past` is what it went on from."""
    state = run.state
    transcript = state.transcript
    last = transcript.last
    transcript.spliced.clear()  # it is as large as all messages, and the next run goes on in a copy
    result = Result[Any](
        transcript,
        state.usage,
        None if last is None else last.finish_reason,
        tuple([record for entry in transcript if entry.run == state.run for record in entry.calls]),
        _new_messages(past, transcript),
        tuple(run.exchanges or ()),
        "paused" if run.paused else "done",
        tuple(pending_calls(transcript)) if run.paused else (),
        state.active.name,
        None if run.paused else run.output,
        state.run,
    )
    if run.emit is not None:
        run.emit(RunFinished(result, state.tally.steps))
    return result


def _new_messages(past: Transcript, transcript: Transcript) -> list[dict[str, Any]]:
    """What a plain list of the past lacks: results of its last calls, then all messages since."""
    new: list[dict[str, Any]] = []
    for before, after in zip(past, transcript, strict=False):
        if before is not after:
            known = entry_messages(before)
            new += [message for message in entry_messages(after)[1:] if message not in known]
    return new + [message for entry in transcript.entries[len(past) :] for message in entry_messages(entry)]
