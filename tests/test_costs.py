"""What runs of agents cost, and the limits in USD that they keep."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from agentkit import Agent, Budget, ChatModel, FallbackModel, Limits, Price, Transcript
from agentkit.errors import LimitReached, UsageError
from agentkit.prices import unpriced
from agentkit.testing import FakeEndpoint, ScriptedModel, call, calls, cut, say, status
from agentkit.testing.script import Request as Received
from tests.drivers import DRIVERS

drivers = pytest.mark.parametrize("driver", DRIVERS)
USD = Price(1e6, 2e6)  # a token costs a dollar, one that comes back two
CENT = 0.01
MINI = Price(0.25, 2.0)


def look(page: int) -> str:
    """Look at a page."""
    return f"page {page}"


def model_at(fake: FakeEndpoint, price: Price | None = USD, **options: Any) -> ChatModel:
    return ChatModel("m", base_url=fake.base_url, api_key=fake.api_key, price=price, **options)


def turns() -> list[Any]:
    """A call and an answer, of 800 and 40 dollars."""
    return [calls(call("look", page=1), usage=(600, 100)), say("Seen.", usage=(20, 10))]


@drivers
def test_a_result_says_what_its_run_cost(driver):
    with FakeEndpoint(turns()) as fake:
        result = DRIVERS[driver](Agent(model_at(fake), tools=[look]), "Look.")
    assert result.cost == 840
    assert [entry.cost for entry in result.transcript if entry.author == "model"] == [800, 40]
    assert Transcript.load(result.transcript.dump()).entries == result.transcript.entries
    assert unpriced(result.transcript) == set()


@drivers
def test_without_a_price_nobody_knows(driver):
    with FakeEndpoint(turns()) as fake:
        result = DRIVERS[driver](Agent(model_at(fake, None), tools=[look]), "Look.")
    assert result.cost is None
    assert unpriced(result.transcript) == {"m"}


def test_a_cost_counts_the_attempts_before():
    with FakeEndpoint([cut(say("Seen.")), status(503), say("Seen.", usage=(20, 10))]) as fake:
        budget = Budget(10_000)
        result = Agent(model_at(fake, wait=lambda _: 0), budget=budget).run_sync("Look.")
    assert result.cost == budget.spent_usd > 40


@drivers
def test_a_run_keeps_its_limit(driver):
    with FakeEndpoint(turns()) as fake, pytest.raises(LimitReached, match=r"raise Limits\(cost_usd=…\)") as caught:
        DRIVERS[driver](Agent(model_at(fake), tools=[look], limits=Limits(cost_usd=1000)), "Look.")
    assert caught.value.limit == "cost_usd"
    assert len(fake.requests) == 1
    assert [record.result.content for record in caught.value.transcript.last.calls] == ["page 1"]


@drivers
def test_a_limit_counts_what_the_run_cost_before(driver):
    with FakeEndpoint(turns()) as fake:
        agent = Agent(model_at(fake), tools=[look], limits=Limits(cost_usd=20_000, steps=1))
        with pytest.raises(LimitReached) as caught:
            DRIVERS[driver](agent, "Look.")
        transcript = Transcript.load(caught.value.transcript.dump())
        with pytest.raises(LimitReached, match=r"the limit of \$1000\.00 has \$800\.00 spent"):
            agent.run_sync(transcript=transcript, limits=Limits(cost_usd=1000))
        assert len(fake.requests) == 1
        assert agent.run_sync(transcript=transcript, limits=Limits(cost_usd=20_000)).cost == 840


def test_a_limit_that_cannot_be_counted_is_refused():
    with FakeEndpoint(turns()) as fake:
        agent = Agent(model_at(fake, None), tools=[look], limits=Limits(steps=1))
        with pytest.raises(LimitReached) as caught:
            agent.run_sync("Look.")
        with pytest.raises(UsageError, match="what the run has cost so far, and that is not known of m: go on without"):
            agent.run_sync(transcript=caught.value.transcript, limits=Limits(cost_usd=1000))


@drivers
def test_a_model_without_a_price_is_not_asked(driver):
    with FakeEndpoint() as fake, pytest.raises(UsageError, match=r"needs the price of m at http.*ChatModel\(…, price="):
        DRIVERS[driver](Agent(model_at(fake, None), budget=Budget(1)), "Hello")
    assert fake.requests == []


def test_a_model_that_sends_nothing_is_not_counted():
    result = Agent(ScriptedModel(["Yes."]), budget=Budget(0), limits=Limits(cost_usd=0)).run_sync("Well?")
    assert (result.text, result.cost) == ("Yes.", None)


def test_a_budget_of_the_agent_and_one_of_the_run():
    ours, mine = Budget(10_000), Budget(20_000)
    with FakeEndpoint(turns()) as fake:
        agent = Agent(model_at(fake), tools=[look], budget=ours, limits=Limits(cost_usd=10_000))
        agent.run_sync("Look.", budget=mine)
    assert (ours.spent_usd, mine.spent_usd) == (840, 840)
    assert (ours.reserved_usd, mine.reserved_usd) == (0, 0)


def test_each_model_of_several_has_its_own_price():
    budget = Budget(100_000)
    with FakeEndpoint([status(503)]) as one, FakeEndpoint([say("Yes.", usage=(20, 10))]) as two:
        first, second = model_at(one, retries=0), model_at(two, Price(2e6, 4e6))
        result = Agent(FallbackModel(first, second), budget=budget).run_sync("Well?")
    assert result.cost == budget.spent_usd == 80


@drivers
def test_a_sub_agent_spends_its_caller_s_money(driver):
    budget = Budget(100_000)
    with (
        FakeEndpoint([say("Seen.", usage=(20, 10))]) as inner,
        FakeEndpoint([call("ask", prompt="Look."), "So."]) as outer,
    ):
        helper = Agent(model_at(inner)).as_tool("ask", "Ask the helper.")
        agent = Agent(model_at(outer), tools=[helper], budget=budget, limits=Limits(cost_usd=100_000))
        result = DRIVERS[driver](agent, "Well?")
    assert result.cost == budget.spent_usd == 20 + 40 + 20
    assert budget.reserved_usd == 0


# Many at once


def honest(received: Received) -> Any:
    """What a real endpoint counts: some four bytes a token, and all of max_tokens. It never has enough."""
    usage = (len(received.body) // 4, received.json.get("max_tokens", 700))
    return calls(call("look", page=len(received.messages)), usage=usage)


def in_threads(agent: Agent[Any, Any], count: int) -> list[BaseException]:
    """What ended so many runs, each in a thread."""
    ended: list[BaseException] = []

    def work() -> None:
        try:
            agent.run_sync("Look at all pages.")
        except Exception as error:  # looked at by the test
            ended.append(error)

    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return ended


def in_tasks(agent: Agent[Any, Any], count: int) -> list[BaseException]:
    """What ended so many runs, all in one event loop."""

    async def main() -> list[Any]:
        runs = [agent.run("Look at all pages.") for _ in range(count)]
        return await asyncio.gather(*runs, return_exceptions=True)

    return asyncio.run(main())


@pytest.mark.timeout(120)
@pytest.mark.parametrize("at_once", [in_threads, in_tasks])
def test_fifty_runs_never_overrun_a_cent(at_once):
    budget = Budget(CENT)
    with FakeEndpoint(honest) as fake:
        agent = Agent(model_at(fake, MINI, settings={"max_tokens": 200}), tools=[look], budget=budget)
        ended = at_once(agent, 50)
    assert len(ended) == 50
    assert {type(error) for error in ended} == {LimitReached}
    assert {error.limit for error in ended} == {"cost_usd"}
    assert CENT / 2 < budget.spent_usd <= CENT
    assert budget.reserved_usd == 0
    paid = sum(len(each.body) // 4 * MINI.input_usd + 200 * MINI.output_usd for each in fake.requests) / 1e6
    assert paid == pytest.approx(budget.spent_usd)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("at_once", [in_threads, in_tasks])
def test_without_max_tokens_a_budget_is_overrun_by_what_is_under_way(at_once):
    budget = Budget(CENT)
    with FakeEndpoint(honest) as fake:
        ended = at_once(Agent(model_at(fake, MINI), tools=[look], budget=budget), 50)
    assert {type(error) for error in ended} == {LimitReached}
    assert CENT / 2 < budget.spent_usd <= CENT + 50 * 700 * MINI.output_usd / 1e6
    assert budget.reserved_usd == 0
