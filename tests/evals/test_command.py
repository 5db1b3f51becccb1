"""The command: what it prints and writes, and its exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from agentkit.evals import Case, Evaluation, Report, main

ROOT = Path(__file__).parents[2]
MODULE = """
from agentkit.evals import Case, Evaluation

def right(result, case):
    return result == case.expected

evaluation = Evaluation([Case("a", "A"), Case("b", "B")], {"upper": str.upper}, right)

def make():
    return evaluation

other = 3
"""


def evaluation(expected: str = "A") -> Evaluation:
    return Evaluation(
        [Case("a", expected), Case("b", "B")], {"upper": str.upper}, lambda result, case: result == case.expected
    )


def test_the_exit_code_says_whether_enough_passed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(evaluation(), ["--quiet"]) == 0
    assert main(evaluation("x"), ["--quiet"]) == 1
    assert main(evaluation("x"), ["--quiet", "--at-least", "0.5"]) == 0
    assert main(evaluation("x"), ["--quiet", "--case", "b"]) == 0
    out, err = capsys.readouterr()
    assert "upper, a #1: <lambda> 0.00: A" in out
    assert err == ""


def test_it_compares_with_the_last_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = str(tmp_path / "evals.json")
    args = ["--quiet", "--json", kept, "--at-least", "0"]
    assert main(evaluation(), args) == 0
    assert "worse" not in capsys.readouterr().out
    assert main(evaluation("x"), args) == 0
    assert "worse: upper, a: 1.00 → 0.00" in capsys.readouterr().out
    assert not Report.load(kept).outcomes[0].passed
    assert main(evaluation(), [*args, "--no-worse"]) == 0
    assert "better: upper, a: 0.00 → 1.00" in capsys.readouterr().out
    assert main(evaluation("x"), [*args, "--no-worse", "--html", str(tmp_path / "deep" / "e.html")]) == 1
    assert "worse: upper, a" in (tmp_path / "deep" / "e.html").read_text("utf-8")
    assert main(evaluation("x"), ["--quiet", "--against", kept, "--case", "b", "--no-worse"]) == 0
    assert "gone" not in capsys.readouterr().out


def test_it_tries_as_often_as_it_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(evaluation(), ["--repeats", "3", "--concurrency", "1"]) == 0
    out, err = capsys.readouterr()
    assert "6/6" in out
    assert err == "6 of 6 tried: 6 passed\n"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--case", "zzz"], "there is no case to try"),
        (["--against", "nowhere.json"], "the report nowhere.json cannot be read"),
    ],
)
def test_wrong_use_is_told(args: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(evaluation(), args) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("args", [["--repeats", "0"], ["--repeats", "x"], ["--nonsense"]])
def test_arguments_that_are_none(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(evaluation(), args)
    assert raised.value.code == 2
    assert capsys.readouterr().err


@pytest.mark.parametrize(
    ("spec", "code", "words"),
    [
        ("myevals:evaluation", 0, ""),
        ("myevals:make", 0, ""),
        ("myevals:other", 2, "'myevals:other' is no Evaluation, but int"),
        ("myevals:none", 2, "cannot be loaded"),
        ("nothing:evaluation", 2, "write module:name, as in myevals:evaluation"),
        ("", 2, "cannot be loaded"),
    ],
)
def test_an_evaluation_is_named(
    spec: str,
    code: int,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "myevals.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "myevals", raising=False)
    assert main(None, [spec, "--quiet"]) == code
    assert words in capsys.readouterr().err
    monkeypatch.delitem(sys.modules, "myevals", raising=False)


def test_python_m(tmp_path: Path) -> None:
    (tmp_path / "myevals.py").write_text(MODULE)
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-m", "agentkit.evals", "myevals:evaluation"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "2 of 2 tried: 2 passed\n")
    assert "passed          2/2" in ran.stdout
