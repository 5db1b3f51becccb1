"""What a test may take the place of: the model and tools of any agent, the network, the clock."""

from __future__ import annotations

import asyncio
import threading
from contextvars import copy_context
from typing import Any

import anyio
import pytest
import trio

from agentkit import Agent, ChatModel, tool
from agentkit.clock import Clock, clock
from agentkit.endpoint import gate
from agentkit.errors import AuthenticationError, LimitReached, RateLimitError, UsageError
from agentkit.policy import Limits
from agentkit.testing import FakeEndpoint, ScriptedModel, call, fixed_clock, forbid_real_requests, override, say, status
from tests.drivers import DRIVERS


def send_mail(to: str) -> str:
    """Send a mail."""
    raise AssertionError(f"a real mail to {to}")


@tool(name="send_mail")
def noted(to: str) -> str:
    """Note a mail."""
    return f"noted for {to}"


AGENT: Agent[Any] = Agent("openai:gpt-5-mini", tools=[send_mail])
"""An agent as it stands in a program: a global of its module, with a real model and real tools."""


def script() -> ScriptedModel:
    return ScriptedModel([call("send_mail", to="Ada"), say("sent")])


def mails(result: Any) -> list[str]:
    return [record.result.content for record in result.tool_calls]


# override


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_global_agent_uses_another_model_and_other_tools(driver: str) -> None:
    model = script()
    with override(model=model, tools=[noted]):
        ended = DRIVERS[driver](AGENT, "Mail Ada.")
    assert (ended.output, mails(ended)) == ("sent", ["noted for Ada"])
    assert [spec.name for spec in model.requests[0].tools] == ["send_mail"]
    with pytest.raises(AuthenticationError):
        DRIVERS[driver](AGENT, "Mail Ada.")


def test_it_goes_over_what_the_run_is_given() -> None:
    with override(model=script(), tools=[noted]):
        ended = AGENT.run_sync("Mail Ada.", model=ScriptedModel([]), tools=[tool(name="other")(send_mail)])
    assert mails(ended) == ["noted for Ada"]


def test_it_may_be_the_model_alone_or_the_tools_alone() -> None:
    with override(model=ScriptedModel(["hello"])):
        assert AGENT.run_sync("x").output == "hello"
    with override(tools=[noted]):
        assert mails(AGENT.run_sync("x", model=script())) == ["noted for Ada"]


def test_a_model_may_be_named(scripted_endpoint: str) -> None:
    with override(model="any-model"):
        assert AGENT.run_sync("x").output == "As you say."


def test_blocks_nest_and_end() -> None:
    with override(model=ScriptedModel(["outer", "outer again"])):
        with override(model=ScriptedModel(["inner"])):
            assert AGENT.run_sync("x").output == "inner"
        assert AGENT.run_sync("x").output == "outer"
        with pytest.raises(ZeroDivisionError), override(model=ScriptedModel([])):
            raise ZeroDivisionError
        assert AGENT.run_sync("x").output == "outer again"


def test_it_reaches_tasks_that_are_started_inside() -> None:
    async def main() -> list[str]:
        with override(model=ScriptedModel(lambda request: request.messages[-1]["content"])):
            ended = await asyncio.gather(*[asyncio.create_task(AGENT.run(text)) for text in "abc"])
        return [result.output for result in ended]

    assert asyncio.run(main()) == ["a", "b", "c"]


def test_it_reaches_tasks_of_trio() -> None:
    ended: list[str] = []

    async def ask(text: str) -> None:
        ended.append((await AGENT.run(text)).output)

    async def main() -> None:
        with override(model=ScriptedModel(lambda request: request.messages[-1]["content"])):
            async with anyio.create_task_group() as group:
                for text in "abc":
                    group.start_soon(ask, text)

    trio.run(main)
    assert sorted(ended) == ["a", "b", "c"]


def test_it_reaches_threads_that_have_its_context() -> None:
    ended: list[str] = []

    def ask() -> None:
        ended.append(AGENT.run_sync("x").output)

    async def main() -> None:
        await asyncio.to_thread(ask)

    with override(model=ScriptedModel(["in a thread", "in another"])):
        thread = threading.Thread(target=copy_context().run, args=(ask,))
        asyncio.run(main())
    thread.start()
    thread.join(20)
    assert ended == ["in a thread", "in another"]


