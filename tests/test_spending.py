"""What one request reserves and what it settles, over a real server."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from agentkit import ChatModel, drive, drive_async
from agentkit.bound import ADDED_TOKENS
from agentkit.budget import Budget
from agentkit.caller import Caller, last_of, perform
from agentkit.chat.request import Request
from agentkit.chat.settings import Settings
from agentkit.clock import clock
from agentkit.errors import EndpointError, LimitReached, UsageError
from agentkit.messages import Reply, user
from agentkit.policy import Timeouts
from agentkit.prices import Price
from agentkit.testing import FakeEndpoint, cut, hang, raw, reset, say, stall, status
from agentkit.testing.script import Request as Received
from agentkit.testing.script import error_event
from agentkit.transcript import Entry, Transcript
from agentkit.wire import Wire

USD = Price(1e6, 2e6)  # a token costs a dollar, one that comes back two


def model_at(fake: FakeEndpoint, **options: Any) -> ChatModel:
    return ChatModel("m", base_url=fake.base_url, api_key=fake.api_key, **{"price": USD, "retries": 0, **options})


def asking(text: str | Transcript = "Hello", *, stream: bool = False, **settings: Any) -> Request:
    transcript = text if isinstance(text, Transcript) else Transcript([Entry(user(text))])
    return Request(transcript, settings=Settings(**settings), stream=stream)


def in_sync(model: ChatModel, request: Request, wire: Wire) -> Reply:
    return last_of(perform(model.flow(request), drive.Sender(wire, Caller(), deque())))


def in_asyncio(model: ChatModel, request: Request, wire: Wire) -> Reply:
    return asyncio.run(_asked(model, request, wire))


async def _asked(model: ChatModel, request: Request, wire: Wire) -> Reply:
    return await drive_async.perform(model.flow(request), drive_async.Sender(wire))


Ask = Callable[[ChatModel, Request, Wire], Reply]
drivers = pytest.mark.parametrize("ask", [in_sync, in_asyncio])


def wire_with(*budgets: Budget) -> Wire:
    return Wire(clock.get(), budgets=budgets)


@drivers
def test_a_reply_is_paid_by_its_usage(ask):
    budget, other = Budget(10_000), Budget(20_000)
    wire = wire_with(budget, other)
    seen: list[float] = []

    def answer(received: Received) -> Any:
        seen.append(budget.reserved_usd)
        assert other.reserved_usd == budget.reserved_usd
        return say("Yes.", usage=(10, 5))

    with FakeEndpoint(answer) as fake:
        ask(model_at(fake), asking(max_tokens=100), wire)
    assert seen == [len(fake.requests[0].body) - 2 + ADDED_TOKENS + 2 * 100]
    assert (budget.spent_usd, budget.reserved_usd, other.spent_usd, other.reserved_usd) == (20, 0, 20, 0)
    assert wire.step_cost == 20


RESERVED = -1.0  # stands for what was reserved
FAULTS = [
    ("refused", status(429), False, 0),
    ("broken", status(500), False, 0),
    ("unauthorized", status(401), True, 0),
    ("told in a reply", raw(200, {}, b'{"error": {"message": "no", "code": 502}}'), False, 0),
    ("told in a stream", error_event(say("Yes, and more."), after_events=0), True, 0),
    ("told later in a stream", error_event(say("Yes, and more."), after_events=3), True, RESERVED),
    ("reset", reset(), False, 0),
    ("cut", cut(say("Yes, and more."), after_events=3), True, RESERVED),
    ("cut in a body", cut(say("Yes, and more."), after_bytes=50), False, RESERVED),
    ("no JSON", raw(200, {}, b"<html>"), False, RESERVED),
    ("too late", hang(), False, RESERVED),
]


@drivers
@pytest.mark.parametrize(("name", "fault", "stream", "usd"), FAULTS, ids=[fault[0] for fault in FAULTS])
def test_what_a_failure_costs(ask, name, fault, stream, usd):
    budget = Budget(10_000)
    wire = wire_with(budget)
    held: list[float] = []

    def answer(received: Received) -> Any:
        held.append(budget.reserved_usd)
        return fault

    with FakeEndpoint(answer) as fake:
        model = model_at(fake, timeouts=Timeouts(first_byte_s=0.3, read_s=0.3))
        with pytest.raises(EndpointError):
            ask(model, asking(stream=stream, max_tokens=10), wire)
    expected = held[0] if usd == RESERVED else usd
    assert (budget.spent_usd, budget.reserved_usd, wire.step_cost) == (expected, 0, expected)


@drivers
def test_each_attempt_reserves_anew(ask):
    budget = Budget(10_000)
    wire = wire_with(budget)
    script = [status(503, headers={"retry-after": "0"}), reset(), say("Yes.", usage=(10, 5))]
    with FakeEndpoint(script) as fake:
        ask(model_at(fake, retries=2, wait=lambda _: 0), asking(max_tokens=10), wire)
    assert (budget.spent_usd, budget.reserved_usd, wire.step_cost) == (20, 0, 20)


@drivers
def test_no_connection_costs_nothing(ask):
    budget = Budget(10_000)
    with FakeEndpoint() as fake:
        model = model_at(fake)
    with pytest.raises(EndpointError):
        ask(model, asking(), wire_with(budget))
    assert (budget.spent_usd, budget.reserved_usd) == (0, 0)


@drivers
@pytest.mark.parametrize("usage", [{"prompt_tokens": 0, "completion_tokens": 5}, {"prompt_tokens": 7}, {}])
def test_usage_with_holes_counts_what_was_reserved(ask, usage):
    budget = Budget(10_000)
    with FakeEndpoint([say("Yes.", usage=usage)]) as fake:
        ask(model_at(fake), asking(max_tokens=10), wire_with(budget))
    assert budget.spent_usd == len(fake.requests[0].body) - 2 + ADDED_TOKENS + 20
    assert budget.reserved_usd == 0


@drivers
def test_what_does_not_fit_is_not_sent(ask):
    wide, narrow = Budget(10_000), Budget(700, spent_usd=1)
    with FakeEndpoint() as fake, pytest.raises(LimitReached) as caught:
        ask(model_at(fake), asking(max_tokens=100), wire_with(wide, narrow))
    assert fake.requests == []
    assert (wide.reserved_usd, narrow.reserved_usd) == (0, 0)
    assert (caught.value.limit, caught.value.value) == ("cost_usd", 700)
    assert "the limit of $700.00 has $1.00 spent, and a request to m may cost up to $" in str(caught.value)
    assert "tokens of input, 100 of output): raise Budget(usd=…), or set max_tokens lower" in str(caught.value)


@drivers
def test_a_model_without_a_price_is_not_asked(ask):
    budget = Budget(1)
    with (
        FakeEndpoint() as fake,
        pytest.raises(UsageError, match=r"the price of m at http://127\.0\.0\.1.*price=Price\("),
    ):
        ask(model_at(fake, price=None), asking(), wire_with(budget))
    assert fake.requests == []
    assert budget.reserved_usd == 0


@drivers
def test_a_free_model_fits_into_nothing(ask):
    budget = Budget(0)
    with FakeEndpoint() as fake:
        ask(model_at(fake, price=Price(0, 0)), asking(), wire_with(budget))
    assert budget.spent_usd == 0


def test_what_was_counted_by_the_endpoint_is_not_bounded_again():
    budget, held = Budget(10_000), []
    wire = wire_with(budget)
    transcript = Transcript([Entry(user("Hello"))])

    def answer(received: Received) -> Any:
        held.append(budget.reserved_usd)
        return say("Yes.", usage=(10, 5))

    with FakeEndpoint(answer) as fake:
        model = model_at(fake)
        for _ in range(2):
            reply = in_sync(model, asking(transcript), wire)
            transcript.append(Entry(reply.message, author="model", source=reply.source))
            transcript.append(Entry(user("Go on.")))
    first, second = (len(received.body) for received in fake.requests)
    assert held == [first - 2 + ADDED_TOKENS, 10 + second - first]


def test_the_tier_that_answered_has_its_price():
    # two prices that genai-prices knows by the address; the request goes to another one
    spent = {}
    for tier in ("default", "priority"):
        with FakeEndpoint([say("Yes.", usage=(10**6, 10**6))], strict=False) as fake:
            model = ChatModel("gpt-5-mini", base_url=fake.base_url, api_key=fake.api_key)
            model.endpoint.source = "https://api.openai.com/v1"
            budget = Budget(100)
            in_sync(model, asking(service_tier=tier), wire_with(budget))
            spent[tier] = budget.spent_usd
    assert 0 < spent["default"] < spent["priority"]


def test_without_a_budget_nothing_is_counted_but_what_has_a_price():
    with FakeEndpoint(lambda _: say("Yes.", usage=(10, 5))) as fake:
        wire = wire_with()
        in_sync(model_at(fake, price=None), asking(), wire)
        assert wire.step_cost is None
        wire = wire_with()
        for _ in range(2):
            in_sync(model_at(fake), asking(), wire)
        assert wire.step_cost == 40
        wire.step = 1
        assert wire.step_cost is None
        in_sync(model_at(fake), asking(), wire)
        assert wire.step_cost == 20
        in_sync(model_at(fake, price=None), asking(), wire)
        assert wire.step_cost is None


def test_without_a_budget_what_broke_off_counts_as_what_would_have_been_reserved():
    wire = wire_with()
    with FakeEndpoint([cut(say("Yes, and more.")), say("Yes.", usage=(10, 5))]) as fake:
        in_sync(model_at(fake, retries=1, wait=lambda _: 0), asking(max_tokens=10), wire)
    assert wire.step_cost == len(fake.requests[0].body) - 2 + ADDED_TOKENS + 20 + 20


async def test_a_cancelled_request_counts_what_was_reserved():
    budget = Budget(10_000)
    with FakeEndpoint(lambda _: stall(say("Yes, and more."), after_events=3)) as fake:
        with anyio.CancelScope() as scope:
            wire = Wire(clock.get(), emit=lambda _: scope.cancel(), budgets=(budget,))
            await _asked(model_at(fake), asking(stream=True, max_tokens=10), wire)
        assert scope.cancelled_caught
    assert budget.reserved_usd == 0
    assert budget.spent_usd == len(fake.requests[0].body) - 2 + ADDED_TOKENS + 20
