"""Items: what each answers, as JSON and as a stream. The events are put together again by the rules of the wire."""

from __future__ import annotations

import json
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit.messages import ToolCall
from agentkit.testing.script import (
    End,
    Pause,
    Request,
    as_item,
    call,
    calls,
    cut,
    delayed,
    drip,
    error_event,
    garbled,
    hang,
    raw,
    reply,
    reset,
    say,
    stall,
    status,
)


def ask(*messages: dict, **fields) -> Request:
    return Request("POST", "/v1/chat/completions", json={"model": "m", "messages": list(messages), **fields})


STREAM = ask(stream=True)
WITH_USAGE = ask(stream=True, stream_options={"include_usage": True})


def body_of(item, request=None):
    return json.loads(as_item(item).respond(request or ask()).content)


def chunks_of(item, request=WITH_USAGE):
    events = as_item(item).respond(request).body
    assert all(event.startswith(b"data: ") and event.endswith(b"\n\n") for event in events)
    assert events[-1] == b"data: [DONE]\n\n"
    return [json.loads(event[6:]) for event in events[:-1]]


def joined(chunks):
    """The message and finish_reason of the first choice."""
    message, finish = {}, None
    for chunk in chunks:
        for choice in chunk["choices"]:
            finish = choice["finish_reason"] or finish
            for key, value in choice["delta"].items():
                if key == "tool_calls":
                    known = message.setdefault("tool_calls", [])
                    for piece in value:
                        if piece["index"] == len(known):
                            known.append({k: v for k, v in piece.items() if k != "index"})
                        else:
                            known[piece["index"]]["function"]["arguments"] += piece["function"]["arguments"]
                elif isinstance(value, str) and message.get(key):
                    message[key] += value
                else:
                    message[key] = value
    return message, finish


ANSWERS = {
    "text": say("Hello there, you two"),
    "text in pieces": say(["Hel", "lo"]),
    "reasoning": say("4", reasoning="2 and 2"),
    "refusal": say("", refusal="I can't help with that", finish_reason="content_filter"),
    "call": call("add", a=1, b=2),
    "calls with text": calls(
        call("add", a=1), call("ping"), ToolCall("x", "tag", '{"labels": ["ä"]}'), text="Let me see"
    ),
    "message": reply({"role": "assistant", "content": "hi", "reasoning_details": [{"text": "t"}]}),
    "odd calls": reply({"role": "assistant", "content": None, "tool_calls": [{"function": {"arguments": {"a": 1}}}]}),
    "parts": reply({"role": "assistant", "content": [{"type": "text", "text": "hi"}]}),
}


@pytest.mark.parametrize("item", ANSWERS.values(), ids=ANSWERS)
def test_a_stream_says_what_the_json_says(item):
    body, chunks = body_of(item), chunks_of(item)
    message, finish = joined(chunks)
    expected = {name: value for name, value in body["choices"][0]["message"].items() if value is not None}
    assert {name: value for name, value in message.items() if value is not None} == expected
    assert finish == body["choices"][0]["finish_reason"]
    assert chunks[-1]["choices"] == [] and chunks[-1]["usage"] == body["usage"]
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"


@given(st.text(), st.lists(st.text()), st.dictionaries(st.text(), st.integers()))
def test_any_text_survives_being_streamed(text, pieces, arguments):
    assert joined(chunks_of(say(text)))[0]["content"] == text
    assert joined(chunks_of(say(pieces)))[0]["content"] == "".join(pieces)
    made = calls(ToolCall("x", "f", json.dumps(arguments)))
    assert json.loads(joined(chunks_of(made))[0]["tool_calls"][0]["function"]["arguments"]) == arguments


def test_pieces_and_deltas_are_many():
    assert [c["choices"][0]["delta"].get("content") for c in chunks_of(say(["Hel", "lo"]), STREAM)] == [
        "",
        "Hel",
        "lo",
        None,
    ]
    deltas = [c["choices"][0]["delta"] for c in chunks_of(call("add", first=1, second=2), STREAM)]
    assert sum("tool_calls" in delta for delta in deltas) > 3


