"""A run whose model is across the wire, for the moments in which a reply comes in piece by piece."""

from __future__ import annotations

from typing import Any

from agentkit import Agent, ChatModel
from agentkit.conversations import Conversations
from agentkit.events import TextDelta
from tests.crash.scenes import look, pay
from tests.crash.world import World


def agent_of(base_url: str, store: Conversations) -> Agent[Any]:
    """An agent whose model is asked there."""
    model = ChatModel("any-model", base_url=base_url, api_key="key-for-tests", retries=0)
    return Agent(model, tools=[look, pay], store=store)


def watch(store: Conversations, name: str, base_url: str, world: World) -> None:
    """Read a streamed answer, coming by the fuse with each piece of its text."""
    with agent_of(base_url, store).stream_sync("Pay.", conversation=name, deps=world) as run:
        for event in run:
            if isinstance(event, TextDelta):
                world.fuse.at("event")