def test_it_reaches_a_run_inside_of_a_tool() -> None:
    def ask() -> str:
        """Ask another agent."""
        return AGENT.run_sync("x").output

    model = ScriptedModel([call("ask"), say("inner"), say("outer")])
    with override(model=model):
        ended = Agent("openai:gpt-5", tools=[ask]).run_sync("x")
    assert (ended.output, mails(ended)) == ("outer", ["inner"])


# forbid_real_requests


def test_the_door_is_open_again_after_the_block() -> None:
    assert not gate.closed
    with forbid_real_requests():
        assert gate.closed
        with forbid_real_requests(False):
            assert not gate.closed
        assert gate.closed
    assert not gate.closed


@pytest.mark.parametrize("driver", DRIVERS)
def test_no_request_leaves_the_machine(driver: str) -> None:
    agent: Agent[Any] = Agent(ChatModel("openai:gpt-5", api_key="sk-real"))
    with forbid_real_requests(), pytest.raises(UsageError, match="forbidden in this test run: use ScriptedModel"):
        DRIVERS[driver](agent, "x")


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_fake_endpoint_is_reached_behind_the_closed_door(driver: str) -> None:
    with FakeEndpoint([say("ok")]) as fake, forbid_real_requests():
        agent: Agent[Any] = Agent(ChatModel("m", base_url=fake.base_url, api_key=fake.api_key))
        assert DRIVERS[driver](agent, "x").output == "ok"


def test_the_door_is_closed_for_every_thread() -> None:
    seen: list[bool] = []
    with forbid_real_requests():
        thread = threading.Thread(target=lambda: seen.append(gate.closed))
        thread.start()
        thread.join(20)
    assert seen == [True]


# fixed_clock


def test_two_runs_are_the_same_to_the_byte() -> None:
    dumps = []
    for _ in range(2):
        with fixed_clock():
            first = AGENT.with_(model=script(), tools=[noted]).run_sync("Mail Ada.")
            second = AGENT.run_sync("Again.", model=ScriptedModel(["no"]), transcript=first.transcript)
            dumps.append(second.transcript.dump())
    assert dumps[0] == dumps[1]
    assert '"run":"run-1"' in dumps[0]
    assert '"run":"run-2"' in dumps[0]
    assert '"at":1700000000.0' in dumps[0]


@pytest.mark.parametrize("driver", DRIVERS)
def test_waits_take_no_time_and_put_the_clock_forward(driver: str) -> None:
    with FakeEndpoint([status(429, headers={"retry-after": "30"}), say("ok")]) as fake, fixed_clock(at=100.0) as time:
        agent: Agent[Any] = Agent(ChatModel("m", base_url=fake.base_url, api_key=fake.api_key))
        ended = DRIVERS[driver](agent, "x")
    assert (time.waits, time.now(), time.monotonic()) == ([30.0], 130.0, 130.0)
    assert ended.transcript.entries[1].elapsed_s == 30.0
    assert ended.exchanges[1].started_at == 130.0


def test_the_time_of_a_run_is_limited_by_that_clock() -> None:
    waits = [status(429, headers={"retry-after": "30"})] * 2
    with FakeEndpoint(waits) as fake, fixed_clock():
        agent: Agent[Any] = Agent(
            ChatModel("m", base_url=fake.base_url, api_key=fake.api_key), limits=Limits(seconds=50)
        )
        with pytest.raises(LimitReached, match="asked again in 30") as caught:
            agent.run_sync("x")
    assert isinstance(caught.value.__cause__, RateLimitError)


def test_chance_is_the_seeds() -> None:
    def chances(seed: int) -> list[float]:
        with fixed_clock(seed=seed) as time:
            return [time.chance() for _ in range(3)]

    assert chances(1) == chances(1) != chances(2)
    assert all(0 <= chance < 1 for chance in chances(1))


def test_without_it_the_clock_is_the_real_one() -> None:
    real = clock.get()
    with fixed_clock() as time:
        assert clock.get() is time
    assert clock.get() is real
    assert type(real) is Clock
    assert real.now() > 1_700_000_000
    assert real.monotonic() <= real.monotonic()
    assert 0 <= real.chance() < 1
    assert len({real.new_id(), real.new_id()}) == 2
    assert real.wait_sync(0, threading.Event()) is False
    trio.run(real.wait, 0)