def test_usage_is_told_in_a_stream_only_if_asked_for():
    assert all("usage" not in chunk for chunk in chunks_of(say("hi"), STREAM))
    assert [chunk["usage"] for chunk in chunks_of(say("", usage=(3, 4)))] == [
        None,
        None,
        {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
    ]


def test_usage_may_be_the_wires_own():
    assert body_of(say("hi", usage={"prompt_tokens": 1}))["usage"] == {"prompt_tokens": 1}


def test_ids_are_new_in_the_conversation():
    old = {"role": "assistant", "tool_calls": [{"id": "call_1"}, {"id": "call_3"}]}
    body = body_of(calls(call("f"), call("g"), ToolCall("call_2", "h")), ask(old))
    assert [each["id"] for each in body["choices"][0]["message"]["tool_calls"]] == ["call_4", "call_5", "call_2"]


def test_n_choices():
    assert [choice["index"] for choice in body_of(say("hi"), ask(n=3))["choices"]] == [0, 1, 2]


def test_a_whole_body_is_kept_as_it_is():
    assert body_of(reply({"choices": None, "odd": 1})) == {"choices": None, "odd": 1}
    assert chunks_of(reply({"choices": None, "odd": 1}), STREAM) == [
        {"odd": 1, "object": "chat.completion.chunk", "choices": None}
    ]


def test_a_string_is_said():
    assert body_of("hi")["choices"][0]["message"]["content"] == "hi"


def test_anything_else_is_refused():
    with pytest.raises(TypeError, match="a script is made of say"):
        as_item(3)


@pytest.mark.parametrize(
    ("item", "content_type", "content"),
    [
        (status(418, "short and stout"), "text/plain", b"short and stout"),
        (status(502, "<html>"), "text/html", b"<html>"),
        (status(500, b"\xff"), "application/json", b"\xff"),
        (status(500, {"detail": "no"}), "application/json", b'{"detail": "no"}'),
        (status(500, [], headers={"Content-Type": "x/y"}), "x/y", b"[]"),
        (status(799), "application/json", None),
    ],
)
def test_status_bodies(item, content_type, content):
    answer = item.respond(ask())
    assert answer.headers["content-type"] == content_type
    assert answer.headers["content-length"] == str(len(answer.content))
    assert content is None or answer.content == content


def test_status_in_openais_shape():
    assert body_of(status(429, headers={"retry-after": "1"})) == {
        "error": {"message": "Too Many Requests", "type": "requests", "param": None, "code": "rate_limit_exceeded"}
    }
    error = body_of(status(400, message="too long", error_code="context_length_exceeded"))["error"]
    assert (error["message"], error["code"]) == ("too long", "context_length_exceeded")


# Faults, as what is done with the body


def test_a_fault_counts_bytes():
    body = cut(raw(200, {}, b"0123456789"), after_bytes=3).respond(ask()).body
    assert body == [b"012", End("close")]


def test_a_fault_counts_events():
    events = say("one two three").respond(STREAM).body
    assert cut(say("one two three"), after_events=2).respond(STREAM).body == [*events[:2], End("close")]
    assert reset(say("one two three"), after_events=0).respond(STREAM).body == [End("reset")]
    assert stall(say("one two three"), after_events=2).respond(STREAM).body == [*events[:2], Pause(), *events[2:]]
    assert cut(say("one"), after_events=99).respond(STREAM).body == [*say("one").respond(STREAM).body, End("close")]


def test_a_fault_without_a_place_is_half_way():
    whole = say("hello").respond(ask()).content
    for item in (cut(say("hello")), cut(say("hello"), after_events=1)):
        answer = item.respond(ask())
        assert answer.body == [whole[: len(whole) // 2], End("close")]
        assert answer.headers["content-length"] == str(len(whole))


def test_faults_into_one_another():
    event = threading.Event()
    item = cut(delayed(drip(say("one two"), 0.1), until=event), after_events=2)
    answer = item.respond(STREAM)
    first, second = say("one two").respond(STREAM).body[:2]
    assert answer.before == [Pause(until=event)]
    assert answer.body == [first, Pause(0.1), second, End("close")]
    assert item.label == "cut(delayed(drip(say('one two'))))"


def test_drip_by_size():
    assert drip(raw(200, {}, b"01234"), 0.5, size=2).respond(ask()).body == [b"01", Pause(0.5), b"23", Pause(0.5), b"4"]


@pytest.mark.parametrize(
    ("split", "pieces"), [(2, [b"ab", b"cd", b"e"]), ([1, 4], [b"a", b"bcd", b"e"]), (None, [b"abcde"])]
)
def test_split(split, pieces):
    body = raw(200, {}, b"abcde", split=split).respond(ask()).body
    assert [piece for piece in body if isinstance(piece, bytes)] == pieces


def test_an_error_in_a_stream():
    *kept, last = error_event(say("one two"), after_events=2, message="oh", error_code="x").respond(STREAM).body
    assert kept == say("one two").respond(STREAM).body[:2]
    assert json.loads(last[6:])["error"] == {"message": "oh", "type": "server_error", "param": None, "code": "x"}
    assert body_of(error_event(say("hi"), message="oh"))["error"]["message"] == "oh"


def test_garbled():
    assert garbled(say("hi"), after_events=0, data=b"{").respond(STREAM).body == [b"data: {\n\n"]
    answer = garbled(say("hi")).respond(ask())
    assert answer.headers["content-length"] == str(len(answer.content))
    with pytest.raises(ValueError):
        json.loads(answer.content)


def test_faults_before_the_head():
    assert hang().respond(ask()).before == [Pause()]
    assert reset().respond(ask()).before == [End("reset")]
    assert delayed("hi", 0.2).respond(ask()).before == [Pause(0.2)]
