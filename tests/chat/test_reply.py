"""A whole body → Reply."""

from __future__ import annotations

import pytest

from agentkit.chat.reply import excerpt, is_error, read_reply, read_usage, with_ids
from agentkit.errors import ProtocolError
from agentkit.messages import ToolCall, Usage


def body(message=None, **fields):
    choice = {"index": 0, "message": {"role": "assistant", "content": None} | (message or {}), "finish_reason": "stop"}
    return {"id": "r", "model": "m", "choices": [choice | fields.pop("choice", {})], **fields}


def call(**fields):
    return {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}} | fields


def function(**fields):
    return call(function=fields)


TEXTS = {
    "text": ("Hello", "Hello"),
    "null": (None, ""),
    "a list": ([{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}], "Hello"),
    "unknown parts": ([{"type": "reference", "ids": [1]}, {"type": "text", "text": "Hello"}, None, 5], "Hello"),
    "output_text": ([{"type": "output_text", "text": "Hello"}], "Hello"),
    "a part without a type": ([{"text": "Hello"}], "Hello"),
    "strings": (["Hel", "lo"], "Hello"),
    "one part alone": ({"type": "text", "text": "Hello"}, "Hello"),
    "a text that is none": ([{"type": "text", "text": 5}, {"type": "text"}], ""),
    "thinking is no text": ([{"type": "thinking", "text": "hmm"}], ""),
    "a number": (5, ""),
}


@pytest.mark.parametrize(("content", "text"), TEXTS.values(), ids=TEXTS)
def test_text(content, text):
    reply = read_reply(body({"content": content}))
    assert reply.text == text
    assert reply.message.data["content"] == content


