"""A bot that knows its users again: each conversation is kept, and what it is told of a user is there in all of them.

Runs without a key: the model is scripted. Needs the extra `store`.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from agentkit import Agent, Model
from agentkit.conversations import Conversations
from agentkit.testing import ScriptedModel, call

MONDAY = ScriptedModel(
    [
        call("remember", text="Ann is allergic to nuts."),
        "I will keep that in mind, Ann.",
        "Apples it is: a plain apple pie.",
    ]
)
FRIDAY = ScriptedModel(
    [call("recall", query="allergic allergy nuts"), "A lemon tart, without the almonds: you are allergic to nuts."]
)


def answer(store: Conversations, user: str, title: str, prompt: str, model: Model) -> str:
    """Answer one message of a user's, as the handler of a web application would."""
    agent = Agent(model, instructions="You help with baking.", tools=store.memory(user))
    conversation = store.open(f"{user}/{title}", user=user, metadata={"title": title})
    return agent.run_sync(prompt, conversation=conversation).output


def main(url: str) -> None:
    """Two conversations of one user, days apart."""
    with Conversations(url) as store:
        print(answer(store, "ann", "pie", "I'm Ann, and I can't have nuts. What pie?", MONDAY))
        print(answer(store, "ann", "pie", "I have apples.", MONDAY))
    # another day, another process
    with Conversations(url) as store:
        print(answer(store, "ann", "tart", "And a tart for Sunday?", FRIDAY))
        for known in store.list_sync(user="ann"):
            print(f"{known.name}: {known.metadata['title']}, {known.entries} messages")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(f"sqlite:///{Path(folder, 'bot.db')}")
