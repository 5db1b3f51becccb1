"""What both drivers share of a run: everything but the waiting."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from functools import partial
from logging import DEBUG
from typing import TYPE_CHECKING, Any, Final, Literal

from agentkit._http import RawHeaders
from agentkit.chat.exchange import HIDDEN, Exchange
from agentkit.chat.stream import deltas_of
from agentkit.errors import AgentKitError, Cancelled, EndpointError, LimitReached, TimedOut, ToolFailed, UsageError
from agentkit.events import (
    Delta,
    Event,
    Restarted,
    Retrying,
    StepFinished,
    ToolDropped,
    ToolFinished,
    ToolProgress,
    ToolStarted,
)
from agentkit.logs import log
from agentkit.loop import Effect, Finished, Tell, decide
from agentkit.messages import ToolCall, ToolResult, user
from agentkit.policy import next_wait
from agentkit.state import State
from agentkit.tools import CancelFlag, Context, early_calls
from agentkit.transcript import Pending, Transcript

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agentkit._http.request import Headers
    from agentkit.calling import Outcome
    from agentkit.chat.request import Body
    from agentkit.clock import Clock
    from agentkit.endpoint import Address
    from agentkit.flow import Again, Send, SupportsFlow
    from agentkit.messages import Content, Reply


OnToolError = Literal["tell", "raise"]
_KEY_NAME: Final = "idempotency-key"
SECRET: Final = frozenset({"authorization", "proxy-authorization", "api-key", "x-api-key", "x-goog-api-key", "cookie"})
"""Headers that are never shown, should a user send them as extra_headers."""
CANCELLED: Final = "This call was cancelled before it had a result."
EARLY_S: Final = 0.05
"""A timer may fire this early by the clock that says how much time is left."""


class Pulse:
    """Whether an answer still gets on: comments that keep a line alive do not keep a request alive."""

    __slots__ = ("_at", "_effect", "_progress")

    def __init__(self, effect: Send) -> None:
        self._effect = effect
        self._progress = effect.reader.progress
        self._at = time.monotonic()

    def rest(self) -> None:
        """To be called after a pause that is not the endpoint's."""
        self._at = time.monotonic()

    def beat(self) -> None:
        """To be called after each piece. Raises TimedOut if for too long none has brought anything."""
        progress, now = self._effect.reader.progress, time.monotonic()
        if progress != self._progress:
            self._progress, self._at = progress, now
            return
        timeouts = self._effect.timeouts
        limit = timeouts.read_s if progress else timeouts.first_byte_s
        if limit is not None and now - self._at > limit:
            raise TimedOut(
                f"{self._effect.endpoint.source} kept the line open for {limit:g} s and sent nothing of the answer",
                retryable=True,
            )


