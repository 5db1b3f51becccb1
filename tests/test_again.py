"""The same request once more: what stays the same over its attempts, and how long a run may wait."""

from __future__ import annotations

from typing import Any

import pytest

from agentkit import Agent, ChatModel, Limits, Retries
from agentkit.errors import EndpointError, LimitReached, OverloadedError, RateLimitError, ServerError
from agentkit.events import Retrying
from agentkit.testing import FakeEndpoint, call, cut, fixed_clock, reset, say, status
from tests.drivers import DRIVERS, outcome

drivers = pytest.mark.parametrize("driver", DRIVERS)


def look() -> str:
    """Look."""
    return "seen"


def at(fake: FakeEndpoint, **options: Any) -> ChatModel:
    return ChatModel("m", base_url=fake.base_url, api_key=fake.api_key, **options)


def keys(fake: FakeEndpoint) -> list[str]:
    return [request.headers["idempotency-key"] for request in fake.requests]


@drivers
def test_the_attempts_of_a_request_share_a_key_and_requests_do_not(driver):
    script = [status(503), reset(), call("look"), status(429), cut(say("so"), after_bytes=3), say("done")]
    with FakeEndpoint(script) as fake, fixed_clock():
        result = DRIVERS[driver](Agent(at(fake), tools=[look]), "look")
        assert result.output == "done"
        first, second = keys(fake)[0], keys(fake)[3]
        assert keys(fake) == [first] * 3 + [second] * 3
        assert first != second
        assert {dict(each.headers)["idempotency-key"] for each in result.exchanges} == {first, second}


def test_keys_are_new_in_each_run():
    with FakeEndpoint() as fake:
        model = at(fake)
        for _ in range(3):
            model.reply_sync("hi")
        assert len(set(keys(fake))) == 3
        assert all(len(key) >= 32 for key in keys(fake))


def test_a_key_of_the_users_own_takes_its_place():
    with FakeEndpoint([status(503), say("ok")]) as fake, fixed_clock():
        at(fake).reply_sync("hi", settings={"extra_headers": {"Idempotency-Key": "mine", "x-other": "1"}})
        assert keys(fake) == ["mine", "mine"]
        at(fake, settings={"extra_headers": {"x-other": "1"}})
        fake.play([say("ok")])
        at(fake).reply_sync("hi", settings={"extra_headers": {"x-other": "1"}})
        assert keys(fake)[2] not in ("", "mine")


@drivers
@pytest.mark.parametrize(
    ("fault", "kind", "requests"),
    [
        (status(500, headers={"x-should-retry": "false"}), ServerError, 1),
        (status(400, headers={"x-should-retry": "true"}), EndpointError, 3),
        (status(429, headers={"retry-after": "61"}), RateLimitError, 1),
        (status(429, headers={"retry-after-ms": "25000"}), RateLimitError, 3),
        (status(503, headers={"retry-after": "31"}), OverloadedError, 2),
        (status(529, message="Overloaded"), OverloadedError, 3),
    ],
    ids=["x-should-retry false", "x-should-retry true", "beyond at once", "within", "beyond what is left", "529"],
)
def test_how_often_it_goes_out(driver, fault, kind, requests):
    with FakeEndpoint(lambda _: fault) as fake, fixed_clock() as clock:
        seen = outcome(DRIVERS[driver], Agent(at(fake)), "hi")
        assert type(seen) is kind or (kind is EndpointError and isinstance(seen, EndpointError))
        assert len(fake.requests) == requests
        assert len(clock.waits) == requests - 1
        assert seen.transcript is not None and seen.exchange is not None


@drivers
def test_the_seconds_of_waiting_are_a_runs_in_all_its_requests(driver):
    slow = status(503, headers={"retry-after": "25"})
    script = [slow, call("look"), slow, call("look"), slow]
    with FakeEndpoint(script) as fake, fixed_clock() as clock:
        seen = outcome(DRIVERS[driver], Agent(at(fake), tools=[look]), "look")
        assert isinstance(seen, OverloadedError)
        assert clock.waits == [25.0, 25.0]
        assert len(seen.transcript.messages) == 5


@drivers
def test_a_wait_beyond_the_runs_time_ends_it(driver):
    with FakeEndpoint([status(503, headers={"retry-after": "20"})]) as fake, fixed_clock() as clock:
        seen = outcome(DRIVERS[driver], Agent(at(fake)), "hi", limits=Limits(seconds=10))
        assert isinstance(seen, LimitReached)
        assert isinstance(seen.__cause__, OverloadedError)
        assert clock.waits == []


def test_what_is_waited_for_is_told():
    with FakeEndpoint([status(429, headers={"retry-after": "2"}), say("ok")]) as fake, fixed_clock():
        told: list[Retrying] = []
        Agent(at(fake)).run_sync("hi", on_event=lambda e: told.append(e) if isinstance(e, Retrying) else None)
        assert [(each.attempt, each.wait_s, each.step, each.error.status) for each in told] == [(1, 2.0, 1, 429)]


def test_no_waiting_at_all():
    with FakeEndpoint([status(503, headers={"retry-after": "1"})]) as fake:
        with pytest.raises(OverloadedError):
            at(fake, retries=Retries(5, max_wait_s=0)).reply_sync("hi")
        assert len(fake.requests) == 1
