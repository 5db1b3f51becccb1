"""Reports: table, JSON, page, and what is better or worse."""

from __future__ import annotations

import io
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from inline_snapshot import snapshot

from agentkit.errors import UsageError
from agentkit.evals import Outcome, Report, Score, page, progress


def outcome(target: str, case: str, score: float, repeat: int = 1, **more: object) -> Outcome:
    fields = {
        "seconds": 1.5,
        "answer": "so\nso",
        "passed": score >= 0.5,
        "scores": {"right": Score(score, "why")},
        **more,
    }
    return Outcome(target=target, case=case, repeat=repeat, **fields)  # type: ignore[arg-type]


REPORT = Report(
    "sums",
    [
        outcome("mini", "one", 1, prompt_tokens=10, cost=0.01),
        outcome("mini", "one", 0, 2),
        outcome("mini", "two", 1),
        outcome("nano", "one", 0.25),
        outcome("nano", "two", 0, scores={}, error="TimedOut: no <answer>"),
    ],
    at=1_700_000_000,
)


def test_the_table() -> None:
    assert REPORT.table() == snapshot("""\
case            mini        nano
-----------------------------------------------
one             0.50 (1/2)  0.25 (0/1)
two             1.00 (1/1)  0.00 (0/1, 1 error)
-----------------------------------------------
passed          2/3         0/2
mean right      0.67        0.25
errors          0           1
median seconds  1.5         1.5
tokens          10          0
USD             0.0100      -""")


def test_what_failed() -> None:
    assert REPORT.failures() == snapshot("""\
mini, one #2: right 0.00 (why): so so
nano, one #1: right 0.25 (why): so so
nano, two #1: TimedOut: no <answer>""")


def test_json_restores_it(tmp_path: Path) -> None:
    REPORT.save(tmp_path / "deep" / "r.json")
    again = Report.load(tmp_path / "deep" / "r.json")
    assert (again.name, again.at, again.outcomes) == (REPORT.name, REPORT.at, REPORT.outcomes)
    assert again.table() == REPORT.table()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "cannot be read"),
        ("{", "is damaged"),
        ("[]", "is no report"),
        ('{"agentkit_evals": 1}', "is damaged: KeyError: 'name'"),
    ],
)
def test_what_is_no_report(tmp_path: Path, text: str | None, words: str) -> None:
    if text is not None:
        (tmp_path / "r").write_text(text)
    with pytest.raises(UsageError, match=words):
        Report.load(tmp_path / "r")


def test_what_is_better_and_what_is_worse() -> None:
    before = Report(
        "sums",
        [outcome("mini", "one", 0.8), outcome("mini", "two", 1), outcome("nano", "one", 0.2), outcome("old", "x", 1)],
    )
    changes = REPORT.compare(before)
    assert "\n".join(map(str, changes)) == snapshot("""\
worse: mini, one: 0.80 → 0.50
better: nano, one: 0.20 → 0.25
new: nano, two: - → 0.00
gone: old, x: 1.00 → -""")
    assert [each.worse for each in changes] == [True, False, False, False]
    assert [each.better for each in changes] == [False, True, False, False]
    assert REPORT.compare(REPORT) == []


class _Checker(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_nothing_else() -> None:
    text = page(REPORT, REPORT.compare(Report("x", [outcome("mini", "one", 1)])))
    checker = _Checker()
    checker.feed(text)
    assert (checker.open, checker.links) == ([], [])
    assert "no &lt;answer&gt;" in text
    assert "<answer>" not in text
    assert '<li class="bad">worse: mini, one: 1.00 → 0.50</li>' in text
    assert text.count("<details") == 5


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_one_line_where_there_is_no_terminal() -> None:
    out = io.StringIO()
    with progress(2, out) as tell:
        tell(outcome("a", "b", 1))
        tell(outcome("a", "c", 0, error="x"))
    assert out.getvalue() == "2 of 2 tried: 1 passed, 1 errors\n"


def test_progress_without_rich_is_a_line_that_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentkit.evals.watching.find_spec", lambda name: None)
    out = _Terminal()
    with progress(1, out) as tell:
        tell(outcome("a", "b", 1))
    assert out.getvalue() == "\r1 of 1 tried: 1 passed\n"


def test_progress_with_rich_is_a_bar() -> None:
    pytest.importorskip("rich")
    out = _Terminal()
    with progress(1, out) as tell:
        tell(outcome("a", "b", 1))
    assert "1/1" in out.getvalue()
    assert "1 passed" in out.getvalue()
    assert sys.stderr is not out
