"""litellm as a client of a served agent."""

from __future__ import annotations

import importlib.util
import json
from typing import Any

import pytest

from agentkit.serve import create_app
from tests.serve.clients import JSON, asking, failing, speaking, writing
from tests.serve.conftest import KEY
from tests.serve.test_client_tools import ASKED, PLACE, told

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("litellm") is None, reason="litellm is not installed"),
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.slow,
]
HELLO = [{"role": "user", "content": "Hello"}]


@pytest.fixture
def complete(show, monkeypatch):
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # else it looks for one elsewhere
    import litellm

    def made(agent: Any, *, key: str = KEY) -> Any:
        url = show(create_app({"bot": agent}, api_keys=[KEY]))

        def asked(**fields: Any) -> Any:
            fields = {"messages": HELLO, **fields}
            return litellm.completion(model="openai/bot", api_base=f"{url}/v1", api_key=key, max_retries=0, **fields)

        return asked

    return made


def test_plain(complete):
    answer = complete(speaking())()
    assert answer.choices[0].message.content == "It rains."
    assert (answer.choices[0].finish_reason, answer.usage.completion_tokens >= 5) == ("stop", True)


def test_streamed(complete):
    chunks = list(complete(speaking())(stream=True, stream_options={"include_usage": True}))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "It rains."
    assert any(getattr(chunk, "usage", None) for chunk in chunks)


@pytest.mark.parametrize("stream", [False, True])
def test_tools_on_both_sides(complete, stream):
    import litellm

    agent, scripted = asking()
    ask = complete(agent)
    answer = ask(messages=[ASKED], tools=[PLACE], stream=stream)
    if stream:
        answer = litellm.stream_chunk_builder(list(answer))
    message = answer.choices[0].message.model_dump()
    assert [each["function"]["name"] for each in message["tool_calls"]] == ["place"]
    assert answer.choices[0].finish_reason == "tool_calls"
    answer = ask(messages=[ASKED, *told(message, "Hanoi")], tools=[PLACE])
    assert answer.choices[0].message.content == "Rain in Hanoi."
    assert "Hanoi" in [each["content"] for each in scripted.requests[-1].messages if each["role"] == "tool"]


def test_a_response_format(complete):
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    wanted = {"type": "json_schema", "json_schema": {"name": "weather", "schema": schema}}
    assert json.loads(complete(writing())(response_format=wanted).choices[0].message.content) == json.loads(JSON)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (400, "ContextWindowExceededError"),
        (429, "RateLimitError"),
        (500, "BadGatewayError"),
        (503, "ServiceUnavailableError"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_errors(complete, code, kind, stream):
    import litellm

    with pytest.raises(Exception, match=r".") as caught:
        list(complete(failing(code))(stream=stream))
    assert isinstance(caught.value, getattr(litellm, kind))


def test_a_wrong_key(complete):
    import litellm

    with pytest.raises(litellm.AuthenticationError):
        complete(speaking(), key="sk-wrong-one")()


def test_headers_of_the_answer(complete):
    headers = complete(speaking())()._hidden_params["additional_headers"]  # noqa: SLF001  # there is no other way
    assert headers["llm_provider-x-request-id"].startswith("req_")
