"""Models around models: one that asks each question only once, and one that hides a secret from the model inside.

Runs without a key: the innermost model is scripted.
"""

from __future__ import annotations

from typing import Any

from agentkit import Agent, Model, Reply
from agentkit.chat.request import Request
from agentkit.flow import Steps
from agentkit.testing import ScriptedModel


class CachingModel(Model):
    """Asks another model each question once."""

    def __init__(self, inner: Model) -> None:
        self.inner = inner
        self.kept: dict[str, Reply] = {}

    def flow(self, request: Request) -> Steps[Reply]:
        """The kept reply, or the inner model's, which is then kept."""
        if request.digest not in self.kept:
            self.kept[request.digest] = yield from self.inner.flow(request)
        return self.kept[request.digest]


class RedactingModel(Model):
    """Hides a word from another model; the transcript keeps it."""

    def __init__(self, inner: Model, secret: str) -> None:
        self.inner = inner
        self.secret = secret

    def flow(self, request: Request) -> Steps[Reply]:
        """The inner model's reply to the same conversation without the word."""

        def hide(message: dict[str, Any]) -> dict[str, Any]:
            text = message.get("content")
            return {**message, "content": text.replace(self.secret, "…")} if isinstance(text, str) else message

        reply = yield from self.inner.flow(request.with_(transcript=request.transcript.mapped(hide)))
        return reply


if __name__ == "__main__":
    inner = ScriptedModel(["Your number is safe with me."])
    agent = Agent(CachingModel(RedactingModel(inner, "4711")))
    for _ in range(2):
        print(agent.run_sync("My number is 4711.").output)
    print(f"asked {len(inner.requests)} time: {inner.requests[0].messages}")
