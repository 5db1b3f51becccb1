"""The line of one endpoint's requests, for all threads and event loops at once."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from agentkit.errors import RateLimitError
from agentkit.pacing import BYTES_A_TOKEN, Line, Pacing, Turn

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from agentkit.clock import Clock
    from agentkit.errors import EndpointError
    from agentkit.messages import Reply


class Turns:
    """Who waits for a turn asks `look` until it says 0, waiting in between for `wake` or for so long."""

    def __init__(self, pacing: Pacing) -> None:
        self._line = Line(pacing)
        self._lock = threading.Lock()

    @property
    def pacing(self) -> Pacing:
        """The limits."""
        return self._line.pacing

    def limit(self, pacing: Pacing) -> None:
        """Let other limits hold from now on."""
        with self._lock:
            self._line.pacing = pacing
            head = self._line.head
        if head is not None:
            head.wake()

    def ask(self, size: int, wake: Callable[[], None]) -> Turn:
        """Join the line with a request body of so many bytes."""
        with self._lock:
            return self._line.ask(size // BYTES_A_TOKEN, wake)

    def look(self, turn: Turn, now: float) -> float | None:
        """0 if the request may go now, else the seconds after which to look again; None: when woken."""
        with self._lock:
            begun = self._line.begin(now)
            head = self._line.head
            wait_s = 0.0 if turn.began is not None else self._line.wait_s(now) if head is turn else None
        for other in begun:
            if other is not turn:
                other.wake()
        if begun and head is not None and head is not turn:
            head.wake()  # it is first now, and has to see for how long
        return wait_s

    def heed(self, clock: Clock, headers: Mapping[str, str]) -> None:
        """Take in what an answer's headers say is left."""
        with self._lock:
            self._line.heed(headers, clock.monotonic(), unix=clock.now())

    def end(self, turn: Turn, clock: Clock, outcome: Reply | EndpointError | None = None) -> None:
        """The request is over, with a reply or an error, or is not wanted any more."""
        tokens = None
        with self._lock:
            if isinstance(outcome, RateLimitError):
                if outcome.retryable and outcome.retry_after_s is not None:
                    self._line.pause(clock.monotonic() + outcome.retry_after_s)
            elif outcome is not None and (usage := getattr(outcome, "usage", None)) is not None:
                tokens = usage.total_tokens
            self._line.end(turn, tokens)
            head = self._line.head
        if head is not None:
            head.wake()

    def after_fork(self) -> None:
        """Forget the parent's requests."""
        self._lock = threading.Lock()
        self._line = Line(self._line.pacing)
