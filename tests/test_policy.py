from __future__ import annotations

import re
from math import inf, nan

import pytest
import tenacity
from hypothesis import given
from hypothesis import strategies as st

from agentkit.errors import EndpointError, QuotaError, RateLimitError, ServerError, UsageError
from agentkit.policy import BASE_S, CAP_S, Limits, Retries, Timeouts, may_retry, next_wait, wait_s

BUSY = ServerError("busy", status=503, retryable=True)
BAD = ServerError("broken", status=500)

ERRORS = st.builds(
    lambda retryable, asked: RateLimitError("e", status=429, retryable=retryable, retry_after_s=asked),
    st.booleans(),
    st.none() | st.floats(0, 1e6),
)
CHANCE = st.floats(0, 1)
ATTEMPT = st.integers(1, 10**6)


def asking(seconds: float) -> EndpointError:
    return RateLimitError("slow down", status=429, retryable=True, retry_after_s=seconds)


def test_the_defaults():
    timeouts, limits, retries = Timeouts(), Limits(), Retries()
    assert (timeouts.connect_s, timeouts.first_byte_s, timeouts.read_s, timeouts.total_s) == (10.0, 600.0, 120.0, None)
    assert (limits.steps, limits.tool_calls, limits.tokens, limits.seconds, limits.corrections) == (
        50,
        None,
        None,
        None,
        3,
    )
    assert (retries.retries, retries.max_wait_s) == (2, 60.0)
    assert (retries.stop, retries.wait, retries.retry) == (None, None, None)


@pytest.mark.parametrize("name", ["connect_s", "first_byte_s", "read_s", "total_s"])
@pytest.mark.parametrize(
    ("value", "right"),
    [
        (0.001, True),
        (1, True),
        (None, True),
        (0, False),
        (-1, False),
        (nan, False),
        (inf, False),
        (True, False),
        ("1", False),
    ],
)
def test_a_timeout_is_above_nothing(name, value, right):
    if right:
        assert getattr(Timeouts(**{name: value}), name) == value
    else:
        with pytest.raises(UsageError, match=rf"Timeouts\.{name} is a number .*, not {re.escape(repr(value))}"):
            Timeouts(**{name: value})


@pytest.mark.parametrize(
    ("name", "value", "right"),
    [
        ("steps", 0, True),
        ("steps", None, True),
        ("steps", -1, False),
        ("steps", 1.0, False),
        ("steps", True, False),
        ("tool_calls", 3, True),
        ("tool_calls", "3", False),
        ("tokens", 10**9, True),
        ("tokens", nan, False),
        ("cost_usd", 0, True),
        ("cost_usd", 0.01, True),
        ("cost_usd", None, True),
        ("cost_usd", -0.01, False),
        ("cost_usd", "1", False),
        ("seconds", 0.5, True),
        ("seconds", 2, True),
        ("seconds", -0.5, False),
        ("seconds", inf, False),
        ("corrections", 0, True),
        ("corrections", None, False),
        ("corrections", 1.5, False),
    ],
)
def test_a_limit_is_a_count_or_seconds(name, value, right):
    if right:
        assert getattr(Limits(**{name: value}), name) == value
    else:
        with pytest.raises(UsageError, match=rf"Limits\.{name} is .* of at least 0, not {re.escape(repr(value))}"):
            Limits(**{name: value})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"retries": -1}, "retries is an integer of at least 0, not -1"),
        ({"retries": 1.5}, "retries is an integer"),
        ({"max_wait_s": -1}, "max_wait_s is a number of at least 0"),
        ({"max_wait_s": nan}, "not nan"),
        ({"stop": 3}, "stop is a strategy of tenacity or None, not 3"),
        ({"wait": 1.0}, "wait is a strategy"),
        ({"retry": True}, "retry is a strategy"),
    ],
)
def test_retries_are_checked(given, message):
    with pytest.raises(UsageError, match=re.escape(message)):
        Retries(**given)


def test_limits_and_timeouts_are_named():
    with pytest.raises(TypeError):
        Limits(3)
    with pytest.raises(TypeError):
        Timeouts(3)
    assert Retries(3) == Retries(retries=3)


def test_an_error_says_whether_it_may_be_tried_again():
    assert may_retry(BUSY)
    assert not may_retry(BAD)
    assert not may_retry(QuotaError("none left", status=429))


@pytest.mark.parametrize(
    ("attempt", "chance", "seconds"),
    [(1, 1.0, 0.5), (1, 0.5, 0.25), (1, 0.0, 0.0), (2, 1.0, 1.0), (3, 1.0, 2.0), (7, 1.0, 30.0), (10**9, 1.0, 30.0)],
)
def test_the_wait_doubles_up_to_the_cap(attempt, chance, seconds):
    assert wait_s(BUSY, attempt, chance) == seconds


def test_base_and_cap_may_be_others():
    assert wait_s(BUSY, 3, 1.0, base=1.0, cap=3.0) == 3.0
    assert wait_s(BUSY, 1, 1.0, base=1.0, cap=3.0) == 1.0


