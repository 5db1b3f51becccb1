"""What each client that others wrote is tried with: an agent with a tool of its own, asked in every way."""

from __future__ import annotations

from typing import Any

from agentkit import Agent
from agentkit.testing import ScriptedModel, call, calls, say, status

JSON = '{"city": "Hue", "warm": true}'


def forecast(city: str) -> str:
    """Tell the forecast."""
    return f"Rain in {city}."


def speaking() -> Agent[Any, Any]:
    """An agent that looks with its own tool, then answers in pieces."""
    return Agent(ScriptedModel([call("forecast", city="Hue"), say(["It ", "rains."], usage=(7, 5))]), tools=[forecast])


def asking() -> tuple[Agent[Any, Any], ScriptedModel]:
    """An agent whose model calls its own tool and the client's `place` in one breath, then its own again."""
    both = calls(call("forecast", city="Hue"), call("place"), text="One moment.")
    model = ScriptedModel([both, call("forecast", city="Hanoi"), "Rain in Hanoi."])
    return Agent(model, tools=[forecast]), model


def writing() -> Agent[Any, Any]:
    """An agent that answers in JSON."""
    return Agent(ScriptedModel([JSON]))


def failing(code: int) -> Agent[Any, Any]:
    """An agent whose model's endpoint fails."""
    words = {400: {"message": "too long", "error_code": "context_length_exceeded"}}
    return Agent(ScriptedModel([status(code, **words.get(code, {}))] * 3))
