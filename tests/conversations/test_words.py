"""The words of a text, and finding entries and memories by them: alike in every database."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit.context import Retry
from agentkit.conversations.words import (
    MAX_WORD_CHARS,
    MAX_WORDS_CHARS,
    entry_text,
    excerpt,
    stored_words,
    wanted_words,
)
from tests.conversations.entries import asked, fill, said


@pytest.mark.parametrize(
    ("text", "stored", "wanted"),
    [
        ("", [], []),
        ("Where is Dune?", ["where", "is", "dune"], ["where", "is", "dune"]),
        ("dune DUNE Dune", ["dune"], ["dune"]),
        ("snake_case, foo@bar.example", ["snake", "case", "foo", "bar", "example"], None),
        ("1.5 x2", ["1", "5", "x2"], None),
        ("Über Café naïve", ["uber", "cafe", "naive"], None),
        ("Straße ŁÓDŹ", ["strasse", "łodz"], None),
        ("ﬁne \uff12", ["fine", "2"], None),
        ("Привет, МИР", ["привет", "мир"], None),
        ("東京都", ["東", "京", "都", "東京", "京都"], ["東京", "京都"]),
        ("x東y", ["x", "東", "y"], None),
        ("한국어", ["한", "국", "어", "한국", "국어"], ["한국", "국어"]),
        ("हिन्दी में", ["हिन्दी", "में"], None),
        ("% ' \" : * & | ! ( ) <-> -- \\ \0 \ud800", [], []),
        ("x" * (MAX_WORD_CHARS + 1) + " y", ["y"], None),
    ],
)
def test_words(text, stored, wanted):
    assert stored_words(text).split() == stored
    assert wanted_words(text) == (stored if wanted is None else wanted)


@given(st.text(), st.text())
def test_a_text_is_found_by_each_of_its_words(text, more):
    stored = stored_words(f"{more} {text}")
    assert all(f" {word} " in stored for word in wanted_words(text))
    assert not set(stored) & set("%_'\"*&|!:()\\\0")


def test_words_have_a_bound():
    assert len(stored_words(" ".join(map(str, range(100_000))))) <= MAX_WORDS_CHARS + 2


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ({}, ""),
        ({"message": {"role": "user", "content": None}}, ""),
        ({"message": {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "x"}]}}, "a"),
        ({"message": {"content": "a"}, "calls": [{"id": "1"}, {"result": {"content": "b"}}, 3]}, "a\nb"),
        ({"message": 1, "calls": 2}, ""),
    ],
)
def test_what_an_entry_says(entry, text):
    assert entry_text(entry) == text


@pytest.mark.parametrize(
    ("text", "wanted", "shown"),
    [
        ("short\n text", ["text"], "short text"),
        ("a" * 100 + " needle " + "b" * 300, ["needle"], "…" + "a" * 79 + " needle " + "b" * 153 + "…"),
        ("Über uns", ["uber"], "Über uns"),
        ("", ["x"], ""),
    ],
)
def test_excerpts(text, wanted, shown):
    assert excerpt(text, wanted) == shown


ENTRIES = [said("Where is Dune?"), asked("On shelf A3."), said("It's on A3, über_all: 東京都!", "assistant")]


FOUND: dict[str, list[int]] = {
    "dune": [0],
    "DUNE where": [0],
    "dune shelf": [],
    "a3": [2, 1],
    "shelf": [1],
    "shel": [],
    "ÜBER": [2],
    "京都": [2],
    "京": [2],
    "東都": [],
    "it's": [2],
    'dune" OR "a3': [],
    "'dune'); DROP TABLE agentkit_entries": [],
    "%": [],
    "": [],
}


def test_searching(store):
    fill(store, "a", ENTRIES, user="ann")
    assert {query: [found.index for found in store.search_sync(query)] for query in FOUND} == FOUND


def test_searching_within(store):
    for name, user in (("a", "ann"), ("b", "bob"), ("c", "bob")):
        fill(store, name, ENTRIES, user=user)
    assert [found.conversation for found in store.search_sync("dune")] == ["c", "b", "a"]
    assert [found.conversation for found in store.search_sync("dune", user="bob")] == ["c", "b"]
    assert [found.conversation for found in store.search_sync("dune", user="bob", name="b")] == ["b"]
    assert store.search_sync("dune", user="ann", name="b") == []
    assert len(store.search_sync("a3", limit=3)) == 3
    (found,) = store.search_sync("dune", name="a")
    assert (found.index, found.role, found.excerpt) == (0, "user", "Where is Dune?")


def test_a_changed_entry_is_found_by_its_new_words_alone(store):
    fill(store, "a", [said("Look."), asked(None)])
    with store.open("a") as kept:
        kept.record(1, asked("first"))
        kept.record(1, asked("second"))
    assert store.search_sync("first") == []
    assert [found.index for found in store.search_sync("second")] == [1]
    store.fork_sync("a", "b", at=1)
    store.delete_sync("a")
    assert store.search_sync("second") == []
    assert [found.conversation for found in store.search_sync("look")] == ["b"]


def tools(store, user="ann"):
    return {made.name: made.call_sync for made in store.memory(user)}


def test_memory(store):
    ann, bob = tools(store), tools(store, "bob")
    facts = ["Ann likes green tea.", "Ann lives in 東京都.", "Ann's cat is called Tea.", "Ann works at night."]
    ids = [ann["remember"]({"text": text})["id"] for text in facts]
    bob["remember"]({"text": "Bob likes coffee."})
    assert ann["remember"]({"text": facts[0] + " "})["id"] == ids[0]

    def recalled(query, of=ann):
        return [found["text"] for found in of["recall"]({"query": query})]

    assert recalled("") == facts[::-1]
    assert recalled("what tea does she like?") == [facts[0], facts[2]]
    assert recalled("京都") == [facts[1]]
    assert recalled("coffee") == []
    assert recalled("cat's name: cat") == [facts[2]]
    assert recalled("", bob) == ["Bob likes coffee."]
    with pytest.raises(Retry, match=f"no memory {ids[0]}"):
        bob["forget"]({"id": ids[0]})
    assert "deleted" in ann["forget"]({"id": ids[0]})
    assert recalled("green") == []
    with pytest.raises(Retry, match="no memory"):
        ann["forget"]({"id": ids[0]})


@pytest.mark.parametrize("text", ["", "  ", "x" * 4001])
def test_what_is_no_memory(store, text):
    with pytest.raises(Retry, match="1 to 4000"):
        tools(store)["remember"]({"text": text})


def test_memories_of_any_letters(store):
    made = tools(store)
    made["remember"]({"text": "nul \0, half \ud800, quote '\" % :x"})
    assert [found["text"] for found in made["recall"]({"query": "quote"})] == ["nul , half \ufffd, quote '\" % :x"]


def test_only_the_best_are_recalled(store):
    made = tools(store)
    for number in range(15):
        made["remember"]({"text": f"fact {number}"})
    assert [found["text"] for found in made["recall"]({})] == [f"fact {number}" for number in range(14, 4, -1)]
    assert made["recall"]({"query": "fact 3"})[0]["text"] == "fact 3"
