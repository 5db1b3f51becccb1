"""Output that is too long for the model is kept whole, and read on by a tool: in later runs and from dumps too."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit import (
    Agent,
    Approve,
    Context,
    Handoff,
    Image,
    ToolCall,
    ToolGuard,
    ToolResult,
    Toolset,
    Transcript,
    tool,
)
from agentkit.context import Retry
from agentkit.errors import UsageError
from agentkit.events import Event, ToolFinished
from agentkit.history import ClearResults
from agentkit.messages import assistant
from agentkit.outputs import MOST_CHARS, READER, handle_in, named, read_output, shortened
from agentkit.testing import ScriptedModel, call, calls
from agentkit.toolcalls import told
from agentkit.transcript import CallRecord, Entry, Pending
from tests.drivers import DRIVERS

drivers = pytest.mark.parametrize("driver", DRIVERS)
BOOK = "".join(f"{n:05d} " for n in range(1000))  # 6000 characters


@tool(keep_output=True, max_output_chars=300)
def book(name: str = "Dune") -> str:
    """Read a book."""
    return BOOK


@tool(max_output_chars=300)
def letter() -> str:
    """Read a letter."""
    return BOOK


def agent_of(script: Any, **args: Any) -> Agent[Any, Any]:
    args.setdefault("tools", [book, letter])
    return Agent(ScriptedModel(script), **args)


def contents(result: Any) -> list[str]:
    return [record.result.content for record in result.tool_calls]


# What is kept


@drivers
def test_a_long_result_is_kept_whole_and_says_how_to_read_on(driver: str) -> None:
    events: list[Event] = []
    agent = agent_of([calls(call("letter"), call("book")), "Read."])
    result = DRIVERS[driver](agent, "Read.", on_event=events.append)
    short, long = (record.result for record in result.tool_calls)
    assert short is not None and short.whole is None and short.content == shortened(BOOK, 300)
    assert long is not None and long.whole == BOOK and len(long.content) <= 300
    head, _, rest = long.content.partition("\n… ")
    assert BOOK.startswith(head)
    assert rest.endswith(f"\n(read_output(handle='1.1', start={len(head)}) reads on in what was left out)")
    assert long in [event.result for event in events if isinstance(event, ToolFinished)]
    assert BOOK not in json.dumps(result.transcript.messages)
    restored = Transcript.load(result.transcript.dump())
    assert restored == result.transcript
    assert restored.entries[1].calls[1].result == long


@pytest.mark.parametrize("length", [0, 1, 299, 300])
def test_what_is_short_is_not_kept(length: int) -> None:
    assert told("book", "x" * length, 300, keep=True) == ToolResult("x" * length)


@given(st.text(min_size=1, max_size=600), st.integers(1, 600))
def test_a_kept_result_is_no_longer_than_another(text: str, limit: int) -> None:
    kept = told("book", text, limit, keep=True)
    assert (kept.whole is None) == (len(text) <= limit)
    transcript = Transcript(
        [Entry(assistant(tool_calls=[ToolCall("c", "book")]), calls=(CallRecord(ToolCall("c", "book")),))]
    )
    kept = named(kept, transcript, transcript.pending[0])
    if kept.whole is not None:
        assert handle_in(kept) == "0.0"
        if limit > 150:
            assert len(kept.content) <= limit


def test_what_is_attached_goes_beside_it() -> None:
    kept = told("look", ["x" * 900, Image(b"png")], 300, keep=True)
    assert len(kept.parts) == 1
    assert kept.whole is not None and kept.whole.startswith("xxx") and "1 attached" in kept.whole


@pytest.mark.parametrize("offset", [0, 7])
def test_the_handle_names_the_place_in_the_whole_conversation(offset: int) -> None:
    transcript = Transcript([Entry(assistant("hi"))] * 3)
    transcript.offset = offset
    result = named(told("book", BOOK, 300, keep=True), transcript, Pending(3, 2, ToolCall("c", "book"), ""))
    assert handle_in(result) == f"{3 + offset}.2"
    assert named(ToolResult("short"), transcript, Pending(3, 2, ToolCall("c", "book"), "")) == ToolResult("short")


def test_what_a_guard_takes_out_is_not_kept() -> None:
    def shorter(context: Any, made: ToolCall, result: ToolResult) -> ToolResult:
        return replace(result, content=result.content.replace("00001", "xxxxx"))

    def other(context: Any, made: ToolCall, result: ToolResult) -> str:
        assert result.whole is not None
        return result.whole.replace("00001", "xxxxx")

    def see(context: Any, made: ToolCall, result: ToolResult) -> ToolResult:
        return result

    for guard, kept in ((shorter, None), (other, BOOK.replace("00001", "xxxxx")), (see, BOOK)):
        agent = agent_of([call("book"), "Read."], tool_guards=[ToolGuard(after=guard)])
        landed = agent.run_sync("Read.").tool_calls[0].result
        assert landed is not None
        assert landed.whole == kept


def test_what_a_transcript_is_mapped_by_reaches_what_is_kept() -> None:
    result = agent_of([call("book"), "Read."]).run_sync("Read.")

    def without(message: dict[str, Any]) -> dict[str, Any]:
        content = message["content"]
        return {**message, "content": content and content.replace("00500", "xxxxx").replace("00001", "xxxxx")}

    mapped = result.transcript.mapped(without)
    assert "00500" in result.transcript.dump()
    assert "00500" not in mapped.dump() and "00001" not in mapped.dump()


# The tool that reads on


def reader_names(agent: Agent[Any, Any]) -> list[list[str]]:
    model: Any = agent.model
    return [[spec.name for spec in request.tools] for request in model.requests]


@drivers
def test_the_model_reads_on(driver: str) -> None:
    script = [
        call("book"),
        call("read_output", handle="1.0", start=100, chars=12),
        call("read_output", handle="1.0", start=5990),
        "Read.",
    ]
    agent = agent_of(script)
    result = DRIVERS[driver](agent, "Read.")
    assert contents(result)[1:] == [
        BOOK[100:112] + "\n(characters 100 to 112 of 6000; read_output(handle='1.0', start=112) gives more)",
        BOOK[5990:] + "\n(characters 5990 to 6000 of 6000; that is its end)",
    ]
    assert reader_names(agent) == [["book", "letter", "read_output"]] * 4


def test_only_an_agent_whose_tools_keep_something_offers_it() -> None:
    assert list(agent_of([], tools=[letter]).tools) == ["letter"]
    assert list(
        agent_of([], tools=[letter, Toolset([letter]).prefixed("a_").with_options(keep_output=True)]).tools
    ) == [
        "letter",
        "a_letter",
        READER,
    ]
    agent = agent_of(["Hi."], tools=[letter])
    agent.run_sync("Hi", tools=[book])
    assert reader_names(agent) == [["letter", "book", READER]]


def test_a_toolset_that_is_asked_at_run_time_brings_it_along() -> None:
    on = [True]
    sets = Toolset([book]).when(lambda: on[0])
    agent = agent_of([call("book"), call("read_output", handle="1.0", chars=5), "Read.", "So."], tools=[letter, sets])
    result = agent.run_sync("Read.")
    assert contents(result)[1].startswith("00000\n")
    on[0] = False
    agent.run_sync("And?", transcript=result.transcript)
    assert reader_names(agent) == [["letter", "book", READER]] * 3 + [["letter", READER]]


@drivers
def test_later_runs_read_what_only_the_dump_has(driver: str) -> None:
    first = agent_of([call("book"), "Read."]).run_sync("Read.")
    dump = first.transcript.dump()
    agent = agent_of([call("read_output", handle="1.0", start=6, chars=5), "One."], tools=[letter])
    result = DRIVERS[driver](agent, "What comes second?", transcript=Transcript.load(dump))
    assert contents(result)[0].startswith("00001\n")
    assert reader_names(agent) == [["letter", READER]] * 2


def test_of_a_conversation_that_was_read_from_its_middle() -> None:
    first = agent_of([call("book"), "Read.", call("book"), "Again."])
    transcript = first.run_sync("And?", transcript=first.run_sync("Read.").transcript).transcript
    part = Transcript(transcript.entries[3:])
    part.offset = 3
    agent = agent_of([call(READER, handle="1.0"), call(READER, handle="4.0", chars=5), "So."])
    result = agent.run_sync("Go on.", transcript=Transcript.load(part.dump()))
    gone, there = contents(result)
    assert gone == "There is no kept output '1.0'; those that there are: '4.0' (book)."
    assert there.startswith("00000\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"handle": "1.1"}, "There is no kept output '1.1'; those that there are: '1.0' (book)."),
        ({"handle": "book"}, "There is no kept output 'book'; those that there are: '1.0' (book)."),
        ({"handle": "1.0", "start": 6000}, "The output '1.0' has 6000 characters: start=6000 is not one of them."),
        ({"handle": "1.0", "start": -1}, "The output '1.0' has 6000 characters: start=-1 is not one of them."),
        ({"handle": "1.0", "chars": 0}, "chars=0 reads nothing: ask for 1 or more."),
    ],
)
def test_what_cannot_be_read_is_told(arguments: dict[str, Any], message: str) -> None:
    result = agent_of([call("book"), call(READER, **arguments), "Oh."]).run_sync("Read.")
    assert contents(result)[1] == message
    landed = result.tool_calls[1].result
    assert landed is not None and landed.status == "failed"


def test_without_any_it_says_so() -> None:
    class View:
        transcript = Transcript()
        usage: Any = None

    with pytest.raises(Retry, match=r"There is no kept output '1\.0'; those that there are: none"):
        read_output(Context(None, view=View()), "1.0")


def test_a_piece_has_a_most() -> None:
    @tool(keep_output=True)
    def much() -> str:
        """Read much."""
        return "x" * 200_000

    result = agent_of([call("much"), call(READER, handle="1.0", chars=10**9), "So."], tools=[much]).run_sync("Read.")
    assert contents(result)[1].endswith(f"read_output(handle='1.0', start={MOST_CHARS}) gives more)")
    assert contents(result)[1].startswith("x" * MOST_CHARS)


def test_a_result_that_was_cleared_names_its_handle() -> None:
    script = [calls(call("book"), call("letter")), call(READER, handle="1.0", start=600, chars=5), "So."]
    agent = agent_of(script, history=ClearResults(0, min_chars=200))
    result = agent.run_sync("Read.")
    model: Any = agent.model
    messages = model.requests[2].messages
    assert [message["content"] for message in messages if message["role"] == "tool"][:2] == [
        "(this result was cleared to save room: read_output(handle='1.0') gives it)",
        "(this result was cleared to save room: call the tool again if you need it)",
    ]
    assert contents(result)[2].startswith("00100\n")


def test_a_call_that_was_approved_and_one_that_started_early() -> None:
    waits = tool(keep_output=True, max_output_chars=300, approval=True, name="waits")(book.function)
    looks = tool(keep_output=True, max_output_chars=300, read_only=True, name="looks")(book.function)
    script = [calls(call("waits"), call("looks"), call("looks", name="Emma")), "So."]
    agent = agent_of(script, tools=[waits, looks])
    paused = DRIVERS["stream_sync"](agent, "Read.")
    result = agent.run_sync(transcript=paused.transcript, decisions=Approve())
    handles = [handle_in(record.result) for record in result.transcript.entries[1].calls if record.result is not None]
    assert handles == ["1.0", "1.1", "1.2"]


def test_a_sub_agent_reads_its_own() -> None:
    inner = agent_of([call("book"), call(READER, handle="1.0", chars=5), "Read."], name="reader")
    outer = Agent(ScriptedModel([call("reader", prompt="Read."), "Done."]), tools=[inner.as_tool()])
    result = outer.run_sync("Go.")
    record = result.tool_calls[0]
    assert record.transcript is not None
    assert [each.result.content[:5] for entry in record.transcript for each in entry.calls if each.result][1] == "00000"


def test_after_a_hand_off_the_other_agent_reads_on() -> None:
    other = agent_of([call(READER, handle="1.0", chars=5), "Read."], tools=[letter], name="other")
    first = agent_of([call("book"), call("transfer_to_other")], tools=[book], name="first", handoffs=[Handoff(other)])
    result = first.run_sync("Read.")
    assert result.output == "Read."
    assert contents(result)[-1].startswith("00000\n")


def test_a_tool_of_that_name_is_refused() -> None:
    def read_output() -> str:
        """Mine."""
        return ""

    with pytest.raises(UsageError, match="two tools are named 'read_output': rename one"):
        agent_of([], tools=[book, read_output])
    assert list(agent_of([], tools=[letter, read_output]).tools) == ["letter", "read_output"]
