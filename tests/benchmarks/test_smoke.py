"""The benchmarks still run: every client of this environment does every workload, a little of it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_workload_gives_a_figure():
    command = [sys.executable, "-m", "tests.benchmarks", "--quick", "--only", ""]
    told = subprocess.check_output(command, text=True, cwd=ROOT)
    rows = re.findall(r"^\| (?!time|memory)(.+?) \| .+? \| (.+) \|$", told, re.MULTILINE)
    assert len(rows) == 21
    for name, figures in rows:
        assert re.fullmatch(r"-?[\d.e+-]+ \| -?[\d.e+-]+( \(-?[\d.]+\))?", figures), name
