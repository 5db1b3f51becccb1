"""The command: `python -m agentkit.evals module:evaluation`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Final

from agentkit.errors import UsageError
from agentkit.evals.evaluation import Evaluation
from agentkit.evals.report import Change, Report
from agentkit.evals.watching import progress
from agentkit.evals.webpage import page

if TYPE_CHECKING:
    from collections.abc import Sequence

NOT_GOOD: Final = 1
WRONG_USE: Final = 2


def main(evaluation: Evaluation | None = None, argv: Sequence[str] | None = None) -> int:
    """Run an evaluation as a command, with the process's arguments; the exit code, for `sys.exit`.

    0: all is good enough. 1: fewer outcomes than `--at-least` passed, or with `--no-worse` a case is worse than the
    last time. 2: the command was used wrongly. Without an evaluation the first argument names one, as `module:name`.
    """
    parser = _parser(named=evaluation is None)
    args = parser.parse_args(argv)
    try:
        chosen = (evaluation or _loaded(args.evaluation)).only(cases=args.case, targets=args.target)
        chosen.repeats = args.repeats or chosen.repeats
        chosen.concurrency = args.concurrency or chosen.concurrency
        last = _last(args.against or args.json, wanted=args.against is not None)
        return _run(chosen, args, last)
    except UsageError as error:
        sys.stderr.write(f"agentkit.evals: {error}\n")
        return WRONG_USE


def _parser(*, named: bool) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m agentkit.evals", description="Run an evaluation.")
    if named:
        parser.add_argument("evaluation", help="where it is: module:name")
    parser.add_argument("--repeats", type=_count, help="how often each case is tried")
    parser.add_argument("--concurrency", type=_count, help="how many are run at once")
    parser.add_argument("--case", default="*", help="only cases whose names fit this pattern")
    parser.add_argument("--target", default="*", help="only targets whose names fit this pattern")
    parser.add_argument("--json", type=Path, help="where the report is kept; the last one there is compared with")
    parser.add_argument("--html", type=Path, help="where a page of it goes")
    parser.add_argument("--against", type=Path, help="another report to compare with")
    parser.add_argument("--at-least", type=float, default=1.0, help="which share has to pass, 0 to 1 (1)")
    parser.add_argument("--no-worse", action="store_true", help="a case that is worse than the last time is a failure")
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    return parser


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return value


def _loaded(spec: str) -> Evaluation:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found = resolve_name(spec)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(f"{spec!r} cannot be loaded: {error}; write module:name, as in myevals:evaluation") from error
    if callable(found) and not isinstance(found, Evaluation):
        found = found()
    if not isinstance(found, Evaluation):
        raise UsageError(f"{spec!r} is no Evaluation, but {type(found).__name__}")
    return found


def _last(path: Path | None, *, wanted: bool) -> Report | None:
    return Report.load(path) if path is not None and (wanted or path.exists()) else None


def _run(evaluation: Evaluation, args: argparse.Namespace, last: Report | None) -> int:
    if args.quiet:
        report = evaluation.run_sync()
    else:
        with progress(len(evaluation)) as tell:
            report = evaluation.run_sync(tell)
    changes = _changes(report, last)
    parts = [report.table(), report.failures(), "\n".join(map(str, changes))]
    sys.stdout.write("\n\n".join(part for part in parts if part) + "\n")
    if args.json is not None:
        report.save(args.json)
    if args.html is not None:
        args.html.parent.mkdir(parents=True, exist_ok=True)
        args.html.write_text(page(report, changes), encoding="utf-8")
    if args.no_worse and any(change.worse for change in changes):
        return NOT_GOOD
    return 0 if report.pass_rate >= args.at_least else NOT_GOOD


def _changes(report: Report, last: Report | None) -> list[Change]:
    if last is None:
        return []
    # what was left out by --case or --target is not gone
    tried = {(each.target, each.case) for each in report.outcomes}
    return [change for change in report.compare(last) if (change.target, change.case) in tried]
