"""When a model that fails is left out, and when it is tried again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agentkit.circuit import FAILURES, OPEN_S, Circuit


def opened(now: float) -> Circuit:
    circuit = Circuit()
    for _ in range(FAILURES):
        assert not circuit.is_open(now)
        circuit.failed(now)
    return circuit


def test_it_opens_after_failures_in_a_row_and_for_a_while():
    circuit = opened(10.0)
    assert circuit.is_open(10.0)
    assert circuit.is_open(10.0 + OPEN_S - 0.1)
    assert not circuit.is_open(10.0 + OPEN_S)


def test_an_answer_in_between_begins_anew():
    circuit = Circuit()
    for _ in range(5):
        circuit.failed(0.0)
        circuit.failed(0.0)
        circuit.answered()
    assert not circuit.is_open(0.0)


def test_one_tries_and_the_others_wait_for_what_becomes_of_it():
    circuit = opened(0.0)
    circuit.tried(OPEN_S)
    assert circuit.is_open(OPEN_S + 1)
    circuit.answered()
    assert not circuit.is_open(OPEN_S + 1)


def test_a_trial_that_fails_opens_it_again():
    circuit = opened(0.0)
    circuit.tried(OPEN_S)
    circuit.failed(OPEN_S + 2)
    assert circuit.is_open(2 * OPEN_S + 1)
    assert not circuit.is_open(2 * OPEN_S + 2)


def test_trying_a_model_that_works_changes_nothing():
    circuit = Circuit()
    circuit.tried(0.0)
    assert not circuit.is_open(0.0)


@given(st.lists(st.sampled_from(["fail", "answer", "try"])), st.floats(0, 1e9))
def test_it_is_open_only_after_enough_failures_in_a_row(steps, now):
    circuit, row = Circuit(), 0
    for step in steps:
        match step:
            case "fail":
                circuit.failed(now)
                row += 1
            case "answer":
                circuit.answered()
                row = 0
            case _:
                circuit.tried(now)
        assert circuit.is_open(now) == (row >= FAILURES)
        assert not circuit.is_open(now + OPEN_S + 1)
