"""A code review with findings that have a file and a line, and an exit code for CI.

`python examples/code_reviewer.py FOLDER` reviews a folder; `git diff main | python examples/code_reviewer.py .` reviews
a change. The exit code is 1 if a bug is found. Without arguments a sample is reviewed; without AGENTKIT_MODEL the model
is scripted, and looks for a file outside the folder.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field

from agentkit import Agent, Context, Retry, tool
from agentkit.events import Event, ToolFinished
from agentkit.testing import ScriptedModel, call

SAMPLE = """\
def total(prices: list[float], discount: float) -> float:
    result = 0.0
    for index in range(len(prices) - 1):
        result += prices[index]
    return result * (1 - discount)
"""


class Finding(BaseModel):
    """Something that should be changed."""

    file: str
    line: int = Field(ge=1)
    kind: Literal["bug", "risk", "style"]
    what: str


class Review(BaseModel):
    """All that should be changed; nothing, if the list is empty."""

    findings: list[Finding]


def is_shown(root: Path, file: Path) -> bool:
    """Whether the model may see a file: it is in the folder, also where links lead, and is not hidden."""
    file = file.resolve()
    return (
        file.is_file()
        and file.is_relative_to(root)
        and not any(part.startswith(".") for part in file.relative_to(root).parts)
    )


def lines_of(root: Path, name: str) -> list[str]:
    """The lines of a file that the model may see."""
    if not is_shown(root, root / name):
        raise Retry(f"There is no file {name!r} in this folder; list_files tells which there are.")
    return (root / name).read_text("utf-8", errors="replace").splitlines()


@tool(read_only=True)
def list_files(context: Context[Path]) -> list[str]:
    """List the files of the folder."""
    root = context.deps
    return [file.relative_to(root).as_posix() for file in sorted(root.rglob("*")) if is_shown(root, file)]


@tool(read_only=True)
def read_file(context: Context[Path], name: str) -> str:
    """Read a file, with its lines numbered."""
    return "\n".join(f"{number}: {line}" for number, line in enumerate(lines_of(context.deps, name), 1))


def are_there(context: Context[Path], review: Review) -> Review:
    """Check that each finding stands in a line that exists."""
    for finding in review.findings:
        count = len(lines_of(context.deps, finding.file))
        if finding.line > count:
            raise Retry(f"{finding.file} has {count} lines, not {finding.line}: read it again.")
    return review


def found(line: int) -> str:
    """What the scripted model finds."""
    finding = Finding(file="basket.py", line=line, kind="bug", what="the last price is left out")
    return Review(findings=[finding]).model_dump_json()


SCRIPT = ScriptedModel(
    [
        call("list_files"),
        call("read_file", name="../secrets.txt"),
        call("read_file", name="basket.py"),
        found(line=31),
        found(line=3),
    ]
)
reviewer = Agent[Path, Review](
    os.environ.get("AGENTKIT_MODEL") or SCRIPT,
    output=Review,
    tools=[list_files, read_file],
    validators=[are_there],
    instructions="You review code. Read what you need. Report what is wrong, and nothing that is a matter of taste.",
)


def show(event: Event) -> None:
    """Print what was read."""
    if isinstance(event, ToolFinished):
        print(f"({event.call.name} {event.call.arguments}: {event.result.status})")


def review(folder: Path, diff: str = "") -> int:
    """Review a folder, or a change that was made in it; returns the exit code."""
    task = f"Review this change. The files are as they are after it.\n\n{diff}" if diff else "Review all files."
    findings = reviewer.run_sync(task, deps=folder.resolve(), on_event=show).output.findings
    for finding in findings:
        print(f"{finding.file}:{finding.line}: {finding.kind}: {finding.what}")
    return int(any(finding.kind == "bug" for finding in findings))


if __name__ == "__main__":
    if sys.argv[1:]:
        sys.exit(review(Path(sys.argv[1]), "" if sys.stdin.isatty() else sys.stdin.read()))
    with tempfile.TemporaryDirectory() as sample:
        Path(sample, "basket.py").write_text(SAMPLE, "utf-8")
        print("exit code:", review(Path(sample)))
