"""What came of an evaluation: tables, JSON, and what is better or worse than the last time."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import TYPE_CHECKING, Any, Final

from agentkit._json import is_object
from agentkit.errors import UsageError
from agentkit.evals.cases import Outcome
from agentkit.looks.cards import card_of
from agentkit.looks.view import Card, Table, Words
from agentkit.shown import Shown

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

VERSION: Final = 1
_CASE_CHARS: Final = 48
_SAME: Final = 1e-9


@dataclass(slots=True)
class Summary:
    """A target's outcomes in numbers. `score` is the mean of all, `scores` that of each measure."""

    target: str
    passed: int
    count: int
    errors: int
    score: float
    scores: dict[str, float]
    seconds: float
    tokens: int
    cost: float | None


@dataclass(frozen=True, slots=True)
class Change:
    """A case whose mean score with a target is another than before; None where there was or is none."""

    target: str
    case: str
    before: float | None
    after: float | None

    @property
    def worse(self) -> bool:
        """Whether it has a lower score."""
        return self.before is not None and self.after is not None and self.after < self.before

    @property
    def better(self) -> bool:
        """Whether it has a higher score."""
        return self.before is not None and self.after is not None and self.after > self.before

    def __str__(self) -> str:
        kind = "worse" if self.worse else "better" if self.better else "new" if self.before is None else "gone"
        before, after = ("-" if value is None else f"{value:.2f}" for value in (self.before, self.after))
        return f"{kind}: {self.target}, {self.case}: {before} → {after}"


