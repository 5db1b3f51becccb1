"""The line of requests: in order, within every limit, and never stuck."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit.errors import UsageError
from agentkit.pacing import SPAN_S, Line, Pacing, Turn

LIMIT = st.none() | st.integers(1, 5)
PACINGS = st.builds(
    lambda at_once, requests, tokens: Pacing(
        concurrent=at_once, requests_per_minute=requests, tokens_per_minute=tokens
    ),
    LIMIT,
    LIMIT,
    st.none() | st.integers(1, 200),
)
# how many tokens it is thought to take and takes, after how many seconds it comes, how long it runs, whether it is left
REQUESTS = st.lists(
    st.tuples(st.integers(0, 300), st.integers(0, 300), st.integers(0, 90), st.integers(0, 90), st.booleans()),
    max_size=25,
)


@pytest.mark.parametrize("name", ["concurrent", "requests_per_minute", "tokens_per_minute"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True, "3"])
def test_limits_are_whole_numbers_above_nothing(name, value):
    with pytest.raises(UsageError, match=f"Pacing.{name} is an integer of at least 1"):
        Pacing(**{name: value})


class World:
    """Simulated time: what comes and ends when, with the line asked at each moment at which something happens."""

    def __init__(self, pacing: Pacing) -> None:
        self.line = Line(pacing)
        self.now = 1000.0
        self.begun: list[Turn] = []
        self.running: dict[Turn, tuple[float, int]] = {}  # until when, and with how many tokens

    def run(self, requests: list[tuple[int, int, int, int, bool]]) -> list[Turn]:
        """All turns in the order in which they were asked for; returns when all are over."""
        arrivals, asked, plans = [], list[Turn](), {}
        at = self.now
        for guess, taken, after, lasts, leaves in requests:
            at += after
            arrivals.append((at, guess, taken, lasts, leaves))
        while arrivals or self.line.head is not None or self.running:
            while arrivals and arrivals[0][0] <= self.now:
                _, guess, taken, lasts, leaves = arrivals.pop(0)
                turn = self.line.ask(guess, lambda: None)
                asked.append(turn)
                plans[turn] = (lasts, taken)
                if leaves:
                    self.line.end(turn)
            for turn in self.line.begin(self.now):
                self.begun.append(turn)
                self.running[turn] = (self.now + plans[turn][0], plans[turn][1])
            self.tick(arrivals[0][0] if arrivals else None)
        return asked

    def tick(self, next_arrival: float | None) -> None:
        """Go to the next moment at which something happens; there always is one."""
        ends = [until for until, _ in self.running.values()]
        wait = self.line.wait_s(self.now) if self.line.head is not None else None
        moments = [*ends, *([self.now + wait] if wait else []), *([next_arrival] if next_arrival is not None else [])]
        if not moments:
            assert self.line.head is None
            return
        self.now = max(self.now, min(moments))
        for turn, (until, tokens) in list(self.running.items()):
            if until <= self.now:
                del self.running[turn]
                self.line.end(turn, tokens)


@given(PACINGS, REQUESTS)
def test_every_request_gets_its_turn_in_order_and_within_the_limits(pacing, requests):
    world = World(pacing)
    asked = world.run(requests)
    left = [turn for turn, (*_, leaves) in zip(asked, requests, strict=True) if leaves]
    assert world.begun == [turn for turn in asked if turn not in left]
    begins = [turn.began for turn in world.begun]
    assert begins == sorted(begins)
    if (limit := pacing.requests_per_minute) is not None:
        assert all(later - earlier >= SPAN_S for earlier, later in zip(begins, begins[limit:], strict=False))


@given(st.integers(1, 4), REQUESTS)
def test_no_more_than_so_many_at_once(limit, requests):
    line, running = Line(Pacing(concurrent=limit)), list[Turn]()
    for index, (guess, *_) in enumerate(requests):
        line.ask(guess, lambda: None)
        running += line.begin(float(index))
        assert len(running) <= limit
        if index % 3 == 2 and running:
            line.end(running.pop(0))
    assert line.head is None or len(running) == limit or line.begin(99.0)


@given(st.integers(1, 100), st.lists(st.integers(0, 150), min_size=1, max_size=20))
def test_tokens_of_any_minute_stay_within_the_limit(limit, sizes):
    world = World(Pacing(tokens_per_minute=limit))
    world.run([(size, size, 0, 0, False) for size in sizes])
    for index, first in enumerate(world.begun):
        within = [t for t in world.begun[index:] if t.began < first.began + SPAN_S]
        assert sum(t.tokens for t in within) <= limit or len([t for t in within if t.tokens]) == 1


def test_usage_takes_the_place_of_the_guess():
    line = Line(Pacing(tokens_per_minute=100))
    first = line.ask(90, lambda: None)
    second = line.ask(50, lambda: None)
    assert line.begin(0.0) == [first]
    assert line.wait_s(0.0) == SPAN_S
    line.end(first, 40)
    assert line.begin(1.0) == [second]
    line.end(second, 500)  # it took more than it was thought to: the next waits for that
    third = line.ask(1, lambda: None)
    assert line.begin(60.5) == []
    assert line.wait_s(60.5) == 0.5
    assert line.begin(61.0) == [third]


def test_usage_that_comes_after_its_minute_changes_nothing():
    line = Line(Pacing(tokens_per_minute=100))
    slow = line.ask(90, lambda: None)
    line.begin(0.0)
    assert line.wait_s(100.0) == 0
    line.end(slow, 10)
    line.end(slow, 10)  # twice is once
    second = line.ask(100, lambda: None)
    assert line.begin(100.0) == [second]


UNIX = 1_700_000_000.0


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({}, 0),
        ({"x-ratelimit-remaining-requests": "1", "x-ratelimit-reset-requests": "20s"}, 0),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "20s"}, 20),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1m0.5s"}, 60),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "17h"}, 60),
        ({"x-ratelimit-remaining-requests": "0"}, 0),
        ({"x-ratelimit-remaining-requests": "none", "x-ratelimit-reset-requests": "20s"}, 0),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "soon"}, 0),
        ({"x-ratelimit-remaining-tokens": "49", "x-ratelimit-reset-tokens": "6.5s"}, 6.5),
        ({"x-ratelimit-remaining-tokens": "50", "x-ratelimit-reset-tokens": "6.5s"}, 0),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(UNIX) + 30)}, 30),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": str((int(UNIX) + 30) * 1000)}, 30),
        ({"ratelimit-remaining": "0", "ratelimit-reset": "7"}, 7),
        (
            {
                "anthropic-ratelimit-requests-remaining": "0",
                "anthropic-ratelimit-requests-reset": "2023-11-14T22:13:30Z",
            },
            10,
        ),
    ],
)
def test_what_the_endpoint_says_is_left(headers, wait_s):
    line = Line(Pacing())
    line.heed(headers, 100.0, unix=UNIX)
    turn = line.ask(50, lambda: None)
    assert line.wait_s(100.0) == pytest.approx(wait_s)
    assert line.begin(100.0 + wait_s) == [turn]


def test_what_is_left_is_shared_out():
    line = Line(Pacing())
    line.heed({"x-ratelimit-remaining-requests": "2", "x-ratelimit-reset-requests": "9s"}, 0.0, unix=UNIX)
    turns = [line.ask(1, lambda: None) for _ in range(4)]
    assert line.begin(0.0) == turns[:2]
    assert line.begin(8.9) == []
    assert line.begin(9.0) == turns[2:]


def test_a_pause_holds_for_all():
    line = Line(Pacing())
    line.pause(5.0)
    line.pause(3.0)
    turns = [line.ask(1, lambda: None) for _ in range(2)]
    assert line.begin(4.0) == []
    assert line.wait_s(4.0) == 1.0
    assert line.begin(5.0) == turns


def test_whoever_leaves_the_line_is_passed_over():
    line = Line(Pacing(concurrent=1))
    first, second, third = (line.ask(1, lambda: None) for _ in range(3))
    assert line.begin(0.0) == [first]
    line.end(second)
    line.end(first)
    assert line.begin(0.0) == [third]


def test_pairs_are_apart_by_the_span():
    world = World(Pacing(requests_per_minute=1))
    world.run([(1, 1, 0, 0, False)] * 4)
    assert [later.began - earlier.began for earlier, later in pairwise(world.begun)] == [SPAN_S] * 3
