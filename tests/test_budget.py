from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
import threading
from math import inf
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit.budget import Budget, RunBudget, reserve_in, settle_all
from agentkit.errors import LimitReached, UsageError
from agentkit.messages import Usage, assistant
from agentkit.transcript import Entry

AMOUNTS = st.floats(0, 2)
# How much is reserved; how much of it is used; how many are under way before the oldest is settled.
REQUESTS = st.lists(st.tuples(AMOUNTS, st.floats(0, 1)), max_size=40)


@given(st.floats(0, 10), REQUESTS, st.integers(0, 5))
def test_a_budget_is_never_overrun(limit, requests, under_way):
    budget, held = Budget(limit), []
    settled = 0.0

    def settle() -> None:
        nonlocal settled
        reservation, actual = held.pop(0)
        budget.settle(reservation, actual)
        settled += actual

    for usd, used in requests:
        before = budget.left_usd
        try:
            held.append((budget.reserve(usd), usd * used))
        except LimitReached:
            assert usd > before - 1e-11
        else:
            assert usd <= before + 1e-11
        assert budget.spent_usd + budget.reserved_usd <= limit + 1e-12
        assert min(budget.spent_usd, budget.reserved_usd, budget.left_usd) >= 0
        while len(held) > under_way:
            settle()
    while held:
        settle()
    assert budget.reserved_usd == 0
    assert budget.spent_usd == pytest.approx(settled, abs=1e-9)
    assert budget.spent_usd <= limit


@given(st.lists(st.integers(0, 10**7), max_size=50))
def test_what_is_settled_leaves_no_rest(amounts):
    budget = Budget(100)
    for millionths in amounts:
        budget.settle(budget.reserve(millionths / 1e6), 0)
    assert (budget.spent_usd, budget.reserved_usd, budget.left_usd) == (0, 0, 100)


def test_more_than_was_reserved_may_be_settled():
    budget = Budget(1)
    budget.settle(budget.reserve(0.5), 3)
    assert (budget.spent_usd, budget.reserved_usd, budget.left_usd) == (3, 0, 0)
    with pytest.raises(LimitReached):
        budget.reserve(0)


def test_a_budget_may_be_spent_to_the_last():
    budget = Budget(0.3)
    for _ in range(3):
        budget.settle(budget.reserve(0.1), 0.1)
    assert budget.left_usd == 0
    budget.settle(budget.reserve(0), 0)
    with pytest.raises(LimitReached):
        budget.reserve(1e-9)


def test_a_refusal_names_all_amounts():
    budget = Budget(0.01, spent_usd=0.004)
    budget.reserve(0.005)
    with pytest.raises(LimitReached) as caught:
        reserve_in((budget,), 0.002, "a request to gpt-5-mini may cost up to $0.002")
    assert str(caught.value) == (
        "the limit of $0.01 has $0.004 spent and $0.005 held back for requests under way, and a request to gpt-5-mini "
        "may cost up to $0.002: raise Budget(usd=…), or set max_tokens lower"
    )
    assert (caught.value.limit, caught.value.value) == ("cost_usd", 0.01)
    with pytest.raises(
        LimitReached, match=r"the limit of \$0\.00 has \$0\.00 spent, and the next .*Limits\(cost_usd=…\)"
    ):
        RunBudget(0).reserve(1)


def test_all_budgets_or_none():
    wide, narrow = Budget(10), Budget(1)
    both = reserve_in((wide, narrow), 0.75)
    for budgets in ((wide, narrow), (narrow, wide)):
        with pytest.raises(LimitReached, match=r"the limit of \$1\.00"):
            reserve_in(budgets, 0.5)
    assert (wide.reserved_usd, narrow.reserved_usd) == (0.75, 0.75)
    settle_all(both, 0.25)
    assert (wide.spent_usd, narrow.spent_usd, wide.reserved_usd, narrow.reserved_usd) == (0.25, 0.25, 0, 0)


def test_the_same_budget_twice_counts_once():
    budget = Budget(1)
    settle_all(reserve_in((budget, budget), 1), 0.5)
    assert (budget.spent_usd, budget.reserved_usd) == (0.5, 0)


