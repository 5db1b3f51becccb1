"""The notebook among the examples, run in a Jupyter kernel, cell by cell against the outputs that stand in it.

After a wanted change `python tests/test_notebook.py` stores what comes.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")

ROOT = Path(__file__).parent.parent
NOTEBOOK = ROOT / "examples" / "notebook.ipynb"
# What is another each time: lengths of time, and the hour.
TIMES = re.compile(r"\d+\.\d s\b|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC")
# The kernel warns of itself when it is stopped.
WARNINGS = "error,ignore::PendingDeprecationWarning"


def ran(folder: Path) -> Any:
    """The notebook after a run of all its cells, in a kernel that takes nothing from the user's own settings."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AGENTKIT_", "JUPYTER"))}
    environment |= {"PYTHONPATH": str(ROOT), "IPYTHONDIR": str(folder), "PYTHONWARNINGS": WARNINGS}
    client = nbclient.NotebookClient(
        notebook, kernel_name="python3", timeout=150, record_timing=False, resources={"metadata": {"path": folder}}
    )
    return client.execute(env=environment)


def shown(cell: Any) -> list[dict[str, Any]]:
    """A cell's outputs, pieces of a stream joined, and without what is another each time."""
    found: list[dict[str, Any]] = []
    for output in cell.outputs:
        if found and output.output_type == "stream" and found[-1].get("name") == output.name:
            found[-1]["text"] += output.text
        elif output.output_type == "stream":
            found.append({"name": output.name, "text": output.text})
        else:
            found.append(dict(output.data) if "data" in output else dict(output))
    return [{name: TIMES.sub("…", str(value)) for name, value in each.items()} for each in found]


@pytest.mark.slow
def test_the_notebook_shows_what_it_stores(tmp_path):
    stored = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(stored)
    for before, now in zip(stored.cells, ran(tmp_path).cells, strict=True):
        if now.cell_type == "code":
            assert shown(now) == shown(before), now.source
            assert "stderr" not in [output.get("name") for output in now.outputs]


def test_each_cell_has_its_outputs_stored():
    code = [cell for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert sum("text/html" in output.get("data", {}) for cell in code for output in cell.outputs) >= 6


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as made:
        notebook = ran(Path(made))
    notebook.metadata = {**nbformat.read(NOTEBOOK, as_version=4).metadata}
    nbformat.write(notebook, NOTEBOOK)
