"""Processes for tests to end and to stop: forked off one that has imported everything, in a few milliseconds each."""

from __future__ import annotations

import atexit
import gc
import json
import os
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PRELOADED = (
    "tests.conversations.worker",
    "tests.crash.child",
    "anyio._backends._asyncio",
    "anyio._backends._trio",
    "sqlalchemy.dialects.sqlite.pysqlite",
    "sqlalchemy.dialects.postgresql.psycopg",
)


class Child:
    """A process that a test has started, and the lines that go to it and come from it."""

    def __init__(self, server: _Server, pid: int, stdin: int, stdout: int) -> None:
        self._server = server
        self.pid = pid
        self.code: int | None = None
        """Its exit code, less than zero for a signal, once it has ended."""
        self.stdin = open(stdin, "w", encoding="utf-8")  # noqa: SIM115  # `forked` closes it
        self.stdout = open(stdout, encoding="utf-8")  # noqa: SIM115

    def line(self) -> str:
        """The next line that it tells; "" once it has ended."""
        return self.stdout.readline().strip()

    def say(self, text: str) -> str:
        """Tell it something; its answer."""
        self.stdin.write(text + "\n")
        self.stdin.flush()
        return self.line()

    def wait(self) -> int | None:
        """Wait until it has ended or stands still: its exit code, or None."""
        if self.code is None:
            self.code = self._server.ask({"wait": self.pid})
        return self.code

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it is still there."""
        if self.code is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it, if it is still there."""
        self.send_signal(signal.SIGKILL)
        while self.wait() is None:
            pass  # it stood still before


@contextmanager
def forked(function: str, *args: Any) -> Iterator[Child]:
    """A process that calls a function, named as in "tests.crash.child:run"; ended with the block at the latest."""
    stdin, stdout = os.pipe(), os.pipe()
    server = _server()
    try:
        pid: int = server.ask({"do": function, "args": args}, [stdin[0], stdout[1]])
    finally:
        os.close(stdin[0])
        os.close(stdout[1])
    child = Child(server, pid, stdin[1], stdout[0])
    try:
        yield child
    finally:
        child.kill()
        with suppress(BrokenPipeError):
            child.stdin.close()
        child.stdout.close()


class _Server:
    """The process that forks. An order is a line of JSON, and so is its answer."""

    def __init__(self) -> None:
        self._socket, other = socket.socketpair()
        with other:
            self._process = subprocess.Popen(
                [sys.executable, "-c", "from tests.forking import serve; serve()"],
                cwd=ROOT,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
                stdin=other,
            )
        self._answers = self._socket.makefile()

    def ask(self, order: dict[str, Any], files: list[int] | None = None) -> Any:
        socket.send_fds(self._socket, [json.dumps(order).encode() + b"\n"], files or [])
        return json.loads(self._answers.readline())

    def end(self) -> None:
        self._answers.close()
        self._socket.close()  # it ends by that
        self._process.wait()


@cache
def _server() -> _Server:
    server = _Server()
    atexit.register(server.end)
    return server


def serve() -> None:
    """What the process that forks does, until its standard input is closed."""
    for name in PRELOADED:
        with suppress(ModuleNotFoundError):
            import_module(name)
    gc.collect()
    gc.freeze()
    orders = socket.socket(fileno=0)
    while line := socket.recv_fds(orders, 65_536, 2):
        data, files, _, _ = line
        if not data:
            return
        order = json.loads(data)
        if "wait" in order:
            _, status = os.waitpid(order["wait"], os.WUNTRACED)
            answer = None if os.WIFSTOPPED(status) else os.waitstatus_to_exitcode(status)
        else:
            answer = os.fork()
            if not answer:
                _be_child(order, files)
            for each in files:
                os.close(each)
        orders.sendall(json.dumps(answer).encode() + b"\n")


def _be_child(order: dict[str, Any], files: list[int]) -> None:
    try:
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        sys.stdin = open(0, encoding="utf-8")  # noqa: SIM115  # it is the process's own
        sys.stdout = open(1, "w", encoding="utf-8")  # noqa: SIM115
        module, _, name = order["do"].partition(":")
        getattr(import_module(module), name)(*order["args"])
        sys.stdout.flush()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)
