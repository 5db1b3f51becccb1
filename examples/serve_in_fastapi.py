"""Agents in an application that is there already: the endpoint is mounted, and its tools know who asks.

Start it with `uvicorn --app-dir examples serve_in_fastapi:app`; the endpoint's base URL is
http://localhost:8000/agents/v1, its keys are Ann's and Bo's.
"""

from __future__ import annotations

import os

from fastapi import FastAPI

from agentkit import Agent, Context
from agentkit.serve import Caller, create_app

MODEL = os.environ.get("AGENTKIT_MODEL", "openai:gpt-5-mini")
KEYS = {"key-of-ann-1234": "Ann", "key-of-bo-56789": "Bo"}  # in earnest they come from where secrets are kept
ORDERS = {"Ann": ["Dune"], "Bo": []}


def my_orders(context: Context[str]) -> list[str]:
    """List the orders of whoever asks."""
    return ORDERS[context.deps]


def holder(caller: Caller) -> str:
    """Whose key it is: what the tools get as `deps`."""
    return caller.key or ""


agent = Agent[str](MODEL, tools=[my_orders], instructions="You know the customer's orders.")
app = FastAPI()
app.mount("/agents", create_app({"orders": agent}, api_keys=KEYS, deps=holder, system="refuse"))


@app.get("/")
def home() -> str:
    """The rest of the application."""
    return "A bookshop."


if __name__ == "__main__":
    print("uvicorn --app-dir examples serve_in_fastapi:app")
