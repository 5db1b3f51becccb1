"""How streamed fields grow together."""

from __future__ import annotations

import pytest

from agentkit.chat.merge import add_parts, merged, place_of, plain
from tests.growth import doubling

TEXT, SEALED = {"type": "reasoning.text", "index": 0}, {"type": "reasoning.encrypted", "index": 0}

FIELDS = {
    "strings join": ("note", ["a", "b", "c"], "abc"),
    "unless equal": ("note", ["ab", "ab", "c"], "abc"),
    "equal to all so far": ("note", ["a", "b", "ab"], "ab"),
    "spoken text joins even if equal": ("text", ["ha", "ha"], "haha"),
    "null changes nothing": ("note", ["a", None, "b"], "ab"),
    "null alone stays": ("note", [None, None], None),
    "null then a value": ("note", [None, {"a": 1}], {"a": 1}),
    "an empty string changes nothing": ("note", ["a", ""], "a"),
    "an empty string alone stays": ("note", ["", ""], ""),
    "id replaces": ("id", ["a", "b"], "b"),
    "type replaces": ("type", ["a", "b"], "b"),
    "format replaces": ("format", ["a", "b"], "b"),
    "an empty id replaces nothing": ("id", ["a", ""], "a"),
    "numbers replace": ("count", [1, 2], 2),
    "booleans replace": ("done", [False, True], True),
    "another type replaces": ("note", ["a", 5, "b"], "b"),
    "objects merge": (
        "extra_content",
        [{"google": {"a": "x"}}, {"google": {"b": "y"}}],
        {"google": {"a": "x", "b": "y"}},
    ),
    "a signature said twice is one": ("extra_content", [{"google": {"s": "c2ln"}}] * 2, {"google": {"s": "c2ln"}}),
    "lists extend": ("citations", [["a"], ["b", "c"]], ["a", "b", "c"]),
    "lists of lists": ("rows", [[[1]], [[2, {"a": "b"}]]], [[1], [2, {"a": "b"}]]),
    "an empty list stays": ("citations", [[]], []),
    "items without an index are told apart": (
        "details",
        [[{"text": "a"}], [{"text": "b"}]],
        [{"text": "a"}, {"text": "b"}],
    ),
    "items with the same index merge": (
        "reasoning_details",
        [[TEXT | {"text": "a"}], [TEXT | {"text": "a"}], [TEXT | {"signature": "s"}]],
        [TEXT | {"text": "aa", "signature": "s"}],
    ),
    "an item that leaves the type out": ("details", [[TEXT], [{"index": 0, "text": "a"}]], [TEXT | {"text": "a"}]),
    "a type that comes late": ("details", [[{"index": 0}], [TEXT | {"text": "a"}]], [TEXT | {"text": "a"}]),
    "two types at one index are two items": (
        "reasoning_details",
        [[TEXT | {"text": "a"}], [SEALED | {"data": "x"}], [TEXT | {"text": "b"}], [SEALED | {"data": "y"}]],
        [TEXT | {"text": "ab"}, SEALED | {"data": "xy"}],
    ),
    "true is no index": ("details", [[{"index": True}], [{"index": True}]], [{"index": True}] * 2),
    "audio data joins even if equal": (
        "audio",
        [{"id": "a", "data": "AAAA"}, {"data": "AAAA", "transcript": "ha"}, {"transcript": "ha", "expires_at": 5}],
        {"id": "a", "data": "AAAAAAAA", "transcript": "haha", "expires_at": 5},
    ),
}


@pytest.mark.parametrize(("name", "values", "whole"), FIELDS.values(), ids=FIELDS)
def test_a_field(name, values, whole):
    grown = None
    for value in values:
        grown = merged(grown, value, name)
    assert plain(grown) == whole


def test_what_is_told_anew_replaces():
    grown = None
    for severity in ("safe", "low"):
        grown = merged(grown, {"hate": {"severity": severity}}, "content_filter_results", join=False)
    assert plain(grown) == {"hate": {"severity": "low"}}


PARTS = {
    "text goes on": (
        [{"type": "text", "text": "a"}],
        [{"type": "text", "text": "b"}],
        [{"type": "text", "text": "ab"}],
    ),
    "thinking goes on": (
        [{"type": "thinking", "thinking": [{"type": "text", "text": "a"}]}],
        [{"type": "thinking", "thinking": [{"type": "text", "text": "b"}], "closed": True}],
        [{"type": "thinking", "thinking": [{"type": "text", "text": "ab"}], "closed": True}],
    ),
    "another kind is the next part": (
        [{"type": "thinking", "thinking": "a"}],
        [{"type": "text", "text": "b"}],
        [{"type": "thinking", "thinking": "a"}, {"type": "text", "text": "b"}],
    ),
    "other kinds are told apart": (
        [{"type": "reference", "reference_ids": [1]}],
        [{"type": "reference", "reference_ids": [2]}],
        [{"type": "reference", "reference_ids": [1]}, {"type": "reference", "reference_ids": [2]}],
    ),
    "what is no object": (["a"], ["b", None, 5], ["a", "b", None, 5]),
}


@pytest.mark.parametrize(("first", "second", "whole"), PARTS.values(), ids=PARTS)
def test_parts(first, second, whole):
    parts = []
    add_parts(parts, first)
    add_parts(parts, second)
    assert plain(parts) == whole


@pytest.mark.parametrize(
    ("index", "place"),
    [(0, 0), (3, 3), ("3", 3), (3.0, 3), (None, 9), (True, 9), ("x", 9), ("٣", 9), (1.5, 9), ("1" * 30, 9), ([], 9)],
)
def test_places(index, place):
    assert place_of(index, 9) == place


@pytest.mark.slow
@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    "value", [lambda n: f"{n}", lambda n: [{"index": n, "text": "a"}], lambda n: [{"index": n % 5, "text": "a"}]]
)
def test_twice_the_pieces_take_twice_the_time(value):
    def work(number):
        grown = None
        for n in range(number):
            grown = merged(grown, value(n), "field")
        plain(grown)

    assert doubling(work, 20_000) < 2.3
