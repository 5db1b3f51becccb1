"""The deltas of a stream → the same Reply as from a whole body."""

from __future__ import annotations

import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit.chat.reply import read_reply
from agentkit.chat.stream import Assembler, deltas_of
from agentkit.errors import ProtocolError
from agentkit.events import ReasoningDelta, TextDelta, ToolCallDelta
from agentkit.messages import ToolCall, Usage
from tests.growth import doubling


def chunk(delta=None, *, index=0, finish=None, **fields):
    return {"id": "c", "choices": [{"index": index, "delta": delta or {}, "finish_reason": finish}], **fields}


def assembled(*chunks):
    assembler = Assembler()
    deltas = [delta for one in copy.deepcopy(chunks) for delta in assembler.feed(one)]
    return assembler.reply(), deltas


# A stream makes what the whole body says

WORDS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | WORDS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(WORDS, inner, max_size=2),
    max_leaves=4,
)
CALL_FIELDS = {"id": WORDS.filter(str.strip), "type": st.just("function")}
CALLS = st.lists(
    st.builds(
        lambda fields, name, arguments: {**fields, "function": {"name": name, "arguments": json.dumps(arguments)}},
        st.fixed_dictionaries(CALL_FIELDS, optional={"extra_content": st.dictionaries(WORDS, JSON, max_size=2)}),
        st.sampled_from(["get_weather", "add", "x"]),
        st.dictionaries(WORDS, JSON, max_size=3),
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda call: call["id"],
)
MESSAGES = st.fixed_dictionaries(
    {"role": st.just("assistant")},
    optional={
        "content": st.none() | st.lists(WORDS).map("".join),
        "reasoning_content": WORDS,
        "refusal": st.none() | WORDS,
        "tool_calls": CALLS,
        "annotations": st.lists(JSON.filter(lambda value: not isinstance(value, dict)), max_size=3),
        "odd": JSON.filter(lambda value: not isinstance(value, list)),
    },
)
CHOICES = st.fixed_dictionaries(
    {"message": MESSAGES, "finish_reason": st.sampled_from(["stop", "length", "tool_calls"])}
)
TEXTS = ("content", "reasoning_content", "refusal")


def cut(text, data):
    places = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=4)))
    return [text[start:end] for start, end in zip([0, *places], [*places, len(text)], strict=True)]


def deltas_for(message, data):
    """The message as an endpoint would stream it."""
    yield {"role": "assistant"}
    for name, value in message.items():
        if name == "tool_calls":
            for index, call in enumerate(value):
                pieces = cut(call["function"]["arguments"], data)
                head = {**call, "index": index, "function": {**call["function"], "arguments": pieces[0]}}
                yield {"tool_calls": [head]}
                yield from ({"tool_calls": [{"index": index, "function": {"arguments": p}}]} for p in pieces[1:])
        elif name in TEXTS and value is not None:
            yield from ({name: piece} for piece in cut(value, data))
        elif name != "role":
            yield {name: value}


