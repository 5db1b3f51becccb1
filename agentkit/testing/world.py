"""What a test may take the place of: models, tools, time, chance, names, and the way out to the network."""

from __future__ import annotations

import random
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agentkit.args import Overrides, overrides
from agentkit.clock import Clock, clock
from agentkit.endpoint import gate
from agentkit.model import Model, model_of
from agentkit.tools import tools_by_name

if TYPE_CHECKING:
    import threading
    from collections.abc import Generator, Iterable


@contextmanager
def override(*, model: Model | str | None = None, tools: Iterable[object] = ()) -> Generator[None]:
    """Let every agent use this model, and these tools in place of its own of the same names, within the block.

    It reaches agents that are globals of a module, and runs in threads and tasks that are started within the block.
    """
    token = overrides.set(Overrides(None if model is None else model_of(model), tools_by_name(tools)))
    try:
        yield
    finally:
        overrides.reset(token)


@contextmanager
def forbid_real_requests(forbidden: bool = True) -> Generator[None]:  # it reads as a switch  # noqa: FBT001, FBT002
    """Let no request leave this machine within the block, in any thread; False opens the way again inside of it."""
    before, gate.closed = gate.closed, forbidden
    try:
        yield
    finally:
        gate.closed = before


@dataclass
class FixedClock(Clock):
    """A clock that stands still except while something waits, which takes no time; ids and chance are the same each
    time."""

    at: float = 1_700_000_000.0
    seed: int = 0

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)  # it is to be repeated  # noqa: S311
        self._ids = self._keys = 0
        self.waits: list[float] = []

    def now(self) -> float:
        """Unix time."""
        return self.at

    def monotonic(self) -> float:
        """The same clock: it never goes back."""
        return self.at

    def chance(self) -> float:
        """The next number of the seed's."""
        return self._random.random()

    def new_id(self) -> str:
        """run-1, run-2, …"""
        self._ids += 1
        return f"run-{self._ids}"

    def new_key(self) -> str:
        """key-1, key-2, …"""
        self._keys += 1
        return f"key-{self._keys}"

    def wait_sync(self, seconds: float, unless: threading.Event | None = None) -> bool:
        """Put the clock forward."""
        self.waits.append(seconds)
        self.at += seconds
        return unless is not None and unless.is_set()

    async def wait(self, seconds: float) -> None:
        """Put the clock forward."""
        self.wait_sync(seconds)


@contextmanager
def fixed_clock(at: float = 1_700_000_000.0, *, seed: int = 0) -> Generator[FixedClock]:
    """Fix time, ids and chance within the block. The clock's `waits` has the seconds that were waited for."""
    fixed = FixedClock(at, seed)
    token = clock.set(fixed)
    try:
        yield fixed
    finally:
        clock.reset(token)
