"""An agent as a Chat Completions endpoint: every client of such endpoints can ask it, streamed or not.

Start it with `python examples/served_agent.py serve` and ask:
`curl localhost:8000/v1/chat/completions -H "content-type: application/json" -d '{"model": "bookshop", "messages":
[{"role": "user", "content": "Do you have Dune?"}]}'`

Its tools run here, and nobody sees them. An order waits for an approval: a client that lists the tool `agentkit_decide`
is asked for it, to any other the agent says that it can't be given.
"""

from __future__ import annotations

import os
import sys

from agentkit import Agent, tool
from agentkit.serve import create_app, serve

MODEL = os.environ.get("AGENTKIT_MODEL", "openai:gpt-5-mini")
STOCK = {"Dune": 3, "Emma": 0}


@tool(read_only=True)
def in_stock(title: str) -> int:
    """Tell how many copies of a book there are."""
    return STOCK.get(title, 0)


@tool(approval=True)
def order(title: str, copies: int) -> str:
    """Order copies of a book from the publisher."""
    return f"{copies} of {title!r} are ordered."


agent = Agent(MODEL, tools=[in_stock, order], instructions="You help in a bookshop. Answer in one line.")
app = create_app(
    {"bookshop": agent},
    # Without keys it answers this machine alone; without a secret what it gave to clients ends with the process.
    api_keys=os.environ.get("BOOKSHOP_KEYS", "").split() or None,
    secret=os.environ.get("BOOKSHOP_SECRET"),
    max_tokens_cap=2000,
)

if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        serve(app)
    else:
        print(f"python {sys.argv[0]} serve")
