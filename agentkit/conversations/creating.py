"""How a SQLite file comes to be: whole, or not at all.

A store is made under another name and then given its own in one step. So a file that stands there is a store, or is
damaged: never a new one that somebody is still at work on, which an empty or cut file could be taken for.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from agentkit.conversations.faults import StoreDamaged, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BESIDE: Final = ("-wal", "-shm", "-journal")
"""What SQLite puts beside a database file."""


def create(path: Path, fill: Callable[[Path], None]) -> None:
    """Have the database at `path` made by `fill`, which is given a path beside it, unless one is there.

    Raises:
        StoreDamaged: what is there is empty, or only the file's companions are left of it.
        StoreError: there is no such folder.
    """
    if path.exists():
        if path.is_file() and not path.stat().st_size:
            raise StoreDamaged(f"{path} is empty: it was cut, or never was a store; delete it to start a new one")
        return
    if not path.parent.is_dir():
        raise StoreError(f"there is no folder {path.parent} to keep {path.name} in: make it first")
    for left in (path.with_name(path.name + end) for end in BESIDE):
        if left.exists() and left.stat().st_size:
            if path.exists():  # somebody made it just now
                return
            raise StoreDamaged(
                f"{path} is missing, but {left.name} of it is there: bring the database back, or delete {left.name}"
            )
    making = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        fill(making)
        with suppress(FileExistsError):  # somebody else was faster
            _publish(making, path)
    except OSError as error:
        raise StoreError(f"{path} cannot be made: {error}") from error
    finally:
        for made in (making, *(making.with_name(making.name + end) for end in BESIDE)):
            made.unlink(missing_ok=True)


def _publish(making: Path, path: Path) -> None:
    try:
        os.link(making, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        with making.open("rb") as source, path.open("xb") as target:
            shutil.copyfileobj(source, target)
            target.flush()
            os.fsync(target.fileno())
    with suppress(OSError):  # not every system lets a folder be opened
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
