"""One agent answers, another one checks, and what it objects to goes back to the first.

The checker sees the facts and the answer alone, and not how the answer came about. Without AGENTKIT_MODEL the models
are scripted.
"""

from __future__ import annotations

import os

from pydantic import BaseModel

from agentkit import Agent, Limits, Retry
from agentkit.chat.request import Request
from agentkit.testing import ScriptedModel

MODEL = os.environ.get("AGENTKIT_MODEL")
FACTS = "The shop opens at 9 and closes at 18, on Saturdays at 13. It is closed on Sundays and in August."


class Check(BaseModel):
    """What is wrong with an answer; nothing, if the list is empty."""

    objections: list[str]


def scripted_check(request: Request) -> str:
    """What the scripted checker says."""
    wrong = "18" in request.messages[-1]["content"].rpartition("Answer:")[2]
    return Check(objections=["On Saturdays the shop closes at 13, not at 18."] if wrong else []).model_dump_json()


checker = Agent(
    MODEL or ScriptedModel(scripted_check),
    output=Check,
    instructions="Compare the answer with the facts. Object to what they do not bear out, and to nothing else.",
)


async def check(answer: str) -> str:
    """Have an answer checked."""
    found = (await checker.run(f"Facts: {FACTS}\n\nAnswer: {answer}")).output
    if found.objections:
        raise Retry("\n".join(found.objections))
    return answer


writer = Agent(
    MODEL or ScriptedModel(["On Saturdays until 18.", "On Saturdays we close at 13."]),
    instructions=["You answer customers in one line.", FACTS],
    validators=[check],
    limits=Limits(corrections=2),
)

if __name__ == "__main__":
    result = writer.run_sync("Until when are you open on Saturday?")
    for entry in result.transcript:
        print(f"{entry.author}: {entry.message.text}")
