"""What sending takes besides the waiting: exchanges, time left, when to try again."""

from __future__ import annotations

import time
from functools import partial
from logging import DEBUG
from typing import TYPE_CHECKING, Any, Final

from agentkit._http import RawHeaders
from agentkit.chat.exchange import HIDDEN, Exchange
from agentkit.chat.stream import deltas_of
from agentkit.errors import EndpointError, LimitReached, TimedOut
from agentkit.events import (
    Delta,
    Event,
    Restarted,
    Retrying,
)
from agentkit.logs import log
from agentkit.policy import next_wait
from agentkit.spending import Spending

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agentkit._http.request import Headers
    from agentkit.budget import Budget
    from agentkit.chat.request import Body
    from agentkit.clock import Clock
    from agentkit.endpoint import Address
    from agentkit.flow import Again, Send
    from agentkit.messages import Reply


_KEY_NAME: Final = "idempotency-key"
SECRET: Final = frozenset({"authorization", "proxy-authorization", "api-key", "x-api-key", "x-goog-api-key", "cookie"})
"""Headers that are never shown, should a user send them as extra_headers."""
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
        "model",
        "resume_stream",
        "spending",
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
        budgets: tuple[Budget, ...] = (),
    ) -> None:
        self.clock = clock
        self.emit = emit
        self.exchanges = exchanges
        self.time_left = time_left
        self.resume_stream = resume_stream
        self.spending = Spending(budgets)
        self.step = 0
        self.model: str | None = None  # what was asked last
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
        """Note that a request goes out, once the most that it can cost is reserved.

        Raises:
            LimitReached: that does not fit into a budget.
            UsageError: there is a budget, and nobody knows what the model costs.
        """
        if self.spending.budgets:
            self.spending.reserve(effect, self.clock.now())
        self.model = effect.model
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
        self.spending.settle(effect, exchange, self.step)

    @property
    def step_cost(self) -> float | None:
        """What the requests of this step have cost, in USD.

        None if one was not counted: there is no budget, and its model's price was not said.
        """
        return self.spending.step_cost(self.step)

    def fail(self, effect: Send, exchange: Exchange, error: EndpointError, key: str | None) -> None:
        """Make an error carry what is known of the exchange, and nothing of the key."""
        self.spending.fail(error)
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
