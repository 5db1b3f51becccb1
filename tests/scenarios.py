"""Runs as a table: what the model says, and how the run has to end. Each driver runs the same table."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from anyio.lowlevel import checkpoint

from agentkit import (
    Agent,
    Answer,
    Approve,
    Context,
    Deny,
    Image,
    InputGuard,
    Limits,
    Model,
    Output,
    Result,
    Retry,
    ToolCall,
    Toolset,
    tool,
)
from agentkit.errors import (
    AgentKitError,
    BadRequestError,
    ContentFilterError,
    LimitReached,
    ModelError,
    RateLimitError,
    ToolFailed,
    UsageError,
)
from agentkit.testing import call, calls, reply, say, status
from agentkit.testing.script import Step

PNG = b"\x89PNG fake"


def add(a: int, b: int) -> int:
    """Add two numbers.

    Args:
        a: The first.
        b: The second.
    """
    return a + b


async def fetch(key: str) -> str:
    """Fetch a value."""
    await checkpoint()
    return f"value of {key}"


@tool(inline=True)
def quick(text: str) -> str:
    """Turn a text round."""
    return text[::-1]


def broken() -> str:
    """Never works."""
    raise OSError("the disk is on fire")


def picky(word: str) -> str:
    """Wants a lower-case word."""
    if word != word.lower():
        raise Retry(f"{word!r} has capitals; write it in lower case")
    return word


def count(to: int) -> Iterator[int]:
    """Count."""
    yield from range(1, to + 1)


async def count_async(to: int) -> AsyncIterator[int]:
    """Count, awaited."""
    for number in range(1, to + 1):
        yield number


def look() -> Image:
    """Take a picture."""
    return Image(PNG)


def nothing() -> None:
    """Do nothing."""


@tool(repeatable=True)
def ping() -> str:
    """Answer the same each time."""
    return "pong"


@tool(exclusive=True)
def write(path: str) -> str:
    """Write a file, alone."""
    return f"wrote {path}"


def whoami(ctx: Context[str]) -> str:
    """Say for whom this runs."""
    return f"{ctx.deps} {ctx.idempotency_key} {ctx.step}"


FUNCTIONS = (add, fetch, quick, broken, picky, count, count_async, look, nothing, ping, write, whoami)
# each prefix of a run is gone on from, those that end within a call too
TOOLS = Toolset(FUNCTIONS).with_options(on_unknown="retry")


@dataclass
class Scenario:
    """`ends` is the answer's text, or the error's class. `told` are the results that the model got, in call order."""

    name: str
    script: Callable[[], list[Step]]
    ends: str | type[AgentKitError]
    told: list[str] | None = None
    agent: dict[str, Any] = field(default_factory=dict)
    run: dict[str, Any] = field(default_factory=dict)
    requests: int | None = None
    over_the_wire_only: bool = False
    told_by_a_list: bool = True  # not where an answer is a call: of a plain list, that is any call with a result
    others: Callable[[Model], list[Agent[Any]]] = lambda _: []

    def build(self, model: Model) -> Agent[Any]:
        """The agent of this scenario."""
        args = {"tools": [TOOLS], "instructions": "Be brief.", "name": "tester", **self.agent}
        return Agent(model, handoffs=self.others(model), **args)

    def check(self, outcome: Result | AgentKitError) -> None:
        """Assert that it ended as it has to."""
        if isinstance(self.ends, str):
            assert isinstance(outcome, Result), repr(outcome)
            assert outcome.output == self.ends
            assert outcome.status == "done"
        else:
            assert type(outcome) is self.ends, repr(outcome)
        transcript = outcome.transcript
        assert transcript is not None
        told = [record.result.content for entry in transcript for record in entry.calls if record.result is not None]
        if self.told is not None:
            assert told == self.told


@tool(approval=True, on_unknown="retry")
def send(text: str) -> str:
    """Send a text."""
    return f"sent {text}"


@tool(approval=lambda call: "secret" in call.arguments, on_unknown="retry")
async def tell_all(text: str) -> str:
    """Tell a text to all."""
    return f"told {text}"


@tool(external=True)
def ask_user(question: str) -> str:  # type: ignore[empty-body]  # its caller answers it
    """Ask the user."""


async def decide_inline(context: Context[Any], made: ToolCall) -> Any:
    """What is decided of calls: a lot."""
    await checkpoint()
    if made.name == "ask_user":
        return Answer({"said": context.call.name})
    return {"a": True, "b": Deny("not that"), "secret": Approve({"text": "nothing"})}[
        json.loads(made.arguments)["text"]
    ]


def sure(value: str) -> None:
    """Refuse to hear no."""
    if value == "no":
        raise Retry("be positive")


def passes(content: str) -> None:
    """Let all pass."""
    assert content.startswith("please")


CUT_CALL = ToolCall("c1", "add", '{"a": 1, "b"')

SCENARIOS = [
    Scenario("an answer at once", lambda: [say("hello")], "hello", []),
    Scenario("one call", lambda: [call("add", a=2, b=3), say("5")], "5", ["5"], requests=2),
    Scenario(
        "calls together",
        lambda: [calls(call("add", a=1, b=1), call("quick", text="ab"), call("nothing")), say("done")],
        "done",
        ["2", "ba", ""],
        requests=2,
    ),
    Scenario(
        "five turns",
        lambda: [*[call("add", a=n, b=n) for n in range(5)], say("done")],
        "done",
        ["0", "2", "4", "6", "8"],
        requests=6,
    ),
    Scenario("async tools", lambda: [call("fetch", key="k"), say("ok")], "ok", ["value of k"]),
    Scenario(
        "async and sync together",
        lambda: [calls(call("fetch", key="a"), call("add", a=1, b=2), call("count_async", to=2)), say("ok")],
        "ok",
        ["value of a", "3", "2"],
    ),
    Scenario("a generator", lambda: [call("count", to=3), say("three")], "three", ["3"]),
    Scenario(
        "an exclusive call between others",
        lambda: [calls(call("add", a=1, b=1), call("write", path="f"), call("add", a=2, b=2)), say("ok")],
        "ok",
        ["2", "wrote f", "4"],
    ),
    Scenario(
        "a finish_reason that claims there is no call",
        lambda: [calls(call("add", a=1, b=1), finish_reason="stop"), say("2")],
        "2",
        ["2"],
    ),
    Scenario(
        "a finish_reason that claims a call",
        lambda: [reply({"role": "assistant", "content": "no call here"}, finish_reason="tool_calls")],
        "no call here",
        [],
    ),
    Scenario(
        "an unknown tool",
        lambda: [call("divide", a=1), say("sorry")],
        "sorry",
        [
            (
                "There is no tool 'divide'. The tools are: "
                "add, broken, count, count_async, fetch, look, nothing, picky, ping, quick, whoami, write."
            )
        ],
    ),
    Scenario("a name with a prefix", lambda: [call("functions.add", a=1, b=1), say("2")], "2", ["2"]),
    Scenario("bad arguments, then right ones", lambda: [call("add", a="x", b=1), call("add", a=1, b=1), say("2")], "2"),
    Scenario(
        "bad arguments for ever",
        lambda: [call("add", a=f"x{n}", b=1) for n in range(9)],
        ModelError,
        agent={"limits": Limits(corrections=2)},
        requests=3,
    ),
    Scenario(
        "a tool that raises, told",
        lambda: [call("broken"), say("it broke")],
        "it broke",
        ["broken failed with OSError."],
    ),
    Scenario(
        "a tool that raises, raised",
        lambda: [calls(call("add", a=1, b=1), call("broken")), say("never asked")],
        ToolFailed,
        ["2", "broken failed with OSError."],
        agent={"on_tool_error": "raise"},
        requests=1,
    ),
    Scenario(
        "a tool that asks for something else",
        lambda: [call("picky", word="Word"), call("picky", word="word"), say("ok")],
        "ok",
        ["'Word' has capitals; write it in lower case", "word"],
    ),
    Scenario(
        "a picture",
        lambda: [call("look"), say("nice")],
        "nice",
        ["(1 attached in the next message: image_url)"],
    ),
    Scenario(
        "a cut call is not run",
        lambda: [calls(call("ping"), CUT_CALL, finish_reason="length"), call("add", a=1, b=2), say("3")],
        "3",
    ),
    Scenario("a cut answer is returned", lambda: [say("half an ans", finish_reason="length")], "half an ans", []),
    Scenario(
        "a cut answer is an error",
        lambda: [say("half an ans", finish_reason="length")],
        ModelError,
        [],
        agent={"on_length": "error"},
    ),
    Scenario("an empty answer, corrected", lambda: [say(""), say("here")], "here", [], requests=2),
    Scenario("an empty answer twice", lambda: [say(""), say(" "), say("late")], ModelError, [], requests=2),
    Scenario("a refusal", lambda: [say("", refusal="I will not")], ModelError, []),
    Scenario("a filtered answer", lambda: [say("so", finish_reason="content_filter")], ContentFilterError, []),
    Scenario(
        "a forced call",
        lambda: [call("add", a=1, b=1), say("2")],
        "2",
        ["2"],
        agent={"settings": {"tool_choice": "add"}},
    ),
    Scenario(
        "a forced call that does not come at first",
        lambda: [say("I know it"), call("add", a=1, b=1), say("2")],
        "2",
        ["2"],
        agent={"settings": {"tool_choice": "required"}},
    ),
    Scenario(
        "a forced call that never comes",
        lambda: [say("no") for _ in range(9)],
        ModelError,
        [],
        agent={"settings": {"tool_choice": "add"}, "limits": Limits(corrections=1)},
        requests=2,
    ),
    Scenario(
        "a call again and again, with a hint",
        lambda: [*[call("add", a=1, b=1)] * 3, say("2")],
        "2",
        ["2"] * 3,
        requests=4,
    ),
    Scenario("a call again and again, stopped", lambda: [call("add", a=1, b=1)] * 9, LimitReached, ["2"] * 5),
    Scenario("a repeatable call", lambda: [*[call("ping")] * 7, say("ok")], "ok", ["pong"] * 7, requests=8),
    Scenario(
        "the limit of steps",
        lambda: [call("add", a=n, b=1) for n in range(9)],
        LimitReached,
        ["1", "2"],
        agent={"limits": Limits(steps=2)},
        requests=2,
    ),
    Scenario(
        "the limit of calls",
        lambda: [call("add", a=1, b=1), calls(call("add", a=2, b=2), call("add", a=3, b=3))],
        LimitReached,
        ["2"],
        agent={"limits": Limits(tool_calls=2)},
    ),
    Scenario(
        "the limit of tokens",
        lambda: [call("add", a=n, b=1) for n in range(9)],
        LimitReached,
        agent={"limits": Limits(tokens=30)},
        requests=2,
    ),
    Scenario(
        "deps and the key of a call",
        lambda: [call("whoami"), say("ok")],
        "ok",
        ["Ada run-1:1:0 1"],
        run={"deps": "Ada"},
    ),
    Scenario(
        "ids that are used twice",
        lambda: [
            calls(ToolCall("same", "add", '{"a":1,"b":1}'), ToolCall("same", "add", '{"a":2,"b":2}')),
            calls(ToolCall("same", "add", '{"a":3,"b":3}')),
            say("ok"),
        ],
        "ok",
        ["2", "4", "6"],
    ),
    Scenario(
        "no ids, and arguments as an object",
        lambda: [
            reply(
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [{"function": {"name": "add", "arguments": {"a": 1, "b": 1}}}] * 2,
                }
            ),
            say("ok"),
        ],
        "ok",
        ["2", "2"],
    ),
    Scenario(
        "lone surrogates",
        lambda: [calls(ToolCall("c", "quick", json.dumps({"text": "a\ud83d"}))), say("ok")],
        "ok",
    ),
    Scenario(
        "a typed answer, corrected twice",
        lambda: ['{"value": "maybe"}', '{"value": "no"}', call("add", a=1, b=1), '{"value": "yes"}'],
        "yes",
        ["2"],
        agent={"output": Literal["yes", "no"], "validators": [sure]},
        requests=4,
    ),
    Scenario(
        "a typed answer by a call, corrected twice",
        lambda: [
            calls(call("final_answer", value="yes"), call("add", a=1, b=1)),
            call("final_answer", value="maybe"),
            calls(call("final_answer", value="no"), call("final_answer", value="yes")),
            call("functions.final_answer", value="yes"),
        ],
        "yes",
        told_by_a_list=False,
        agent={"output": Output(Literal["yes", "no"], mode="tool"), "validators": [sure]},
        requests=4,
    ),
    Scenario(
        "a typed answer that is wrong for ever",
        lambda: [call("final_answer", value="maybe") for _ in range(9)],
        ModelError,
        agent={"output": Output(Literal["yes", "no"], mode="tool", retries=1)},
        requests=2,
    ),
    Scenario(
        "calls that are approved, denied, changed and answered",
        lambda: [
            calls(
                call("send", text="a"), call("add", a=1, b=1), call("send", text="b"), call("ask_user", question="?")
            ),
            calls(call("tell_all", text="secret"), call("tell_all", text="all")),
            "done",
        ],
        "done",
        [
            "sent a",
            "2",
            "This call was denied: not that",
            '{"said":"ask_user"}',
            'The arguments were changed before the call was made. It was called with: {"text":"nothing"}\ntold nothing',
            "told all",
        ],
        agent={"tools": [TOOLS, send, tell_all, ask_user]},
        run={"approve": decide_inline},
        requests=3,
    ),
    Scenario(
        "a hand-off beside other calls",
        lambda: [
            call("add", a=1, b=1),
            calls(call("transfer_to_other"), call("write", path="f"), call("transfer_to_other")),
            call("add", a=2, b=2),
            "I am the other.",
        ],
        "I am the other.",
        [
            "2",
            "The conversation was handed to other, who goes on from here.",
            "wrote f",
            "This was not done: the conversation was handed to another agent by an earlier call.",
            "4",
        ],
        others=lambda model: [Agent(model, tools=[TOOLS], name="other", instructions=lambda: "You are the other.")],
        requests=4,
    ),
    Scenario(
        "guards and instructions of the moment",
        lambda: [call("add", a=1, b=1), "done"],
        "DONE",
        ["2"],
        agent={
            "instructions": ["Be brief.", lambda: "It is late."],
            "input_guards": [passes, InputGuard(passes, wait=True)],
            "output_guards": [str.upper],
        },
        requests=2,
    ),
    Scenario("a bad request", lambda: [status(400, message="no")], BadRequestError, [], requests=1),
    Scenario(
        "a busy moment",
        lambda: [status(429), call("add", a=1, b=1), status(500), say("2")],
        "2",
        ["2"],
        over_the_wire_only=True,
    ),
    Scenario("busy for ever", lambda: [status(429)] * 9, RateLimitError, [], requests=3, over_the_wire_only=True),
    Scenario(
        "an error after work was done",
        lambda: [call("add", a=1, b=1), status(400, message="no")],
        BadRequestError,
        ["2"],
    ),
]

CONSTRUCTION_ERRORS = [
    ({"tools": [add, add]}, "two tools are named 'add'"),
    ({"tools": [3]}, "a tool is a function or a Tool, not int 3"),
    ({"on_tool_error": "ignore"}, "on_tool_error='ignore' is not one of 'tell', 'raise'"),
    ({"settings": {"tool_choice": "divide"}, "tools": [add]}, "the tools are: add"),
    ({"settings": {"n": 2}}, "n > 1"),
    ({"settings": {"temprature": 1}}, "temperature"),
]
__all__ = ["CONSTRUCTION_ERRORS", "SCENARIOS", "Scenario", "UsageError"]
