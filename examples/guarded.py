"""An agent guards another one: it looks at each prompt while the other begins to answer, and can stop it.

Without AGENTKIT_MODEL the models are scripted.
"""

from __future__ import annotations

import os

from pydantic import BaseModel

from agentkit import Agent, Refuse
from agentkit.chat.request import Request
from agentkit.errors import Blocked
from agentkit.messages import Content
from agentkit.testing import ScriptedModel

MODEL = os.environ.get("AGENTKIT_MODEL")


class Verdict(BaseModel):
    """Whether a question is the bookshop's business."""

    why: str
    allowed: bool


def scripted_verdict(request: Request) -> str:
    """What the scripted judge says."""
    allowed = "book" in request.messages[-1]["content"]
    why = "It is about books." if allowed else "It has nothing to do with books."
    return Verdict(why=why, allowed=allowed).model_dump_json()


judge = Agent(
    MODEL or ScriptedModel(scripted_verdict),
    output=Verdict,
    instructions="Judge whether a bookshop's assistant should answer this question. Do not answer it.",
)


async def on_topic(prompt: Content) -> None:
    """Refuse what is none of the shop's business."""
    verdict = (await judge.run(prompt)).output
    if not verdict.allowed:
        raise Refuse(verdict.why)


assistant = Agent(
    MODEL or ScriptedModel(lambda _: "Try Dune, by Frank Herbert."),
    instructions="You sell books. Answer in one line.",
    input_guards=[on_topic],  # InputGuard(on_topic, wait=True) would ask the assistant only after the judge
)

if __name__ == "__main__":
    for question in ("Which book would you give to a friend of deserts?", "Write my homework about the French kings."):
        print(f"> {question}")
        try:
            print(assistant.run_sync(question).output)
        except Blocked as error:
            print(f"I'd rather not: {error.reason}")
