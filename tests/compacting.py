"""Conversations near a model's window, and what was asked of the model about them."""

from __future__ import annotations

from typing import Any

from agentkit import (
    Agent,
    ChatModel,
    Result,
    Transcript,
)
from agentkit.history import SUMMARISE, Compaction
from agentkit.testing import FakeEndpoint, ScriptedModel, calls, status
from agentkit.testing.script import Item, Request

WINDOW = 1000
TOO_LONG = status(400, message="This is too long.", error_code="context_length_exceeded")


def page(number: int) -> str:
    """Read a page."""
    return f"page {number}: " + "x" * 800


def past(turns: int = 4, chars: int = 800) -> Transcript:
    """A conversation of so many turns, each of so many characters."""
    found: list[dict[str, Any]] = []
    for n in range(turns):
        found += [{"role": "user", "content": f"q{n} " + "?" * chars}, {"role": "assistant", "content": f"a{n}"}]
    return Transcript.load(found)


def agent_of(fake: FakeEndpoint | None = None, *, script: Any = None, **args: Any) -> Agent[Any, Any]:
    args.setdefault("compaction", Compaction(WINDOW, keep=2))
    return Agent(ScriptedModel(script) if fake is None else chat_model(fake), **args)


def chat_model(fake: FakeEndpoint, **args: Any) -> ChatModel:
    return ChatModel("m", base_url=fake.base_url, api_key=fake.api_key, retries=0, **args)


def result_of(result: Result, index: int) -> str:
    landed = result.tool_calls[index].result
    assert landed is not None
    return landed.content


def near(item: Item) -> Item:
    """The same calls, of a model that says that its window is nearly full."""
    return calls(item, usage=(WINDOW - 50, 5))


def is_for_a_summary(request: Request) -> bool:
    return bool(request.messages[-1]["content"] == SUMMARISE)


def summaries(transcript: Transcript | None) -> list[Any]:
    assert transcript is not None
    return [entry for entry in transcript if entry.covers]


def told(request: Request) -> list[str]:
    return [str(message["content"])[:7] for message in request.messages]