@given(ERRORS, ATTEMPT, CHANCE)
def test_the_wait_is_at_least_what_is_asked_and_else_below_the_cap(error, attempt, chance):
    wait = wait_s(error, attempt, chance)
    asked = error.retry_after_s or 0.0
    assert wait >= asked
    assert wait <= max(asked, min(CAP_S, BASE_S * 2.0 ** min(attempt - 1, 50)))


@given(ERRORS, ATTEMPT, CHANCE, CHANCE)
def test_more_chance_is_no_shorter_wait(error, attempt, one, other):
    low, high = sorted((one, other))
    assert wait_s(error, attempt, low) <= wait_s(error, attempt, high)


@given(st.integers(0, 5), st.floats(0, 100), ERRORS, CHANCE, st.floats(0, 100), st.none() | st.floats(0, 100))
def test_retries_end_within_their_budget(most, budget, error, chance, waited, left):
    retries = Retries(most, max_wait_s=budget)
    total, sent = waited, 1
    while (wait := next_wait(retries, error, sent, waited_s=total, chance=chance, left_s=left)) is not None:
        assert wait >= (error.retry_after_s or 0.0)
        assert left is None or wait < left
        total += wait
        sent += 1
        assert total <= budget
        assert sent <= 1 + most
    assert may_retry(error) or sent == 1


@pytest.mark.parametrize(
    ("retries", "error", "attempt", "waited", "left", "wait"),
    [
        (Retries(), BUSY, 1, 0.0, None, 0.5),
        (Retries(), BUSY, 2, 0.5, None, 1.0),
        (Retries(), BUSY, 3, 1.5, None, None),
        (Retries(0), BUSY, 1, 0.0, None, None),
        (Retries(), BAD, 1, 0.0, None, None),
        (Retries(), asking(7.0), 1, 0.0, None, 7.0),
        (Retries(), asking(60.0), 1, 0.0, None, 60.0),
        (Retries(), asking(60.0), 1, 0.5, None, None),
        (Retries(), asking(86_400.0), 1, 0.0, None, None),
        (Retries(max_wait_s=0), asking(0.1), 1, 0.0, None, None),
        (Retries(), asking(7.0), 1, 0.0, 7.5, 7.0),
        (Retries(), asking(7.0), 1, 0.0, 7.0, None),
    ],
)
def test_when_to_give_up(retries, error, attempt, waited, left, wait):
    assert next_wait(retries, error, attempt, waited_s=waited, chance=1.0, left_s=left) == wait


def asked(retries: Retries, error: EndpointError, attempt: int, **more: float) -> float | None:
    return next_wait(retries, error, attempt, **{"waited_s": 0.0, "chance": 1.0, **more})


def test_tenacity_s_stop_takes_the_place_of_the_count():
    retries = Retries(0, stop=tenacity.stop_after_attempt(4))
    assert asked(retries, BUSY, 3) == 2.0
    assert asked(retries, BUSY, 4) is None
    assert asked(retries, BAD, 1) is None


def test_tenacity_s_stop_sees_the_time():
    retries = Retries(stop=tenacity.stop_after_delay(10))
    assert asked(retries, BUSY, 9, elapsed_s=9.9) == 30.0
    assert asked(retries, BUSY, 9, elapsed_s=10.0) is None
    before = Retries(stop=tenacity.stop_before_delay(10))
    assert asked(before, BUSY, 1, elapsed_s=9.4) == 0.5
    assert asked(before, BUSY, 1, elapsed_s=9.6) is None


def test_tenacity_s_strategies_combine():
    retries = Retries(stop=tenacity.stop_after_attempt(9) | tenacity.stop_after_delay(5))
    assert asked(retries, BUSY, 8, elapsed_s=4.0) == 30.0
    assert asked(retries, BUSY, 8, elapsed_s=6.0) is None


@pytest.mark.parametrize(
    ("wait", "error", "attempt", "seconds"),
    [
        (tenacity.wait_fixed(3), BUSY, 1, 3.0),
        (tenacity.wait_none(), BUSY, 1, 0.0),
        (tenacity.wait_none(), asking(2.0), 1, 2.0),
        (tenacity.wait_exponential(multiplier=1), BUSY, 2, 2.0),
        (tenacity.wait_fixed(3), BUSY, 3, None),
        (tenacity.wait_fixed(61), BUSY, 1, None),
        (lambda state: -1, BUSY, 1, 0.0),
        (lambda state: state.idle_for + state.attempt_number, BUSY, 2, 2.0),
    ],
)
def test_tenacity_s_wait_takes_the_place_of_the_jitter(wait, error, attempt, seconds):
    assert asked(Retries(wait=wait), error, attempt) == seconds


def test_tenacity_s_random_waits_stay_in_their_range():
    for _ in range(20):
        assert 1 <= (asked(Retries(wait=tenacity.wait_random(1, 2)), BUSY, 1) or 0) <= 2


def test_tenacity_s_retry_decides_on_the_error():
    retries = Retries(retry=tenacity.retry_if_exception_type(ServerError))
    assert asked(retries, BAD, 1) == 0.5
    assert asked(retries, asking(1.0), 1) is None
    by_message = Retries(retry=tenacity.retry_if_exception_message(match="brok"))
    assert asked(by_message, BAD, 1) == 0.5
    assert asked(by_message, BUSY, 1) is None
    assert asked(by_message, BAD, 3) is None
