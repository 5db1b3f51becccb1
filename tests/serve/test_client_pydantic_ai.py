"""pydantic-ai's model of Chat Completions as a client of a served agent."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
from pydantic import BaseModel

from agentkit.serve import create_app
from tests.serve.clients import asking, failing, speaking, writing
from tests.serve.conftest import KEY

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("pydantic_ai") is None, reason="pydantic-ai is not installed"),
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.slow,
]


class Weather(BaseModel):
    """The weather."""

    city: str
    warm: bool


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def model_of(show, anyio_backend):
    from openai import AsyncOpenAI
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    opened: list[AsyncOpenAI] = []

    def made(agent: Any, *, key: str = KEY) -> Any:
        url = show(create_app({"bot": agent}, api_keys=[KEY]))
        opened.append(AsyncOpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0))
        return OpenAIChatModel("bot", provider=OpenAIProvider(openai_client=opened[-1]))

    yield made
    for each in opened:
        await each.close()


async def test_plain(model_of):
    from pydantic_ai import Agent

    result = await Agent(model_of(speaking())).run("Hello")
    assert result.output == "It rains."


async def test_streamed(model_of):
    from pydantic_ai import Agent

    async with Agent(model_of(speaking())).run_stream("Hello") as result:
        pieces = [piece async for piece in result.stream_text(delta=True, debounce_by=None)]
    assert len(pieces) > 1
    assert "".join(pieces) == "It rains."


@pytest.mark.parametrize("stream", [False, True])
async def test_tools_on_both_sides(model_of, stream):
    from pydantic_ai import Agent

    served, scripted = asking()
    asked = Agent(model_of(served))

    @asked.tool_plain
    def place() -> str:
        """Tell where the user is."""
        return "Hanoi"

    if stream:
        async with asked.iter("Weather at my place?") as run:
            async for node in run:
                if Agent.is_model_request_node(node):
                    async with node.stream(run.ctx) as events:
                        assert [event async for event in events]
        output = run.result.output
    else:
        output = (await asked.run("Weather at my place?")).output
    assert output == "Rain in Hanoi."
    assert "Hanoi" in [each["content"] for each in scripted.requests[-1].messages if each["role"] == "tool"]


async def test_a_response_format(model_of):
    from pydantic_ai import Agent, NativeOutput

    result = await Agent(model_of(writing()), output_type=NativeOutput(Weather)).run("In JSON!")
    assert result.output == Weather(city="Hue", warm=True)


@pytest.mark.parametrize(("code", "told"), [(400, 400), (429, 429), (500, 502)])
async def test_errors(model_of, code, told):
    from pydantic_ai import Agent
    from pydantic_ai.exceptions import ModelHTTPError

    with pytest.raises(ModelHTTPError) as caught:
        await Agent(model_of(failing(code))).run("Hello")
    assert caught.value.status_code == told


async def test_a_wrong_key(model_of):
    from pydantic_ai import Agent
    from pydantic_ai.exceptions import ModelHTTPError

    with pytest.raises(ModelHTTPError, match="invalid_api_key"):
        await Agent(model_of(speaking(), key="sk-wrong-one")).run("Hello")
