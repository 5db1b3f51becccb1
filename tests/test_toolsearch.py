"""Tools that a search has to find: what is found by which words, and what it is that is offered then."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit import Agent
from agentkit.messages import Message, ToolCall, ToolResult, ToolSpec, user
from agentkit.testing import ScriptedModel, call
from agentkit.tools import Tool, tool
from agentkit.toolsearch import ranked, words
from agentkit.toolsets import Searchable, Toolset
from agentkit.transcript import CallRecord, Entry, Transcript
from tests.drivers import DRIVERS, Driver
from tests.offering import names, tools_of

# What a search has found


def weather(city: str) -> str:
    """Tell the weather.

    More than that is not said in a search.
    """
    return f"sunny in {city}"


def send_mail(to: str, subject: str) -> None:
    """Send an e-mail.

    Args:
        to: Who gets it.
        subject: What it is about.
    """


def convert(amount: float, currency: str) -> float:
    """Convert money between currencies."""
    return amount


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def multiply(a: int, b: int) -> int:
    """Multiply two numbers."""
    return a * b


@tool(read_only=True)
def look(path: str) -> str:
    """Look at a file."""
    return path


def of_numbers(made: Tool) -> bool:
    return "a" in made.parameters["properties"]


MANY = [weather, send_mail, convert, add, multiply, Tool.of(ToolSpec("bare"))]


def found(*contents: str, search: str = "search_tools", status: Any = "ok") -> Transcript:
    """A conversation in which searches gave these results."""
    entries = [Entry(user("Hello"))]
    for number, content in enumerate(contents):
        call = ToolCall(f"c{number}", search, '{"query": "x"}')
        message = Message({"role": "assistant", "content": None, "tool_calls": [call.data]})
        entries.append(Entry(message, "model", calls=(CallRecord(call, result=ToolResult(content, status)),)))
    return Transcript(entries)


def search_of(toolset: Toolset) -> Tool:
    (search,) = [made for made in tools_of(toolset) if made.name == "search_tools"]
    return search


def test_a_search_stands_for_all_tools() -> None:
    toolset = Searchable(MANY, always=["add"])
    assert toolset.static is None
    assert names(toolset) == ["search_tools", "add"]
    assert {made.name for made in toolset.known} == {"search_tools", *[made.name for made in Toolset(MANY).known]}
    search = search_of(toolset)
    assert search.read_only
    assert list(search.parameters["properties"]) == ["query"]
    assert search.call_sync('{"query": "weather in a city"}') == (
        "You can call these tools now:\n- weather: Tell the weather."
    )
    assert search.call_sync('{"query": "adding"}') == "No tool fits. Try other words for what it has to do."
    assert search.call_sync('{"query": "bare"}') == "You can call these tools now:\n- bare"
    assert Searchable([add], description="Ask here.").known[0].description == "Ask here."


def test_what_was_found_is_offered_after_all_other_tools_in_the_order_of_finding() -> None:
    toolset = Toolset([Searchable(MANY), look])
    first = search_of(toolset).call_sync('{"query": "money"}')
    second = search_of(toolset).call_sync('{"query": "currency mail"}')
    assert names(toolset) == ["search_tools", "look"]
    assert names(toolset, transcript=found(first)) == ["search_tools", "look", "convert"]
    assert names(toolset, transcript=found(first, second)) == ["search_tools", "look", "convert", "send_mail"]
    restored = Transcript.load(found(first, second).dump())
    assert names(toolset, transcript=restored) == ["search_tools", "look", "convert", "send_mail"]


def test_two_searches_share_the_order_of_finding() -> None:
    toolset = Searchable([add, multiply], name="maths") + Searchable([weather, look], name="world")
    one = found("- multiply: x", search="maths").entries[1]
    two = found("- look: x\n- weather", search="world").entries[1]
    assert names(toolset, transcript=Transcript([two, one])) == ["maths", "world", "look", "weather", "multiply"]
    assert names(toolset, transcript=Transcript([one, two])) == ["maths", "world", "multiply", "look", "weather"]


@pytest.mark.parametrize(
    "transcript",
    [
        found("- add: x", search="other"),
        found("- add: x", status="failed"),
        found("add: x\n - add\n-add\n- add is what you want\n- gone: x\n- `add`"),
        Transcript([Entry(user("- add: x"))]),
    ],
)
def test_nothing_else_counts_as_found(transcript: Transcript) -> None:
    assert names(Searchable([add]), transcript=transcript) == ["search_tools"]


def test_a_search_sees_what_is_offered_at_the_moment() -> None:
    toolset = Searchable(Toolset(load=lambda ctx: ctx.deps).when(lambda ctx: ctx.deps), always=["add"])
    tools = tools_of(toolset, [add, multiply])
    assert [made.name for made in tools] == ["search_tools", "add"]
    assert (
        tools[0].call_sync('{"query": "numbers"}') == "You can call these tools now:\n- multiply: Multiply two numbers."
    )
    assert names(toolset, deps=[], transcript=found("- multiply: x")) == ["search_tools"]


def test_changes_go_to_the_tools_and_not_to_the_search() -> None:
    toolset = Searchable(MANY, always=["add"]).prefixed("my_").with_options(approval=True).filtered(of_numbers)
    assert isinstance(toolset, Searchable)
    assert names(toolset, transcript=found("- my_multiply", "- my_weather")) == [
        "search_tools",
        "my_add",
        "my_multiply",
    ]
    assert [(made.name, made.approval) for made in toolset.known] == [
        ("search_tools", False),
        ("my_add", True),
        ("my_multiply", True),
    ]


def test_the_search_is_encoded_once() -> None:
    toolset = Searchable(MANY)
    assert search_of(toolset).spec is search_of(toolset).spec


@pytest.mark.parametrize("driver", DRIVERS.values(), ids=DRIVERS)
def test_a_run_finds_its_tools_and_later_runs_have_them(driver: Driver) -> None:
    def script() -> list[Any]:
        return [call("weather", city="Rome"), call("search_tools", query="weather"), call("weather", city="Rome"), "x"]

    model = ScriptedModel([*script(), "Again."])
    agent = Agent(model, tools=[Searchable(MANY), look])
    result = driver(agent, "What is the weather?")
    told = [record.result.content for record in result.tool_calls if record.result]
    assert told == [
        "There is no tool 'weather'. The tools are: look, search_tools.",
        "You can call these tools now:\n- weather: Tell the weather.",
        "sunny in Rome",
    ]
    driver(agent, "And now?", transcript=Transcript.load(result.transcript.dump()))
    before, after = {"search_tools", "look"}, [spec.name for spec in model.requests[-1].tools]
    assert [{spec.name for spec in request.tools} for request in model.requests[:2]] == [before, before]
    assert [[spec.name for spec in request.tools] for request in model.requests[2:]] == [after] * 3
    assert after[:2] == [spec.name for spec in model.requests[0].tools]
    assert after[2:] == ["weather"]


# How tools are ranked


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("getHTTPResponse2", ["get", "http", "response", "2"]),
        ("list_users", ["list", "user"]),
        ("currencies ties glass bus", ["currency", "tie", "glass", "bus"]),
        ("Straße, naïve!", ["straße", "naïve"]),
        ("天气预 x天a", ["天", "气", "预", "天气", "气预", "x", "天", "a", "x天", "天a"]),
        ("_- ", []),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert words(text) == expected


def spec(name: str, description: str = "", **arguments: str) -> Tool:
    properties = {each: {"type": "string", "description": text} for each, text in arguments.items()}
    return Tool.of(ToolSpec(name, description, {"type": "object", "properties": properties}))


@pytest.mark.parametrize(
    ("query", "best"),
    [
        ("invoices", ["list_invoices", "pay_invoice", "mail"]),  # in the name before elsewhere, shorter before longer
        ("the of", []),
        ("recipient", ["mail"]),
        ("attachments", ["mail"]),
        ("MAIL", ["mail"]),
        ("天气", ["weather_cn"]),
        ("", []),
    ],
)
def test_ranking(query: str, best: list[str]) -> None:
    tools = [
        spec("mail", "Send the invoice by mail.", recipient="Who gets it.", files="The attachment."),
        spec("pay_invoice", "Pay the sum of an invoice to whom it names, from the account that was chosen for it."),
        spec("list_invoices", "All invoices."),
        spec("weather_cn", "查询天气"),
    ]
    assert [made.name for made in ranked(query, tools)] == best


@given(st.lists(st.text("abc ", max_size=6), max_size=6), st.text("abc ", max_size=8))
def test_ranking_gives_each_fitting_tool_once_whatever_the_texts(texts: list[str], query: str) -> None:
    tools = [spec(f"t{number}", text) for number, text in enumerate(texts)]
    best = ranked(query, tools)
    assert len({id(made) for made in best}) == len(best)
    wanted = set(words(query)) - {"a"}
    assert {made.name for made in best} == {made.name for made in tools if wanted & set(words(made.description))}
    assert ranked(query, tools) == best
