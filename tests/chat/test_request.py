"""What is written: each field by the dialect's rule, each message encoded once, nothing that is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit import Settings, ToolCall, ToolResult, Transcript
from agentkit.chat.dialects import DIALECTS, Dialect
from agentkit.chat.request import MAX_TOOLS, Body, Request, encode, wire_arguments, wire_name
from agentkit.errors import UsageError
from agentkit.messages import assistant, developer, system, user
from agentkit.testing.strict import parse
from agentkit.transcript import Entry
from tests.bodies import ADD, ECHO, HERE, THERE, model_said, one_call, sent


def test_without_tools_nothing_is_said_of_them() -> None:
    body = sent(user("x"), settings=Settings(tool_choice="none", parallel_tool_calls=True))
    assert body == {"model": "m", "messages": [{"role": "user", "content": "x"}]}


@pytest.mark.parametrize(("dialect", "asks"), [("openai", True), ("mistral", False)])
def test_a_stream_asks_for_its_usage_where_that_is_taken(dialect: str, asks: bool) -> None:
    body = sent(user("x"), dialect=dialect, stream=True)
    assert body["stream"] is True
    assert ("stream_options" in body) == asks
    own = Settings(extra_body={"stream_options": {"include_usage": False}})
    assert sent(user("x"), dialect=dialect, stream=True, settings=own)["stream_options"] == {"include_usage": False}


@pytest.mark.parametrize(
    ("dialect", "instructions", "theirs"),
    [
        (DIALECTS["openai"], "system", "developer"),
        (DIALECTS["mistral"], "system", "system"),
        (replace(DIALECTS["openai"], system_role="developer"), "developer", "developer"),
    ],
    ids=["openai", "mistral", "of one's own"],
)
def test_which_role_instructions_have(dialect: Dialect, instructions: str, theirs: str) -> None:
    body = sent(developer("a"), system("b"), user("x"), dialect=dialect, instructions="i")
    assert [message["role"] for message in body["messages"]] == [instructions, theirs, "system", "user"]


def test_instructions_alone() -> None:
    assert sent(instructions="i")["messages"] == [{"role": "system", "content": "i"}]


def test_more_tools_than_a_request_may_offer_are_refused() -> None:
    with pytest.raises(UsageError, match="1025 tools are more than the 1024 that a request may offer"):
        sent(user("x"), tools=(ADD,) * (MAX_TOOLS + 1))


def test_calls_without_a_result_are_not_sent() -> None:
    asked = assistant(tool_calls=[ToolCall("a", "add"), ToolCall("b", "rm")])
    transcript = Transcript.load([asked], trusted=True)
    with pytest.raises(UsageError, match=r"calls without a result cannot be sent: add \(a\), rm \(b\); run them"):
        encode(Request(transcript), "m", ECHO, HERE)


def test_parts_of_results_come_after_all_results() -> None:
    picture = {"type": "image_url", "image_url": {"url": "u"}}
    message = {"content": None, "tool_calls": [ToolCall(name, "look").data for name in "ab"]}
    results = [ToolResult("(1 attached)", parts=(picture,)), ToolResult("none")]
    body = sent(user("x"), model_said(message, results=results), user("and?"))
    assert body["messages"][2:] == [
        {"role": "tool", "tool_call_id": "a", "content": "(1 attached)"},
        {"role": "tool", "tool_call_id": "b", "content": "none"},
        {"role": "user", "content": [picture]},
        {"role": "user", "content": "and?"},
    ]


# What is given back


FIELDS = {
    "content": "x",
    "kept": [1],
    "thought": "t",
    "secret": "s",
    "audio": {"id": "a1", "data": "…", "transcript": "x"},
    "other": 1,
    "nothing": None,
    "name": "me",
}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (HERE, {"content": "x", "kept": [1], "thought": "t", "audio": {"id": "a1"}, "name": "me"}),
        (THERE, {"content": "x", "name": "me"}),
        (None, {"content": "x", "kept": [1], "thought": "t", "audio": {"id": "a1"}, "name": "me"}),
    ],
    ids=["from here", "from another endpoint", "written by the caller"],
)
def test_what_an_endpoint_gave_it_gets_back(source: str | None, expected: dict[str, Any]) -> None:
    body = sent(user("q"), model_said(FIELDS, source), dialect=ECHO)
    assert body["messages"][1] == {"role": "assistant", **expected}


def test_an_unknown_field_is_given_back_where_that_is_the_rule() -> None:
    dialect = replace(ECHO, echo_default="always")
    assert sent(model_said({"content": "x", "other": 1, "nothing": None}), dialect=dialect)["messages"] == [
        {"role": "assistant", "content": "x", "other": 1}
    ]
    assert sent(model_said({"content": "x", "other": 1}, None), dialect=dialect)["messages"][0].keys() == {
        "role",
        "content",
    }


@pytest.mark.parametrize("audio", ["a1", {"data": "…"}])
def test_what_has_no_id_is_not_given_back_by_it(audio: Any) -> None:
    assert "audio" not in sent(model_said({"content": "x", "audio": audio}), dialect=ECHO)["messages"][0]


def test_thoughts_are_given_back_until_the_next_question() -> None:
    thinking = [model_said({**one_call(call_id=name), "thought": name}) for name in "ab"]
    hint = Entry(user("hint"), "loop")
    told = Entry(system("note"))
    entries = [Entry(user("q")), *thinking, hint, told, model_said({"content": "x", "thought": "c"})]
    transcript = Transcript(entries)
    assert thoughts(transcript) == ["a", "b", "c"]
    assert thoughts(transcript) == ["a", "b", "c"]
    transcript.append(Entry(user("next")))
    assert thoughts(transcript) == []
    transcript.append(model_said({"content": "y", "thought": "d"}))
    assert thoughts(transcript) == ["d"]
    assert thoughts(Transcript(entries[1:3])) == ["a", "b"]


def thoughts(transcript: Transcript) -> list[str]:
    body = parse(bytes(encode(Request(transcript), "m", ECHO, HERE)))
    return [message["thought"] for message in body["messages"] if "thought" in message]


def test_what_stands_beside_a_call_is_given_back_to_its_own_endpoint() -> None:
    made = one_call(extra_content={"signature": "s"}, index=3, thought="t", nothing=None)
    made["tool_calls"][0]["function"]["parsed"] = True
    dialect = replace(ECHO, echo_default="always")
    (own,) = sent(user("q"), model_said(made), dialect=dialect)["messages"][1]["tool_calls"]
    assert own == {
        "id": "c1",
        "type": "function",
        "function": {"name": "add", "arguments": '{"a":1}', "parsed": True},
        "extra_content": {"signature": "s"},
    }
    (foreign,) = sent(user("q"), model_said(made, THERE), dialect=dialect)["messages"][1]["tool_calls"]
    assert foreign == ToolCall("c1", "add", '{"a":1}').data


@pytest.mark.parametrize(
    ("data", "source", "content"),
    [
        ({"content": [{"type": "thinking", "thinking": []}, {"type": "text", "text": "a"}]}, THERE, "a"),
        ({"content": [{"type": "text", "text": "a"}]}, HERE, [{"type": "text", "text": "a"}]),
        ({"content": [{"type": "text", "text": "a"}]}, None, [{"type": "text", "text": "a"}]),
        ({"content": None}, HERE, ""),
        ({}, HERE, ""),
        ({"content": None, "tool_calls": []}, HERE, ""),
    ],
)
def test_content_as_it_can_be_sent(data: dict[str, Any], source: str | None, content: Any) -> None:
    (message,) = sent(model_said(data, source))["messages"]
    assert message == {"role": "assistant", "content": content}


def test_a_message_with_calls_may_have_no_content() -> None:
    without = {name: value for name, value in one_call().items() if name != "content"}
    assert sent(model_said(without))["messages"][0]["content"] is None


@pytest.mark.parametrize(
    "message",
    [
        {"content": None, "function_call": {"name": "add", "arguments": '{"a":1}'}},
        {"content": None, "tool_calls": {"function": {"name": "add", "arguments": {"a": 1}}}},
        {"content": None, "tool_calls": [{"function": {"name": "add", "arguments": {"a": 1}}}]},
    ],
    ids=["legacy", "an object", "no id"],
)
def test_calls_are_sent_in_the_usual_form(message: dict[str, Any]) -> None:
    asked, told = sent(model_said(message), dialect=ECHO)["messages"]
    assert asked == {"role": "assistant", "content": None, "tool_calls": [ToolCall("call_0_0", "add", '{"a":1}').data]}
    assert told["tool_call_id"] == "call_0_0"


# What any endpoint would refuse


@pytest.mark.parametrize(
    ("dialect", "call_id", "kept"),
    [
        ("mistral", "abcDEF123", True),
        ("mistral", "call_1", False),
        ("mistral", "abcDEF1234", False),
        ("openai", "x" * 40, True),
        ("openai", "x" * 41, False),
        ("generic", "x" * 99, True),
    ],
)
def test_an_id_is_made_to_fit(dialect: str, call_id: str, kept: bool) -> None:
    asked, told = sent(model_said(one_call(call_id=call_id)), dialect=dialect)["messages"]
    own = asked["tool_calls"][0]["id"]
    assert own == told["tool_call_id"]
    assert (own == call_id) == kept
    form = DIALECTS[dialect].tool_call_id
    assert form is None or len(own) <= max(form[1], 40)
    other = sent(model_said(one_call(call_id=call_id + "2")), dialect=dialect)["messages"][0]["tool_calls"][0]["id"]
    assert other != own


@pytest.mark.parametrize(
    ("name", "written"),
    [("add", "add"), ("a.b c", "a_b_c"), ("é", "_"), ("", "unknown"), ("x" * 70, "x" * 64), ("a-b_1", "a-b_1")],
)
def test_a_name_in_the_letters_that_are_taken(name: str, written: str) -> None:
    assert wire_name(name) == written
    assert sent(model_said(one_call(name=name)))["messages"][0]["tool_calls"][0]["function"]["name"] == written


def nested(depth: int, inner: str) -> str:
    return '{"a":' * depth + inner + "}" * depth


@pytest.mark.parametrize(
    ("arguments", "written"),
    [
        ('{"a": 1}', '{"a": 1}'),
        ("", "{}"),
        ("null", "{}"),
        ("[1]", "{}"),
        ("3", "{}"),
        ('"text"', "{}"),
        ('"{\\"a\\":1}"', '{"a":1}'),
        ('"[1]"', "{}"),
        ('"{"', "{}"),
        ('{"a":1', "{}"),
        ('{"a": 1} and so on', '{"a":1}'),
        ('  {"a":1}{"b":2}', '{"a":1}'),
        ("[1] {}", "{}"),
        ("{'a': 1}", "{}"),
        ('{"a":NaN,"b":[-Infinity,"NaN"]}', '{"a":null,"b":[null,"NaN"]}'),
        ('{"a":"NaN"}', '{"a":"NaN"}'),
        ('{"a":NaN} x', '{"a":null}'),
        ('{"a":"\\ud83d"}', '{"a":"\\ufffd"}'),
        ('{"a":"\\ude00\\ud83d\\ude00\\uD83D"}', '{"a":"\\ufffd\\ud83d\\ude00\\ufffd"}'),
        ('{"a":"\\\\ud83d"}', '{"a":"\\\\ud83d"}'),
        ('{"a":"\ud83d"}', '{"a":"\ufffd"}'),
        ('{"a":"\ud83d\ude00"}', '{"a":"😀"}'),
        ('"{\\"a\\":\\"\\\\ud83d\\"}"', '{"a":"\\ufffd"}'),
        ('{"a":"\\ud83d"} x', '{"a":"\\ufffd"}'),
        ("\ud83d", "{}"),
        ('{"a":' + "9" * 4000 + "}", '{"a":' + "9" * 4000 + "}"),
        ('{"a":' + "9" * 5000 + "}", "{}"),
        (nested(900, '"\\ud83d"'), nested(900, '"\\ufffd"')),
        (nested(100_000, "1"), "{}"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_arguments_are_an_object_that_is_taken(arguments: str, written: str) -> None:
    assert wire_arguments(ToolCall("c", "add", arguments)) == written
    json.loads(written)
    asked = sent(model_said(one_call(arguments)))["messages"][0]
    assert asked["tool_calls"][0]["function"]["arguments"] == written


@given(st.text(st.characters(codec=None), max_size=30), st.text(st.characters(codec=None), max_size=30))
def test_no_text_breaks_a_body(text: str, other: str) -> None:
    made = one_call(json.dumps({"a": text}), call_id=other)
    body = sent(
        user([text]),
        model_said({**made, "content": text}, results=[ToolResult(other)]),
        model_said({"content": other, "kept": {text: other}}, None),
        dialect=ECHO,
        instructions=text,
    )
    texts = body["messages"][1:] if text else body["messages"]
    assert texts[0]["content"][0]["text"] == sound(text)
    assert texts[1]["content"] == sound(text)
    assert json.loads(texts[1]["tool_calls"][0]["function"]["arguments"])["a"] == sound(text)
    assert texts[2]["content"] == sound(other)


def sound(text: str) -> str:
    """A text with U+FFFD in place of each lone surrogate; those that make a pair are joined, as JSON's escapes are."""
    joined = json.loads(json.dumps(text))
    return "".join("\ufffd" if "\ud800" <= letter <= "\udfff" else letter for letter in joined)


