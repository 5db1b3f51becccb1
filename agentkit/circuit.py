"""Whether a model that failed again and again is asked at all: the decision alone, with the time as an argument."""

from __future__ import annotations

from typing import Final

FAILURES: Final = 3
"""After so many failures in a row a circuit opens: the model is not asked for a while."""
OPEN_S: Final = 30.0
"""For so many seconds it stays open; then one request tries, and the others wait for what becomes of that."""


class Circuit:
    """Counts the failures in a row of one model at one endpoint."""

    __slots__ = ("_failures", "_open_until")

    def __init__(self) -> None:
        self._failures = 0
        self._open_until = 0.0

    def is_open(self, now: float) -> bool:
        """Whether the model is left out now."""
        return self._failures >= FAILURES and now < self._open_until

    def tried(self, now: float) -> None:
        """The model is being asked. After many failures that is a trial, and others wait for what becomes of it."""
        if self._failures >= FAILURES:
            self._open_until = now + OPEN_S

    def failed(self, now: float) -> None:
        """The model failed."""
        self._failures += 1
        if self._failures >= FAILURES:
            self._open_until = now + OPEN_S

    def answered(self) -> None:
        """The model answered."""
        self._failures = 0
