"""Time, chance and names, in one place that a test can fix."""

from __future__ import annotations

import os
import random
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

import anyio

if TYPE_CHECKING:
    import threading


class Clock:
    """What a run takes from the world besides the network."""

    def now(self) -> float:
        """Unix time."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back."""
        return time.monotonic()

    def chance(self) -> float:
        """A random number, 0 ≤ x < 1."""
        return random.random()  # jitter, no secret  # noqa: S311

    def new_id(self) -> str:
        """A name that no other run has."""
        return os.urandom(16).hex()

    def new_key(self) -> str:
        """A name that no other request has."""
        return os.urandom(16).hex()

    def wait_sync(self, seconds: float, unless: threading.Event) -> bool:
        """Let time pass in the caller's thread, unless the event is set; whether it is."""
        return unless.wait(seconds)

    async def wait(self, seconds: float) -> None:
        """Let time pass, in the caller's task."""
        await anyio.sleep(seconds)


clock: Final[ContextVar[Clock]] = ContextVar("agentkit_clock", default=Clock())  # it has no state  # noqa: B039
"""The clock of this context."""
