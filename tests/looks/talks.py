"""Conversations to look at."""

from __future__ import annotations

import io

from rich.console import Console

from agentkit import Transcript
from agentkit.looks.terminal import Look, lines_of
from agentkit.messages import Message, ToolCall, ToolResult, Usage
from agentkit.transcript import CallRecord, Entry

AT = 1_700_000_000.0
CALLS = {
    "role": "assistant",
    "content": None,
    "reasoning_content": "I look.",
    "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "shelf_of", "arguments": '{"title":"Dune"}'}}],
}
RECORD = CallRecord(ToolCall("c1", "shelf_of", '{"title":"Dune"}'), AT + 2.0, ToolResult("A3", "failed", error="E: x"))


def conversation():
    return Transcript(
        [
            Entry(Message({"role": "user", "content": "Where is Dune?"}), run="r", at=AT),
            Entry(
                Message(CALLS),
                author="model",
                run="r",
                step=1,
                at=AT + 1.5,
                agent="librarian",
                source="https://host.example/v1",
                finish_reason="tool_calls",
                usage=Usage(100, 20, 120, cached_tokens=80),
                cost=0.001,
                calls=(RECORD,),
            ),
            Entry(Message({"role": "user", "content": "Call it again."}), author="loop", run="r", step=1, at=AT + 3),
            Entry(
                Message({"role": "assistant", "content": None, "refusal": "I will not."}),
                author="model",
                run="r",
                step=2,
                at=AT + 4,
                finish_reason="length",
                usage=Usage(130, 5, 135),
                cost=0.002,
            ),
        ]
    )


def nested():
    """A conversation that has another one in a call."""
    call = ToolCall("c1", "librarian", '{"prompt": "Where is Dune?"}')
    message = Message({"role": "assistant", "content": None, "tool_calls": [call.data]})
    record = CallRecord(call, AT + 1, ToolResult("A3"), transcript=conversation())
    return Transcript([Entry(message, author="model", at=AT, cost=0.01, calls=(record,))])


def text_of(timeline, look=None):
    """What the terminal shows of a timeline."""
    out = io.StringIO()
    console = Console(file=out, width=200, soft_wrap=True)
    for line in lines_of(timeline, look or Look()):
        console.print(line)
    return out.getvalue()
