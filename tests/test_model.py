"""A model alone: names, keys, what it may be asked, and when it asks again."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest
import tenacity
import trio
from inline_snapshot import snapshot

from agentkit import ChatModel, Message, Model, Reply, Retries, Settings, Timeouts, ToolSpec, Transcript, tool
from agentkit.chat.dialects import DIALECTS
from agentkit.chat.request import Request
from agentkit.errors import (
    AuthenticationError,
    BadRequestError,
    NotFoundError,
    ProtocolError,
    RateLimitError,
    ServerError,
    UsageError,
)
from agentkit.flow import Steps
from agentkit.messages import assistant, system, user
from agentkit.model import model_of
from agentkit.testing import FakeEndpoint, ScriptedModel, call, calls, fixed_clock, reply, say, status
from agentkit.testing.script import ToolCall


def in_sync(model: Model, messages: Any, **args: Any) -> Reply:
    return model.reply_sync(messages, **args)


def in_asyncio(model: Model, messages: Any, **args: Any) -> Reply:
    return asyncio.run(model.reply(messages, **args))


def in_trio(model: Model, messages: Any, **args: Any) -> Reply:
    return trio.run(partial(model.reply, messages, **args))


async def _streamed(model: Model, messages: Any, args: dict[str, Any]) -> Reply:
    async with model.stream(messages, **args) as stream:
        async for _ in stream:
            pass
    return stream.reply


def in_stream_sync(model: Model, messages: Any, **args: Any) -> Reply:
    with model.stream_sync(messages, **args) as stream:
        for _ in stream:
            pass
    return stream.reply


def in_stream(model: Model, messages: Any, **args: Any) -> Reply:
    return asyncio.run(_streamed(model, messages, args))


VERBS = {
    "reply_sync": in_sync,
    "reply on asyncio": in_asyncio,
    "reply on trio": in_trio,
    "stream_sync": in_stream_sync,
    "stream": in_stream,
}
verbs = pytest.mark.parametrize("verb", VERBS)


def at(fake: FakeEndpoint, name: str = "m", **options: Any) -> ChatModel:
    return ChatModel(name, base_url=fake.base_url, **{"api_key": fake.api_key, **options})


def add(a: int, b: int = 2) -> int:
    """Add two numbers."""
    return a + b


@verbs
def test_a_reply_has_everything(verb: str) -> None:
    made = calls(
        call("add", a=1), text="let me see", reasoning="hm", usage={"prompt_tokens": 3, "completion_tokens": 4}
    )
    with FakeEndpoint([made], strict=False) as fake:
        came = VERBS[verb](at(fake), "1 + 2?", tools=[add], settings={"seed": 7})
        source = fake.base_url
    assert (came.text, came.reasoning, came.refusal, came.finish_reason) == ("let me see", "hm", None, "tool_calls")
    assert [(each.id, each.name, each.parsed) for each in came.tool_calls] == [("call_1", "add", {"a": 1})]
    assert came.usage is not None
    assert (came.usage.prompt_tokens, came.usage.completion_tokens, came.usage.total_tokens) == (3, 4, 7)
    assert came.message.data["reasoning_content"] == "hm"
    assert (came.model, came.id, came.source) == ("m", "chatcmpl-1", source)
    assert came.extra["system_fingerprint"] == "fp_fake"


@verbs
def test_what_is_asked(verb: str) -> None:
    with FakeEndpoint([say("ok")]) as fake:
        model = at(fake, settings={"seed": 1, "temperature": 0, "extra_headers": {"x-team": "blue"}})
        settings = Settings(temperature=1, extra_headers={"x-task": "sum"})
        conversation = [system("Be brief."), {"role": "user", "content": "hi"}, assistant("hello"), user("1 + 2?")]
        VERBS[verb](model, conversation, settings=settings)
        (request,) = fake.requests
    sent = {name: value for name, value in request.json.items() if not name.startswith("stream")}
    assert sent == snapshot(
        {
            "model": "m",
            "temperature": 1,
            "seed": 1,
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "hi"},
                {"role": "assistant", "content": "hello"},
                {"role": "user", "content": "1 + 2?"},
            ],
        }
    )
    assert (request.headers["x-team"], request.headers["x-task"]) == ("blue", "sum")
    assert request.wants_stream == verb.startswith("stream")


SPEC = {
    "type": "function",
    "function": {"name": "look", "description": "Look.", "parameters": {"type": "object", "properties": {}}},
}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (add, "add"),
        (tool(add), "add"),
        (ToolSpec("look", "Look."), "look"),
        (SPEC, "look"),
        ({"type": "function", "function": {"name": "look"}}, "look"),
        ({"function": {**SPEC["function"], "strict": True}}, "look"),  # type: ignore[dict-item]
    ],
    ids=["function", "tool", "spec", "dict", "short dict", "strict dict"],
)
def test_tools_may_be_functions_specs_and_dicts(given: Any, told: str) -> None:
    model = ScriptedModel([say("ok")])
    model.reply_sync("x", tools=[given])
    (spec,) = model.requests[0].tools
    assert spec.name == told
    assert spec.data()["function"]["parameters"]["type"] == "object"
    assert spec.strict == ("strict" in str(given))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"tools": [{"name": "look"}]}, "a tool as a dict is {'type': 'function', 'function': {'name': …}}"),
        ({"tools": [{"function": {"name": 3}}]}, "a tool as a dict is"),
        ({"tools": ["look"]}, "a tool is a function or a Tool, not str 'look'"),
        ({"settings": {"temprature": 1}}, "did you mean 'temperature'?"),
        ({"messages": [{"role": "root", "content": "x"}]}, "message 0"),
    ],
)
def test_what_cannot_be_asked(arguments: dict[str, Any], words: str) -> None:
    model = ScriptedModel([])
    with pytest.raises(UsageError) as caught:
        model.reply_sync(**{"messages": "x", **arguments})
    assert words in str(caught.value)


@verbs
def test_several_choices(verb: str) -> None:
    with FakeEndpoint([say("heads")]) as fake:
        came = VERBS[verb](at(fake), "Toss a coin.", settings={"n": 2})
    assert [(choice.index, choice.text) for choice in came.choices] == [(0, "heads"), (1, "heads")]
    assert came.text == "heads"


def test_calls_without_results_are_answered_as_not_run_or_refused() -> None:
    asked = [user("x"), assistant(tool_calls=[ToolCall("a", "rm", "{}")])]
    with FakeEndpoint([say("ok")]) as fake:
        at(fake).reply_sync(asked)
        roles = [message["role"] for message in fake.requests[0].messages]
        assert roles == ["user", "assistant", "tool"]
        assert "was not run" in fake.requests[0].messages[2]["content"]
        with pytest.raises(UsageError, match=r"calls without a result cannot be sent: rm \(a\)"):
            at(fake).reply_sync(Transcript.load(asked, trusted=True))
        assert len(fake.requests) == 1


def test_a_transcript_is_a_conversation() -> None:
    model = ScriptedModel([say("ok")])
    model.reply_sync(Transcript.load([Message({"role": "user", "content": "hi"})]))
    assert model.requests[0].messages == [{"role": "user", "content": "hi"}]


# Names and keys


@pytest.mark.parametrize(
    ("name", "model", "endpoint"),
    [
        ("openai:gpt-5-mini", "gpt-5-mini", "Endpoint('https://api.openai.com/v1', openai)"),
        ("tokenhub:gpt-4", "gpt-4", "Endpoint('https://us-api.tokenhub.com/v1', tokenhub)"),
        ("ollama:llama3:8b", "llama3:8b", "Endpoint('http://localhost:11434/v1', ollama)"),
    ],
)
def test_a_prefix_names_the_endpoint(name: str, model: str, endpoint: str) -> None:
    made = ChatModel(name)
    assert (made.name, repr(made.endpoint)) == (model, endpoint)
    assert model_of(made) is made
    assert isinstance(model_of(name), ChatModel)


@pytest.mark.parametrize(
    ("base_url", "dialect"),
    [
        ("https://api.openai.com/v1", "openai"),
        ("https://x.openai.azure.com/openai/v1", "azure"),
        ("http://h:1/v1", "generic"),
    ],
)
def test_an_address_is_known_by_its_host(base_url: str, dialect: str) -> None:
    assert ChatModel("m", base_url=base_url).endpoint.dialect.name == dialect


def test_a_dialect_can_be_given() -> None:
    with FakeEndpoint([say("ok")], strict=False) as fake:
        at(fake, dialect=DIALECTS["mistral"], settings={"seed": 1}).reply_sync("x", settings={"user": "me"})
        assert fake.requests[0].json["random_seed"] == 1
        assert "user" not in fake.requests[0].json


def test_a_dialect_of_ones_own_is_not_taken_for_another_of_the_same_name() -> None:
    from dataclasses import replace

    own = replace(DIALECTS["generic"], unsupported=frozenset({"seed"}))
    with FakeEndpoint([say("ok")] * 2) as fake:
        usual, changed = at(fake), at(fake, dialect=own)
        for model in (usual, changed):
            model.reply_sync("x", settings={"seed": 1})
        assert ["seed" in request.json for request in fake.requests] == [True, False]


def test_a_bare_name_goes_to_the_base_url_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeEndpoint([say("ok")]) as fake:
        monkeypatch.setenv("OPENAI_BASE_URL", fake.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", fake.api_key)
        assert ChatModel("some:model").reply_sync("x").text == "ok"
        assert fake.requests[0].json["model"] == "some:model"


@verbs
def test_a_missing_key_is_told_at_the_first_request(verb: str) -> None:
    model = ChatModel("tokenhub:gpt-4")
    with pytest.raises(AuthenticationError, match="tokenhub needs a key: set TOKENHUB_API_KEY, or give api_key="):
        VERBS[verb](model, "x")


def test_a_key_in_the_environment_is_looked_up_at_each_request(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeEndpoint([say("ok")] * 2, api_key="new") as fake:
        monkeypatch.setenv("TOKENHUB_BASE_URL", fake.base_url)
        monkeypatch.setenv("TOKENHUB_API_KEY", "old")
        model = ChatModel("tokenhub:gpt-4")
        with pytest.raises(AuthenticationError):
            model.reply_sync("x")
        monkeypatch.setenv("TOKENHUB_API_KEY", " new ")
        assert model.reply_sync("x").text == "ok"


@pytest.mark.parametrize("key", ["sk-1\n2", "ключ", " sk-1"])
def test_a_key_that_no_header_can_carry_is_refused_without_being_shown(key: str) -> None:
    with FakeEndpoint([]) as fake, pytest.raises(UsageError, match="a space, line break or non-ASCII") as caught:
        at(fake, api_key=key).reply_sync("x")
    assert key not in str(caught.value)


@verbs
@pytest.mark.parametrize("is_async", [False, True])
def test_a_key_may_be_a_function(verb: str, is_async: bool) -> None:
    given: list[str] = []

    def key() -> str:
        given.append(f"key-{len(given)}")
        return given[-1]

    async def key_async() -> str:
        return key()

    with FakeEndpoint([say("ok")] * 2, api_key=None) as fake:
        model = at(fake, api_key=key_async if is_async else key)
        for _ in range(2):
            VERBS[verb](model, "x")
        sent = [request.headers["authorization"] for request in fake.requests]
    assert sent == ["Bearer key-0", "Bearer key-1"]


# Again


@verbs
def test_a_request_that_failed_is_sent_again(verb: str) -> None:
    with (
        FakeEndpoint([status(500), status(429, headers={"retry-after": "7"}), say("ok")]) as fake,
        fixed_clock() as time,
    ):
        assert VERBS[verb](at(fake), "x").text == "ok"
        assert len({request.body for request in fake.requests}) == 1
    assert time.waits[0] < 1
    assert time.waits[1] == 7


@verbs
@pytest.mark.parametrize(
    ("item", "error", "times"),
    [
        (status(503), ServerError, 3),
        (status(429), RateLimitError, 3),
        (status(400), BadRequestError, 1),
        (status(404), NotFoundError, 1),
        (status(500, headers={"x-should-retry": "false"}), ServerError, 1),
    ],
)
def test_how_often(verb: str, item: Any, error: type[Exception], times: int) -> None:
    with FakeEndpoint([item] * 9) as fake, fixed_clock():
        with pytest.raises(error):
            VERBS[verb](at(fake), "x")
        assert len(fake.requests) == times


STRATEGIES: list[tuple[dict[str, Any], int, list[float]]] = [
    ({"retries": 4, "wait": tenacity.wait_fixed(2)}, 5, [2, 2, 2, 2]),
    ({"stop": tenacity.stop_after_attempt(4), "wait": tenacity.wait_incrementing(1, 1)}, 4, [1, 2, 3]),
    ({"stop": tenacity.stop_never, "wait": tenacity.wait_fixed(25)}, 3, [25, 25]),
    ({"retry": tenacity.retry_if_exception_type(RateLimitError)}, 1, []),
    ({"retry": tenacity.retry_if_exception_type(ServerError), "wait": tenacity.wait_fixed(0)}, 3, [0, 0]),
    ({"retries": Retries(1, wait=tenacity.wait_fixed(3))}, 2, [3]),
    ({"retries": 0}, 1, []),
]


@verbs
@pytest.mark.parametrize(("options", "times", "waits"), STRATEGIES)
def test_tenacitys_strategies_decide(verb: str, options: dict[str, Any], times: int, waits: list[float]) -> None:
    with FakeEndpoint([status(500)] * 9) as fake, fixed_clock() as time:
        with pytest.raises(ServerError):
            VERBS[verb](at(fake, **options), "x")
        assert len(fake.requests) == times
    assert time.waits == waits


@verbs
def test_a_wait_beyond_the_total_time_is_not_begun(verb: str) -> None:
    with FakeEndpoint([status(500, headers={"retry-after": "20"})] * 3) as fake, fixed_clock() as time:
        with pytest.raises(ServerError):
            VERBS[verb](at(fake, timeouts=Timeouts(total_s=10)), "x")
        assert len(fake.requests) == 1
    assert time.waits == []


# Models of ones own


class Twice(Model):
    """Asks another model twice."""

    def __init__(self, inner: Model) -> None:
        self.inner = inner

    def flow(self, request: Request) -> Steps[Reply]:
        first = yield from self.inner.flow(request)
        return (yield from self.inner.flow(request.with_(instructions=first.text)))


@verbs
def test_a_model_of_ones_own_has_the_verbs(verb: str) -> None:
    with FakeEndpoint([say("one"), say("two")]) as fake:
        assert VERBS[verb](Twice(at(fake)), "x").text == "two"
        assert fake.requests[1].messages[0] == {"role": "system", "content": "one"}


def test_a_model_without_a_flow_says_so() -> None:
    with pytest.raises(NotImplementedError, match="Model has no flow"):
        Model().reply_sync("x")


@verbs
def test_what_is_no_reply_is_an_error_that_shows_the_exchange(verb: str) -> None:
    with FakeEndpoint([reply({"choices": []})] * 3) as fake, fixed_clock(), pytest.raises(ProtocolError) as caught:
        VERBS[verb](at(fake), "x")
    assert caught.value.exchange is not None
    assert caught.value.exchange.status == 200