class Wire:
    """What sending takes besides the waiting: exchanges kept, events told, time left, retries counted."""

    __slots__ = (
        "_body",
        "_first_at",
        "_key",
        "_told",
        "clock",
        "emit",
        "exchanges",
        "resume_stream",
        "step",
        "time_left",
        "waited_s",
    )

    def __init__(
        self,
        clock: Clock,
        *,
        emit: Callable[[Event], None] | None = None,
        exchanges: list[Exchange] | None = None,
        time_left: Callable[[], float | None] = lambda: None,
        resume_stream: bool = False,
    ) -> None:
        self.clock = clock
        self.emit = emit
        self.exchanges = exchanges
        self.time_left = time_left
        self.resume_stream = resume_stream
        self.step = 0
        self.waited_s = 0.0
        self._told = False
        self._first_at = 0.0
        self._body: Body | None = None
        self._key = ""

    def headers(self, effect: Send, address: Address) -> Headers:
        """The headers to send. The retries of a request have the same Idempotency-Key, as they have the same body."""
        if effect.body is not self._body:
            self._body, self._key = effect.body, self.clock.new_key()
        if not effect.headers:
            return RawHeaders([*address.headers, (_KEY_NAME.encode(), self._key.encode())])
        return [*address.plain, *self._own(effect)]

    def _own(self, effect: Send) -> list[tuple[str, str]]:
        """The request's own headers; one of the user's takes the place of ours."""
        own = list(effect.headers)
        return own if any(name.lower() == _KEY_NAME for name, _ in own) else [*own, (_KEY_NAME, self._key)]

    def begin(self, effect: Send, address: Address) -> Exchange:
        """Note that a request goes out."""
        if effect.attempt == 1:
            self._first_at = time.monotonic()
        shown = [*address.shown, *((n, HIDDEN if n.lower() in SECRET else v) for n, v in self._own(effect))]
        exchange = Exchange(address.shown_url, shown, effect.body, started_at=self.clock.now())
        if self.exchanges is not None:
            self.exchanges.append(exchange)
        return exchange

    def deadline(self, effect: Send) -> float | None:
        """When the request has to be over, on time.monotonic(), its earlier attempts included."""
        ends: list[float] = []
        if (left := self.time_left()) is not None:
            ends.append(time.monotonic() + left)
        if effect.timeouts.total_s is not None:
            ends.append(self._first_at + effect.timeouts.total_s)
        return min(ends, default=None)

    def tell(self, deltas: Sequence[Delta]) -> None:
        """Tell pieces of the reply."""
        if deltas and self.emit is not None:
            self._told = True
            for delta in deltas:
                delta.step = self.step
                self.emit(delta)

    def tell_whole(self, reply: Reply) -> None:
        """Tell a reply of which nothing was told on the way."""
        if not self._told:
            self.tell(deltas_of(reply))
        self._told = False

    def end(self, effect: Send, exchange: Exchange, key: str | None) -> None:
        """Note what came back."""
        exchange.seconds = self.clock.now() - exchange.started_at
        exchange.received(effect.reader.pieces)
        if key:
            exchange.hide(key)
        if log.isEnabledFor(DEBUG):
            log.debug("%s", exchange.shown())

    def fail(self, effect: Send, exchange: Exchange, error: EndpointError, key: str | None) -> None:
        """Make an error carry what is known of the exchange, and nothing of the key."""
        total_s, left = effect.timeouts.total_s, self.time_left()
        if isinstance(error, TimedOut) and not error.retryable and total_s and (left is None or left > EARLY_S):
            # not the run's time was over but the request's, of which earlier attempts have had their part
            source, remedy = effect.endpoint.source, "raise Timeouts(total_s=…) if answers may take that long"
            error.args = (f"{source} did not answer in full within {total_s:g} s; {remedy}",)
            error.retryable = True
        error.exchange = exchange
        error.partial_text = error.partial_text or effect.reader.partial_text
        if key:
            hide = partial(_without, key)
            error.partial_text = hide(error.partial_text)
            error.args = tuple([hide(arg) for arg in error.args])
            error.code, error.request_id = hide(error.code), hide(error.request_id)

    def turn_s(self, wait_s: float | None) -> float | None:
        """How long to wait for this run's turn before looking again. Raises LimitReached if the run's time is over."""
        left = self.time_left()
        if left is not None and (left <= 0 or (wait_s is not None and wait_s >= left)):
            raise LimitReached("the run's time limit was reached while its request waited its turn", limit="seconds")
        return left if wait_s is None else wait_s

    def wait_s(self, effect: Again) -> float:
        """How long to wait before the next attempt. Raises the error if there is none."""
        error, left = effect.error, self._check_again(effect.error)
        wait = next_wait(
            effect.retries,
            error,
            effect.attempt,
            waited_s=self.waited_s,
            chance=self.clock.chance(),
            elapsed_s=time.monotonic() - self._first_at,
            left_s=None if effect.total_s is None else self._first_at + effect.total_s - time.monotonic(),
        )
        if wait is None:
            raise error
        if left is not None and wait >= left:
            raise LimitReached(
                f"the run's time limit leaves {left:.1f} s, and the endpoint has to be asked again in {wait:.1f} s: "
                f"{error}",
                limit="seconds",
            ) from error
        self.waited_s += wait
        log.info("asked again in %.1f s (attempt %d failed): %s", wait, effect.attempt, error)
        self._tell_again(Retrying(error, effect.attempt, wait, self.step))
        return wait

    def instead(self, error: EndpointError) -> None:
        """Another model takes the place of one that failed. Raises the error if it cannot."""
        self._check_again(error)
        log.warning("another model is asked, since one failed: %s", error)
        self._tell_again(Retrying(error, 1, 0.0, self.step))

    def _check_again(self, error: EndpointError) -> float | None:
        """The time that is left. Raises if it is too late to ask again."""
        left = self.time_left()
        if left is not None and left <= EARLY_S:
            raise LimitReached(
                f"the run's time limit was reached while the model was asked: {error}", limit="seconds"
            ) from error
        if self._told and not self.resume_stream:
            raise error  # what was told cannot be taken back
        return left

    def _tell_again(self, retrying: Retrying) -> None:
        if self.emit is not None:
            self.emit(retrying)
            if self._told:
                self.emit(Restarted(retrying.error, self.step))
        self._told = False


def _without(key: str, value: Any) -> Any:
    return value.replace(key, HIDDEN) if isinstance(value, str) else value


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
