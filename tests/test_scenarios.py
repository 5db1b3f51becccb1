"""The same table of runs through every driver, with a scripted model and over a real connection."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from typing import Any, Literal

import pytest

from agentkit import ChatModel, Model, Reply, Transcript
from agentkit.chat.request import Request
from agentkit.errors import AgentKitError
from agentkit.flow import Steps
from agentkit.testing import FakeEndpoint, ScriptedModel, fixed_clock
from tests.drivers import DRIVERS, outcome
from tests.scenarios import SCENARIOS, Scenario


class CachingModel(Model):
    """Asks another model each question once."""

    def __init__(self, inner: Model) -> None:
        self.inner = inner
        self.kept: dict[str, Reply] = {}

    def flow(self, request: Request) -> Steps[Reply]:
        if request.digest not in self.kept:
            self.kept[request.digest] = yield from self.inner.flow(request)
        return self.kept[request.digest]


class RedactingModel(Model):
    """Hides a word from another model."""

    def __init__(self, inner: Model, secret: str) -> None:
        self.inner = inner
        self.secret = secret

    def flow(self, request: Request) -> Steps[Reply]:
        def hide(message: dict[str, Any]) -> dict[str, Any]:
            text = message.get("content")
            return {**message, "content": text.replace(self.secret, "…")} if isinstance(text, str) else message

        return (yield from self.inner.flow(request.with_(transcript=request.transcript.mapped(hide))))


over_the_wire = pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
scenarios = pytest.mark.parametrize(
    "scenario", [s for s in SCENARIOS if not s.over_the_wire_only], ids=lambda scenario: scenario.name
)
drivers = pytest.mark.parametrize("driver", DRIVERS)


@pytest.fixture(autouse=True)
def _clock() -> Iterator[None]:
    with fixed_clock():
        yield


def run_scripted(scenario: Scenario, driver: str, wrap: Any = lambda model: model) -> tuple[Any, ScriptedModel]:
    """The outcome, and the model that was asked."""
    model = ScriptedModel(scenario.script())
    ended = outcome(DRIVERS[driver], scenario.build(wrap(model)), "please, with the password", **scenario.run)
    return ended, model


@drivers
@scenarios
def test_scripted(scenario: Scenario, driver: str) -> None:
    ended, model = run_scripted(scenario, driver)
    scenario.check(ended)
    for request in model.requests:
        assert_each_call_has_one_result(request.messages)


@pytest.mark.sampled(150, each="scenario driver+http")
@pytest.mark.parametrize(
    ("driver", "http"),
    [*((driver, "httpx") for driver in DRIVERS), ("asyncio", "aiohttp"), ("stream on asyncio", "aiohttp")],
)
@over_the_wire
def test_over_the_wire(scenario: Scenario, driver: str, http: Literal["httpx", "aiohttp"]) -> None:
    with FakeEndpoint(scenario.script()) as fake:
        model = ChatModel("m", base_url=fake.base_url, api_key=fake.api_key, http=http)
        ended = outcome(DRIVERS[driver], scenario.build(model), "please", **scenario.run)
        scenario.check(ended)
        assert fake.problems == []
        if scenario.requests is not None:
            assert len(fake.requests) == scenario.requests
        assert len(ended.transcript.dump()) > 0
        if isinstance(ended, AgentKitError):
            again = pickle.loads(pickle.dumps(ended))
            assert (type(again), str(again), again.transcript) == (type(ended), str(ended), ended.transcript)


@scenarios
def test_each_driver_leaves_the_same_transcript(scenario: Scenario) -> None:
    dumps = set()
    for driver in DRIVERS:
        with fixed_clock():
            ended, _ = run_scripted(scenario, driver)
        dumps.add(_without_nulls(ended.transcript.dump()))
    assert len(dumps) == 1


def _without_nulls(dump: str) -> str:
    """A stream leaves out the fields of a message that a whole body has as null."""
    data = json.loads(dump)
    for entry in data["entries"]:
        entry["message"] = {name: value for name, value in entry["message"].items() if value is not None}
    return json.dumps(data, sort_keys=True)


@pytest.mark.sampled(150, each="scenario+wrapped driver+wrapped")
@drivers
@pytest.mark.parametrize("wrapped", ["caching", "redacting"])
@scenarios
def test_a_wrapped_model(scenario: Scenario, driver: str, wrapped: str) -> None:
    if wrapped == "caching":
        ended, model = run_scripted(scenario, driver, CachingModel)
    else:
        ended, model = run_scripted(scenario, driver, lambda inner: RedactingModel(inner, "password"))
        assert "password" not in str([request.messages for request in model.requests])
        assert "password" in ended.transcript.dump()
    scenario.check(ended)


def test_a_cached_answer_is_not_asked_for_again() -> None:
    model = ScriptedModel(["once"])
    agent = Scenario("cached", list, "once").build(CachingModel(model))
    assert [agent.run_sync("same").output, agent.run_sync("same").output] == ["once", "once"]
    assert len(model.requests) == 1


@scenarios
@pytest.mark.parametrize("form", ["dump", "list"])
def test_every_prefix_goes_on_to_the_same_end(scenario: Scenario, form: str) -> None:
    whole, _ = run_scripted(scenario, "sync")
    if isinstance(whole, AgentKitError) and not isinstance(scenario.ends, str):
        pytest.skip("it ends in an error, which the table covers")
    if form == "list" and not scenario.told_by_a_list:
        pytest.skip("a plain list does not tell all of it")
    entries = list(whole.transcript)
    for length in range(1, len(entries) + 1):
        part = Transcript(entries[:length])
        replies = sum(entry.author == "model" for entry in entries[:length])
        given = Transcript.load(part.dump()) if form == "dump" else Transcript.load(part.messages, trusted=True)
        rest = ScriptedModel(_after(scenario, replies))
        ended = scenario.build(rest).run_sync(transcript=given, **scenario.run)
        assert ended.output == whole.output
        if form == "dump":
            assert ended.transcript == whole.transcript
            assert ended.usage == whole.usage


def _after(scenario: Scenario, replies: int) -> list[Any]:
    from agentkit.testing.script import as_item

    steps = [step for step in scenario.script() if "status" not in as_item(step).label]
    return steps[replies:]


def assert_each_call_has_one_result(messages: list[dict[str, Any]]) -> None:
    """Each call is answered exactly once, right after its message."""
    waiting: list[str] = []
    for message in messages:
        if message["role"] == "tool":
            waiting.remove(message["tool_call_id"])
            continue
        assert waiting == []
        waiting = [call["id"] for call in message.get("tool_calls") or ()]
    assert waiting == []
