"""A run whose model is across the wire, for the moments in which a reply comes in piece by piece."""

from __future__ import annotations

from typing import Any

from agentkit import Agent, ChatModel, tool
from agentkit.conversations import Conversations
from agentkit.events import TextDelta
from tests.crash.world import Fuse


@tool
def pay(n: int) -> str:
    """Pay."""
    return f"paid {n}"


def agent_of(base_url: str, store: Conversations) -> Agent[Any]:
    """An agent whose model is asked there."""
    return Agent(
        ChatModel("any-model", base_url=base_url, api_key="key-for-tests", retries=0), tools=[pay], store=store
    )


def watch(store: Conversations, name: str, base_url: str, fuse: Fuse) -> None:
    """Read a streamed answer, coming by the fuse with each piece of its text."""
    with agent_of(base_url, store).stream_sync("Pay.", conversation=name) as run:
        for event in run:
            if isinstance(event, TextDelta):
                fuse.at("event")