# Once


steps = st.lists(
    st.one_of(
        st.builds(lambda text: Entry(user(text)), st.text(max_size=5)),
        st.builds(lambda text: Entry(user(text), "loop"), st.text(max_size=5)),
        st.builds(
            lambda text, thought, source: model_said({"content": text, "thought": thought, "kept": 1}, source),
            st.text(max_size=5),
            st.sampled_from((None, "hm")),
            st.sampled_from((HERE, THERE, None)),
        ),
        st.builds(
            lambda thought, names: model_said(
                {"content": None, "thought": thought, "tool_calls": [ToolCall(name, "add").data for name in names]}
            ),
            st.sampled_from((None, "hm")),
            st.lists(st.sampled_from("ab"), min_size=1, max_size=3),
        ),
    ),
    max_size=12,
)


@given(steps, st.sets(st.integers(0, 12)))
def test_a_spliced_body_is_the_one_that_is_written_from_scratch(entries: list[Entry], asks: set[int]) -> None:
    transcript = Transcript()
    kept: list[tuple[Body, bytes]] = []
    for number, entry in enumerate(entries):
        transcript.append(entry)
        for dialect, source in ((ECHO, HERE), (DIALECTS["mistral"], THERE)) if number in asks else ():
            request = Request(transcript, instructions="i" if number % 2 else "")
            body = encode(request, "m", dialect, source)
            scratch = bytes(encode(request.with_(transcript=transcript.copy()), "m", dialect, source))
            assert bytes(body) == scratch
            kept.append((body, scratch))
    for body, scratch in kept:
        assert bytes(body) == scratch


