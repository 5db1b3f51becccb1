"""Limits and timeouts, and the decision to try again: how often, and after how many seconds.

Pure: times and chance come in as arguments. tenacity's own strategies may decide in place of what stands here.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, fields
from typing import TYPE_CHECKING, Final

from agentkit.chat.settings import check_number
from agentkit.errors import LimitReached, UsageError

if TYPE_CHECKING:
    from tenacity import RetryCallState
    from tenacity.retry import RetryBaseT
    from tenacity.stop import StopBaseT
    from tenacity.wait import WaitBaseT

    from agentkit.errors import EndpointError

BASE_S: Final = 0.5
CAP_S: Final = 30.0


@dataclass(slots=True, kw_only=True)
class Timeouts:
    """How long to wait, in seconds, each None for ever: until connected, until the answer's first byte, between one
    byte and the next, and in all, the retries of a request and the waits between them included.

    Raises:
        UsageError: a time is no number above 0.
    """

    connect_s: float | None = 10.0
    first_byte_s: float | None = 600.0
    read_s: float | None = 120.0
    total_s: float | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None:
                continue
            check_number(f"Timeouts.{field.name}", value, low=0)
            if value == 0:
                raise UsageError(f"Timeouts.{field.name} is a number above 0, or None for no limit, not 0")


@dataclass(slots=True, kw_only=True)
class Limits:
    """What one run may use up: steps (replies of the model), calls of tools, tokens, USD, seconds, and corrections in a
    row that the model may need. None is no limit.

    Raises:
        UsageError: a limit is below 0, or no integer (seconds and cost_usd may be any number).
    """

    steps: int | None = 50
    tool_calls: int | None = None
    tokens: int | None = None
    cost_usd: float | None = None
    seconds: float | None = None
    corrections: int = 3

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None or field.name == "corrections":
                check_number(f"Limits.{field.name}", value, low=0, whole=field.name not in {"seconds", "cost_usd"})


def check_limit(name: str, limit: float | None, used: float) -> None:
    """Raise LimitReached if so much of a limit is used up."""
    if limit is not None and used >= limit:
        raise LimitReached(
            f"the run has reached its limit {name}={limit:g}; raise it with Limits({name}=…) and go on from the "
            "error's transcript",
            limit=name,
            value=limit,
        )


@dataclass(slots=True)
class Retries:
    """How often a request that failed is sent again, and how many seconds a run may wait for that in all.

    `stop`, `wait` and `retry` are strategies of tenacity, each in place of the default: stop after `retries`, full
    jitter, retry what the error says may be retried. A wait is never shorter than what the endpoint asks for.

    Raises:
        UsageError: a number is below 0, or a strategy cannot be called.
    """

    retries: int = 2
    _: KW_ONLY
    max_wait_s: float = 60.0
    stop: StopBaseT | None = None
    wait: WaitBaseT | None = None
    retry: RetryBaseT | None = None

    def __post_init__(self) -> None:
        check_number("retries", self.retries, low=0, whole=True)
        check_number("max_wait_s", self.max_wait_s, low=0)
        for name in ("stop", "wait", "retry"):
            strategy = getattr(self, name)
            if strategy is not None and not callable(strategy):
                raise UsageError(f"{name} is a strategy of tenacity or None, not {strategy!r}")


def may_retry(error: EndpointError) -> bool:
    """Whether the same request may succeed if it is sent again."""
    return error.retryable


def wait_s(error: EndpointError, attempt: int, chance: float, *, base: float = BASE_S, cap: float = CAP_S) -> float:
    """The seconds to wait after the attempt that failed, counted from 1: full jitter, at least what the endpoint asks.

    `chance` is from 0 to 1.
    """
    # 2.0 ** 1024 is no float any more, and the cap is long reached.
    jitter = chance * min(cap, base * 2.0 ** min(attempt - 1, 64))
    return max(jitter, error.retry_after_s or 0.0)


def next_wait(
    retries: Retries,
    error: EndpointError,
    attempt: int,
    *,
    waited_s: float,
    chance: float,
    elapsed_s: float = 0.0,
    left_s: float | None = None,
) -> float | None:
    """The seconds to wait before the next attempt, or None to give up and raise the error.

    Args:
        retries: What is allowed.
        error: What the attempt failed with.
        attempt: Which attempt that was, counted from 1.
        waited_s: What the run has waited so far.
        chance: A random number from 0 to 1.
        elapsed_s: The time since the first attempt began; tenacity's strategies may look at it.
        left_s: The time that the request has left in all; None for no limit.
    """
    custom = retries.stop is not None or retries.wait is not None or retries.retry is not None
    state = _state(error, attempt, waited_s=waited_s, elapsed_s=elapsed_s) if custom else None
    if state is None or retries.retry is None:
        if not may_retry(error):
            return None
    elif not retries.retry(state):
        return None
    wait = wait_s(error, attempt, chance)
    if state is not None and retries.wait is not None:
        wait = max(float(retries.wait(state)), error.retry_after_s or 0.0, 0.0)
    if state is None or retries.stop is None:
        if attempt > retries.retries:
            return None
    else:
        state.upcoming_sleep = wait
        if retries.stop(state):
            return None
    left = retries.max_wait_s - waited_s
    return None if wait > left or (left_s is not None and wait >= left_s) else wait


def _state(error: EndpointError, attempt: int, *, waited_s: float, elapsed_s: float) -> RetryCallState:
    """What tenacity's strategies are asked with."""
    from tenacity import Future, RetryCallState, Retrying  # 20 ms, and whoever passes strategies has it already

    state = RetryCallState(Retrying(), None, (), {})
    state.attempt_number = attempt
    state.idle_for = waited_s
    state.start_time = 0.0
    state.outcome_timestamp = elapsed_s
    state.outcome = Future(attempt)
    state.outcome.set_exception(error)
    return state