@given(st.lists(CHOICES, min_size=1, max_size=2), st.data())
def test_a_stream_makes_what_the_whole_body_says(choices, data):
    body = {"id": "c", "model": "m", "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}}
    whole = read_reply({**body, "choices": [{"index": i, **choice} for i, choice in enumerate(choices)]})
    queues = [
        [
            *({"delta": delta, "finish_reason": None} for delta in deltas_for(choice["message"], data)),
            {"delta": {}, "finish_reason": choice["finish_reason"]},
        ]
        for choice in choices
    ]
    chunks = []
    while any(queues):
        index = data.draw(st.sampled_from([i for i, queue in enumerate(queues) if queue]))
        chunks.append({"id": "c", "model": "m", "choices": [{"index": index, **queues[index].pop(0)}]})
    reply, deltas = assembled(*chunks, {"id": "c", "choices": [], "usage": body["usage"]})
    assert reply == whole
    for choice in reply.choices:
        own = [delta for delta in deltas if delta.choice == choice.index]
        assert "".join(delta.text for delta in own if isinstance(delta, TextDelta)) == choice.text
        assert "".join(delta.text for delta in own if isinstance(delta, ReasoningDelta)) == choice.reasoning
        for position, call in enumerate(choice.tool_calls):
            told = [delta for delta in own if isinstance(delta, ToolCallDelta) and delta.position == position]
            assert "".join(delta.arguments for delta in told) == call.arguments


# The short way of an ordinary chunk gives what the long way gives

FRAMES = st.fixed_dictionaries(
    {"index": st.sampled_from([0, 0, 0, 1, "0", None])},
    optional={
        "finish_reason": st.sampled_from([None, None, None, "", "stop"]),
        "logprobs": st.sampled_from([None, None, {"content": [1]}]),
        "delta": st.sampled_from(
            [{"content": "a"}] * 5
            + [{"content": ""}, {"content": None}, {"content": [{"type": "text", "text": "b"}]}, {}, None, 5]
            + [
                {"role": "assistant", "content": "c"},
                {"reasoning": "d"},
                {"audio": {"transcript": "e"}},
                {"content": 5},
            ]
        ),
    },
)
HEADS = st.fixed_dictionaries(
    {},
    optional={
        "id": st.sampled_from(["a", "a", ""]),
        "created": st.sampled_from([1, 1, 2, 0]),
        "usage": st.sampled_from([None, {"prompt_tokens": 1}, {"prompt_tokens": 0}]),
        "x": st.sampled_from([{"a": 1}, {"b": 2}]),
    },
)


@given(st.lists(st.tuples(HEADS, FRAMES), min_size=1, max_size=12))
def test_the_short_way_is_exact(chunks):
    short, long = Assembler(), Assembler()
    for head, choice in chunks:
        # A second choice that is none sends a chunk the long way.
        told = long.feed(copy.deepcopy({**head, "choices": [choice, None]}))
        assert short.feed(copy.deepcopy({**head, "choices": [choice]})) == told
        assert short.partial_text == long.partial_text
    assert short.finished == long.finished
    assert short.reply() == long.reply()


# Rules


def test_all_text_comes_in_deltas_the_first_too():
    reply, deltas = assembled(chunk({"role": "assistant", "content": "He"}), chunk({"content": "llo"}, finish="stop"))
    assert deltas == [TextDelta("He"), TextDelta("llo")]
    assert (reply.text, reply.finish_reason) == ("Hello", "stop")
    assert reply.message.data == {"role": "assistant", "content": "Hello"}


@pytest.mark.parametrize(
    ("contents", "content"),
    [((), ...), ((None,), None), (("",), ""), ((None, ""), ""), (("", None, "a"), "a"), (("a", "", "b", None), "ab")],
)
def test_content_is_null_or_empty_as_it_came(contents, content):
    reply, _ = assembled(chunk({"role": "assistant"}), *(chunk({"content": one}) for one in contents))
    assert reply.message.data.get("content", ...) == content


def test_content_in_parts():
    reply, deltas = assembled(
        chunk({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "h"}]}]}),
        chunk({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "mm"}], "closed": True}]}),
        chunk({"content": "Hel"}),
        chunk({"content": "lo"}),
        chunk({"content": {"type": "text", "text": "!"}}),
        chunk({"content": [{"type": "reference", "reference_ids": [1]}]}),
    )
    assert (reply.text, reply.reasoning) == ("Hello!", "hmm")
    assert deltas == [
        ReasoningDelta("h"),
        ReasoningDelta("mm"),
        TextDelta("Hel"),
        TextDelta("lo"),
        TextDelta("!"),
    ]
    assert reply.message.data["content"] == [
        {"type": "thinking", "thinking": [{"type": "text", "text": "hmm"}], "closed": True},
        {"type": "text", "text": "Hello!"},
        {"type": "reference", "reference_ids": [1]},
    ]


def test_text_before_parts_becomes_one():
    reply, _ = assembled(
        chunk({"content": "a"}), chunk({"content": [{"type": "image", "id": "x"}]}), chunk({"content": "b"})
    )
    text = [{"type": "text", "text": "a"}, {"type": "image", "id": "x"}, {"type": "text", "text": "b"}]
    assert (reply.message.data["content"], reply.text) == (text, "ab")