def test_only_what_is_new_is_written() -> None:
    transcript = Transcript([Entry(user("one"))])
    before = encode(Request(transcript), "m", ECHO, HERE)
    transcript.entries[0].message._json = b'"not looked at again"'  # noqa: SLF001
    transcript.append(Entry(user("two")))
    after = encode(Request(transcript), "m", ECHO, HERE)
    assert [message["content"] for message in parse(bytes(after))["messages"]] == ["one", "two"]
    assert [message["content"] for message in parse(bytes(before))["messages"]] == ["one"]


def test_dialects_of_one_name_are_told_apart() -> None:
    transcript = Transcript([model_said({"content": "x", "kept": 1})])
    other = replace(ECHO, echo={})
    assert b"kept" in bytes(encode(Request(transcript), "m", ECHO, HERE))
    assert b"kept" not in bytes(encode(Request(transcript), "m", other, HERE))


# Requests


def test_a_digest_tells_requests_apart_and_streams_not() -> None:
    base = Request(Transcript([Entry(user("x"))]), (ADD,), Settings(seed=1), "i")
    same = Request(Transcript([Entry(user("x"), at=9.0)]), (ADD,), Settings(seed=1), "i", stream=True)
    assert base.digest == same.digest
    others = [
        base.with_(instructions="j"),
        base.with_(tools=()),
        base.with_(settings=Settings(seed=2)),
        base.with_(transcript=Transcript([Entry(user("y"))])),
        base.with_(transcript=Transcript([Entry(user("\ud83d"))])),
    ]
    assert len({base.digest, *[other.digest for other in others]}) == 6


def test_a_request_is_a_plain_list_too() -> None:
    request = Request(Transcript([Entry(user("x"))]), instructions="i")
    assert request.messages == [{"role": "system", "content": "i"}, {"role": "user", "content": "x"}]
    assert request.with_(instructions="").messages == [{"role": "user", "content": "x"}]
