"""Follows docs/tutorial as a reader does: saves its files, runs its commands in a shell, compares what they print.

Each fenced block has to be one of these; the sentence or the comment is what stands right before it.

| before the block | what is done with it |
| --- | --- |
| a sentence that says "Save this as `name`", and ends with a colon | it is written to that file |
| one that says "Add this to `name`" | it is written behind what the file has |
| nothing (a `sh` block) | it is run; the folder and the environment go on to the next one |
| `<!-- model: … -->` (a `sh` block) | the same, and AGENTKIT_MODEL answers with this: a script's items, as Python |
| `<!-- install -->` (a `sh` block) | it is run where an environment of its own is wanted, else passed by |
| `<!-- another terminal -->` (a `sh` block) | it serves beside the others, until the next such one or the end |
| `<!-- output -->` (a `text` block) | it is what the commands above it printed, word for word |

In such an output, what stands behind a prompt of `agentkit chat` is typed. Seconds and counts of tokens are not
compared.
"""

from __future__ import annotations

import os
import pty
import re
import shlex
import socket
import subprocess
import sys
from contextlib import ExitStack, contextmanager, suppress
from difflib import unified_diff
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from agentkit import testing
from agentkit.testing import FakeEndpoint
from tests.test_docs import ROOT, TUTORIAL, Block, blocks

if TYPE_CHECKING:
    from collections.abc import Iterator

SAVED: Final = re.compile(r"\b(?P<how>Save this as|Add this to) `(?P<name>[\w./]+)`.*:$")
TYPED: Final = re.compile(r"^(?:>|run it\? y/n/e/a) ?(?P<text>.*)$")
VARYING: Final = re.compile(r"\d+\.\d+ ?s\b|\d+ tokens in(?: \(\d+ cached\))?, \d+ out")
PORT: Final = "8000"
SHELL: Final = """
set -eo pipefail
[ ! -f "$STATE" ] || . "$STATE"
trap '{ export -p; printf "cd %q\\n" "$PWD"; } >"$STATE"' EXIT
"""


class Step(NamedTuple):
    """A block, what is to be done with it, and where it stands."""

    what: str
    block: Block
    where: str
    file: str = ""
    shown: Block | None = None  # what its commands print


def steps(page: str, text: str) -> list[Step]:
    """What a page has its reader do, in order. Raises ValueError for a block of which that is not clear."""
    found: list[Step] = []
    for block in blocks(text):
        where = f"{page}:{block.line}"
        if saved := SAVED.search(block.above):
            found.append(Step("save" if saved["how"] == "Save this as" else "add", block, where, saved["name"]))
        elif block.language == "sh":
            found.append(Step(block.comment.partition(":")[0] or "run", block, where))
        elif block.comment == "output" and found and found[-1].block.language == "sh" and not found[-1].shown:
            found[-1] = found[-1]._replace(shown=block)
        else:
            raise ValueError(f"{where}: a block that is neither a file, nor commands, nor what commands printed")
    return found


def script_in(comment: str) -> list[Any]:
    """The items of a script, from `model: …`."""
    return eval(f"[{comment.partition(':')[2]}]", vars(testing).copy())


def printed(shown: Block) -> str:
    """What of a block is printed."""
    return "\n".join(line for line in shown.code.splitlines() if not TYPED.match(line))


def typed(shown: Block) -> str:
    """What of a block is typed."""
    answers = [found["text"] for line in shown.code.splitlines() if (found := TYPED.match(line))]
    return "".join(f"{answer}\n" for answer in answers if answer)


def comparable(text: str) -> list[str]:
    """The lines of an output, without what is another each time."""
    return [VARYING.sub("…", line.rstrip()) for line in text.strip().splitlines()]


