"""A model without an agent: one reply, streamed or not, with tools whose calls are yours to run."""

from __future__ import annotations

import os

from agentkit import ChatModel, Settings, Timeouts
from agentkit.events import TextDelta
from agentkit.messages import assistant, system, tool, user
from agentkit.tools import as_tool

MODEL = os.environ.get("AGENTKIT_MODEL", "openai:gpt-5-mini")
model = ChatModel(MODEL, retries=3, timeouts=Timeouts(connect_s=5, read_s=60))


def double(number: int) -> int:
    """Double a number."""
    return 2 * number


def main() -> None:
    """Ask once, stream once, and go round once by hand."""
    reply = model.reply_sync([system("Answer in one word."), user("The colour of the sky?")])
    print(reply.text, reply.finish_reason, reply.usage)

    with model.stream_sync("Count to three.", settings=Settings(max_tokens=500)) as stream:
        for event in stream:
            if isinstance(event, TextDelta):
                print(event.text, end="", flush=True)
    print(f" ({stream.reply.model})")

    messages = [user("What is 21 doubled?")]
    reply = model.reply_sync(messages, tools=[double])
    if reply.tool_calls:
        messages.append(assistant(tool_calls=reply.tool_calls))
        messages += [
            tool(str(as_tool(double).call_sync(call.arguments)), tool_call_id=call.id) for call in reply.tool_calls
        ]
        reply = model.reply_sync(messages, tools=[double])
    print(reply.text)


if __name__ == "__main__":
    main()
