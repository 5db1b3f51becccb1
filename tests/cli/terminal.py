"""A program at a terminal of its own, for tests to type at and read from."""

from __future__ import annotations

import codecs
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
# A program gets its terminal by being the first of its session that opens one.
LAUNCH = "import os, sys; os.close(os.open(os.ttyname(0), os.O_RDWR)); os.execv(sys.executable, sys.argv[1:])"
PROMPTS = "\x1b[?2004h"
"""What the line editor writes when it begins to listen."""
READY = "\N{BLACK RIGHT-POINTING TRIANGLE}"
"""What stands in its place in what was seen."""
BEGUN = re.compile(r"\x1b[^A-Za-z]*$")
ESCAPES = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[()][AB0-2]|[=>78])")


class Terminal:
    """`with Terminal("chat", "bots:agent") as terminal`: what it shows comes without colours and cursor moves.

    `bytes` is all that came, as it came.
    """

    def __init__(self, *args, folder, timeout_s=40.0, **environment):
        self.seen = ""
        self.bytes = b""
        self.timeout_s = timeout_s
        self._here, there = pty.openpty()
        fcntl.ioctl(there, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._raw = ""
        variables = {name: value for name, value in os.environ.items() if not name.startswith("AGENTKIT_")}
        variables |= {
            "TERM": "xterm",
            "PROMPT_TOOLKIT_NO_CPR": "1",
            "PYTHONPATH": os.pathsep.join((str(ROOT), str(HERE))),
            "AGENTKIT_HISTORY": str(folder / "history"),
            **environment,
        }
        self.process = subprocess.Popen(
            [sys.executable, "-c", LAUNCH, sys.executable, "-m", "agentkit.cli", *args],
            stdin=there,
            stdout=there,
            stderr=there,
            cwd=folder,
            env=variables,
            start_new_session=True,
        )
        os.close(there)

    def type(self, text):
        """Type it, as fast as it goes."""
        os.write(self._here, text.encode())

    def enter(self, text):
        """Type it, and Enter."""
        self.type(f"{text}\r")

    def expect(self, text):
        """Wait until it is shown; what came up to it."""
        deadline = time.monotonic() + self.timeout_s
        while text not in self.seen:
            if not self._read(deadline - time.monotonic()):
                raise AssertionError(f"{text!r} was not shown, but:\n{self.seen}")
        before, _, self.seen = self.seen.partition(text)
        return before

    def ready(self):
        """Wait until it listens for the next line; what came up to that."""
        return self.expect(READY)

    def end(self):
        """Wait until the program ends; its exit code."""
        deadline = time.monotonic() + self.timeout_s
        while self._read(deadline - time.monotonic()):
            pass
        return self.process.wait(timeout=max(1.0, deadline - time.monotonic()))

    def _read(self, left_s):
        if left_s <= 0 or not select.select([self._here], [], [], left_s)[0]:
            return False
        try:
            data = os.read(self._here, 65536)
        except OSError:  # Linux says so when the other end is closed
            return False
        self.bytes += data
        text = self._raw + self._decoder.decode(data)
        begun = BEGUN.search(text)  # a sequence may come in two pieces
        end = len(text) if begun is None else begun.start()
        self._raw = text[end:]
        self.seen += ESCAPES.sub("", text[:end].replace(PROMPTS, READY))
        return bool(data)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._here)
