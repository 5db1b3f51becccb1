"""What the requests of a run cost: reserved before each goes out, settled when it is over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agentkit.bound import most_of
from agentkit.budget import reserve_in, settle_all
from agentkit.errors import ConnectionFailed, EndpointError, ProtocolError, TimedOut
from agentkit.prices import cost_of, price_of, unknown_price

if TYPE_CHECKING:
    from agentkit.budget import Budget, Reservation
    from agentkit.chat.exchange import Exchange
    from agentkit.chat.request import Body
    from agentkit.flow import Send
    from agentkit.messages import Reply, Usage
    from agentkit.prices import Price


class _Held:
    """What was reserved for the request that is under way, and the price that it goes by."""

    __slots__ = ("price", "reservations", "usd")

    def __init__(self, price: Price, usd: float, reservations: tuple[Reservation, ...]) -> None:
        self.price = price
        self.usd = usd
        self.reservations = reservations


class Spending:
    """Counts what the requests of one run cost, in the budgets that they have to fit into.

    Without a budget only those of a model are counted whose price its user said.
    """

    __slots__ = ("_answered", "_cost", "_held", "_step", "_unsent", "budgets")

    def __init__(self, budgets: tuple[Budget, ...] = ()) -> None:
        self.budgets = budgets
        self._held: _Held | None = None
        self._unsent = False
        self._answered: tuple[Body, Usage] | None = None
        self._cost: float | None = None
        self._step = -1

    def reserve(self, effect: Send, at: float) -> None:
        """Reserve the most that a request can cost, at a Unix time.

        Raises:
            LimitReached: that does not fit into a budget.
            UsageError: nobody knows what the model costs.
        """
        price = effect.price or _listed(effect, effect.body.fields.get("service_tier"), at)
        if price is None:
            raise unknown_price(effect.model, effect.endpoint.source)
        most = most_of(effect.body, price, self._answered)
        reservations = reserve_in(self.budgets, most.usd, f"a request to {effect.model} may cost {most}")
        self._held = _Held(price, most.usd, reservations)

    def fail(self, error: EndpointError) -> None:
        """The request under way has failed."""
        self._unsent = isinstance(error, ConnectionFailed)

    def settle(self, effect: Send, exchange: Exchange, step: int) -> None:
        """Put what a request cost in place of what was reserved for it."""
        held, self._held = self._held, None
        unsent, self._unsent = self._unsent, False
        price = effect.price if held is None else held.price
        if price is None:
            self._add(None, step)
            return
        if exchange.status is None:
            cost = 0.0 if unsent else None
        else:
            try:
                cost = self._cost_of(effect, effect.reader.end(), price, exchange.started_at)
            except EndpointError as error:
                cost = 0.0 if _is_refused(error, effect, exchange.status) else None
        if cost is None:  # it broke off, and was paid for, as far as anybody can tell
            cost = most_of(effect.body, price, self._answered).usd if held is None else held.usd
        if held is not None:
            settle_all(held.reservations, cost)
        self._add(cost, step)

    def step_cost(self, step: int) -> float | None:
        """What the requests of a step have cost, in USD; None if one of them was not counted."""
        return self._cost if self._step == step else None

    def _add(self, cost: float | None, step: int) -> None:
        if self._step != step:
            self._step, self._cost = step, cost
        elif self._cost is not None:
            self._cost = None if cost is None else self._cost + cost

    def _cost_of(self, effect: Send, reply: Reply, price: Price, at: float) -> float | None:
        usage = reply.usage
        if usage is None or not usage.prompt_tokens or usage.total_tokens <= usage.prompt_tokens:
            return None
        self._answered = effect.body, usage
        if effect.price is None and (tier := reply.extra.get("service_tier")) is not None:
            price = _listed(effect, tier, at) or price
        return cost_of(usage, price)


def _listed(effect: Send, tier: Any, at: float) -> Price | None:
    return price_of(effect.model, effect.endpoint.source, at=at, service_tier=tier if isinstance(tier, str) else None)


def _is_refused(error: EndpointError, effect: Send, status: int) -> bool:
    """Whether an answer says that there is none, and so costs nothing."""
    if not 200 <= status < 300:
        return True
    told = not isinstance(error, ConnectionFailed | TimedOut | ProtocolError)
    return told and not error.partial_text and effect.reader.progress <= 1
