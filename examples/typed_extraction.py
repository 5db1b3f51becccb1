"""A letter becomes an Invoice: types that the answer has to have, and a check that no type can say.

Without AGENTKIT_MODEL the model is scripted: its first answer adds up wrong, and it is asked again.
"""

from __future__ import annotations

import os
from datetime import date

from pydantic import BaseModel, Field

from agentkit import Agent, Retry
from agentkit.testing import ScriptedModel

LETTER = """Dear Sir or Madam, for the tea (4 boxes at 6.50 each) and one pot (19.90) we ask you to pay 45.90 euros
by the last day of May 2026. Ann's Tea Shop"""


class Item(BaseModel):
    """One line of an invoice."""

    what: str
    count: int = Field(default=1, ge=1)
    euros_each: float


class Invoice(BaseModel):
    """What a shop asks for."""

    vendor: str
    due: date | None = None
    items: list[Item]
    total_euros: float


def adds_up(invoice: Invoice) -> Invoice:
    """Check the total."""
    total = sum(item.count * item.euros_each for item in invoice.items)
    if abs(total - invoice.total_euros) >= 0.005:
        raise Retry(f"The items add up to {total:.2f}, and total_euros is {invoice.total_euros:.2f}. Look again.")
    return invoice


ITEMS = '{"what": "tea", "euros_each": 6.5%s}, {"what": "pot", "euros_each": 19.9}'
ANSWER = '{"vendor": "Ann\'s Tea Shop", "due": "2026-05-31", "total_euros": 45.9, "items": [%s]}'
SCRIPT = ScriptedModel([ANSWER % (ITEMS % ""), ANSWER % (ITEMS % ', "count": 4')])

reader = Agent(
    os.environ.get("AGENTKIT_MODEL") or SCRIPT,
    output=Invoice,
    validators=[adds_up],
    instructions="Extract the invoice from the letter.",
)

if __name__ == "__main__":
    result = reader.run_sync(LETTER)
    invoice = result.output
    print(f"{invoice.vendor}: {invoice.total_euros:.2f} euros, due {invoice.due}")
    for item in invoice.items:
        print(f"- {item.count} x {item.what} at {item.euros_each:.2f}")
    for entry in result.transcript:
        if entry.author == "loop":
            print(f"(corrected: {entry.message.text})")
