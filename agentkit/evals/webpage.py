"""A report as one page of HTML that needs nothing else."""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agentkit.evals.cases import Outcome
    from agentkit.evals.report import Change, Report

_STYLE: Final = """
:root { color-scheme: light dark; --good: #2e7d32; --bad: #c62828; --line: #8884; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; margin: 1rem 0; }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; margin: .3rem 0; padding: .5rem; background: #8881; }
details { border-bottom: 1px solid var(--line); padding: .3rem 0; }
summary { cursor: pointer; }
dt { font-weight: 600; } dd { margin: 0 0 .5rem; }
.good { color: var(--good); } .bad { color: var(--bad); }
body:has(#only:checked) details.passed { display: none; }
"""


def page(report: Report, changes: Sequence[Change] = ()) -> str:
    """A report, with what has changed since the last one, as HTML."""
    return "\n".join(_page(report, changes))


def _page(report: Report, changes: Sequence[Change]) -> Iterator[str]:
    name = escape(report.name)
    when = datetime.fromtimestamp(report.at, UTC).strftime("%Y-%m-%d %H:%M UTC")
    yield f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{name}</title>'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<style>{_STYLE}</style></head><body><h1>{name}</h1><p>{when}</p>"
    yield from _sums(report)
    if changes:
        yield "<h2>Since the last time</h2><ul>"
        for change in changes:
            kind = "bad" if change.worse else "good" if change.better else ""
            yield f'<li class="{kind}">{escape(str(change))}</li>'
        yield "</ul>"
    yield from _matrix(report)
    yield '<h2>Outcomes</h2><label><input type="checkbox" id="only"> only what did not pass</label>'
    for outcome in report.outcomes:
        yield from _outcome(outcome)
    yield "</body></html>"


def _sums(report: Report) -> Iterator[str]:
    yield "<table><tr><th>target</th><th>passed</th><th>scores</th><th>errors</th><th>median s</th><th>tokens</th>"
    yield "<th>USD</th></tr>"
    for target in report.targets:
        each = report.summary(target)
        scores = ", ".join(f"{escape(name)} {value:.2f}" for name, value in each.scores.items())
        cost = "-" if each.cost is None else f"{each.cost:.4f}"
        cells = (f"{each.passed}/{each.count}", scores, each.errors, f"{each.seconds:.1f}", each.tokens, cost)
        yield f"<tr><td>{escape(target)}</td>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
    yield "</table>"


def _matrix(report: Report) -> Iterator[str]:
    yield f"<table><tr><th>case</th>{''.join(f'<th>{escape(target)}</th>' for target in report.targets)}</tr>"
    for case in report.cases:
        cells: list[str] = []
        for target in report.targets:
            own = report.of(target, case)
            passed = sum(each.passed for each in own)
            kind = "good" if passed == len(own) else "bad"
            cells.append(f'<td class="{kind}">{passed}/{len(own)}</td>')
        yield f"<tr><td>{escape(case)}</td>{''.join(cells)}</tr>"
    yield "</table>"


def _outcome(outcome: Outcome) -> Iterator[str]:
    kind, mark = ("passed", '<span class="good">✓</span>') if outcome.passed else ("", '<span class="bad">✗</span>')
    head = f"{escape(outcome.target)}, {escape(outcome.case)} #{outcome.repeat}"
    yield f'<details class="{kind}"><summary>{mark} {head} ({outcome.seconds:.1f} s)</summary><dl>'
    if outcome.error is not None:
        yield f'<dt>error</dt><dd class="bad">{escape(outcome.error)}</dd>'
    for name, score in outcome.scores.items():
        reason = f": {escape(score.reason)}" if score.reason else ""
        yield f"<dt>{escape(name)}</dt><dd>{score.value:.2f}{reason}</dd>"
    for name, text in (
        ("prompt", outcome.prompt),
        ("expected", outcome.expected),
        ("answer", outcome.answer),
        ("conversation", outcome.transcript),
    ):
        if text:
            yield f"<dt>{name}</dt><dd><pre>{escape(text)}</pre></dd>"
    yield "</dl></details>"
