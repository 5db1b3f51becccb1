"""What both drivers share of a run: everything but the waiting."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

from agentkit.chat.exchange import HIDDEN, Exchange
from agentkit.errors import AgentKitError, EndpointError, LimitReached, ToolFailed
from agentkit.events import Event, Retrying, StepFinished, ToolFinished, ToolProgress, ToolStarted
from agentkit.policy import next_wait
from agentkit.tools import CancelFlag, Context
from agentkit.transcript import Pending

if TYPE_CHECKING:
    from collections.abc import Callable

    from agentkit.clock import Clock
    from agentkit.endpoint import Address
    from agentkit.flow import Again, Send, SupportsFlow
    from agentkit.loop import Tell
    from agentkit.messages import Reply, ToolResult
    from agentkit.state import State

log: Final = logging.getLogger("agentkit")
OnToolError = Literal["tell", "raise"]


class Wire:
    """What sending takes besides the waiting: exchanges kept, events told, time left, retries counted."""

    __slots__ = ("clock", "emit", "exchanges", "time_left", "waited_s")

    def __init__(
        self,
        clock: Clock,
        *,
        emit: Callable[[Event], None] | None = None,
        exchanges: list[Exchange] | None = None,
        time_left: Callable[[], float | None] = lambda: None,
    ) -> None:
        self.clock = clock
        self.emit = emit
        self.exchanges = exchanges
        self.time_left = time_left
        self.waited_s = 0.0

    def begin(self, effect: Send, address: Address) -> Exchange:
        """Note that a request goes out."""
        exchange = Exchange(address.url, (*address.shown, *effect.headers), effect.body, started_at=self.clock.now())
        if self.exchanges is not None:
            self.exchanges.append(exchange)
        return exchange

    def end(self, effect: Send, exchange: Exchange, key: str | None) -> None:
        """Note what came back."""
        exchange.seconds = self.clock.now() - exchange.started_at
        pieces = effect.reader.pieces
        if key and key.encode() in b"".join(pieces):
            pieces = [b"".join(pieces).replace(key.encode(), HIDDEN.encode())]
        exchange.received(pieces)

    def fail(self, effect: Send, exchange: Exchange, error: EndpointError, key: str | None) -> None:
        """Make an error carry what is known of the exchange, and nothing of the key."""
        error.exchange = exchange
        error.partial_text = error.partial_text or effect.reader.partial_text
        if key:
            hide = partial(_without, key)
            error.args = tuple([hide(arg) for arg in error.args])
            error.code, error.request_id = hide(error.code), hide(error.request_id)

    def wait_s(self, effect: Again) -> float:
        """How long to wait before the next attempt. Raises the error if there is none."""
        left = self.time_left()
        wait = next_wait(
            effect.retries,
            effect.error,
            effect.attempt,
            waited_s=self.waited_s,
            chance=self.clock.chance(),
        )
        if wait is None:
            raise effect.error
        if left is not None and wait >= left:
            raise LimitReached(
                f"the run's time limit leaves {left:.1f} s, and the endpoint has to be asked again in {wait:.1f} s: "
                f"{effect.error}",
                limit="seconds",
            ) from effect.error
        self.waited_s += wait
        log.info("asked again in %.1f s (attempt %d failed): %s", wait, effect.attempt, effect.error)
        if self.emit is not None:
            self.emit(Retrying(effect.error, effect.attempt, wait))
        return wait


def _without(key: str, value: Any) -> Any:
    return value.replace(key, HIDDEN) if isinstance(value, str) else value


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
    failure: ToolFailed | None = None
    flags: dict[Pending, CancelFlag] = field(default_factory=dict[Pending, CancelFlag])

    def wire(self) -> Wire:
        """What the run's requests are sent with."""
        return Wire(self.clock, emit=self.emit, exchanges=self.exchanges, time_left=self.time_left)

    def time_left(self) -> float | None:
        """Seconds until the run's time limit, or None."""
        return self.state.time_left(self.clock.monotonic())

    def start(self, pending: Pending, progress: Callable[[ToolProgress], None] | None) -> Context[Any]:
        """Record that a call starts; what its tool may know of the run."""
        made = self.state.plan.tools.get(pending.call.name)
        limits = [s for s in (None if made is None else made.timeout_s, self.time_left()) if s is not None]
        allowed_s = min(limits, default=None)
        flag = self.flags[pending] = CancelFlag()
        step = self.state.transcript.entries[pending.entry].step
        self.state.start(pending, at=self.clock.now())
        if self.emit is not None:
            self.emit(ToolStarted(pending.call, step))
        return Context(
            self.deps,
            pending.call,
            idempotency_key=pending.key,
            step=step,
            deadline=None if allowed_s is None else self.clock.monotonic() + allowed_s,
            allowed_s=allowed_s,
            flag=flag,
            progress=None if progress is None else lambda value: progress(ToolProgress(pending.call, value, step)),
        )

    def land(self, pending: Pending, result: ToolResult) -> None:
        """Record a call's result, and keep the error that shall end the run."""
        self.flags.pop(pending, None)
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

    def land_reply(self, reply: Reply) -> None:
        """Record the model's reply."""
        self.state.land_reply(reply, source=reply.source, at=self.clock.now(), now=self.clock.monotonic())
        if self.emit is not None:
            self.emit(StepFinished(reply, self.state.tally.steps))

    def tell(self, effect: Tell) -> None:
        """Record a message of the loop."""
        self.state.tell(effect.message, at=self.clock.now(), now=self.clock.monotonic())

    def abandon(self) -> None:
        """Tell the functions that still run that nobody waits for them."""
        for flag in self.flags.values():
            flag.is_set = True

    def fail(self, error: AgentKitError) -> None:
        """Give an error that ends the run the transcript, with all that was done."""
        error.transcript = self.state.transcript
