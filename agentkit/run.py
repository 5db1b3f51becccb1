"""What both drivers share of a run: everything but the waiting."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from agentkit.errors import AgentKitError, Cancelled, ToolFailed, UsageError
from agentkit.events import (
    Event,
    StepFinished,
    ToolDropped,
    ToolFinished,
    ToolProgress,
    ToolStarted,
)
from agentkit.logs import log
from agentkit.loop import Effect, Finished, Tell, decide
from agentkit.messages import ToolCall, ToolResult, user
from agentkit.state import State
from agentkit.tools import CancelFlag, Context, early_calls
from agentkit.transcript import Pending, Transcript
from agentkit.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agentkit.calling import Outcome
    from agentkit.chat.exchange import Exchange
    from agentkit.clock import Clock
    from agentkit.flow import SupportsFlow
    from agentkit.messages import Content, Reply


OnToolError = Literal["tell", "raise"]
CANCELLED: Final = "This call was cancelled before it had a result."


@dataclass(slots=True, eq=False)
class Begun:
    """A call whose function runs, or has run: `outcome` is its ToolResult or what was raised."""

    pending: Pending
    flag: CancelFlag
    at: float
    outcome: Outcome | None = None
    stop: Callable[[], None] | None = None

    def drop(self) -> None:
        """Let the function know that nobody waits for it, and end it where that can be done."""
        self.flag.is_set = True
        if self.stop is not None:
            self.stop()

    def matches(self, call: ToolCall) -> bool:
        """Whether it is that call, whatever ids they have."""
        return (self.pending.call.name, self.pending.call.arguments) == (call.name, call.arguments)


@dataclass(slots=True, eq=False)
class Run:
    """A run as its drivers see it."""

    state: State
    model: SupportsFlow
    clock: Clock
    deps: Any = None
    emit: Callable[[Event], None] | None = None
    on_tool_error: OnToolError = "tell"
    exchanges: list[Exchange] | None = None
    stream: bool = False
    eager: bool = True
    resume_stream: bool = False
    failure: ToolFailed | None = None
    cancelled: bool = False
    finished: bool = False
    relayed: BaseException | None = None
    early: list[Begun] = field(default_factory=list[Begun])
    begun: dict[Pending, Begun] = field(default_factory=dict[Pending, Begun])
    inbox: deque[Content] = field(default_factory=deque[Any])

    def wire(self) -> Wire:
        """What the run's requests are sent with."""
        return Wire(
            self.clock,
            emit=self.emit,
            exchanges=self.exchanges,
            time_left=self.time_left,
            resume_stream=self.resume_stream,
        )

    def next(self) -> Effect | Finished:
        """What to do next. Messages that were sent to the run come in before it."""
        while True:
            if self.cancelled:
                raise Cancelled("the run was cancelled")
            while self.inbox:
                self.state.say(self.inbox.popleft(), at=self.clock.now(), now=self.clock.monotonic())
            step = decide(self.state, self.clock.monotonic())
            if not isinstance(step, Finished):
                return step
            # in this order: what another thread sends now is either seen here, or refused by `send`
            self.finished = True
            if not self.inbox:
                return step
            self.finished = False

    def send(self, content: Content) -> None:
        """Put a message of the caller before the next question to the model. From any thread."""
        user(content)
        self.inbox.append(content)
        if self.finished and content in self.inbox:
            self.inbox.remove(content)
            raise UsageError("the run has finished: go on from its transcript with a new one")

    def time_left(self) -> float | None:
        """Seconds until the run's time limit, or None."""
        return self.state.time_left(self.clock.monotonic())

    def begin(
        self, pending: Pending, progress: Callable[[ToolProgress], None] | None, *, early: bool = False
    ) -> tuple[Begun, Context[Any]]:
        """Record that a call starts; and what its tool may know of the run."""
        made = self.state.plan.tools.get(pending.call.name)
        limits = [s for s in (None if made is None else made.timeout_s, self.time_left()) if s is not None]
        allowed_s = min(limits, default=None)
        begun = Begun(pending, CancelFlag(), self.clock.now())
        if early:
            self.early.append(begun)
            step = self.state.tally.steps + 1
        else:
            self.begun[pending] = begun
            step = self.state.transcript.entries[pending.entry].step
            self.state.start(pending, at=begun.at)
        if self.cancelled:  # from another thread, which has not seen this call
            begun.drop()
        if self.emit is not None:
            self.emit(ToolStarted(pending.call, step))

        return begun, Context(
            self.deps,
            pending.call,
            idempotency_key=pending.key,
            step=step,
            deadline=None if allowed_s is None else self.clock.monotonic() + allowed_s,
            allowed_s=allowed_s,
            flag=begun.flag,
            progress=None if progress is None else lambda value: progress(ToolProgress(pending.call, value, step)),
        )

    def relay(self, event: Event) -> None:
        """Tell an event on behalf of a tool, where an error of the listener would pass for the tool's own."""
        try:
            if self.emit is not None:
                self.emit(event)
        except BaseException as error:  # raised by check_relayed
            self.relayed = self.relayed or error
            self.abandon()

    def check_relayed(self) -> None:
        """Raise what a listener raised meanwhile."""
        if self.relayed is not None:
            raise self.relayed

    def land(self, pending: Pending, result: ToolResult) -> None:
        """Record a call's result, and keep the error that shall end the run."""
        if self.begun.pop(pending, None) is None and self.cancelled:
            return  # it comes too late: the call was answered as cancelled
        self.state.land(pending, result, now=self.clock.monotonic())
        if result.raised is not None:
            log.warning("tool %s failed: %s", pending.call.name, result.error)
            if self.on_tool_error == "raise" and self.failure is None:
                self.failure = ToolFailed(
                    f"tool {pending.call.name} failed: {result.error}", tool=pending.call.name, call_id=pending.call.id
                )
                self.failure.__cause__ = result.raised
        if self.emit is not None:
            self.emit(ToolFinished(pending.call, result, self.state.transcript.entries[pending.entry].step))

    def startable_early(self, sealed: Sequence[ToolCall]) -> list[Pending]:
        """Which calls of the reply that is being read may start now and have not."""
        entry = len(self.state.transcript)
        taken = list(self.early)
        start: list[Pending] = []
        for position, call in enumerate(early_calls(sealed, self.state.plan.tools)):
            known = next((begun for begun in taken if begun.matches(call)), None)
            if known is not None:
                taken.remove(known)
            elif self.state.allows(len(self.early) + len(start) + 1):
                start.append(Pending(entry, position, call, f"{self.state.run}:{entry}:{position}"))
            else:
                break
        return start

    def land_reply(self, reply: Reply) -> None:
        """Record the model's reply; what was started early finds its call, or is dropped."""
        self.state.land_reply(reply, source=reply.source, at=self.clock.now(), now=self.clock.monotonic())
        if self.emit is not None:
            self.emit(StepFinished(reply, self.state.tally.steps))
        for pending in self.state.transcript.pending if self.early else ():
            begun = next((begun for begun in self.early if begun.matches(pending.call)), None)
            if begun is not None:
                self.early.remove(begun)
                begun.pending = pending
                self.begun[pending] = begun
                self.state.start(pending, at=begun.at)
        self._drop_early(self.state.tally.steps)

    def _drop_early(self, step: int) -> None:
        dropped, self.early = self.early, []
        for begun in dropped:
            begun.drop()
            if self.emit is not None:
                self.emit(ToolDropped(begun.pending.call, step))

    def tell(self, effect: Tell) -> None:
        """Record a message of the loop."""
        self.state.tell(effect.message, at=self.clock.now(), now=self.clock.monotonic())

    def cancel(self) -> None:
        """Let the run end, and its functions know of it. From any thread."""
        self.cancelled = True
        self.abandon()

    def abandon(self) -> None:
        """Tell the functions that still run that nobody waits for them."""
        for begun in (*tuple(self.begun.values()), *tuple(self.early)):
            begun.flag.is_set = True

    def fail(self, error: BaseException) -> None:
        """The run ends with an error. One of ours gets the transcript, with all that was done."""
        self.abandon()
        if isinstance(error, KeyboardInterrupt):
            # it may have struck while something was recorded; each entry is whole, and the rest is computed from them
            kept, at = Transcript(self.state.transcript.entries), self.clock.monotonic()
            self.state = State(self.state.plan, kept, new_run=self.state.run, at=self.clock.now(), began=at)
        for begun in tuple(self.begun.values()):
            if begun.outcome is not None and begun.outcome.raised is None and not begun.flag.is_heeded:
                self.land(begun.pending, begun.outcome.value)
        if not isinstance(error, AgentKitError) or isinstance(error, Cancelled):
            self._answer_cancelled()
        if isinstance(error, AgentKitError):
            error.transcript = self.state.transcript
        self._drop_early(self.state.tally.steps + 1)

    def _answer_cancelled(self) -> None:
        """Answer each unfinished call as cancelled, so that the transcript can be gone on from."""
        self.cancelled = True
        unfinished, result = self.state.transcript.pending, ToolResult(CANCELLED, "cancelled")
        for pending in unfinished:
            self.begun.pop(pending, None)
            self.state.land(pending, result, now=self.clock.monotonic())
        if self.emit is not None:
            for pending in unfinished:
                self.emit(ToolFinished(pending.call, result, self.state.transcript.entries[pending.entry].step))
