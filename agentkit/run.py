"""What both drivers share of a run: everything but the waiting."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from agentkit.consult import Query, consult, guard_input
from agentkit.context import CancelFlag, Context
from agentkit.errors import AgentKitError, Blocked, Cancelled, ToolFailed, UsageError
from agentkit.events import (
    Compacted,
    Event,
    HandedOff,
    Nested,
    StepFinished,
    ToolDropped,
    ToolFinished,
    ToolProgress,
    ToolStarted,
)
from agentkit.logs import log
from agentkit.loop import CallModel, Consult, Effect, Finished, RunTools, Tell, decide
from agentkit.messages import ToolCall, ToolResult, user
from agentkit.pending import is_waiting
from agentkit.state import State
from agentkit.toolcalls import PAUSED, early_calls
from agentkit.transcript import Pending, Transcript
from agentkit.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from agentkit.budget import Budget
    from agentkit.calling import Outcome
    from agentkit.chat.exchange import Exchange
    from agentkit.clock import Clock
    from agentkit.context import Invoke
    from agentkit.flow import SupportsFlow
    from agentkit.messages import Content, Reply
    from agentkit.toolcalls import Delegate


Journal = Callable[[int, bytes], None]
"""Writes down an entry: its index, and its JSON as in a dump. It is new, or takes the place of the one before."""
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


class Gate:
    """Holds back what is told until the guards are through: `left` of them are not."""

    __slots__ = ("_emit", "_held", "changes", "left")

    def __init__(self, emit: Callable[[Event], None] | None, guards: int) -> None:
        self._emit = emit
        self._held: list[Event] = []
        self.left = guards
        self.changes: list[Content] = []

    def tell(self, event: Event) -> None:
        """Tell an event, or hold it back."""
        if self.left or self.changes:
            self._held.append(event)
        elif self._emit is not None:
            self._emit(event)

    def passed(self, change: Content | None) -> None:
        """A guard is through, and has this to put in the prompt's place. After the last one what was held is told."""
        self.left -= 1
        if change is not None:
            self.changes.append(change)
        if not self.left and not self.changes:
            for event in self._held:
                self.tell(event)