class Report(Shown):
    """The outcomes of an evaluation. `at` is when it began, in Unix time."""

    def __init__(self, name: str, outcomes: Sequence[Outcome], *, at: float = 0.0) -> None:
        self.name = name
        self.outcomes = list(outcomes)
        self.at = at

    @property
    def targets(self) -> list[str]:
        """Their names, in order."""
        return list(dict.fromkeys(outcome.target for outcome in self.outcomes))

    @property
    def cases(self) -> list[str]:
        """Their names, in order."""
        return list(dict.fromkeys(outcome.case for outcome in self.outcomes))

    @property
    def pass_rate(self) -> float:
        """How many of the outcomes passed, from 0 to 1."""
        return sum(outcome.passed for outcome in self.outcomes) / len(self.outcomes) if self.outcomes else 0.0

    def of(self, target: str, case: str | None = None) -> list[Outcome]:
        """The outcomes of a target, or of a target with one case."""
        return [each for each in self.outcomes if each.target == target and case in (None, each.case)]

    def summary(self, target: str) -> Summary:
        """A target's outcomes in numbers."""
        own = self.of(target)
        names = dict.fromkeys(name for each in own for name in each.scores)
        costs = [each.cost for each in own if each.cost is not None]
        return Summary(
            target,
            sum(each.passed for each in own),
            len(own),
            sum(each.error is not None for each in own),
            mean([each.score for each in own]),
            {name: mean([each.scores[name].value for each in own if name in each.scores]) for name in names},
            median([each.seconds for each in own]),
            sum(each.prompt_tokens + each.completion_tokens for each in own),
            sum(costs) if costs else None,
        )

    def table(self) -> str:
        """All of it as text: a line for each case, a column for each target, and the sums."""
        head, cases, sums = _rows(self)
        rows = [head, *cases, *sums]
        widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        line = "-" * (sum(widths) + 2 * (len(widths) - 1))
        rule = 1 + len(cases)
        return "\n".join([lines[0], line, *lines[1:rule], line, *lines[rule:]])

    def failures(self) -> str:
        """The outcomes that did not pass, each with why."""
        return "\n".join(
            f"{each.target}, {each.case} #{each.repeat}: {_why(each)}" for each in self.outcomes if not each.passed
        )

    def compare(self, before: Report) -> list[Change]:
        """What is better or worse than in an earlier report, what is new and what is gone; the worse first."""
        pairs = dict.fromkeys((each.target, each.case) for report in (self, before) for each in report.outcomes)
        changes = [Change(*pair, _mean(before.of(*pair)), _mean(self.of(*pair))) for pair in pairs]
        changed = [
            each
            for each in changes
            if each.before is None or each.after is None or abs(each.before - each.after) > _SAME
        ]
        return sorted(changed, key=lambda each: (not each.worse, not each.better))

    def dump(self) -> str:
        """All of it as JSON."""
        data = {"agentkit_evals": VERSION, "name": self.name, "at": self.at}
        return json.dumps({**data, "outcomes": [each.data for each in self.outcomes]}, ensure_ascii=False, indent=1)

    def save(self, path: str | PathLike[str]) -> None:
        """Write it down as JSON."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(self.dump() + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Report:
        """A report from its file. Raises UsageError if there is none, or it is damaged."""
        try:
            data: Any = json.loads(Path(path).read_text("utf-8"))
            if not is_object(data) or data.get("agentkit_evals") != VERSION:
                raise UsageError(f"{path} is no report of an evaluation of version {VERSION}")
            return cls(data["name"], [Outcome.of(each) for each in data["outcomes"]], at=data["at"])
        except OSError as error:
            raise UsageError(f"the report {path} cannot be read: {error}") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(f"the report {path} is damaged: {type(error).__name__}: {error}") from error

    def __repr__(self) -> str:
        return f"Report({self.name!r}, {sum(each.passed for each in self.outcomes)} of {len(self.outcomes)} passed)"


def _rows(report: Report) -> tuple[list[str], list[list[str]], list[list[str]]]:
    """The head of the table, its line for each case, and its sums."""
    sums = [report.summary(target) for target in report.targets]
    cases = [
        [
            case if len(case) <= _CASE_CHARS else case[: _CASE_CHARS - 1] + "…",
            *(_cell(report.of(target, case)) for target in report.targets),
        ]
        for case in report.cases
    ]
    rows = [["passed", *(f"{each.passed}/{each.count}" for each in sums)]]
    measures = dict.fromkeys(name for each in sums for name in each.scores)
    rows += [[f"mean {name}", *(_number(each.scores.get(name)) for each in sums)] for name in measures]
    if any(each.errors for each in sums):
        rows.append(["errors", *(str(each.errors) for each in sums)])
    rows.append(["median seconds", *(f"{each.seconds:.1f}" for each in sums)])
    if any(each.tokens for each in sums):
        rows.append(["tokens", *(str(each.tokens) for each in sums)])
    if any(each.cost is not None for each in sums):
        rows.append(["USD", *("-" if each.cost is None else f"{each.cost:.4f}" for each in sums)])
    return ["case", *report.targets], cases, rows


@card_of.register
def _card(report: Report) -> Card:
    head, cases, sums = _rows(report)
    table = Table(tuple(map(tuple, [*cases, *sums])), tuple(head))
    failures = (Words(report.failures(), "not passed", is_code=True),) if report.pass_rate < 1 else ()
    passed = f"{sum(each.passed for each in report.outcomes)} of {len(report.outcomes)} passed"
    return Card(f"Report {report.name}", (passed,), (table, *failures) if report.outcomes else ())


def _mean(outcomes: Sequence[Outcome]) -> float | None:
    return mean([each.score for each in outcomes]) if outcomes else None


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _cell(outcomes: Sequence[Outcome]) -> str:
    passed = sum(each.passed for each in outcomes)
    errors = sum(each.error is not None for each in outcomes)
    told = f", {errors} error{'s' if errors > 1 else ''}" if errors else ""
    return f"{_number(_mean(outcomes))} ({passed}/{len(outcomes)}{told})"


def _why(outcome: Outcome) -> str:
    if outcome.error is not None:
        return outcome.error
    low = [
        f"{name} {score.value:.2f}{f' ({score.reason})' if score.reason else ''}"
        for name, score in outcome.scores.items()
        if score.value < 1
    ]
    return f"{'; '.join(low)}: {' '.join(outcome.answer.split())[:200]}"
