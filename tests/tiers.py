"""What a run of the tests holds: of large tables a sample, in scripts/deep the whole.

A test of many cases says how many of them are usual: `@pytest.mark.sampled(60, each="scenario driver")`. They are drawn
by chance, the same each time; `each` names parameters of which every value has to be among them. A case that the
command line names is always run. Tests that make up their cases themselves look at `WHOLE`.
"""

from __future__ import annotations

import os
import random
from collections.abc import Hashable, Iterable, Sequence
from itertools import groupby
from typing import Final, cast

import pytest

WHOLE: Final = os.environ.get("HYPOTHESIS_PROFILE") == "deep"
"""Whether each case of each table is tried."""
SOON_S: Final = 1.0 if WHOLE and "PYTEST_XDIST_WORKER" not in os.environ else 15.0
"""How long what should take no time may take. A slow machine that has more to do, such as the other tests, tells
nothing of the promised second, which holds in a deep run of one process; what went wrong would take far longer than
this, or for ever."""


def split(items: Sequence[pytest.Item], named: Iterable[str] = ()) -> tuple[list[pytest.Item], list[pytest.Item]]:
    """The tests to run and those to leave out, both in order. `named` are the command line's arguments."""
    if WHOLE:
        return list(items), []
    wanted = [name.partition("::")[2] for name in named if "[" in name]
    left_out: set[pytest.Item] = set()
    marked = [item for item in items if item.get_closest_marker("sampled")]
    for function, group in groupby(sorted(marked, key=_function), key=_function):
        cases = list(group)
        chosen = {id(item) for item in _drawn(cases, function)}
        left_out.update(item for item in cases if id(item) not in chosen and not item.nodeid.endswith(tuple(wanted)))
    return [item for item in items if item not in left_out], [item for item in items if item in left_out]


def _function(item: pytest.Item) -> str:
    return item.nodeid.partition("[")[0]


def _drawn(cases: list[pytest.Item], seed: str) -> list[pytest.Item]:
    mark = cases[0].get_closest_marker("sampled")
    assert mark is not None
    shuffled = random.Random(seed).sample(cases, len(cases))
    missing = {facet for case in cases for facet in _facets(case, mark)}
    chosen: list[pytest.Item] = []
    rest: list[pytest.Item] = []
    for case in shuffled:
        new = missing & set(_facets(case, mark))
        (chosen if new else rest).append(case)
        missing -= new
    return chosen + rest[: max(0, mark.args[0] - len(chosen))]


def _facets(case: pytest.Item, mark: pytest.Mark) -> list[Hashable]:
    """What of the case's parameters has to be among the sample."""
    params = case.callspec.params  # type: ignore[attr-defined]  # a case has parameters
    names: str = mark.kwargs.get("each", "")
    return [(name, *(_known_by(params[part]) for part in name.split("+"))) for name in names.split()]


def _known_by(value: object) -> Hashable:
    try:
        hash(value)
    except TypeError:  # also a tuple with a list in it
        return id(value)
    return cast("Hashable", value)