@dataclass(slots=True, eq=False)
class Run:
    """A run as its drivers see it."""

    state: State
    model: SupportsFlow | None
    clock: Clock
    deps: Any = None
    emit: Callable[[Event], None] | None = None
    on_tool_error: OnToolError = "tell"
    exchanges: list[Exchange] | None = None
    stream: bool = False
    eager: bool = True
    resume_stream: bool = False
    pause: Callable[[], bool] | None = None
    failure: ToolFailed | None = None
    cancelled: bool = False
    finished: bool = False
    paused: bool = False
    relayed: BaseException | None = None
    early: list[Begun] = field(default_factory=list[Begun])
    begun: dict[Pending, Begun] = field(default_factory=dict[Pending, Begun])
    inbox: deque[Content] = field(default_factory=deque[Any])
    budgets: tuple[Budget, ...] = ()
    journal: Journal | None = None
    part: tuple[Run, Pending] | None = None  # of the run that has this one do a call, and which
    inner: list[Run] = field(default_factory=list["Run"])
    asking: list[CancelFlag] = field(default_factory=list[CancelFlag])
    saving: threading.Lock = field(default_factory=threading.Lock)

    def asked(self) -> SupportsFlow:
        """The model that is asked now: the one that was put in place of all agents' own, or the active agent's."""
        model = self.model or self.state.active.model
        assert model is not None  # the agents gave it
        return model

    @property
    def starts_early(self) -> bool:
        """Whether calls may start while a reply is being read."""
        if not self.stream or not self.eager or self.state.plan.tool_guards:
            return False
        personas = (self.state.plan, *self.state.plan.personas.values())
        return any(persona.groups or any(made.may_overtake for made in persona.tools.values()) for persona in personas)

    def wire(self) -> Wire:
        """What the run's requests are sent with."""
        return Wire(
            self.clock,
            emit=self.emit,
            exchanges=self.exchanges,
            time_left=self.time_left,
            resume_stream=self.resume_stream,
            budgets=self.budgets,
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
                if not self._pauses_before(step):
                    return step
                step = Finished(paused=True)
            self.paused = step.paused
            # in this order: what another thread sends now is either seen here, or refused by `send`
            self.finished = True
            if not self.inbox:
                return step
            self.finished = False

    def _pauses_before(self, step: Effect) -> bool:
        """Whether the run is to end before a request to the model or calls; not if some of those run already."""
        asks = isinstance(step, CallModel) or (isinstance(step, Consult) and step.about == "summary")
        is_new = asks or (isinstance(step, RunTools) and not self.begun)
        return is_new and self.pause is not None and self.pause()

    def send(self, content: Content) -> None:
        """Put a message of the caller before the next question to the model. From any thread."""
        user(content)
        self.inbox.append(content)
        if self.finished and content in self.inbox:
            self.inbox.remove(content)
            raise UsageError("the run has finished: go on from its transcript with a new one")

    def time_left(self) -> float | None:
        """Seconds until the run's time limit, or that of the run that it is part of; or None."""
        own = self.state.time_left(self.clock.monotonic())
        outer = None if self.part is None else self.part[0].time_left()
        return min((left for left in (own, outer) if left is not None), default=None)

    def consult(self, effect: Consult) -> Generator[Invoke | Query, Any, None]:
        """Ask functions of the user's."""
        clock = self.clock
        self.asking.clear()
        landed = yield from consult(effect, self.state, self.context_of, clock.monotonic())
        self.tell_landed(landed)
        if effect.about == "summary" and self.emit is not None:
            last = self.state.transcript.last
            self.emit(Compacted(0 if last is None else last.covers, self.state.tally.steps))

    def wire_beside(self) -> Wire:
        """What a question beside the conversation is sent with: nothing of it is told."""
        wire = self.wire()
        wire.emit, wire.step = None, self.state.tally.steps
        return wire

    def tell_landed(self, landed: Sequence[Pending]) -> None:
        """Tell of calls that have their results by a decision."""
        for pending in landed:
            result = self.state.transcript.record(pending).result
            if self.emit is not None and result is not None:
                self.emit(ToolFinished(pending.call, result, self.state.transcript.entries[pending.entry].step))

    def context_of(self, pending: Pending | None) -> Context[Any]:
        """What a function that is asked may know of the run, and of the call that it is asked about."""
        allowed_s = self.time_left()
        self.asking.append(CancelFlag())
        return Context(
            self.deps,
            None if pending is None else pending.call,
            idempotency_key="" if pending is None else pending.key,
            step=self.state.tally.steps,
            deadline=None if allowed_s is None else self.clock.monotonic() + allowed_s,
            allowed_s=allowed_s,
            flag=self.asking[-1],
            view=self.state,
        )

    def guards(self) -> list[Generator[Invoke, Any, Content | None]]:
        """The input guards that run beside the model's first request, each for itself."""
        guards = [guard for guard in self.state.plan.input_guards if not guard.wait]
        return [guard_input(guard, self.state.prompt, self.context_of(None)) for guard in guards]

    def guarded(self, changes: Sequence[Content]) -> bool:
        """Record that the guards are through; whether what the model was asked still stands."""
        self.state.guarded()
        for change in changes:
            self.state.reword(change)
        return not changes

    def begin(
        self, pending: Pending, relay: Callable[[Event], None] | None, *, early: bool = False
    ) -> tuple[Begun, Context[Any]]:
        """Record that a call starts; and what its tool may know of the run. `relay` tells the tool's own events."""
        made = self.state.tools.get(pending.call.name)
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
            progress=None if relay is None else lambda value: relay(ToolProgress(pending.call, value, step)),
            view=self.state,
        )

    def delegate(self, effect: Delegate, relay: Callable[[Event], None] | None) -> Run:
        """The run of the agent that does a call, as part of this one."""
        pending = effect.pending
        assert effect.tool.delegate is not None  # that is what makes it one
        run: Run = effect.tool.delegate(self, pending, effect.arguments)
        if relay is not None:
            step = self.state.transcript.entries[pending.entry].step
            run.emit = lambda event: relay(Nested(pending.call, event, step))
        self.state.delegate(pending, run.state)
        self.inner.append(run)
        if self.cancelled:
            run.cancel()
        return run

    def delegated(self, run: Run) -> None:
        """That run is over."""
        self.inner.remove(run)

    @property
    def outcome(self) -> Any:
        """What this run, which does a call of another one, is to that: its answer, or that it waits for a decision."""
        return PAUSED if self.paused else self.output

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

    def land(self, pending: Pending, result: ToolResult | None) -> None:
        """Record a call's result, and keep the error that shall end the run. None: it waits for a decision."""
        if result is None:
            self.begun.pop(pending, None)
            return
        if self.begun.pop(pending, None) is None and self.cancelled:
            return  # it comes too late: the call was answered as cancelled
        self.state.land(pending, result, now=self.clock.monotonic())
        result = self.state.transcript.record(pending).result or result
        if result.raised is not None:
            log.warning("tool %s failed: %s", pending.call.name, result.error)
            if self.on_tool_error == "raise" and self.failure is None:
                self.failure = ToolFailed(
                    f"tool {pending.call.name} failed: {result.error}", tool=pending.call.name, call_id=pending.call.id
                )
                self.failure.__cause__ = result.raised
        if self.emit is not None:
            self.emit(ToolFinished(pending.call, result, self.state.transcript.entries[pending.entry].step))
            if result.handoff is not None:
                self.emit(HandedOff(result.handoff, self.state.tally.steps))

    def startable_early(self, sealed: Sequence[ToolCall]) -> list[Pending]:
        """Which calls of the reply that is being read may start now and have not."""
        if self.state.is_unguarded:
            return []
        entry = len(self.state.transcript)
        taken = list(self.early)
        start: list[Pending] = []
        for position, call in enumerate(early_calls(sealed, self.state.tools)):
            known = next((begun for begun in taken if begun.matches(call)), None)
            if known is not None:
                taken.remove(known)
            elif self.state.allows(len(self.early) + len(start) + 1):
                start.append(Pending(entry, position, call, self.state.transcript.key(self.state.run, entry, position)))
            else:
                break
        return start

    def land_reply(self, reply: Reply, wire: Wire) -> None:
        """Record the model's reply; what was started early finds its call, or is dropped."""
        self.state.land_reply(
            reply,
            source=reply.source,
            at=self.clock.now(),
            now=self.clock.monotonic(),
            model=wire.model,
            cost=wire.step_cost,
        )
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
        for run in tuple(self.inner):
            run.cancel()
        self.abandon()

    def abandon(self) -> None:
        """Tell the functions that still run that nobody waits for them."""
        for flag in tuple(self.asking):
            flag.is_set = True
        for begun in (*tuple(self.begun.values()), *tuple(self.early)):
            begun.flag.is_set = True

    def fail(self, error: BaseException) -> None:
        """The run ends with an error. One of ours gets the transcript, with all that was done."""
        self.abandon()
        if isinstance(error, KeyboardInterrupt):
            # it may have struck while something was recorded; each entry is whole, and the rest is computed from them
            kept, at = Transcript(self.state.transcript.entries), self.clock.monotonic()
            kept.offset, changed = self.state.transcript.offset, self.state.transcript.changed
            self.state = State(
                self.state.plan, kept, new_run=self.state.run, at=self.clock.now(), began=at, resumed=False
            )
            self.state.transcript.changed = changed
        for begun in tuple(self.begun.values()):
            if begun.outcome is not None and begun.outcome.raised is None and not begun.flag.is_heeded:
                self.land(begun.pending, begun.outcome.value)
        if isinstance(error, Blocked) and self.state.is_unguarded:
            self.state.refuse()
        if not isinstance(error, AgentKitError) or isinstance(error, Cancelled):
            self._answer_cancelled()
        if isinstance(error, AgentKitError):
            error.transcript = self.state.transcript
        self._drop_early(self.state.tally.steps + 1)

    @property
    def output(self) -> Any:
        """The answer, once the run is finished."""
        verdict, last = self.state.verdict, self.state.transcript.last
        if verdict is not None:
            return verdict.value
        return "" if last is None else last.message.text

    @property
    def is_kept(self) -> bool:
        """Whether what happens is written down as it does."""
        return self.state.transcript.changed is not None

    def save(self) -> None:
        """Write down what has changed. Raises what the journal raises. From any thread."""
        if not self.is_kept:
            return
        outermost = self
        while outermost.part is not None:
            outermost = outermost.part[0]
        with outermost.saving:  # also where nothing is left to do: another thread may be writing it at this moment
            self.write_changes()

    def write_changes(self) -> None:
        """The same, for whoever has the lock."""
        changed = self.state.transcript.changed
        if changed is None:
            return
        if self.part is not None:
            outer, pending = self.part
            if changed and outer.state.transcript.changed is not None:
                changed.clear()
                outer.state.transcript.changed[pending.entry] = None
            outer.write_changes()
        elif self.journal is not None:
            for index in sorted(changed.copy()):
                changed.pop(index, None)  # before it is read: what changes from then on is written again
                try:
                    self.journal(index, self.state.transcript.dump_entry(index))
                except BaseException:
                    changed[index] = None
                    raise

    def _answer_cancelled(self) -> None:
        """Answer each unfinished call as cancelled, so that the transcript can be gone on from."""
        self.cancelled = True
        transcript, result = self.state.transcript, ToolResult(CANCELLED, "cancelled")
        open_ = [(each, transcript.record(each)) for each in transcript.pending]
        unfinished = [each for each, record in open_ if record.hold != "ask" and not is_waiting(record)]
        for pending in unfinished:
            self.begun.pop(pending, None)
            self.state.land(pending, result, now=self.clock.monotonic())
        if self.emit is not None:
            for pending in unfinished:
                self.emit(ToolFinished(pending.call, result, self.state.transcript.entries[pending.entry].step))
