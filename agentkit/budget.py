"""Budgets in USD, shared by any number of runs and threads: money is reserved before a request goes out."""

from __future__ import annotations

import os
import threading
from math import ceil, floor
from typing import TYPE_CHECKING, ClassVar, Final

from agentkit.chat.settings import check_number
from agentkit.errors import LimitReached, UsageError
from agentkit.prices import dollars, spent_on

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import NoReturn

    from agentkit.transcript import Entry

# Whole numbers, so that nothing is lost or gained however often one adds and takes away.
_PARTS: Final = 10**12
# One for all budgets: what has to fit into several of them is reserved in all of them at once, or in none.
_lock = threading.Lock()


class Reservation:
    """Money of a budget that is held back for one request, until it is settled."""

    __slots__ = ("amount", "budget", "is_settled")

    def __init__(self, budget: Budget, amount: int) -> None:
        self.budget = budget
        self.amount = amount
        self.is_settled = False

    @property
    def usd(self) -> float:
        """How much is held back."""
        return self.amount / _PARTS

    def __repr__(self) -> str:
        return f"Reservation({dollars(self.usd)}{', settled' if self.is_settled else ''})"


class Budget:
    """What runs may cost in USD, all together. Give the same one to as many agents, runs and threads as you like.

    Before a request goes out, the most that it can cost is reserved; it is not sent if that does not fit. When its
    reply is there, what it cost takes the place of the reservation. A budget holds within one process, and can be
    neither pickled nor copied; a forked child makes one of its own.

    Args:
        usd: The limit.
        spent_usd: What was spent of it already, as told by an earlier Budget's `spent_usd`.

    Raises:
        UsageError: an amount is no number of at least 0.
    """

    __slots__ = ("__weakref__", "_limit", "_pid", "_reserved", "_spent", "usd")

    remedy: ClassVar[str] = "raise Budget(usd=…)"

    def __init__(self, usd: float, *, spent_usd: float = 0.0) -> None:
        check_number(f"{type(self).__name__}.usd", usd, low=0)
        check_number(f"{type(self).__name__}.spent_usd", spent_usd, low=0)
        self.usd = usd
        self._limit = floor(usd * _PARTS)
        self._spent = ceil(spent_usd * _PARTS)
        self._reserved = 0
        self._pid = os.getpid()

    @property
    def spent_usd(self) -> float:
        """What replies have cost so far."""
        return self._spent / _PARTS

    @property
    def reserved_usd(self) -> float:
        """What is held back for requests that are under way."""
        return self._reserved / _PARTS

    @property
    def left_usd(self) -> float:
        """What further requests may cost; never below 0."""
        with _lock:
            return max(self._limit - self._spent - self._reserved, 0) / _PARTS

    def reserve(self, usd: float) -> Reservation:
        """Hold back money, before what costs it is done.

        Raises:
            LimitReached: there is not so much left.
            UsageError: this is a forked child of the process that made the budget, or `usd` is no amount.
        """
        return reserve_in((self,), usd)[0]

    def settle(self, reservation: Reservation, actual_usd: float) -> None:
        """Put what something cost in place of what was held back for it, once.

        Raises:
            UsageError: the reservation is settled, or another budget's; or `actual_usd` is no amount.
        """
        check_number("actual_usd", actual_usd, low=0)
        amount = ceil(actual_usd * _PARTS)
        self.check_process()
        with _lock:
            if reservation.budget is not self or reservation.is_settled:
                why = "settled already" if reservation.is_settled else "of another budget"
                raise UsageError(f"{reservation!r} is {why}: settle each once, in the budget that gave it")
            reservation.is_settled = True
            self._reserved -= reservation.amount
            self._spent += amount

    def has_room(self, amount: int) -> bool:
        """Whether so many parts fit, for `reserve_in`."""
        return self._spent + self._reserved + amount <= self._limit

    def hold(self, amount: int) -> Reservation:
        """Hold back what has room, for `reserve_in`."""
        self._reserved += amount
        return Reservation(self, amount)

    def check_process(self) -> None:
        """Raise UsageError in a forked child: what it spends, its parent would not know."""
        if os.getpid() != self._pid:
            raise UsageError(
                f"{self!r} was made in process {self._pid}, and this is {os.getpid()}: a budget holds within one "
                "process; give each process a Budget of its own, with its share"
            )

    def refuse(self, what: str) -> NoReturn:
        """Raise the LimitReached for what has no room."""
        held = f" and {dollars(self.reserved_usd)} held back for requests under way" if self._reserved else ""
        raise LimitReached(
            f"the limit of {dollars(self.usd)} has {dollars(self.spent_usd)} spent{held}, and {what}: "
            f"{self.remedy}, or set max_tokens lower",
            limit="cost_usd",
            value=self.usd,
        )

    def __reduce__(self) -> NoReturn:
        raise UsageError(
            "a Budget holds within one process, and can be neither pickled nor copied: make another, with "
            "Budget(usd, spent_usd=budget.spent_usd)"
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({dollars(self.usd)}, {dollars(self.spent_usd)} spent)"


class RunBudget(Budget):
    """The limit of one run, what it has cost before a resume included."""

    __slots__ = ()

    remedy: ClassVar[str] = "raise Limits(cost_usd=…)"

    @classmethod
    def of(cls, usd: float, entries: Iterable[Entry]) -> RunBudget:
        """The budget of a run that has these entries so far. Raises UsageError if nobody knows what they cost."""
        spent, unknown = spent_on(entries)
        if unknown:
            raise UsageError(
                f"Limits(cost_usd={usd!r}) counts what the run has cost so far, and that is not known of "
                f"{', '.join(sorted(unknown))}: go on without it, or with a Budget, which counts from here on"
            )
        return cls(usd, spent_usd=spent)


def reserve_in(budgets: Iterable[Budget], usd: float, what: str | None = None) -> tuple[Reservation, ...]:
    """Hold back money in each of the budgets, or in none. `what` says in an error what may cost so much.

    Raises:
        LimitReached: it does not fit into one of them.
        UsageError: a budget was made by this process's parent, or `usd` is no amount.
    """
    check_number("usd", usd, low=0)
    amount = ceil(usd * _PARTS)
    each = tuple(dict.fromkeys(budgets))
    for budget in each:
        budget.check_process()  # before the lock, which a fork may have copied while it was held
    with _lock:
        full = next((budget for budget in each if not budget.has_room(amount)), None)
        if full is not None:
            full.refuse(what or f"the next request may cost {dollars(usd)}")
        return tuple([budget.hold(amount) for budget in each])


def settle_all(reservations: Sequence[Reservation], actual_usd: float) -> None:
    """Settle what one request reserved."""
    for reservation in reservations:
        reservation.budget.settle(reservation, actual_usd)


def _after_fork() -> None:
    # a child may have budgets of its own, and the lock may have been held at the fork
    global _lock  # noqa: PLW0603
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork)
