"""What the checkers see of agents: outputs, deps, tools, decisions, events. Never run: mypy and pyright read it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, assert_type

from pydantic import BaseModel

from agentkit import (
    Agent,
    Answer,
    Approve,
    Context,
    Deny,
    Output,
    Result,
    Retry,
    Tool,
    ToolCall,
    Toolset,
    Transcript,
    tool,
)
from agentkit.events import HandedOff, Nested, RunFinished
from agentkit.pending import PendingCall
from agentkit.transcript import CallRecord


class Invoice(BaseModel):
    """An invoice."""

    number: str
    total: float


@dataclass
class Db:
    """What tools of this file reach."""

    rows: list[str]


def refund(number: str, amount: float) -> Invoice:
    """Give money back."""
    return Invoice(number=number, total=-amount)


async def ask(question: str) -> Invoice:
    """Ask somebody."""
    raise Retry(question)


def outputs() -> None:
    """The type of the answer is told by output=."""
    assert_type(Agent("openai:gpt-5-mini"), Agent[None, str])
    assert_type(Agent("openai:gpt-5-mini", output=Invoice), Agent[None, Invoice])
    assert_type(Agent("openai:gpt-5-mini", output=list[int]), Agent[None, list[int]])
    assert_type(Agent("openai:gpt-5-mini", output=int | str), Agent[None, int | str])
    assert_type(Agent("openai:gpt-5-mini", output=Literal["yes", "no"]), Agent[None, Literal["yes", "no"]])
    assert_type(Agent("openai:gpt-5-mini", output=Output(list[Invoice])), Agent[None, list[Invoice]])
    assert_type(Agent("openai:gpt-5-mini", output=refund), Agent[None, Invoice])
    assert_type(Agent("openai:gpt-5-mini", output=[ask]), Agent[None, Invoice])
    assert_type(Agent[Db, Invoice]("openai:gpt-5-mini", output=Invoice), Agent[Db, Invoice])
    assert_type(Agent[Db]("openai:gpt-5-mini"), Agent[Db, str])


async def runs(agent: Agent[Db, Invoice]) -> None:
    """All four verbs give the same."""
    assert_type(agent.run_sync("x"), Result[Invoice])
    assert_type(await agent.run("x"), Result[Invoice])
    assert_type(agent.run_sync("x").output, Invoice)
    with agent.stream_sync("x") as stream:
        assert_type(stream.result, Result[Invoice])
    async with agent.stream("x") as running:
        assert_type(running.result.output, Invoice)
        assert_type(await running.finish(), Result[Invoice])


def allow(call: ToolCall) -> bool:
    """Say what may run."""
    return call.name == "pay"


def results(result: Result[Invoice], agent: Agent[None, Invoice]) -> None:
    """What came of a run, and how it goes on."""
    assert_type(result.status, Literal["done", "paused"])
    assert_type(result.pending, tuple[PendingCall, ...])
    assert_type(result.tool_calls, tuple[CallRecord, ...])
    assert_type(result.transcript, Transcript)
    assert_type(result.cost, float | None)
    agent.run_sync(transcript=result.transcript, decisions=Approve())
    agent.run_sync(transcript=result.transcript, decisions={"call_1": Deny("no"), "call_2": Answer(3)})
    agent.run_sync("x", approve=allow)


@tool(approval=True)
def pay(ctx: Context[Db], amount: float) -> str:
    """Pay."""
    assert_type(ctx.deps, Db)
    return f"{amount} of {len(ctx.deps.rows)}"


def tools(agents: Sequence[Agent[None, str]]) -> None:
    """Tools, and agents as tools."""
    assert_type(pay, Tool)
    assert_type(agents[0].as_tool("helper"), Tool)
    assert_type(Toolset([pay]).prefixed("bank_"), Toolset)


def events(event: Nested | HandedOff | RunFinished) -> str:
    """Events are matched on."""
    match event:
        case HandedOff(name):
            return assert_type(name, str)
        case Nested(call):
            return assert_type(call.name, str)
        case RunFinished(result):
            return result.text
