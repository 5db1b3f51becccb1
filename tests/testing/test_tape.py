"""record and replay: what went over the wire to a real endpoint comes again with the endpoint gone."""

from __future__ import annotations

import asyncio
import json
import threading
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from agentkit import Agent, ChatModel, FallbackModel, redact
from agentkit.chat.dialects import DIALECTS
from agentkit.endpoint import Endpoint, Started, gate
from agentkit.errors import (
    AuthenticationError,
    BadRequestError,
    Cancelled,
    ConnectionFailed,
    EndpointError,
    RateLimitError,
    TimedOut,
    UsageError,
)
from agentkit.events import TextDelta
from agentkit.policy import Timeouts
from agentkit.testing import (
    CassetteMismatch,
    FakeEndpoint,
    call,
    cut,
    drip,
    error_event,
    fixed_clock,
    forbid_real_requests,
    hang,
    record,
    replay,
    say,
    status,
)
from tests.drivers import DRIVERS

KEY = "sk-very-secret-0123456789"


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def model_at(base_url: str, **args: Any) -> ChatModel:
    return ChatModel("any-model", base_url=base_url, api_key=KEY, **args)


def agent_at(base_url: str, **args: Any) -> Agent[Any, Any]:
    return Agent(model_at(base_url, **args), tools=[add])


