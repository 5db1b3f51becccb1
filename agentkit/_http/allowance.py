"""How long one request may still take, in each of its phases."""

from __future__ import annotations

import math
import time
from typing import Final, Literal, Protocol

from agentkit.errors import TimedOut

Phase = Literal["connect", "first_byte", "read"]

_WAITED_FOR: Final[dict[Phase, str]] = {
    "connect": "could not be connected to",
    "first_byte": "did not begin to answer",
    "read": "sent nothing more",
}


class TimeoutSettings(Protocol):
    """Seconds for each phase of a request; None sets no limit."""

    @property
    def connect_s(self) -> float | None: ...
    @property
    def first_byte_s(self) -> float | None: ...
    @property
    def read_s(self) -> float | None: ...
    @property
    def total_s(self) -> float | None: ...


class LeftError(Exception):
    """Nobody waits for the rest of the answer."""


class Allowance:
    """The time that one request has left. It starts when it is made.

    connect_s and first_byte_s bound their phase as a whole, read_s each wait for more of the body, total_s and the
    caller's deadline (on the clock of time.monotonic) everything.
    """

    __slots__ = ("_deadline", "_ends_at", "_grace_s", "_host", "_phase", "_phase_ends_at", "_settings")

    def __init__(self, settings: TimeoutSettings, deadline: float | None, host: str) -> None:
        self._settings = settings
        self._deadline = math.inf if deadline is None else deadline
        self._ends_at = min(time.monotonic() + _seconds(settings.total_s), self._deadline)
        self._host = host
        self._grace_s: float | None = None
        self.enter("connect")

    def enter(self, phase: Phase) -> None:
        """A phase begins now."""
        self._phase: Phase = phase
        if phase == "read":
            self._phase_ends_at = math.inf
        else:
            seconds = self._settings.connect_s if phase == "connect" else self._settings.first_byte_s
            self._phase_ends_at = time.monotonic() + _seconds(seconds)

    def leave(self, grace_s: float) -> None:
        """From now on one more wait at most, and no longer than this; then LeftError."""
        self._grace_s = grace_s

    def left(self) -> float:
        """Seconds that the next wait may take, `math.inf` without a limit.

        Raises:
            TimedOut: There are none.
            LeftError: Nobody waits any more.
        """
        seconds = min(self._phase_ends_at, self._ends_at) - time.monotonic()
        if seconds <= 0:
            raise self.timed_out()
        if self._phase == "read":
            seconds = min(seconds, _seconds(self._settings.read_s))
        if self._grace_s is not None:
            seconds, self._grace_s = min(seconds, self._grace_s), 0.0
            if seconds <= 0:
                raise LeftError
        return seconds

    def total_left(self) -> float:
        """Seconds until the whole request must be over. Raises TimedOut when there are none."""
        seconds = self._ends_at - time.monotonic()
        if seconds <= 0:
            raise self.timed_out()
        return seconds

    def timed_out(self, phase: Phase | None = None) -> TimedOut:
        """The error for a wait that has taken too long, by default in the phase that it was in."""
        # A timer may fire some milliseconds early by this clock.
        if time.monotonic() >= self._ends_at - 0.01:
            if self._ends_at == self._deadline:
                return TimedOut(
                    f"{self._host} had not answered in full when the time of the run was over; "
                    f"allow the run more seconds, or ask for a shorter answer",
                    retryable=False,
                )
            return TimedOut(
                f"{self._host} did not answer in full within {self._settings.total_s:g} s; "
                f"raise Timeouts(total_s=…) if answers may take that long",
                retryable=True,
            )
        phase = phase or self._phase
        seconds = getattr(self._settings, f"{phase}_s") or 0.0
        return TimedOut(
            f"{self._host} {_WAITED_FOR[phase]} within {seconds:g} s; "
            f"see that it is up, or raise Timeouts({phase}_s=…)",
            retryable=True,
        )


def _seconds(limit: float | None) -> float:
    return math.inf if limit is None else limit
