"""What a run that is killed leaves behind: a diary of what its tools did, and the places where it can be ended."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Engine, event

from agentkit import Context, Transcript
from agentkit.conversations.kept import Kept

KINDS = (
    "opened",  # the conversation is held, and nothing is done yet
    "asking",  # the model is about to be asked
    "answered",  # its reply is there, and not recorded
    "event",  # something is told: in the middle of a stream too
    "writing",  # an entry is about to be written
    "committing",  # in the transaction
    "written",  # an entry is on the disk, and the run does not know yet
    "starting",  # a call's start is recorded, and its function has done nothing
    "in a tool",
    "after a tool",  # it has done all, and its result is not recorded
    "closing",
)

EXPIRED = "UPDATE agentkit_conversations SET expires_at = 0"
"""Has all leases run out."""


@dataclass
class Fuse:
    """Counts the places that a run comes by, and sends its process a signal at one of them."""

    kind: str = ""
    number: int = 0
    signal: int = signal.SIGKILL
    seen: Counter[str] = field(default_factory=Counter)
    writing: threading.Lock = field(default_factory=threading.Lock)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def at(self, kind: str) -> None:
        with self._lock:
            self.seen[kind] += 1
            is_here = (kind, self.seen[kind]) == (self.kind, self.number)
        # whoever stands still while another of its threads writes keeps SQLite's lock, and all others wait for that
        with self.writing if is_here and self.signal == signal.SIGSTOP else nullcontext():
            if is_here:
                signal.pthread_kill(threading.get_ident(), self.signal)  # to this thread: none does a step more


class Diary:
    """A file to which several processes write, line by line, what they do. What is written outlives its process."""

    def __init__(self, path: Path | str) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)

    def write(self, *line: Any) -> None:
        os.write(self._file, json.dumps(line).encode() + b"\n")

    def lines(self, what: str) -> list[list[Any]]:
        text = os.pread(self._file, os.fstat(self._file).st_size, 0).decode()
        return [line[1:] for line in map(json.loads, text.splitlines()) if line[0] == what]

    def close(self) -> None:
        os.close(self._file)


@dataclass
class World:
    """What the tools of a run get to know: it is their deps."""

    diary: Diary
    fuse: Fuse = field(default_factory=Fuse)

    def do(self, context: Context[World], n: int) -> str:
        """What each tool does."""
        name, key = context.call.name, context.idempotency_key
        self.fuse.at("starting")
        self.diary.write("start", name, n, key)
        self.fuse.at("in a tool")
        self.diary.write("done", name, n, key)
        self.fuse.at("after a tool")
        return value_of(name, n)


def value_of(name: str, n: int) -> str:
    """What a tool returns."""
    return f"{name} {n}"


class Watched:
    """A kept conversation whose every write is in the diary."""

    def __init__(self, kept: Kept, world: World) -> None:
        self._kept = kept
        self._world = world

    @property
    def offset(self) -> int:
        return self._kept.offset

    @property
    def transcript(self) -> Transcript:
        self._world.fuse.at("opened")
        return self._kept.transcript

    def record(self, index: int, entry_json: bytes) -> None:
        fuse, diary = self._world.fuse, self._world.diary
        diary.write("writing", index, entry_json.decode())
        fuse.at("writing")
        with fuse.writing:
            self._kept.record(index, entry_json)
        diary.write("written", index, entry_json.decode())
        fuse.at("written")

    def __enter__(self) -> Self:
        self._kept.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._world.fuse.at("closing")
        self._kept.__exit__(*error)

    async def __aenter__(self) -> Self:
        await self._kept.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        self._world.fuse.at("closing")
        await self._kept.__aexit__(*error)


def watch_commits(fuse: Fuse) -> None:
    """Have each transaction of this process come by the fuse before it is committed."""
    event.listen(Engine, "commit", lambda _connection: fuse.at("committing"))