def recorded(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_text("utf-8"))["exchanges"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "cassette.json"


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_run_comes_again_with_its_endpoint_gone(driver: str, path: Path) -> None:
    script = [status(429, headers={"retry-after": "0"}), call("add", a=1, b=2), say("Drei, sehr schön.")]
    with FakeEndpoint(script, api_key=KEY) as fake:
        url = fake.base_url
        with fixed_clock(), record(path) as tape:
            before = DRIVERS[driver](agent_at(url), "1 + 2?")
        assert len(tape.exchanges) == len(fake.requests) == 3
    with fixed_clock(), forbid_real_requests(), replay(path) as tape:
        after = DRIVERS[driver](agent_at(url), "1 + 2?")
    assert tape.played == 3
    assert after.output == "Drei, sehr schön."
    assert after.transcript.dump() == before.transcript.dump()


@pytest.mark.parametrize("first", ["sync", "async"])
def test_what_sync_code_has_recorded_async_code_replays_and_the_other_way_round(first: str, path: Path) -> None:
    ways = [lambda agent: agent.run_sync("x"), lambda agent: asyncio.run(agent.run("x"))]
    one, two = ways if first == "sync" else ways[::-1]
    with FakeEndpoint([say("hello")], api_key=KEY) as fake:
        agent = agent_at(fake.base_url)
        with record(path):
            one(agent)
    with replay(path):
        assert two(agent).output == "hello"


def test_the_file_reads_well(path: Path) -> None:
    with FakeEndpoint([say("Hi.")], api_key=KEY) as fake, record(path):
        url = fake.base_url
        model_at(url).reply_sync("Hello")
    (exchange,) = recorded(path)
    request, answer = exchange["request"], exchange["response"]
    assert (request["method"], request["url"]) == ("POST", f"{url}/chat/completions")
    assert request["headers"]["authorization"] == "$KEY"
    assert request["body"] == {"model": "any-model", "messages": [{"role": "user", "content": "Hello"}]}
    assert (answer["status"], answer["headers"]["x-request-id"]) == (200, "req_1")
    assert answer["body"]["choices"][0]["message"]["content"] == "Hi."
    body = '        "body": {"model": "any-model", "messages": [{"role": "user", "content": "Hello"}]}\n'
    assert body in path.read_text("utf-8")


@pytest.mark.parametrize("streamed", [False, True])
def test_a_key_is_nowhere_in_it(path: Path, streamed: bool) -> None:
    echo = status(400, message=f"no such key: {KEY}", headers={"x-echo": KEY, "set-cookie": "session=1"})
    script = [echo, say(f"You said {KEY}"), error_event(drip(say("x"), 0, size=3), after_events=0, message=KEY)]
    with FakeEndpoint(script, api_key=KEY) as fake:
        model = model_at(fake.base_url, retries=0)
        with record(path):
            for _ in script:
                try:
                    if streamed:
                        with model.stream_sync(f"my key is {KEY}") as stream:
                            list(stream)
                    else:
                        model.reply_sync(f"my key is {KEY}")
                except EndpointError:
                    pass
    text = path.read_text("utf-8")
    assert len(recorded(path)) == 3
    assert KEY not in text
    assert recorded(path)[0]["response"]["headers"]["x-echo"] == "$KEY"
    assert recorded(path)[0]["response"]["headers"]["set-cookie"] == "$KEY"
    assert "no such key: $KEY" in text


def test_what_the_users_redactor_takes_out_is_not_in_it_and_replays(path: Path) -> None:
    redact(lambda text: text.replace("Ada", "Somebody"))
    try:
        with FakeEndpoint([say("Hello Ada")], api_key=KEY) as fake:
            model = model_at(fake.base_url)
            with record(path):
                assert model.reply_sync("I am Ada").text == "Hello Ada"
        assert "Ada" not in path.read_text("utf-8")
        with replay(path):
            assert model.reply_sync("I am Ada").text == "Hello Somebody"
    finally:
        redact(None)


@pytest.mark.parametrize("way", ["sync", "async"])
@pytest.mark.parametrize(
    ("step", "error"),
    [
        (status(401), AuthenticationError),
        (status(429, message="slow down"), RateLimitError),
        (status(400, message="no"), BadRequestError),
        (cut(say("half an answer")), ConnectionFailed),
        (hang(), TimedOut),
    ],
)
def test_errors_come_again(path: Path, step: Any, error: type[EndpointError], way: str) -> None:
    def ask(model: ChatModel) -> EndpointError:
        with pytest.raises(error) as raised:
            model.reply_sync("x") if way == "sync" else asyncio.run(model.reply("x"))
        return raised.value

    with FakeEndpoint([step], api_key=KEY) as fake:
        model = model_at(fake.base_url, retries=0, timeouts=Timeouts(first_byte_s=0.2))
        with record(path):
            before = ask(model)
    with replay(path):
        after = ask(model)
    assert (str(after), after.status, after.retryable) == (str(before), before.status, before.retryable)


def test_a_server_that_was_not_there_is_not_there_again(path: Path) -> None:
    with FakeEndpoint() as fake:
        url = fake.base_url
    model = model_at(url, retries=0)
    for tape in (record, replay):
        with tape(path), pytest.raises(ConnectionFailed, match="refused"):
            model.reply_sync("x")


def test_no_key_is_needed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeEndpoint([say("hi")], api_key=KEY) as fake:
        monkeypatch.setenv("OPENAI_BASE_URL", fake.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        with record(path):
            Agent("openai:gpt-5-mini").run_sync("x")
    monkeypatch.delenv("OPENAI_API_KEY")
    agent = Agent("openai:gpt-5-mini")
    with replay(path):
        assert agent.run_sync("x").output == "hi"
    with pytest.raises(AuthenticationError):
        agent.run_sync("x")


def test_a_key_that_a_function_gives_is_not_asked_for(path: Path) -> None:
    def key() -> str:
        asked.append(1)
        return KEY

    asked: list[int] = []
    with FakeEndpoint([say("hi")], api_key=KEY) as fake:
        model = ChatModel("m", base_url=fake.base_url, api_key=key)
        with record(path):
            model.reply_sync("x")
    with replay(path):
        assert asyncio.run(model.reply("x")).text == "hi"
    assert asked == [1]


def test_a_server_that_starts_on_first_use_is_not_started(path: Path) -> None:
    def start() -> Started:
        started.append(1)
        return Started(fake.base_url, KEY, dialect)

    def model() -> ChatModel:
        made = ChatModel("m", base_url="http://127.0.0.1:9/v1")
        made.endpoint = Endpoint(None, DIALECTS["llamacpp"], start=start)
        return made

    started: list[int] = []
    dialect = replace(DIALECTS["llamacpp"], tools="json")
    with FakeEndpoint([say('{"reply": "hi"}')], api_key=KEY, strict=False) as fake, record(path):
        before = Agent(model(), tools=[add]).run_sync("x")
    with replay(path):
        after = Agent(model(), tools=[add]).run_sync("x")
    assert started == [1]
    assert after.output == before.output


# Mismatches


def test_another_prompt_is_shown_as_a_diff(path: Path) -> None:
    with FakeEndpoint([say("hi")], api_key=KEY) as fake:
        agent = agent_at(fake.base_url)
        with record(path):
            agent.run_sync("Hello")
    with pytest.raises(CassetteMismatch) as raised, replay(path):
        agent.run_sync("Goodbye")
    text = str(raised.value)
    assert text.startswith(f"{path}: request 1 is not what was recorded as exchange 1; record it anew with ")
    assert '-   "content": "Hello",\n+   "content": "Goodbye",\n' in text
    assert "--- recorded\n+++ now\n" in text


def test_another_url_is_shown(path: Path) -> None:
    with FakeEndpoint([say("hi")], api_key=KEY) as fake, record(path):
        model_at(fake.base_url).reply_sync("x")
    with pytest.raises(CassetteMismatch) as raised, replay(path):
        ChatModel("any-model", base_url="https://elsewhere.example/v1").reply_sync("x")
    assert "\n- POST http://127.0.0.1/v1/chat/completions\n+ POST https://elsewhere.example/v1" in str(raised.value)


def test_one_request_too_many_is_shown(path: Path) -> None:
    with FakeEndpoint([say("hi")], api_key=KEY) as fake:
        model = model_at(fake.base_url)
        with record(path):
            model.reply_sync("x")
    with pytest.raises(CassetteMismatch) as raised, replay(path):
        [model.reply_sync("x") for _ in range(2)]
    assert "request 2 is one more than the 1 that were recorded" in str(raised.value)
    assert '"content": "x"' in str(raised.value)


def test_one_request_too_few_is_an_error_at_the_end(path: Path) -> None:
    with FakeEndpoint([say("hi"), say("ho")], api_key=KEY) as fake:
        model = model_at(fake.base_url)
        with record(path):
            model.reply_sync("x")
            model.reply_sync("y")
    with pytest.raises(CassetteMismatch, match="1 of its 2 exchanges were not asked for"), replay(path):
        model.reply_sync("x")
    with replay(path, check=False) as tape:
        model.reply_sync("x")
    assert tape.played == 1


def test_a_mismatch_that_is_caught_is_told_at_the_end(path: Path) -> None:
    with FakeEndpoint([say("hi")], api_key=KEY) as fake:
        model = model_at(fake.base_url)
        with record(path):
            model.reply_sync("x")
    with pytest.raises(CassetteMismatch, match="request 1 is not what was recorded"), replay(path, check=True):
        _try(model)


def _try(model: ChatModel) -> None:
    with pytest.raises(CassetteMismatch):
        model.reply_sync("y")
    model.reply_sync("x")


def test_a_fallback_does_not_hide_a_mismatch(path: Path) -> None:
    with FakeEndpoint([say("hi")], api_key=KEY) as fake:
        model = model_at(fake.base_url)
        with record(path):
            model.reply_sync("x")
        with pytest.raises(CassetteMismatch), replay(path):
            FallbackModel(model, model_at(fake.base_url)).reply_sync("y")
    assert len(fake.requests) == 1


def test_bodies_may_be_compared_without_what_is_other_each_time(path: Path) -> None:
    def normalize(body: Any) -> Any:
        return {**body, "messages": len(body["messages"])}

    with FakeEndpoint([say("hi")], api_key=KEY) as fake:
        model = model_at(fake.base_url)
        with record(path):
            model.reply_sync("it is 10:00")
    with replay(path, normalize=normalize):
        assert model.reply_sync("it is 11:00").text == "hi"


# In which order


def test_requests_that_go_out_side_by_side_find_their_answers(path: Path) -> None:
    with FakeEndpoint(lambda request: say(request.messages[-1]["content"].upper()), api_key=KEY) as fake:
        agent = agent_at(fake.base_url)
        prompts = ["a", "b", "c", "d"]
        with record(path):
            for prompt in prompts:
                agent.run_sync(prompt)
    found: dict[str, str] = {}

    def ask(prompt: str) -> None:
        found[prompt] = agent.run_sync(prompt).output

    with replay(path):
        threads = [threading.Thread(target=ask, args=(prompt,)) for prompt in reversed(prompts)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == {"a": "A", "b": "B", "c": "C", "d": "D"}


def test_equal_requests_get_their_answers_in_order(path: Path) -> None:
    with FakeEndpoint([say("one"), say("two")], api_key=KEY) as fake:
        model = model_at(fake.base_url)
        with record(path):
            [model.reply_sync("x") for _ in range(2)]
    with replay(path):
        assert [model.reply_sync("x").text for _ in range(2)] == ["one", "two"]


# Recording


def test_only_new_requests_are_sent(path: Path) -> None:
    with FakeEndpoint([say("one"), say("two"), say("three")], api_key=KEY) as fake:
        model = model_at(fake.base_url)
        with record(path, only_new=True):
            model.reply_sync("1")
        with record(path, only_new=True):
            assert [model.reply_sync(prompt).text for prompt in "12"] == ["one", "two"]
        written = path.read_text("utf-8")
        with record(path, only_new=True):
            model.reply_sync("2")
        assert path.read_text("utf-8") == written
        assert len(fake.requests) == 2
        with record(path):
            assert model.reply_sync("1").text == "three"
    assert len(recorded(path)) == 1


def test_a_block_that_fails_leaves_the_file_as_it_was(path: Path) -> None:
    with FakeEndpoint([say("one"), say("two")], api_key=KEY) as fake:
        model = model_at(fake.base_url)
        with record(path):
            model.reply_sync("x")
        written = path.read_text("utf-8")
        with pytest.raises(KeyError), record(path):
            {}[model.reply_sync("x").text]
    assert path.read_text("utf-8") == written
    assert gate.tape is None


def test_what_a_model_has_refused_before_is_asked_anew(path: Path) -> None:
    refusal = status(400, message="'parallel_tool_calls' is not supported", error_code="unsupported_parameter")
    settings = {"parallel_tool_calls": False}
    with FakeEndpoint([refusal, say("a"), refusal, say("b")], api_key=KEY) as fake:
        agent = agent_at(fake.base_url)
        agent.run_sync("x", settings=settings)
        with record(path):
            agent.run_sync("x", settings=settings)
    assert ["parallel_tool_calls" in each["request"]["body"] for each in recorded(path)] == [True, False]
    with replay(path):
        assert agent.run_sync("x", settings=settings).output == "b"


def test_two_cassettes_do_not_go_together(path: Path) -> None:
    with record(path), pytest.raises(UsageError, match="do not nest"), record(path):
        pass


def test_no_cassette_says_how_to_make_one(path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no cassette .*--agentkit-record=new"), replay(path):
        pass


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"agentkit_cassette": 2}', '{"agentkit_cassette": 1}'])
def test_a_damaged_cassette_is_told(path: Path, text: str) -> None:
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(UsageError, match="record it anew"), replay(path):
        pass


# The pace


def test_the_recorded_times_may_hold(path: Path) -> None:
    with FakeEndpoint([drip(say("a b c"), 0.01)], api_key=KEY) as fake:
        model = model_at(fake.base_url)
        with record(path) as tape, model.stream_sync("x") as stream:
            list(stream)
    seconds = tape.exchanges[0].pieces[-1][0]
    for way in (_in_sync, _in_asyncio):
        with replay(path, pace=1):
            assert way(model) >= seconds * 0.9


def _in_sync(model: ChatModel) -> float:
    began = monotonic()
    with model.stream_sync("x") as stream:
        list(stream)
    return monotonic() - began


def _in_asyncio(model: ChatModel) -> float:
    async def main() -> None:
        async with model.stream("x") as stream:
            async for _ in stream:
                pass

    began = monotonic()
    asyncio.run(main())
    return monotonic() - began


def test_a_wait_can_be_broken_off(path: Path) -> None:
    with FakeEndpoint([drip(say("a b c"), 0.001)], api_key=KEY) as fake:
        agent = agent_at(fake.base_url)
        with record(path), agent.stream_sync("x") as run:
            list(run)
    data = json.loads(path.read_text("utf-8"))
    data["exchanges"][0]["response"]["chunks"][-1][0] = 30.0
    path.write_text(json.dumps(data))
    with replay(path, pace=1), agent.stream_sync("x") as run, pytest.raises(Cancelled):
        _cancel_after_text(run)


def _cancel_after_text(run: Any) -> None:
    for event in run:
        if isinstance(event, TextDelta):
            threading.Timer(0.01, run.cancel).start()
