"""Tool calls that come in pieces, as endpoints send them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit.chat.calls import CallPieces, Whole
from agentkit.errors import ProtocolError
from tests.growth import doubling


def call(arguments=None, *, name=None, **fields):
    """An entry of a delta; what is None is left out."""
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    return {**fields, "function": function}


def put_together(*deltas):
    pieces = CallPieces()
    for entries in deltas:
        pieces.take(entries, 0)
    return pieces


PARIS, ROME = '{"city":"Paris"}', '{"city":"Rome"}'
W, T = "get_weather", "get_time"

# Each row: the deltas, and (id, name, arguments) of each call that they make.
TABLE = {
    "by the book": (
        [[call("", index=0, id="a", name=W)], [call('{"city":', index=0)], [call('"Paris"}', index=0)]],
        [("a", W, PARIS)],
    ),
    "two by the book": (
        [
            [call("", index=0, id="a", name=W)],
            [call(PARIS, index=0)],
            [call("", index=1, id="b", name=W)],
            [call(ROME, index=1)],
        ],
        [("a", W, PARIS), ("b", W, ROME)],
    ),
    "interleaved": (
        [
            [call("", index=0, id="a", name=W), call("", index=1, id="b", name=W)],
            [call('{"city":', index=0), call('{"city":', index=1)],
            [call('"Rome"}', index=1), call('"Paris"}', index=0)],
        ],
        [("a", W, PARIS), ("b", W, ROME)],
    ),
    "the second index first": (
        [[call(ROME, index=1, id="b", name=W)], [call(PARIS, index=0, id="a", name=W)]],
        [("a", W, PARIS), ("b", W, ROME)],
    ),
    "no index, one a chunk": (
        [[call(PARIS, id="a", name=W)], [call(ROME, id="b", name=W)]],
        [("a", W, PARIS), ("b", W, ROME)],
    ),
    "no index, all at once": (
        [[call(PARIS, id="a", name=W), call(ROME, id="b", name=W)]],
        [("a", W, PARIS), ("b", W, ROME)],
    ),
    "no index, in pieces": (
        [[call("", id="a", name=W)], [call('{"city":')], [call('"Paris"}')], [call(ROME, id="b", name=W)]],
        [("a", W, PARIS), ("b", W, ROME)],
    ),
    "no index, id on each piece": (
        [
            [call("", id="a", name=W)],
            [call('{"city":', id="a")],
            [call(ROME, id="b", name=W)],
            [call('"Paris"}', id="a")],
        ],
        [("a", W, PARIS), ("b", W, ROME)],
    ),
    "no index, two at a time": (
        [
            [call("", id="a", name=W), call("", id="b", name=W)],
            [call('{"city":'), call('{"city":')],
            [call('"Paris"}'), call('"Rome"}')],
        ],
        [("a", W, PARIS), ("b", W, ROME)],
    ),
    "no index and no id, two at a time": (
        [[call("", name=W), call("", name=T)], [call(PARIS), call("{}")]],
        [("", W, PARIS), ("", T, "{}")],
    ),
    "no index and no id": (
        [[call(PARIS, name=W)], [call(ROME, name=W)], [call("{}", name=T)]],
        [("", W, PARIS), ("", W, ROME), ("", T, "{}")],
    ),
    "no index and no id, the same call twice": (
        [[call(PARIS, name=W)], [call(PARIS, name=W)]],
        [("", W, PARIS), ("", W, PARIS)],
    ),
    "no index and no id, in pieces": (
        [[call("", name=W)], [call(PARIS)], [call("", name=T)], [call("{}")]],
        [("", W, PARIS), ("", T, "{}")],
    ),
    "all at index 0": (
        [[call(PARIS, index=0, id="a", name=W)], [call(ROME, index=0, id="b", name=W)]],
        [("a", W, PARIS), ("b", W, ROME)],
    ),
    "all at index 0, in one delta": (
        [[call(PARIS, index=0, id="a", name=W), call(ROME, index=0, id="b", name=W)]],
        [("a", W, PARIS), ("b", W, ROME)],
    ),
    "all at index 0, in pieces": (
        [
            [call("", index=0, id="a", name=W)],
            [call(PARIS, index=0)],
            [call("", index=0, id="b", name=W)],
            [call('{"city":', index=0)],
            [call('"Rome"}', index=0)],
        ],
        [("a", W, PARIS), ("b", W, ROME)],
    ),
    "all at index 0, interleaved by id": (
        [
            [call("", index=0, id="a", name=W)],
            [call("", index=0, id="b", name=W)],
            [call(PARIS, index=0, id="a")],
            [call(ROME, index=0, id="b")],
        ],
        [("a", W, PARIS), ("b", W, ROME)],
    ),
    "all at index 0 without ids": (
        [[call(PARIS, index=0, name=W)], [call(ROME, index=0, name=W)], [call("{}", index=0, name=T)]],
        [("", W, PARIS), ("", W, ROME), ("", T, "{}")],
    ),
    "all at index 0 without ids, in pieces": (
        [[call("", index=0, name=W)], [call(PARIS, index=0)], [call("", index=0, name=W)], [call(ROME, index=0)]],
        [("", W, PARIS), ("", W, ROME)],
    ),
    "all at index 0 with the same id": (
        [[call(PARIS, index=0, id="a", name=W)], [call("{}", index=0, id="a", name=T)]],
        [("a", W, PARIS), ("a", T, "{}")],
    ),
    "the same id at two indices": (
        [[call(PARIS, index=0, id="a", name=W)], [call(ROME, index=1, id="a", name=W)]],
        [("a", W, PARIS), ("a", W, ROME)],
    ),
    "the same without an index": (
        [[call(PARIS, id="a", name=W)], [call(ROME, id="a", name=W)]],
        [("a", W, PARIS), ("a", W, ROME)],
    ),
    "index null, then right": (
        [[call('{"city":', index=None, id="a", name=W)], [call('"Paris"}', index=0)]],
        [("a", W, PARIS)],
    ),
    "index left out, then right": (
        [[call("", id="a", name=W)], [call(PARIS, index=0, id="a")]],
        [("a", W, PARIS)],
    ),
    "index as text": (
        [[call('{"city":', index="0", id="a", name=W)], [call('"Paris"}', index="0")]],
        [("a", W, PARIS)],
    ),
    "index as text and as number": (
        [[call('{"city":', index="0", id="a", name=W)], [call('"Paris"}', index=0.0)]],
        [("a", W, PARIS)],
    ),
    "index beyond measure": ([[call(PARIS, index=2147483647, id="a", name=W)]], [("a", W, PARIS)]),
    "index that is none": (
        [[call(PARIS, index="first", id="a", name=W)], [call(ROME, index=-1, id="b", name=W)]],
        [("a", W, PARIS), ("b", W, ROME)],
    ),
    "the wrong index but the right id": (
        [[call("", index=0, id="a", name=W)], [call(PARIS, index=1, id="a")]],
        [("a", W, PARIS)],
    ),
    "id late": (
        [[call('{"city":', index=0, name=W)], [call('"Paris"}', index=0, id="a")]],
        [("a", W, PARIS)],
    ),
    "id late, no index": ([[call('{"city":', name=W)], [call('"Paris"}', id="a")]], [("a", W, PARIS)]),
    "id on each piece": (
        [[call('{"city":', index=0, id="a", name=W)], [call('"Paris"}', index=0, id="a")]],
        [("a", W, PARIS)],
    ),
    "id empty after the first": (
        [[call("", index=0, id="a", name=W)], [call(PARIS, index=0, id="", name="")]],
        [("a", W, PARIS)],
    ),
    "another id on each piece": (
        [
            [call('{"city":', index=0, id="a", name=W)],
            [call('"Par', index=0, id="b")],
            [call('is"}', index=0, id="c")],
            [call("", index=0, id="d")],
        ],
        [("a", W, PARIS)],
    ),
    "another id and the name on each piece": (
        [[call('{"city":', index=0, id="a", name=W)], [call('"Paris"}', index=0, id="b", name=W)]],
        [("a", W, PARIS)],
    ),
    "id as a number": (
        [[call(PARIS, index=0, id=7, name=W)], [call(ROME, index=1, id=0, name=W)]],
        [("7", W, PARIS), ("0", W, ROME)],
    ),
    "name in pieces": (
        [[call("", index=0, id="a", name="get_")], [call(PARIS, index=0, name="weather")]],
        [("a", W, PARIS)],
    ),
    "name that grows": (
        [[call("", index=0, id="a", name="get_")], [call(PARIS, index=0, name="get_weather")]],
        [("a", W, PARIS)],
    ),
    "name on each piece": (
        [
            [call('{"city":', index=0, id="a", name=W)],
            [call('"Paris"}', index=0, id="a", name=W)],
            [call("", index=0, id="a", name=W)],
        ],
        [("a", W, PARIS)],
    ),
    "name on each piece, no id": (
        [[call('{"city":', index=0, name=W)], [call('"Paris"}', index=0, name=W)], [call("", index=0, name=W)]],
        [("", W, PARIS)],
    ),
    "name after the arguments": (
        [[call('{"city":', index=0, id="a")], [call("", index=0, name=W)], [call('"Paris"}', index=0)]],
        [("a", W, PARIS)],
    ),
    "name after all of the arguments": ([[call(PARIS, index=0, id="a")], [call(index=0, name=W)]], [("a", W, PARIS)]),
    "name empty, then real": (
        [[call("", index=0, id="a", name="")], [call(PARIS, index=0, id="a", name=W)]],
        [("a", W, PARIS)],
    ),
    "name in spaces": ([[call(PARIS, index=0, id="a", name=f" {W}\n")]], [("a", W, PARIS)]),
    "name in spaces, then without": (
        [[call("", index=0, id="a", name=f" {W}")], [call(PARIS, index=0, name=W)]],
        [("a", W, PARIS)],
    ),
    "no name, then another id": (
        [[call(PARIS, index=0, id="a")], [call("{}", index=0, id="b", name=T)]],
        [("a", "", PARIS), ("b", T, "{}")],
    ),
    "arguments null first": (
        [[{"index": 0, "id": "a", "function": {"name": W, "arguments": None}}], [call(PARIS, index=0)]],
        [("a", W, PARIS)],
    ),
    "arguments never": ([[call(index=0, id="a", name=T)]], [("a", T, "")]),
    "arguments an object": ([[call({"city": "Paris"}, index=0, id="a", name=W)]], [("a", W, PARIS)]),
    "arguments an object, again": (
        [[call({"city": "Paris"}, index=0, id="a", name=W)], [call({"city": "Paris"}, index=0, id="a", name=W)]],
        [("a", W, PARIS)],
    ),
    "arguments an object that grows": (
        [[call({"city": "Pa"}, index=0, id="a", name=W)], [call({"city": "Paris"}, index=0, id="a")]],
        [("a", W, PARIS)],
    ),
    "arguments objects of two calls": (
        [[call({"city": "Paris"}, name=W)], [call({"city": "Rome"}, name=W)]],
        [("", W, PARIS), ("", W, ROME)],
    ),
    "arguments told once more at the end": (
        [
            [call('{"city":', index=0, id="a", name=W)],
            [call('"Paris"}', index=0)],
            [call(PARIS, index=0, id="a", name=W)],
        ],
        [("a", W, PARIS)],
    ),
    "an empty object holds the place": (
        [[call("{}", index=0, id="a", name=W)], [call('{"city":', index=0)], [call('"Paris"}', index=0)]],
        [("a", W, PARIS)],
    ),
    "equal pieces are two": (
        [
            [call('{"a":"', index=0, id="a", name=W)],
            [call("ha", index=0)],
            [call("ha", index=0)],
            [call('"}', index=0)],
        ],
        [("a", W, '{"a":"haha"}')],
    ),
    "text after the arguments": (
        [[call(PARIS, index=0, id="a", name=W)], [call("\n", index=0)], [call("</tool_call>", index=0)]],
        [("a", W, PARIS + "\n</tool_call>")],
    ),
    "a last entry that says nothing": (
        [[call(PARIS, index=0, id="a", name=W)], [call("", index=1, id="", name="")]],
        [("a", W, PARIS)],
    ),
    "name and arguments without a function": (
        [[{"index": 0, "id": "a", "name": W, "arguments": PARIS}]],
        [("a", W, PARIS)],
    ),
    "function null": ([[{"index": 0, "id": "a", "function": None}], [call(PARIS, index=0, name=W)]], [("a", W, PARIS)]),
}


@pytest.mark.parametrize(("deltas", "calls"), TABLE.values(), ids=TABLE)
def test_pieces(deltas, calls):
    made = [
        (call.id or "", call.name.strip(), call.arguments)
        for call in sorted(put_together(*deltas).calls, key=lambda call: call.index or 0)
        if not call.blank
    ]
    assert made == calls


@pytest.mark.parametrize(("deltas", "calls"), TABLE.values(), ids=TABLE)
def test_the_message_has_the_same(deltas, calls):
    data = put_together(*deltas).data()
    assert [(str(call.get("id", "")), call["function"]["name"].strip()) for call in data] == [c[:2] for c in calls]
    assert all("index" not in call for call in data)


def test_other_fields_are_kept():
    entry = call(
        PARIS, index=0, id="a", name=W, type="function", extra_content={"google": {"thought_signature": "c2ln"}}
    )
    entry["function"]["thought"] = "x"
    (data,) = put_together([entry], [call(index=0, type="function", extra_content={"google": {"more": "y"}})]).data()
    assert data == {
        "id": "a",
        "type": "function",
        "function": {"name": W, "arguments": PARIS, "thought": "x"},
        "extra_content": {"google": {"thought_signature": "c2ln", "more": "y"}},
    }


def test_deltas_have_place_name_and_new_text():
    pieces = CallPieces()
    told = [
        (delta.position, delta.name, delta.arguments, delta.choice)
        for entries in TABLE["interleaved"][0]
        for delta in pieces.take(entries, 2)
    ]
    assert told == [
        (0, W, "", 2),
        (1, W, "", 2),
        (0, W, '{"city":', 2),
        (1, W, '{"city":', 2),
        (1, W, '"Rome"}', 2),
        (0, W, '"Paris"}', 2),
    ]


def test_a_call_is_sealed_once_it_is_whole_and_a_later_one_has_begun():
    pieces = CallPieces()
    seen = []
    for entries in TABLE["two by the book"][0]:
        pieces.take(entries, 0)
        seen.append([call.arguments for call in pieces.sealed_calls()])
    assert seen == [[], [], [PARIS], [PARIS]]


def test_a_call_that_is_not_whole_is_not_sealed():
    pieces = put_together([call('{"city":', index=0, name=W)], [call(ROME, index=1, name=W)])
    assert pieces.sealed == 0
    pieces.take([call('"Paris"}', index=0)], 0)
    assert pieces.sealed == 1


def test_the_number_of_calls_is_bounded():
    pieces = CallPieces()
    pieces.take([call("{}", index=n, name="f") for n in range(50_000)], 0)
    with pytest.raises(ProtocolError, match="more than 50000 tool calls"):
        pieces.take([call("{}", index=50_000, name="f")], 0)


def test_arguments_are_bounded():
    pieces, million = CallPieces(), "x" * 1024 * 1024
    for number in range(16):
        pieces.take([call(f"{number:02}" + million[2:], index=0, name="f")], 0)
    with pytest.raises(ProtocolError, match="arguments of a call of f are longer than 16777216"):
        pieces.take([call("x", index=0, name="f")], 0)
    with pytest.raises(ProtocolError, match="arguments of a call of f are longer"):
        CallPieces().take([call({"a": million * 17}, index=0, name="f")], 0)


def test_a_name_is_bounded():
    pieces = CallPieces()
    with pytest.raises(ProtocolError, match="name is longer than 4096"):
        pieces.take([call(index=0, name="x" * 5000)], 0)


@given(
    st.recursive(
        st.text() | st.integers() | st.none() | st.booleans(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    ).filter(lambda value: isinstance(value, str | list | dict)),
    st.booleans(),
    st.data(),
)
def test_whole_is_told_from_begun(value, ascii_only, data):
    text = json.dumps(value, ensure_ascii=ascii_only)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)))))
    pieces, whole = [], Whole()
    for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
        pieces.append(text[start:end])
        assert whole.check(pieces) == (end == len(text)), pieces


@pytest.mark.slow
@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    "entry",
    [
        lambda _: call("[1],", index=0),
        lambda _: call("[1],", index=0, id="a", name=W),
        lambda n: call("[1],", index=0, id=f"{n}"),
        lambda n: call("{}", index=n, id=f"{n}", name=W),
        lambda n: call("{}", index=0, id=f"{n}", name=W),
        lambda _: call("{}", name=W),
        lambda _: call({}, index=0, name=W),
    ],
)
def test_twice_the_pieces_take_twice_the_time(entry):
    def work(number):
        pieces = put_together([call("[", index=0, id="a", name=W)])
        for n in range(number):
            pieces.take([entry(n)], 0)
            assert pieces.sealed >= 0
        pieces.data()

    assert doubling(work, 10_000) < 2.3
