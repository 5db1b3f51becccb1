"""Tools in JSON: ordinary calls and results in the transcript, JSON on the wire alone."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit import Agent, ChatModel, Image, Limits, Settings, ToolCall, ToolResult, ToolSpec, Transcript
from agentkit.chat.dialects import DIALECTS
from agentkit.chat.jsonmode import LONGEST_QUESTION, instructions, lowered, reply_schema, spans
from agentkit.chat.jsonreply import JsonReader, lifted, read
from agentkit.chat.request import Request, encode
from agentkit.errors import ModelError
from agentkit.events import ReasoningDelta, TextDelta
from agentkit.messages import Choice, Message, Reply, assistant, user
from agentkit.testing import FakeEndpoint, call, say
from agentkit.testing.script import Request as Asked
from agentkit.testing.strict import parse, refusals
from agentkit.transcript import Entry
from tests.bodies import model_said
from tests.drivers import DRIVERS

TEXT = {"type": "string"}
ADD = ToolSpec("add", "Add two numbers.", {"type": "object", "properties": {"a": {"type": "integer"}, "b": {}}})
LOOK = ToolSpec("look", "", {"type": "object", "properties": {}})
TOOLS = (ADD, LOOK)


def asked(*entries: Entry, question: str = "1 + 2?", tools: tuple[ToolSpec, ...] = TOOLS, **request: Any) -> Request:
    return Request(Transcript([Entry(user(question)), *entries]), tools, **request)


def called(name: str, arguments: str, result: ToolResult | None = None) -> Entry:
    return model_said(assistant(tool_calls=[ToolCall("c", name, arguments)]).data, results=[result or ToolResult("3")])


def schema_of(request: Request) -> dict[str, Any]:
    form = lowered(request).settings.response_format
    assert form is not None
    assert (form["type"], form["json_schema"]["name"]) == ("json_schema", "reply")
    schema: dict[str, Any] = form["json_schema"]["schema"]
    return schema


def arms(request: Request) -> list[str]:
    """What a reply may be: the names of tools, and "answer"."""
    schema = schema_of(request)
    found = []
    for arm in schema.get("anyOf", [schema]):
        assert arm["required"] == list(arm["properties"])
        assert arm["additionalProperties"] is False
        found.append(arm["properties"]["tool"]["const"] if "tool" in arm["properties"] else "answer")
    return found


def conversation(request: Request) -> list[dict[str, Any]]:
    """What is sent of the conversation itself, without the examples before it."""
    messages = lowered(request).transcript.messages
    return messages[len(lowered(Request(Transcript([]), request.tools)).transcript) :]


# What is asked


def test_the_tools_are_told_in_the_instructions_and_nowhere_else() -> None:
    told = lowered(asked(instructions="Be brief.", settings=Settings(seed=1, parallel_tool_calls=True), stream=True))
    assert told.instructions == ("Be brief.\n\nYou can call these functions:\n- add(a, b): Add two numbers.\n- look()")
    assert told.tools == ()
    assert (told.settings.seed, told.settings.parallel_tool_calls, told.settings.tool_choice) == (1, None, None)
    assert told.stream
    assert instructions([LOOK]) in lowered(asked(tools=(LOOK,))).instructions


def test_the_body_is_one_that_any_endpoint_takes() -> None:
    request = asked(called("add", '{"a":1,"b":2}'), model_said({"content": "3"}), Entry(user("And so?")))
    body = parse(bytes(encode(lowered(request), "m", DIALECTS["openai"], "https://x")))
    assert list(refusals(body)) == []
    assert "tools" not in body
    assert {message["role"] for message in body["messages"]} == {"system", "user", "assistant"}


def test_calls_results_and_answers_are_written_as_json() -> None:
    request = asked(called("add", '{"a":1,"b":2}'), model_said({"content": "It is 3."}), Entry(user("Sure?")))
    sent = conversation(request)
    assert [message["role"] for message in sent] == ["user", "assistant", "user", "assistant", "user"]
    assert json.loads(sent[1]["content"]) == {"question": "1 + 2?", "tool": "add", "arguments": {"a": 1, "b": 2}}
    assert sent[2]["content"] == "Result of add: 3"
    assert json.loads(sent[3]["content"]) == {"question": "1 + 2?", "answer": "It is 3."}
    assert sent[4]["content"] == "Sure?"


def test_the_examples_are_of_the_same_form() -> None:
    examples = lowered(Request(Transcript([]), TOOLS)).transcript.messages
    assert len(examples) % 4 == 0
    for _, call_text, result, answer in zip(*[iter(examples)] * 4, strict=True):
        made, _ = read(call_text["content"], cut=False)
        assert made is not None
        assert made.name not in {"add", "look"}
        assert result["content"].startswith(f"Result of {made.name}: ")
        assert read(answer["content"], cut=False)[0] is None


def test_what_is_said_beside_calls_and_several_calls() -> None:
    made = assistant("let me see", tool_calls=[ToolCall("a", "look"), ToolCall("b", "add", '{"a":NaN} x')]).data
    sent = conversation(asked(model_said(made, results=[ToolResult("a tree"), ToolResult("no")])))
    assert [json.loads(m["content"]).get("tool", "answer") for m in sent if m["role"] == "assistant"] == [
        "answer",
        "look",
        "add",
    ]
    assert json.loads(sent[4]["content"])["arguments"] == {"a": None}
    assert [m["content"] for m in sent if m["role"] == "user"][1:] == ["Result of look: a tree", "Result of add: no"]


def test_parts_of_a_result_stand_beside_it() -> None:
    picture = Image(b"PNG").data
    sent = conversation(asked(called("look", "{}", ToolResult("(1 attached)", parts=(picture,)))))
    assert sent[-1] == {"role": "user", "content": [{"type": "text", "text": "Result of look: (1 attached)"}, picture]}


def test_an_answer_without_text_stays_as_it_is() -> None:
    assert conversation(asked(model_said({"content": None, "audio": {"id": "a"}})))[1]["audio"] == {"id": "a"}


@pytest.mark.parametrize(
    ("choice", "offered"),
    [
        (None, ["add", "look", "answer"]),
        ("auto", ["add", "look", "answer"]),
        ("none", ["answer"]),
        ("required", ["add", "look"]),
        ("look", ["look"]),
        ({"type": "function", "function": {"name": "add"}}, ["add"]),
    ],
)
def test_what_a_reply_may_be(choice: Any, offered: list[str]) -> None:
    assert arms(asked(settings=Settings(tool_choice=choice))) == offered


SAME = called("add", '{"a":1,"b":2}')


@pytest.mark.parametrize(
    ("entries", "closed"),
    [
        ([SAME], False),
        ([SAME, SAME], True),
        ([SAME, Entry(user("You have called it twice."), "loop"), SAME], True),
        ([SAME, called("add", '{"a":1,"b":3}')], False),
        ([SAME, called("look", '{"a":1,"b":2}')], False),
        ([SAME, SAME, called("look", "{}")], False),
        ([SAME, SAME, Entry(user("And again?"))], False),
        ([SAME, Entry(user("Again?")), SAME], False),
        ([model_said(assistant(tool_calls=[ToolCall("a", "look"), ToolCall("b", "look")]).data)], True),
    ],
)
@pytest.mark.parametrize("choice", [None, "required"])
def test_a_repeated_call_leaves_the_answer_alone(entries: list[Entry], closed: bool, choice: str | None) -> None:
    offered = arms(asked(*entries, settings=Settings(tool_choice=choice)))
    assert (offered == ["answer"]) == closed


def test_the_question_is_repeated_where_it_is_short() -> None:
    def repeated(request: Request) -> Any:
        return schema_of(request)["anyOf"][0]["properties"].get("question")

    assert repeated(asked()) == {"const": "1 + 2?"}
    assert repeated(asked(Entry(user("Sure?")))) == {"const": "Sure?"}
    assert repeated(asked(Entry(user("a hint"), "loop"))) == {"const": "1 + 2?"}
    assert repeated(asked(question="x" * LONGEST_QUESTION)) == {"const": "x" * LONGEST_QUESTION}
    assert repeated(asked(question="x" * (LONGEST_QUESTION + 1))) is None
    assert repeated(Request(Transcript([]), TOOLS)) is None
    long = asked(SAME, question="x" * 999)
    assert json.loads(conversation(long)[1]["content"]) == {"tool": "add", "arguments": {"a": 1, "b": 2}}


def test_definitions_move_out_under_names_of_their_own() -> None:
    def of(kind: str) -> dict[str, Any]:
        node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}, "value": {"type": kind}}}
        return {"type": "object", "properties": {"at": [{"$ref": "#/$defs/Node"}]}, "$defs": {"Node": node}}

    schema = reply_schema([ToolSpec("one", "", of("string")), ToolSpec("two", "", of("integer"))], answer=TEXT)
    assert {name: node["properties"] for name, node in schema["$defs"].items()} == {
        "one.Node": {"next": {"$ref": "#/$defs/one.Node"}, "value": {"type": "string"}},
        "two.Node": {"next": {"$ref": "#/$defs/two.Node"}, "value": {"type": "integer"}},
    }
    assert schema["anyOf"][1]["properties"]["arguments"] == {
        "type": "object",
        "properties": {"at": [{"$ref": "#/$defs/two.Node"}]},
    }
    assert "$defs" not in json.dumps(schema["anyOf"]).replace("#/$defs/", "")


@pytest.mark.parametrize(
    ("form", "answer"),
    [
        (None, TEXT),
        ({"type": "text"}, TEXT),
        ({"type": "json_object"}, {"type": "object"}),
        ({"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "array"}}}, {"type": "array"}),
    ],
)
def test_the_answer_has_the_form_that_was_asked_for(form: Any, answer: dict[str, Any]) -> None:
    schema = schema_of(asked(settings=Settings(response_format=form)))
    assert schema["anyOf"][-1]["properties"]["answer"] == answer


# For the smallest models


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        ("?!", []),
        ("1 + 2?", ["1", "+", "2", "1 +", "+ 2", "1 + 2"]),
        ("in New York, now", ["in", "now", "New York", "in New York", "New York now", "in New York now"]),
    ],
)
def test_the_spans_of_a_text_cut_no_name_in_two(text: str, found: list[str]) -> None:
    assert spans(text) == found


def test_spans_are_of_six_words_at_most() -> None:
    assert max(len(span.split()) for span in spans("one two three four five six seven eight")) == 6


def test_quoted_arguments_are_words_of_the_question() -> None:
    properties = {"city": TEXT, "unit": {**TEXT, "enum": ["C", "F"]}, "day": {**TEXT, "format": "date"}, "n": {}}
    weather = ToolSpec("weather", "", {"type": "object", "properties": properties})
    schema = lowered(asked(question="How is Rome?", tools=(weather,)), quoted=True).settings.response_format
    assert schema is not None
    held = schema["json_schema"]["schema"]["anyOf"][0]["properties"]["arguments"]["properties"]
    assert held == {**properties, "city": {"enum": spans("How is Rome?")}}
    assert properties["city"] == TEXT
    plain = reply_schema([weather], question="?!", answer=TEXT, quoted=True)
    assert plain["anyOf"][0]["properties"]["arguments"]["properties"] == properties


def test_the_examples_end_with_their_calls_as_long_as_nothing_was_called() -> None:
    plain = lowered(asked()).transcript.messages
    before = lowered(asked(), quoted=True).transcript.messages
    after = lowered(asked(SAME), quoted=True).transcript.messages
    assert len(before) - 1 == (len(plain) - 1) // 2
    assert len(after) - 2 == len(plain)


# What comes


def reply_of(text: str, finish_reason: str = "stop") -> Reply:
    message = Message({"role": "assistant", "content": text})
    return Reply((Choice(message, text, finish_reason=finish_reason),))


@pytest.mark.parametrize(
    ("text", "made", "answer"),
    [
        ('{"tool": "add", "arguments": {"a": 1}}', ("add", '{"a":1}'), ""),
        ('{"question": "q", "tool": "look", "arguments": {}}', ("look", "{}"), ""),
        ('{"tool": "look"}', ("look", "{}"), ""),
        ('{"tool": "look", "arguments": null}', ("look", "{}"), ""),
        ('{"tool": "nope", "arguments": {"a": 1}}', ("nope", '{"a":1}'), ""),
        ('{"answer": "It is 3."}', None, "It is 3."),
        ('{"answer": {"sum": 3}}', None, '{"sum":3}'),
        ('{"answer": ""}', None, ""),
        ('{"tool": 3}', None, '{"tool": 3}'),
        ('{"sum": 3}', None, '{"sum": 3}'),
        ("[1, 2]", None, "[1, 2]"),
        ("It is 3.", None, "It is 3."),
        ("", None, ""),
    ],
)
def test_a_reply_is_lifted(text: str, made: tuple[str, str] | None, answer: str) -> None:
    reply = lifted(reply_of(text))
    assert [(each.name, each.arguments) for each in reply.tool_calls] == ([made] if made else [])
    assert (reply.text, reply.finish_reason) == (answer, "tool_calls" if made else "stop")
    assert reply.message.data.get("content") == (None if made else answer)
    assert ("tool_calls" in reply.message.data) == (made is not None)


@pytest.mark.parametrize(
    ("text", "made", "answer"),
    [
        ('{"question": "q", "tool": "add", "arguments": {"a": 1', ("add", '{"a": 1'), ""),
        ('{"tool": "add", "argu', ("add", ""), ""),
        ('{"tool": "ad', ("ad", ""), ""),
        ('{"tool": "look", "arguments": {}}', ("look", "{}"), ""),
        ('{"answer": "It is', None, "It is"),
        ('{"answer": "It is \\u00', None, "It is "),
        ('{"answer": "It is \\', None, "It is "),
        ('{"answer": "It is \\ud83d', None, "It is "),
        ('{"answer": "', None, ""),
        ('{"question": "q', None, '{"question": "q'),
        ("It is", None, "It is"),
    ],
)
def test_a_reply_that_was_cut_is_read_as_far_as_it_came(text: str, made: Any, answer: str) -> None:
    reply = lifted(reply_of(text, "length"))
    assert [(each.name, each.arguments) for each in reply.tool_calls] == ([made] if made else [])
    assert (reply.text, reply.finish_reason) == (answer, "length")


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.text(max_size=400), st.dictionaries(st.text(max_size=5), values, max_size=3), st.text(min_size=1, max_size=20)
)
def test_what_is_written_is_read_again(question: str, arguments: dict[str, Any], answer: str) -> None:
    request = asked(called("add", json.dumps(arguments)), model_said({"content": answer}), question=question)
    texts = [message["content"] for message in conversation(request) if message["role"] == "assistant"]
    made, _ = read(texts[0], cut=False)
    assert made is not None
    assert (made.name, made.parsed) == ("add", arguments)
    assert read(texts[1], cut=False) == (None, answer)


def streamed(pieces: list[str], *, finish_reason: str = "stop") -> tuple[list[str], Reply]:
    """The pieces of text that are told, and the reply."""
    asked_for = Asked("POST", "/v1/chat/completions", json={"stream": True, "messages": []})
    answer = say(pieces, finish_reason=finish_reason, reasoning="hm").respond(asked_for)
    reader = JsonReader()
    reader.start(200, answer.headers)
    deltas = [delta for piece in answer.body if isinstance(piece, bytes) for delta in reader.feed(piece)]
    deltas += reader.finish()
    assert [delta.text for delta in deltas if isinstance(delta, ReasoningDelta)] == ["hm"]
    return [delta.text for delta in deltas if isinstance(delta, TextDelta)], reader.end()


def cut_up(text: str, places: list[int]) -> list[str]:
    marks = sorted({place % (len(text) + 1) for place in places} | {0, len(text)})
    return [text[start:end] for start, end in pairwise(marks)]


@given(
    st.text(min_size=1, max_size=40),
    st.sampled_from([None, "q", 'a "quoted" \\ one']),
    st.booleans(),
    st.lists(st.integers(0, 500), max_size=30),
)
def test_an_answer_streams_as_text(answer: str, question: str | None, escaped: bool, places: list[int]) -> None:
    value = {"answer": answer} if question is None else {"question": question, "answer": answer}
    told, reply = streamed(cut_up(json.dumps(value, ensure_ascii=escaped), places))
    assert "".join(told) == reply.text == answer


@given(st.lists(st.integers(0, 500), max_size=30))
def test_a_call_streams_no_text(places: list[int]) -> None:
    told, reply = streamed(cut_up('{"question": "q", "tool": "add", "arguments": {"answer": "x"}}', places))
    assert told == []
    assert [each.parsed for each in reply.tool_calls] == [{"answer": "x"}]


def test_what_is_no_json_is_told_when_it_is_whole() -> None:
    told, reply = streamed(["It is ", "3."])
    assert (told, reply.text) == ([], "It is 3.")


def test_a_cut_stream_tells_what_came() -> None:
    told, reply = streamed(['{"answer": "It', " is \\u00"], finish_reason="length")
    assert ("".join(told), reply.text, reply.finish_reason) == ("It is ", "It is ", "length")


# Whole runs


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_run_over_the_wire(driver: str) -> None:
    script = [
        say(json.dumps({"question": "1 + 2?", "tool": "add", "arguments": {"a": 1, "b": 2}})),
        say(json.dumps({"question": "1 + 2?", "answer": "It is 3."})),
    ]
    with FakeEndpoint(script) as fake:
        model = ChatModel("m", base_url=fake.base_url, api_key=fake.api_key, tools="json")
        ended = DRIVERS[driver](Agent(model, tools=[add]), "1 + 2?")
        assert "tools" not in fake.requests[0].json
    assert ended.output == "It is 3."
    assert [(each.call.name, each.result and each.result.content) for each in ended.tool_calls] == [("add", "3")]
    assert [message["role"] for message in ended.transcript.messages] == ["user", "assistant", "tool", "assistant"]


def test_a_conversation_moves_between_models() -> None:
    with FakeEndpoint([call("add", a=1, b=2), say("3"), say('{"answer": "4"}'), say("5")]) as fake:
        native = ChatModel("m", base_url=fake.base_url, api_key=fake.api_key)
        in_json = ChatModel("m", base_url=fake.base_url, api_key=fake.api_key, tools="json")
        agent: Agent[Any] = Agent(native, tools=[add])
        first = agent.run_sync("1 + 2?")
        second = agent.run_sync("and one?", transcript=first.transcript, model=in_json)
        third = agent.run_sync("and one?", transcript=second.transcript)
        assert [first.output, second.output, third.output] == ["3", "4", "5"]
        kept = [{k: v for k, v in m.items() if k != "refusal"} for m in second.transcript.messages]
        assert fake.requests[3].messages == [*kept, {"role": "user", "content": "and one?"}]
        assert "tool" not in [message["role"] for message in fake.requests[2].messages]


def test_a_cut_call_is_not_run_and_asked_for_again() -> None:
    cut = say('{"tool": "add", "arguments": {"a": 1', finish_reason="length")
    whole = say('{"tool": "add", "arguments": {"a": 1, "b": 2}}')
    with FakeEndpoint([cut, whole, say('{"answer": "3"}')]) as fake:
        model = ChatModel("m", base_url=fake.base_url, api_key=fake.api_key, tools="json")
        ended = Agent(model, tools=[add]).run_sync("1 + 2?")
        assert "was not run" in fake.requests[1].messages[-1]["content"]
    assert [each.result and each.result.status for each in ended.tool_calls] == ["not_run", "ok"]


def test_without_tools_there_is_nothing_in_json() -> None:
    with FakeEndpoint([say("plain")]) as fake:
        model = ChatModel("m", base_url=fake.base_url, api_key=fake.api_key, tools="json")
        assert Agent(model).run_sync("x").output == "plain"
        assert "response_format" not in fake.requests[0].json


def test_a_forced_call_that_does_not_come() -> None:
    with FakeEndpoint([say('{"answer": "3"}')] * 2) as fake:
        model = ChatModel("m", base_url=fake.base_url, api_key=fake.api_key, tools="json")
        agent: Agent[Any] = Agent(model, tools=[add], settings={"tool_choice": "add"})
        with pytest.raises(ModelError, match="You have to call the tool add now"):
            agent.run_sync("1 + 2?", limits=Limits(corrections=1))
