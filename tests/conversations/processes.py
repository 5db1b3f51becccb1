"""Workers, started and ended for sure."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


@contextmanager
def worker(url: str, name: str, what: str, *, lease_s: float = 30) -> Iterator[subprocess.Popen[str]]:
    """A process that does `what` of worker.py."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.conversations.worker", url, name, str(lease_s), what],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def line(process: subprocess.Popen[str]) -> str:
    """The next line that it tells."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def say(process: subprocess.Popen[str], text: str) -> str:
    """Tell it something; its answer."""
    assert process.stdin is not None
    process.stdin.write(text + "\n")
    process.stdin.flush()
    return line(process)
