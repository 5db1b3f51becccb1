"""An agent behind FastAPI: POST /ask streams its answer as server-sent events. A client that leaves ends the run.

Start it with `uvicorn --app-dir examples fastapi_stream:app` and ask:
`curl -N localhost:8000/ask -H "content-type: application/json" -d '{"question": "What time is it in Hanoi?"}'`
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from agentkit import Agent
from agentkit.errors import AgentKitError
from agentkit.events import RunFinished, TextDelta, ToolFinished, ToolStarted

MODEL = os.environ.get("AGENTKIT_MODEL", "openai:gpt-5-mini")


async def time_in(zone: str) -> str:
    """Tell the current time in a time zone.

    Args:
        zone: An IANA name, as in "Asia/Ho_Chi_Minh".
    """
    return f"{datetime.now(ZoneInfo(zone)):%H:%M}"


class Ask(BaseModel):
    """What a client sends; `messages` is the conversation so far, as the last event of an answer gave it."""

    question: str
    messages: list[dict[str, Any]] = []


agent = Agent(MODEL, tools=[time_in])
app = FastAPI()


@app.post("/ask")
async def ask(body: Ask) -> StreamingResponse:
    """Answer a question."""
    return StreamingResponse(events(body), media_type="text/event-stream")


async def events(body: Ask) -> AsyncIterator[str]:
    """The run as server-sent events. When the client leaves, this generator is dropped, and the run ends with it."""
    try:
        # The list came from a stranger, so it is not trusted: no call in it runs.
        async with agent.stream(body.question, transcript=body.messages) as run:
            async for event in run:
                match event:
                    case TextDelta(text):
                        yield sse("text", text)
                    case ToolStarted(call):
                        yield sse("call", {"name": call.name, "arguments": call.arguments})
                    case ToolFinished(call, result):
                        yield sse("result", {"name": call.name, "content": result.content})
                    case RunFinished(result):
                        yield sse("done", result.transcript.messages)
                    case _:
                        pass
    except AgentKitError as error:
        yield sse("error", type(error).__name__)  # its text is for the log, not for strangers


def sse(event: str, data: object) -> str:
    """One server-sent event."""
    return f"event: {event}\ndata: {json.dumps(data)}\n\n"


if __name__ == "__main__":
    print("uvicorn --app-dir examples fastapi_stream:app")
