"""The file of a cassette: keys are found wherever they lie, and every byte comes back."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit.testing.cassette import Hiding, Recorded, load, save, secrets_in

SECRET = 'sk-"/0123456789'


def cut_at(data: bytes, places: list[int]) -> list[bytes]:
    cuts = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(cuts)]


@given(st.lists(st.sampled_from(["a", "é", SECRET, "sk-", '"', "$KEY"])), st.lists(st.integers(0, 400)))
def test_a_key_is_found_across_pieces(words: list[str], places: list[int]) -> None:
    pieces = cut_at("".join(words).encode(), places)
    clean = Hiding([SECRET]).pieces(pieces)
    assert len(clean) == len(pieces)
    assert b"".join(clean).decode() == "".join(words).replace(SECRET, "$KEY")


@pytest.mark.parametrize(
    "spelled", [SECRET, json.dumps(SECRET)[1:-1], json.dumps(SECRET)[1:-1].replace("/", "\\/"), "sk-%22%2F0123456789"]
)
def test_a_key_is_found_however_it_is_spelled(spelled: str) -> None:
    assert Hiding([SECRET]).text(f"<{spelled}>") == "<$KEY>"


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ([("authorization", "Bearer sk-12345678")], {"sk-12345678", "Bearer sk-12345678"}),
        ([("api-key", "sk-12345678"), ("x-other", "sk-87654321")], {"sk-12345678"}),
        ([("Authorization", "Bearer ollama")], {"Bearer ollama"}),
        ([("api-key", "any")], set()),
    ],
)
def test_the_keys_of_a_request(headers: list[tuple[str, str]], found: set[str]) -> None:
    assert secrets_in(headers) == found


@given(st.lists(st.tuples(st.floats(0, 100), st.binary(max_size=30)), max_size=6))
def test_a_body_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[tuple[float, bytes]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "bytes.json"
    before = Recorded("https://h/v1", {}, b"{}", status=200, pieces=pieces)
    save(path, [before], {}, Hiding([]))
    (after,), _ = load(path)
    body = b"".join(piece for _, piece in pieces)
    came = b"".join(piece for _, piece in after.pieces)
    assert came == body or json.loads(came) == json.loads(body)


@pytest.mark.parametrize("body", ['{"a": [1.5, null, "\\ud800", "é"]}', '{"a": NaN}', "data: {}\n\n", "", "[]", "é"])
def test_odd_bodies(tmp_path: Path, body: str) -> None:
    save(tmp_path / "c", [Recorded("u", {}, b"{}", status=200, pieces=[(0.0, body.encode())])], {}, Hiding([]))
    (after,), _ = load(tmp_path / "c")
    came = b"".join(piece for _, piece in after.pieces).decode()
    assert came == body or json.loads(came) == json.loads(body)


def test_a_key_in_the_url_is_hidden(tmp_path: Path) -> None:
    save(tmp_path / "c", [Recorded("https://h/v1?key=abc&x=1", {}, b"{}")], {}, Hiding([]))
    assert '"https://h/v1?key=$KEY&x=1"' in (tmp_path / "c").read_text("utf-8")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("http://127.0.0.1:1/v1", "http://127.0.0.1:2/v1", True),
        ("http://localhost:1/v1", "http://127.0.0.1:2/v1", False),
        ("https://a.example:1/v1", "https://a.example:2/v1", False),
    ],
)
def test_only_a_server_of_this_machine_may_have_another_port(one: str, other: str, same: bool) -> None:
    assert (Recorded(one, {}, b"").place == Recorded(other, {}, b"").place) is same


def test_a_file_is_replaced_at_once(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    save(path, [], {}, Hiding([]))
    with pytest.raises(TypeError):
        save(path, [Recorded("u", {}, b"{}", error={"message": "x", "more": object()})], {}, Hiding([]))
    assert load(path) == ([], {})
    assert [each.name for each in tmp_path.iterdir()] == ["c.json"]