class Reader:
    """Somebody with an empty folder and a shell. `whole` installs, and asks the real local model."""

    def __init__(self, folder: Path, *, whole: bool = False) -> None:
        self.folder = folder
        self.whole = whole
        self._model = FakeEndpoint([])
        self._port = str(_free_port())
        self._state = folder / "state"
        self._here = folder
        self._environment = {
            name: value
            for name, value in os.environ.items()
            # in CI pytest shows more than on a reader's machine
            if not name.startswith(("AGENTKIT_", "PYTEST_", "VIRTUAL_ENV", "PYTHON"))
            and name not in {"CI", "BUILD_NUMBER"}
        }
        self._environment |= {
            "STATE": str(self._state),
            "COLUMNS": "80",
            "TERM": "dumb",
            "XDG_DATA_HOME": str(folder),
            "AGENTKIT_HISTORY": "",
        }
        if not whole:
            self._environment |= _commands_of_this_environment(folder / "bin")

    def __enter__(self) -> Self:
        self._model.__enter__()
        (self.folder / "agentkit").symlink_to(ROOT)
        return self

    def __exit__(self, *error: object) -> None:
        self._model.__exit__(*error)

    def follow(self, page: str, text: str) -> None:
        """Do what a page says. Raises AssertionError where something else comes of it than the page shows."""
        with ExitStack() as other_terminal:
            for step in steps(page, text):
                match step.what:
                    case "save" | "add":
                        self._write(step)
                    case "another terminal":
                        other_terminal.close()
                        other_terminal.enter_context(self._beside(step))
                    case "install" if not self.whole:
                        pass
                    case "install" | "run" | "model":
                        self._run(step)
                    case _:
                        raise ValueError(f"{step.where}: nothing is known of {step.block.comment!r}")

    def _write(self, step: Step) -> None:
        path = self._here / step.file
        path.parent.mkdir(parents=True, exist_ok=True)
        before = path.read_text("utf-8") + "\n\n" if step.what == "add" else ""
        path.write_text(before + self._mine(step.block.code), "utf-8")

    def _run(self, step: Step) -> None:
        items = script_in(step.block.comment) if step.what == "model" and not self.whole else None
        self._model.play(items or [])
        already = len(self._model.requests)
        shown = step.shown
        code, came = self._at_a_terminal(step.block.code, typed(shown) if shown else "", asked=items is not None)
        assert code == 0, f"{step.where}: exit code {code}\n{came}"
        assert items is None or len(self._model.requests) - already == len(items), f"{step.where}: replies are left"
        if shown and not (self.whole and step.what == "model"):
            expected = comparable(printed(shown))
            differing = "\n".join(unified_diff(expected, comparable(came), "the page", "what came", lineterm=""))
            assert not differing, f"{step.where}\n{differing}"

    def _shell(self, commands: str, *, asked: bool = False) -> list[str]:
        # Of the model nothing goes on to the next block.
        settings = "unset AGENTKIT_MODEL OPENAI_BASE_URL OPENAI_API_KEY"
        if asked:
            address = f"OPENAI_BASE_URL={self._model.base_url} OPENAI_API_KEY={self._model.api_key}"
            settings = f"export AGENTKIT_MODEL=openai:tutorial {address}"
        return ["bash", "-c", f"{SHELL}\n{settings}\n{self._mine(commands)}"]

    def _at_a_terminal(self, commands: str, answers: str, *, asked: bool) -> tuple[int, str]:
        """The exit code, and what was to be seen. What is typed comes by a pipe, so that no line editor draws."""
        mine, theirs = pty.openpty()
        process = subprocess.Popen(
            self._shell(commands, asked=asked),
            cwd=self.folder,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        assert process.stdin is not None
        with suppress(BrokenPipeError):  # it ended before
            process.stdin.write(answers.encode())
            process.stdin.close()
        seen = b"".join(_read_all(mine)).decode("utf-8", "replace").replace("\r\n", "\n")
        code = process.wait()
        if self._state.exists():
            self._here = Path(shlex.split(self._state.read_text("utf-8").rstrip().rpartition("\n")[2])[1])
        return code, seen.replace(self._port, PORT)

    @contextmanager
    def _beside(self, step: Step) -> Iterator[None]:
        process = subprocess.Popen(
            self._shell(f"exec {step.block.code}"),
            cwd=self.folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        said: list[str] = []
        try:
            for line in process.stderr:
                said.append(line)
                if "running on" in line:
                    break
            else:
                raise AssertionError(f"{step.where}: it ended\n{''.join(said)}")
            yield
        finally:
            process.terminate()
            process.communicate()

    def _mine(self, text: str) -> str:
        """The port that the pages name may be taken by somebody else."""
        return text.replace(PORT, self._port)


def _read_all(terminal: int) -> Iterator[bytes]:
    try:
        while piece := os.read(terminal, 65536):
            yield piece
    except OSError:  # how a terminal ends
        pass
    finally:
        os.close(terminal)


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def _commands_of_this_environment(folder: Path) -> dict[str, str]:
    """Variables with which `python`, `pytest` and `agentkit` are those that the tests run with."""
    folder.mkdir()
    for name, module in {"python": "", "pytest": "-m pytest", "agentkit": "-m agentkit.cli"}.items():
        path = folder / name
        path.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {module} "$@"\n', "utf-8")
        path.chmod(0o755)
    return {
        "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        # The tests' own plugins would be most of what a run of pytest costs.
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTEST_ADDOPTS": "-p agentkit_pytest",
    }


def pages() -> list[Path]:
    """The pages of the tutorial, in order."""
    return [TUTORIAL / "index.md", *sorted(path for path in TUTORIAL.glob("*.md") if path.name != "index.md")]
