"""What is sealed opens where it was sealed for, and nowhere else."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit.serve.seal import Sealer

SEALER = Sealer("a secret of the tests")


@given(st.binary(max_size=2000), st.binary(max_size=50))
def test_it_opens_where_it_belongs(text, bound):
    sealed = SEALER.seal(text, bound)
    assert SEALER.open(sealed, bound) == text
    assert SEALER.open(sealed, bound + b"x") is None
    assert sealed.isascii()


@given(st.binary(min_size=1, max_size=600), st.data())
def test_no_bit_may_change(text, data):
    sealed = urlsafe_b64decode(SEALER.seal(text, b""))
    at = data.draw(st.integers(0, len(sealed) * 8 - 1))
    changed = bytearray(sealed)
    changed[at // 8] ^= 1 << at % 8
    assert SEALER.open(urlsafe_b64encode(changed).decode(), b"") is None


@given(st.text() | st.binary().map(lambda b: urlsafe_b64encode(b"\x01" + b).decode()))
def test_anything_else_does_not_open(text):
    assert SEALER.open(text, b"") is None


def test_the_same_text_is_sealed_anew():
    assert SEALER.seal(b"x", b"") != SEALER.seal(b"x", b"")


@pytest.mark.parametrize("size", [0, 1, 100, 252])
def test_the_length_is_blurred(size):
    assert len(SEALER.seal(b"x" * size, b"")) == len(SEALER.seal(b"", b""))


def test_secrets_are_changed_by_having_two():
    old, both, new = (
        Sealer("the old secret of it"),
        Sealer(["the new secret of it", "the old secret of it"]),
        Sealer("the new secret of it"),
    )
    assert both.open(old.seal(b"x", b""), b"") == b"x"
    assert new.open(both.seal(b"x", b""), b"") == b"x"
    assert new.open(old.seal(b"x", b""), b"") is None


def test_without_a_secret_it_ends_with_the_process():
    assert Sealer().open(Sealer().seal(b"x", b""), b"") is None