REASONING = {
    "reasoning_content": ({"reasoning_content": "hmm"}, "hmm"),
    "reasoning": ({"reasoning": "hmm"}, "hmm"),
    "thinking": ({"thinking": "hmm"}, "hmm"),
    "both names": ({"reasoning": "hmm", "reasoning_content": "hmm"}, "hmm"),
    "the one that says something": ({"reasoning_content": "", "reasoning": "hmm"}, "hmm"),
    "details": (
        {
            "reasoning_details": [
                {"type": "reasoning.summary", "summary": "h"},
                {"type": "reasoning.text", "text": "mm"},
                {"type": "reasoning.encrypted", "data": "b64"},
            ]
        },
        "hmm",
    ),
    "blocks": ({"thinking_blocks": [{"type": "thinking", "thinking": "hmm", "signature": "s"}]}, "hmm"),
    "a part": ({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hmm"}]}]}, "hmm"),
    "a part with text": ({"content": [{"type": "reasoning", "text": "hmm"}, {"type": "text", "text": "a"}]}, "hmm"),
    "an object": ({"reasoning": {"content": "hmm"}}, "hmm"),
    "an unknown object": ({"reasoning": {"x": 1}, "reasoning_content": 5}, ""),
    "null": ({"reasoning": None, "reasoning_details": None}, ""),
}


@pytest.mark.parametrize(("fields", "reasoning"), REASONING.values(), ids=REASONING)
def test_reasoning(fields, reasoning):
    reply = read_reply(body(fields))
    assert reply.reasoning == reasoning
    assert reply.message.data.items() >= fields.items()


@pytest.mark.parametrize(
    ("fields", "refusal"),
    [
        ({"refusal": "No."}, "No."),
        ({"refusal": ""}, None),
        ({"refusal": None}, None),
        ({"content": [{"type": "refusal", "refusal": "No."}]}, "No."),
        ({"content": [{"type": "refusal"}]}, None),
    ],
)
def test_refusal(fields, refusal):
    assert read_reply(body(fields)).refusal == refusal


def test_what_is_heard_is_text_where_nothing_is_written():
    audio = {"id": "audio_1", "transcript": "Hello", "data": "AAAA"}
    assert read_reply(body({"audio": audio})).text == "Hello"
    assert read_reply(body({"audio": audio, "content": "Written"})).text == "Written"
    assert read_reply(body({"audio": "odd"})).text == ""


CALLS = {
    "one": ([call()], [("a", "f", "{}")]),
    "without a type": ([{"id": "a", "function": {"name": "f", "arguments": "{}"}}], [("a", "f", "{}")]),
    "null": (None, []),
    "an empty list": ([], []),
    "an object": (call(), [("a", "f", "{}")]),
    "an object of calls": ({"0": call(), "1": call(id="b")}, [("a", "f", "{}"), ("b", "f", "{}")]),
    "null among them": ([None, call(), "odd"], [("a", "f", "{}")]),
    "an entry that says nothing": ([{}, call(), call(id="", function={"name": ""})], [("a", "f", "{}")]),
    "no name": ([function(arguments="{}")], [("a", "", "{}")]),
    "a name that is null": ([function(name=None, arguments="{}")], [("a", "", "{}")]),
    "a name in spaces": ([function(name=" f\n", arguments="{}")], [("a", "f", "{}")]),
    "no arguments": ([function(name="f")], [("a", "f", "")]),
    "null arguments": ([function(name="f", arguments=None)], [("a", "f", "")]),
    "empty arguments": ([function(name="f", arguments="")], [("a", "f", "")]),
    "arguments an object": ([function(name="f", arguments={"b": [1, "é"]})], [("a", "f", '{"b":[1,"é"]}')]),
    "arguments as they came": ([function(name="f", arguments='{ "b" : 1 }\n')], [("a", "f", '{ "b" : 1 }\n')]),
    "without a function": ([{"id": "a", "name": "f", "arguments": "{}"}], [("a", "f", "{}")]),
    "a custom tool": ([{"id": "a", "type": "custom", "custom": {"name": "f", "input": "x"}}], [("a", "f", "x")]),
    "no id": (
        [function(name="f"), call(id=None), call(id="")],
        [("a", "f", ""), ("call_2", "f", "{}"), ("call_3", "f", "{}")],
    ),
    "a number as id": ([call(id=0), call(id=1)], [("0", "f", "{}"), ("1", "f", "{}")]),
    "an id used twice": ([call(), call(), call(id="b")], [("a", "f", "{}"), ("call_2", "f", "{}"), ("b", "f", "{}")]),
    "an id that is taken": ([call(id="call_2"), call(id=None)], [("call_2", "f", "{}"), ("call_4", "f", "{}")]),
}


@pytest.mark.parametrize(("given", "calls"), CALLS.values(), ids=CALLS)
def test_calls(given, calls):
    for finish in ("tool_calls", "stop", "length", None, ""):
        reply = read_reply(body({"tool_calls": given}, choice={"finish_reason": finish}))
        assert [(c.id, c.name, c.arguments) for c in reply.tool_calls] == calls


def test_a_claim_makes_no_call():
    assert read_reply(body({"content": "Hi"}, choice={"finish_reason": "tool_calls"})).tool_calls == ()


def test_calls_stay_in_the_message_as_they_came():
    given = [call(id=None, extra_content={"google": {"thought_signature": "c2ln"}})]
    assert read_reply(body({"tool_calls": given})).message.data["tool_calls"] == given


def test_legacy_function_call():
    legacy = {"function_call": {"name": "f", "arguments": "{}"}}
    assert read_reply(body(legacy)).tool_calls == (ToolCall("call_1", "f", "{}"),)
    assert read_reply(body(legacy | {"tool_calls": []})).tool_calls == (ToolCall("call_1", "f", "{}"),)
    assert read_reply(body(legacy | {"tool_calls": [call()]})).tool_calls == (ToolCall("a", "f", "{}"),)
    for nothing in (None, {}, {"name": "", "arguments": ""}, "odd"):
        assert read_reply(body({"function_call": nothing})).tool_calls == ()


def test_ids_are_unique_whatever_was_given():
    calls = with_ids(ToolCall(call_id, "f") for call_id in ("call_3", "", "", "call_2", "call_3", "", "call_6"))
    assert len({call.id for call in calls}) == 7
    assert [call.id for call in calls if call.id in ("call_2", "call_3", "call_6")] == ["call_3", "call_2", "call_6"]


@pytest.mark.parametrize(
    ("given", "reason", "extra"),
    [
        ("stop", "stop", {}),
        ("MAX_TOKENS", "MAX_TOKENS", {}),
        (None, None, {}),
        ("", None, {}),
        (1, "1", {}),
        (True, None, {"finish_reason": True}),
        ({"type": "stop"}, None, {"finish_reason": {"type": "stop"}}),
    ],
)
def test_finish_reason(given, reason, extra):
    (choice,) = read_reply(body(choice={"finish_reason": given})).choices
    assert (choice.finish_reason, choice.extra) == (reason, extra)


def test_other_fields_are_kept():
    reply = read_reply(
        body({"annotations": [1]}, choice={"logprobs": {"content": []}}, system_fingerprint=None, timings={})
    )
    assert reply.message.data["annotations"] == [1]
    assert reply.choices[0].extra == {"logprobs": {"content": []}}
    assert reply.extra == {"id": "r", "model": "m", "system_fingerprint": None, "timings": {}}


@pytest.mark.parametrize("role", [None, "", "model", "tool", 5])
def test_the_role_is_the_assistant_s(role):
    assert read_reply(body({"role": role})).message.data["role"] == "assistant"


def test_several_choices_are_kept_apart():
    def choices(*indices):
        return [{"index": index, "message": {"content": text}} for index, text in zip(indices, "abc", strict=True)]

    def read(found):
        return [(choice.index, choice.text) for choice in read_reply({"choices": found}).choices]

    assert read(choices(0, 1, 2)) == [(0, "a"), (1, "b"), (2, "c")]
    assert read(choices(2, 1, 0)) == [(0, "c"), (1, "b"), (2, "a")]
    assert read(choices(0, 0, 0)) == [(0, "a"), (1, "b"), (2, "c")]
    assert read(choices(None, None, None)) == [(0, "a"), (1, "b"), (2, "c")]
    assert read([None, *choices(0, 1, 2)]) == [(0, "a"), (1, "b"), (2, "c")]


@pytest.mark.parametrize(
    ("choice", "text"),
    [
        ({"message": "Hi"}, "Hi"),
        ({"delta": {"content": "Hi"}}, "Hi"),
        ({"message": None, "delta": {"content": "Hi"}}, "Hi"),
        ({"finish_reason": "length"}, ""),
    ],
)
def test_a_message_in_another_place(choice, text):
    assert read_reply({"choices": choice}).text == text


@pytest.mark.parametrize(
    "odd",
    [{}, {"choices": None}, {"choices": []}, {"choices": "x"}, {"choices": [None]}, {"choices": [{"index": 0}]}],
)
def test_what_is_no_reply(odd):
    with pytest.raises(ProtocolError, match="the answer") as caught:
        read_reply(odd)
    assert caught.value.retryable


def test_a_message_that_cannot_be_kept():
    deep = "x"
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(ProtocolError, match="cannot be written as JSON"):
        read_reply(body({"odd": deep}))


USAGES = {
    "null": (None, None),
    "empty": ({}, None),
    "no object": ([1], None),
    "nulls": ({"prompt_tokens": None, "completion_tokens": None}, None),
    "plain": ({"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}, Usage(3, 4, 7)),
    "no total": ({"prompt_tokens": 3, "completion_tokens": 4}, Usage(3, 4, 7)),
    "half of it": ({"prompt_tokens": 3, "completion_tokens": None, "total_tokens": None}, Usage(3, 0, 3)),
    "floats": ({"prompt_tokens": 3.0, "completion_tokens": 4.9, "total_tokens": 7}, Usage(3, 4, 7)),
    "text": ({"prompt_tokens": "3", "completion_tokens": 4}, Usage(3, 4, 7)),
    "other names": ({"input_tokens": 3, "output_tokens": 4}, Usage(3, 4, 7)),
    "both names": ({"prompt_tokens": 3, "input_tokens": 0, "completion_tokens": 4}, Usage(3, 4, 7)),
    "details": (
        {
            "prompt_tokens": 30,
            "completion_tokens": 40,
            "prompt_tokens_details": {"cached_tokens": 1, "text_tokens": 2, "audio_tokens": 3, "image_tokens": 4},
            "completion_tokens_details": {"text_tokens": 5, "audio_tokens": 6, "reasoning_tokens": 7},
        },
        Usage(30, 40, 70, 1, 2, 3, 4, 5, 6, 7),
    ),
    "null details": ({"prompt_tokens": 3, "prompt_tokens_details": None}, Usage(3, 0, 3)),
    "unknown fields": (
        {"prompt_tokens": 3, "cost": 0.1, "prompt_tokens_details": {"video_tokens": 5, "cached_tokens": None}},
        Usage(3, 0, 3, extra={"cost": 0.1, "prompt_tokens_details": {"video_tokens": 5}}),
    ),
    "cached elsewhere": (
        {"prompt_tokens": 3, "prompt_cache_hit_tokens": 2},
        Usage(3, 0, 3, 2, extra={"prompt_cache_hit_tokens": 2}),
    ),
    "what is no count": (
        {"prompt_tokens": -1, "completion_tokens": True, "total_tokens": float("inf")},
        Usage(extra={"prompt_tokens": -1, "completion_tokens": True, "total_tokens": float("inf")}),
    ),
}


@pytest.mark.parametrize(("given", "usage"), USAGES.values(), ids=USAGES)
def test_usage(given, usage):
    assert read_usage(given) == usage


@pytest.mark.parametrize(
    "place", [{"usage": {"prompt_tokens": 3}}, {"x_groq": {"usage": {"prompt_tokens": 3}}, "usage": None}]
)
def test_usage_in_the_body(place):
    assert read_reply(body(**place)).usage == Usage(3, 0, 3)


def test_usage_in_the_choice():
    assert read_reply(body(choice={"usage": {"prompt_tokens": 3}})).usage == Usage(3, 0, 3)


@pytest.mark.parametrize(
    ("value", "error"),
    [(None, False), ({}, False), ("", False), ({"message": "", "code": None}, False), ({"code": 5}, True), ("x", True)],
)
def test_errors_are_told_from_placeholders(value, error):
    assert is_error(value) == error


def test_an_excerpt_is_short():
    assert excerpt(b"\xff" + b"x" * 1000, 10) == "\ufffdxxxxxxxxx… (1001 in all)"
    assert excerpt({"a": 1}) == '{"a":1}'
