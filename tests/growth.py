"""How the time of some work grows with its size."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable


def doubling(work: Callable[[int], object], size: int) -> float:
    """How many times as long twice the size takes. Others on the machine only add, so the least of some counts."""
    factor = 10.0
    for _ in range(5):
        once, twice = (min(_seconds(work, n) for _ in range(2)) for n in (size, 2 * size))
        factor = min(factor, twice / once)
        if factor < 2.2:
            break
    return factor


def _seconds(work: Callable[[int], object], size: int) -> float:
    # of this thread alone, and without the collector, which looks through all that the tests before have left
    gc.collect()
    gc.disable()
    try:
        started = time.thread_time()
        work(size)
        return time.thread_time() - started
    finally:
        gc.enable()
