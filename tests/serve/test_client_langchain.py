"""langchain-openai as a client of a served agent."""

from __future__ import annotations

import importlib.util
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from agentkit.serve import create_app
from tests.serve.clients import asking, failing, speaking, writing
from tests.serve.conftest import KEY

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("langchain_openai") is None, reason="langchain-openai is not installed"
    ),
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.slow,
]


class Weather(BaseModel):
    """The weather."""

    city: str
    warm: bool


def place() -> str:
    """Tell where the user is."""
    return "Hanoi"


@pytest.fixture
def model_of(show):
    from langchain_openai import ChatOpenAI

    def made(agent: Any, *, key: str = KEY, **options: Any) -> ChatOpenAI:
        url = show(create_app({"bot": agent}, api_keys=[KEY]))
        return ChatOpenAI(model="bot", base_url=f"{url}/v1", api_key=key, max_retries=0, **options)

    return made


def test_plain(model_of):
    answer = model_of(speaking()).invoke("Hello")
    assert answer.content == "It rains."
    assert answer.usage_metadata["total_tokens"] >= 12
    assert answer.response_metadata["finish_reason"] == "stop"


def test_streamed(model_of):
    pieces = list(model_of(speaking(), stream_usage=True).stream("Hello"))
    whole = pieces[0]
    for piece in pieces[1:]:
        whole += piece
    assert len(pieces) > 3
    assert whole.content == "It rains."
    assert whole.usage_metadata["output_tokens"] >= 5


@pytest.mark.parametrize("stream", [False, True])
def test_tools_on_both_sides(model_of, stream):
    from langchain_core.messages import HumanMessage, ToolMessage

    agent, scripted = asking()
    model = model_of(agent).bind_tools([place])
    question = HumanMessage("Weather at my place?")
    message = model.invoke([question])
    if stream:
        agent, scripted = asking()
        first, *rest = model_of(agent).bind_tools([place]).stream([question])
        message = sum(rest, first)
    (asked,) = message.tool_calls
    assert (asked["name"], asked["args"], message.content) == ("place", {}, "One moment.")
    answer = model.invoke([question, message, ToolMessage(place(), tool_call_id=asked["id"])])
    assert answer.content == "Rain in Hanoi."
    # it keeps no fields that it does not know, so the agent goes on from what could be seen
    assert "Hanoi" in [each["content"] for each in scripted.requests[-1].messages if each["role"] == "tool"]


@pytest.mark.parametrize("method", ["json_schema", "json_mode"])
def test_a_response_format(model_of, method):
    answer = model_of(writing()).with_structured_output(Weather, method=method).invoke("In JSON!")
    assert answer == Weather(city="Hue", warm=True)


@pytest.mark.parametrize(
    ("code", "kind"), [(400, openai.BadRequestError), (429, openai.RateLimitError), (500, openai.InternalServerError)]
)
@pytest.mark.parametrize("stream", [False, True])
def test_errors(model_of, code, kind, stream):
    model = model_of(failing(code))
    with pytest.raises(kind):
        list(model.stream("Hello")) if stream else model.invoke("Hello")


def test_a_wrong_key(model_of):
    with pytest.raises(openai.AuthenticationError):
        model_of(speaking(), key="sk-wrong-one").invoke("Hello")


def test_headers_of_the_answer(model_of):
    answer = model_of(speaking(), include_response_headers=True).invoke("Hello")
    assert answer.response_metadata["headers"]["x-request-id"].startswith("req_")
