"""A support desk: an agent that listens hands the conversation to the one who knows, and gets it back.

Without AGENTKIT_MODEL the models are scripted.
"""

from __future__ import annotations

import os

from agentkit import Agent, Handoff, Transcript
from agentkit.events import Event, HandedOff, ToolFinished
from agentkit.testing import ScriptedModel, call

MODEL = os.environ.get("AGENTKIT_MODEL")
QUESTIONS = ("My bike squeaks, order 7. What did I pay for it?", "And when can you repair it?", "Thank you!")


def price_of(order: int) -> str:
    """Tell what was paid for an order."""
    return f"order {order}: 640 euros"


def next_appointment() -> str:
    """Tell when the workshop has time."""
    return "Thursday at 10"


desk: Agent = Agent(
    MODEL or ScriptedModel([call("transfer_to_billing"), "You are welcome!"]),
    name="desk",
    instructions="You greet customers, and hand over to whoever knows the answer.",
    # These two are made further down, since they hand back to this one.
    handoffs=[
        Handoff(lambda: billing, "Hand over to billing: prices, orders, payments."),
        Handoff(lambda: repairs, "Hand over to the workshop: repairs, appointments."),
    ],
)
billing: Agent = Agent(
    MODEL or ScriptedModel([call("price_of", order=7), "You paid 640 euros.", call("transfer_to_repairs")]),
    name="billing",
    instructions="You know the orders. For all else hand over.",
    tools=[price_of],
    handoffs=[desk, Handoff(lambda: repairs)],
)
repairs: Agent = Agent(
    MODEL or ScriptedModel([call("next_appointment"), "On Thursday at 10.", call("transfer_to_desk")]),
    name="repairs",
    instructions="You plan the workshop. For all else hand over.",
    tools=[next_appointment],
    handoffs=[desk, billing],
)


def show(event: Event) -> None:
    """Print what happens on the way."""
    match event:
        case HandedOff(name):
            print(f"   → {name}")
        case ToolFinished(made, result) if made.name in ("price_of", "next_appointment"):
            print(f"   {made.name}: {result.content}")
        case _:
            pass


if __name__ == "__main__":
    transcript = Transcript()
    for question in QUESTIONS:
        print(f"> {question}")
        result = desk.run_sync(question, transcript=transcript, on_event=show)
        print(f"{result.agent}: {result.output}")
        transcript = result.transcript  # it knows who has the conversation