def test_reasoning_under_two_names_is_told_once():
    details = [{"type": "reasoning.text", "text": "st", "index": 0}]
    more = [{"type": "reasoning.text", "text": "ep", "index": 0}]
    sealed = [{"type": "reasoning.encrypted", "data": "b64", "index": 0}]
    reply, deltas = assembled(
        chunk({"reasoning": "st", "reasoning_details": details}),
        chunk({"reasoning": "ep", "reasoning_details": more}),
        chunk({"reasoning": None, "reasoning_details": sealed}),
        chunk({"reasoning_content": "step"}),
    )
    assert deltas == [ReasoningDelta("st"), ReasoningDelta("ep")]
    assert reply.reasoning == "step"
    assert reply.message.data["reasoning_details"] == [details[0] | {"text": "step"}, sealed[0]]


def test_what_is_heard_is_text_where_nothing_is_written():
    reply, deltas = assembled(
        chunk({"content": None, "audio": {"id": "a", "transcript": "Hel", "data": "AAAA"}}),
        chunk({"audio": {"transcript": "lo", "data": "AAAA"}}),
    )
    assert (reply.text, deltas) == ("Hello", [TextDelta("Hel"), TextDelta("lo")])
    assert reply.message.data["audio"] == {"id": "a", "transcript": "Hello", "data": "AAAAAAAA"}
    reply, deltas = assembled(chunk({"content": "Hi"}), chunk({"audio": {"transcript": "Hi"}}))
    assert (reply.text, deltas) == ("Hi", [TextDelta("Hi")])


def test_legacy_function_call():
    reply, deltas = assembled(
        chunk({"content": None, "function_call": {"name": "f", "arguments": ""}}),
        chunk({"function_call": {"arguments": '{"a":'}}),
        chunk({"function_call": {"arguments": "1}"}}, finish="function_call"),
        chunk({"function_call": None}),
    )
    assert reply.tool_calls == (ToolCall("call_1", "f", '{"a":1}'),)
    assert deltas == [ToolCallDelta(0, "f", ""), ToolCallDelta(0, "f", '{"a":'), ToolCallDelta(0, "f", "1}")]
    assert reply.message.data["function_call"] == {"name": "f", "arguments": '{"a":1}'}


def test_a_legacy_call_beside_tool_calls_is_told_once():
    function = {"name": "f", "arguments": "{}"}
    both = {"tool_calls": [{"index": 0, "id": "a", "function": function}], "function_call": function}
    reply, deltas = assembled(chunk(both))
    assert (reply.tool_calls, deltas) == ((ToolCall("a", "f", "{}"),), [ToolCallDelta(0, "f", "{}")])


def test_a_message_in_place_of_deltas():
    message = {"role": "assistant", "content": "Hi", "tool_calls": [{"id": "a", "function": {"name": "f"}}]}
    reply, deltas = assembled({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})
    assert (reply.text, reply.tool_calls, reply.finish_reason) == ("Hi", (ToolCall("a", "f", ""),), "stop")
    assert deltas == [TextDelta("Hi"), ToolCallDelta(0, "f", "")]


def test_a_whole_message_at_the_end_says_nothing_twice():
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    message = {"role": "assistant", "content": "Hi", "reasoning": "hm", "tool_calls": [call], "annotations": [1]}
    last = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    reply, deltas = assembled(
        chunk({"reasoning": "hm"}), chunk({"content": "Hi"}), chunk({"tool_calls": [{**call, "index": 0}]}), last
    )
    assert deltas == [ReasoningDelta("hm"), TextDelta("Hi"), ToolCallDelta(0, "f", "{}")]
    assert reply.message.data == message


def test_a_finish_reason_stays():
    reply, _ = assembled(chunk({"content": "a"}, finish="stop"), chunk({"content": "b"}), chunk(finish=""))
    assert (reply.text, reply.finish_reason) == ("ab", "stop")


def test_fields_beside_the_choices():
    blank = {"id": "", "model": "", "created": 0, "choices": [], "prompt_filter_results": [{"prompt_index": 0}]}
    reply, _ = assembled(
        blank,
        chunk({"content": "a"}, model="m", created=5, citations=["x"], x_groq={"id": "g"}, fingerprint=None),
        chunk({"content": "b"}, model="m", created=6, citations=["x", "y"], x_groq={"usage": {"prompt_tokens": 3}}),
        {"id": "c", "choices": None},
    )
    assert reply.usage == Usage(3, 0, 3)
    assert reply.extra == {
        "id": "c",
        "model": "m",
        "created": 6,
        "prompt_filter_results": [{"prompt_index": 0}],
        "citations": ["x", "y"],
        "x_groq": {"id": "g", "usage": {"prompt_tokens": 3}},
        "fingerprint": None,
    }


