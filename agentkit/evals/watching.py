"""How far an evaluation has come, on stderr: a bar where rich is installed, else a line."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from agentkit.evals.cases import Outcome


@contextmanager
def progress(total: int, file: TextIO | None = None) -> Generator[Callable[[Outcome], None]]:
    """Shows each outcome that the function is called with. On what is no terminal, one line at the end."""
    out = sys.stderr if file is None else file
    if out.isatty() and find_spec("rich") is not None:
        with _bar(total, out) as tell:
            yield tell
        return
    line = _Line(total, out)
    try:
        yield line
    finally:
        line.end()


class _Line:
    def __init__(self, total: int, file: TextIO) -> None:
        self._total = total
        self._file = file
        self._done = self._passed = self._errors = 0

    def __call__(self, outcome: Outcome) -> None:
        self._done += 1
        self._passed += outcome.passed
        self._errors += outcome.error is not None
        if self._file.isatty():
            self._file.write(f"\r{self.text}")
            self._file.flush()

    @property
    def text(self) -> str:
        errors = f", {self._errors} errors" if self._errors else ""
        return f"{self._done} of {self._total} tried: {self._passed} passed{errors}"

    def end(self) -> None:
        self._file.write("\n" if self._file.isatty() else f"{self.text}\n")
        self._file.flush()


@contextmanager
def _bar(total: int, file: TextIO) -> Generator[Callable[[Outcome], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    passed = 0
    with Progress(*columns, console=Console(file=file)) as bar:
        task = bar.add_task("0 passed", total=total)

        def tell(outcome: Outcome) -> None:
            nonlocal passed
            passed += outcome.passed
            bar.update(task, advance=1, description=f"{passed} passed")

        yield tell
