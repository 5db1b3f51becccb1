"""A sample of a table: as large as said, with what it has to hold, and the same each time."""

from __future__ import annotations

from itertools import product
from types import SimpleNamespace
from typing import Any

import pytest

from tests import tiers

DRIVERS = ["sync", "asyncio", "trio"]
PLACES = [{"at": n} for n in range(20)]  # of no hash, as the wire cases


class Case:
    """What of a collected test is looked at."""

    def __init__(self, name: str, mark: pytest.Mark | None, **params: Any) -> None:
        self.nodeid = f"tests/test_it.py::{name}"
        self.mark = mark
        self.callspec = SimpleNamespace(params=params)

    def get_closest_marker(self, name: str) -> pytest.Mark | None:
        return self.mark if name == "sampled" else None


@pytest.fixture(autouse=True)
def _a_usual_run(monkeypatch):
    monkeypatch.setattr(tiers, "WHOLE", False)


def table(count: int, each: str = "") -> list[Any]:
    mark = pytest.mark.sampled(count, each=each).mark
    return [Case(f"test[{d}-{n}]", mark, driver=d, place=p) for d, (n, p) in product(DRIVERS, enumerate(PLACES))]


def test_as_many_as_said_in_order_and_the_same_each_time():
    cases = [Case("first", None), *table(7), Case("last", None)]
    kept, left_out = tiers.split(cases)
    assert len(kept) == 9 and len(left_out) == 53
    assert kept == [case for case in cases if case in kept]
    assert (kept[0].nodeid[-5:], kept[-1].nodeid[-4:]) == ("first", "last")
    assert tiers.split(cases) == (kept, left_out)


@pytest.mark.parametrize(
    ("each", "least", "most"),
    [("driver", 3, 3), ("place", 20, 20), ("driver+place", 60, 60), ("driver place", 20, 23)],
)
def test_every_value_that_has_to_be_there_is(each, least, most):
    kept, _ = tiers.split(table(2, each))
    assert least <= len(kept) <= most
    for name in each.replace("+", " ").split():
        values = [case.callspec.params[name] for case in kept]
        assert all(value in values for value in {"driver": DRIVERS, "place": PLACES}[name])


def test_a_case_that_is_named_is_run():
    cases = table(5)
    wanted = tiers.split(cases)[1][0]
    kept, _ = tiers.split(cases, ["tests/test_other.py", wanted.nodeid])
    assert wanted in kept
    assert len(kept) == 6


def test_all_are_run_in_scripts_deep(monkeypatch):
    monkeypatch.setattr(tiers, "WHOLE", True)
    cases = table(5)
    assert tiers.split(cases) == (cases, [])