def test_fields_of_a_choice():
    def told(severity, token):
        choice = {"index": 0, "delta": {"content": "a"}, "logprobs": {"content": [{"token": token}], "refusal": None}}
        return {"choices": [choice | {"content_filter_results": {"hate": {"severity": severity}}}]}

    reply, _ = assembled(told("safe", "a"), told("low", "a"), chunk({"content": "b"}))
    assert reply.choices[0].extra == {
        "logprobs": {"content": [{"token": "a"}, {"token": "a"}], "refusal": None},
        "content_filter_results": {"hate": {"severity": "low"}},
    }


def test_usage_is_what_was_told_last():
    first = {"prompt_tokens": 9, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 4}}
    last = {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14, "prompt_tokens_details": None}
    reply, _ = assembled(
        chunk({"content": "a"}, usage=first),
        chunk({"content": "b"}, usage=None),
        chunk(usage=last),
        chunk(usage={"prompt_tokens": 0, "completion_tokens": 0, "prompt_tokens_details": {"cached_tokens": 0}}),
    )
    assert reply.usage == Usage(9, 5, 14, 4)


def test_several_choices_are_kept_apart():
    reply, deltas = assembled(
        chunk({"content": "b"}, index=1),
        chunk({"content": "a"}),
        {"choices": [{"index": 0, "delta": {"content": "A"}}, {"index": 0, "delta": {"content": "B"}}]},
    )
    assert [(choice.index, choice.text) for choice in reply.choices] == [(0, "aA"), (1, "bB")]
    assert [(delta.choice, delta.text) for delta in deltas] == [(1, "b"), (0, "a"), (0, "A"), (1, "B")]


def test_every_choice_has_to_finish():
    assembler = Assembler()
    states = []
    for one in (chunk({"content": "a"}), chunk(index=1), chunk(finish="stop"), chunk(index=1, finish="stop")):
        assembler.feed(one)
        states.append(assembler.finished)
    assert states == [False, False, False, True]


def test_sealed_calls_have_the_ids_of_the_reply():
    assembler = Assembler()
    assert (assembler.sealed, assembler.sealed_calls()) == (0, [])
    for index in range(3):
        assembler.feed(chunk({"tool_calls": [{"index": index, "function": {"name": "f", "arguments": "{}"}}]}))
    assert assembler.sealed == 2
    assert tuple(assembler.sealed_calls()) == assembler.reply().tool_calls[:2]


def test_without_a_choice_there_is_no_reply():
    with pytest.raises(ProtocolError, match="no choices"):
        assembled({"id": "c", "choices": []})


def test_a_reply_as_deltas():
    message = {
        "reasoning": "hm",
        "content": "Hi",
        "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "{}"}}],
    }
    reply = read_reply({"choices": [{"index": 2, "message": message}]})
    assert deltas_of(reply) == [
        ReasoningDelta("hm", choice=2),
        TextDelta("Hi", choice=2),
        ToolCallDelta(0, "f", "{}", choice=2),
    ]


@pytest.mark.slow
@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    "delta",
    [
        lambda _: {"content": "a"},
        lambda n: {"content": "a", "x": f"{n}"},
        lambda _: {"content": [{"type": "text", "text": "a"}]},
        lambda _: {"reasoning": "a"},
        lambda n: {"reasoning_content" if n % 2 else "reasoning": "a" * (n % 7)},
        lambda n: {f"field{n}": "a"},
        lambda _: {"audio": {"transcript": "a"}},
        lambda _: {"function_call": {"arguments": "{}"}},
    ],
)
def test_twice_the_chunks_take_twice_the_time(delta):
    def work(number):
        assembler = Assembler()
        for n in range(number):
            assembler.feed(chunk(delta(n)))
        assembler.reply()

    assert doubling(work, 10_000) < 2.3
