"""Chromium without a window, driven over a pipe by its own protocol: as much of it as the tests of the page take."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final, Self

CHROMIUM: Final = shutil.which("chromium") or shutil.which("chromium-browser")
_FLAGS: Final = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage --hide-scrollbars --mute-audio "
    "--remote-debugging-pipe"
).split()
# Its ends of the two pipes have to be 3 and 4.
_LAUNCHER: Final = (
    "import fcntl, os, sys; ends = [fcntl.fcntl(int(each), fcntl.F_DUPFD, 10) for each in sys.argv[1:3]]; "
    "os.dup2(ends[0], 3); os.dup2(ends[1], 4); os.execv(sys.argv[3], sys.argv[3:])"
)
_KEYS: Final = {"Enter": 13, "Escape": 27, "Tab": 9, "ArrowUp": 38}
# Rejects, with what it last saw, where a condition does not come true.
_WAIT: Final = """new Promise((resolve, reject) => {
  const end = performance.now() + %d;
  const look = () => {
    let seen;
    try { seen = (() => (%s))(); } catch (error) { seen = undefined; }
    if (seen) resolve(seen);
    else if (performance.now() > end) reject(new Error("it did not come: " + document.body.innerText.slice(-800)));
    else setTimeout(look, 15);
  };
  look();
})"""


class PageError(Exception):
    """Something in the page, or of the protocol, failed."""


class Browser:
    """A browser with a profile of its own; one page at a time."""

    def __init__(self) -> None:
        assert CHROMIUM is not None
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        read_commands, self._commands = os.pipe()
        self._answers, write_answers = os.pipe()
        command = [CHROMIUM, *_FLAGS, f"--user-data-dir={self._profile.name}", "about:blank"]
        launcher = [sys.executable, "-c", _LAUNCHER, str(read_commands), str(write_answers)]
        self.process = subprocess.Popen(
            [*launcher, *command],
            pass_fds=(read_commands, write_answers),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"HOME": self._profile.name},
        )
        os.close(read_commands)
        os.close(write_answers)
        self._rest = b""
        self._number = 0
        self._context = ""
        self.session = ""
        self.problems: list[str] = []
        self.requests: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(5)
        os.close(self._commands)
        os.close(self._answers)
        self._profile.cleanup()

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """A command's result. Raises PageError."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while (answer := self._read()).get("id") != self._number:
            self._note(answer)
        if "error" in answer:
            raise PageError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            piece = os.read(self._answers, 1 << 16)
            if not piece:
                raise PageError("the browser has ended")
            self._rest += piece
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)

    def _note(self, event: dict[str, Any]) -> None:
        params = event.get("params", {})
        if event.get("method") == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.problems.append(details.get("exception", {}).get("description") or details["text"])
        elif event.get("method") == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.problems.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
        elif event.get("method") == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif event.get("method") == "Page.javascriptDialogOpening":
            self.problems.append(f"a dialog: {params['message']}")

    def open(self, url: str, *, width: int = 1200, height: int = 800, dark: bool = False, phone: bool = False) -> None:
        """A new page, with nothing kept from one before it."""
        self.session = ""
        if self._context:
            self.call("Target.disposeBrowserContext", browserContextId=self._context)
        self._context = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call("Target.createTarget", url="about:blank", browserContextId=self._context)["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
        self.problems.clear()
        self.requests.clear()
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def evaluate(self, script: str) -> Any:
        """What an expression gives; a promise is awaited. Raises PageError."""
        answer = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if details := answer.get("exceptionDetails"):
            raise PageError(details.get("exception", {}).get("description") or details["text"])
        return answer["result"].get("value")

    def wait(self, script: str, seconds: float = 60) -> Any:
        """What an expression gives once it is true. Raises PageError with the page's text."""
        while True:
            try:
                return self.evaluate(_WAIT % (seconds * 1000, script))
            except PageError as error:
                if "context was destroyed" not in str(error) and "navigated" not in str(error):
                    raise

    def wait_text(self, text: str) -> None:
        """Wait until the page shows a text."""
        self.wait(f"document.body.innerText.includes({json.dumps(text)})")

    def type(self, text: str) -> None:
        """Type into what has the focus."""
        self.call("Input.insertText", text=text)

    def press(self, key: str, *, alt: bool = False, shift: bool = False) -> None:
        """Press a key."""
        code = _KEYS.get(key) or ord(key.upper())
        names = {"key": key, "code": key if key in _KEYS else f"Key{key.upper()}", "windowsVirtualKeyCode": code}
        text = "\r" if key == "Enter" else key if len(key) == 1 and not alt else None
        said = {} if text is None else {"text": text}
        modifiers = (1 if alt else 0) | (8 if shift else 0)
        self.call("Input.dispatchKeyEvent", type="keyDown", modifiers=modifiers, **names, **said)
        self.call("Input.dispatchKeyEvent", type="keyUp", modifiers=modifiers, **names)

    def click(self, selector: str) -> None:
        """Click in the middle of an element, once there is one."""
        place = self.wait(
            f"(() => {{ const node = document.querySelector({json.dumps(selector)}); if (!node) return null;"
            "node.scrollIntoView({block: 'nearest'}); const box = node.getBoundingClientRect();"
            "return box.width ? [box.x + box.width / 2, box.y + box.height / 2] : null; })()"
        )
        mouse = {"x": place[0], "y": place[1], "button": "left", "clickCount": 1}
        self.call("Input.dispatchMouseEvent", type="mousePressed", **mouse)
        self.call("Input.dispatchMouseEvent", type="mouseReleased", **mouse)

    def reload(self) -> None:
        """Load the page anew."""
        self.evaluate("window.before = true")
        self.call("Page.reload")
        self.wait("!window.before && document.readyState === 'complete'")

    def ask(self, text: str) -> None:
        """Ask something, as a person does."""
        self.wait("document.activeElement?.id === 'ask' && document.querySelector('#model').value")
        self.type(text)
        self.press("Enter")

    def picture(self, path: Path) -> None:
        """Write down what the page looks like."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))