def test_a_reservation_is_settled_once_and_at_home():
    budget, other = Budget(1), Budget(1)
    reservation = budget.reserve(0.5)
    assert repr(reservation) == "Reservation($0.50)"
    with pytest.raises(UsageError, match="of another budget"):
        other.settle(reservation, 0.1)
    for wrong in (-1, inf, "much"):
        with pytest.raises(UsageError, match="actual_usd is a number"):
            budget.settle(reservation, wrong)
    budget.settle(reservation, 0.1)
    with pytest.raises(UsageError, match=r"Reservation\(\$0\.50, settled\) is settled already"):
        budget.settle(reservation, 0.1)
    assert (budget.spent_usd, other.spent_usd) == (0.1, 0)


@pytest.mark.parametrize("wrong", [-0.1, inf, None, True])
def test_amounts_are_checked(wrong):
    with pytest.raises(UsageError, match=r"Budget\.usd is a number of at least 0"):
        Budget(wrong)
    with pytest.raises(UsageError, match=r"Budget\.spent_usd is"):
        Budget(1, spent_usd=wrong)
    with pytest.raises(UsageError, match="usd is"):
        Budget(1).reserve(wrong)


@pytest.mark.parametrize("do", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_budget_is_neither_pickled_nor_copied(do):
    with pytest.raises(UsageError, match="neither pickled nor copied"):
        do({"budget": Budget(1)} if do is copy.deepcopy else Budget(1))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_forked_child_has_budgets_of_its_own():
    code = """
import os, sys
from agentkit.budget import Budget, _lock
from agentkit.errors import UsageError
budget = Budget(1)
reservation = budget.reserve(0.5)
with _lock:  # as another thread may have it
    child = os.fork()
if not child:
    wrong = [lambda: budget.reserve(0.1), lambda: budget.settle(reservation, 0.1)]
    for do in wrong:
        try:
            do()
        except UsageError as error:
            assert "a budget holds within one process" in str(error)
        else:
            os._exit(1)
    own = Budget(1)
    own.settle(own.reserve(1), 0.5)
    os._exit(0 if own.left_usd == 0.5 else 2)
assert os.waitpid(child, 0)[1] == 0
budget.settle(reservation, 0.25)
assert budget.left_usd == 0.75
"""
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent.parent, check=True, timeout=30)


def test_threads_share_a_budget():
    shared, own = Budget(1), [Budget(0.3) for _ in range(8)]
    seen: list[float] = []
    go = threading.Barrier(len(own))

    def work(mine: Budget) -> None:
        go.wait()
        for _ in range(200):
            try:
                reservations = reserve_in((mine, shared), 0.001)
            except LimitReached:
                return
            seen.append(shared.spent_usd + shared.reserved_usd)
            settle_all(reservations, 0.0009)

    threads = [threading.Thread(target=work, args=(mine,)) for mine in own]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # the two are read one after the other: a request that is settled in between counts twice
    assert max(seen) <= 1 + len(own) * 0.001
    assert shared.spent_usd <= 1
    assert shared.reserved_usd == 0
    assert sum(budget.spent_usd for budget in own) == pytest.approx(shared.spent_usd)
    assert shared.spent_usd > 0.99


def entry(cost: float | None = None, source: str | None = "http://127.0.0.1:1/v1") -> Entry:
    return Entry(assistant("Yes."), author="model", model="m", source=source, usage=Usage(1, 1, 2), cost=cost)


def test_the_limit_of_a_run_knows_what_the_run_has_cost():
    budget = RunBudget.of(1, [entry(0.25), entry(0.5), entry(source=None)])
    assert (budget.spent_usd, budget.left_usd) == (0.75, 0.25)
    with pytest.raises(
        UsageError, match=r"Limits\(cost_usd=1\) counts what the run has cost so far, .* not known of m"
    ):
        RunBudget.of(1, [entry(0.25), entry()])


def test_how_a_budget_is_told():
    assert repr(Budget(2, spent_usd=0.5)) == "Budget($2.00, $0.50 spent)"
