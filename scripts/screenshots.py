"""Takes the pictures that the documentation shows, in docs/images: the chat page, a chat at the terminal, a timeline.

It needs Chromium (Debian's `chromium`), npm, and the extras `serve` and `cli`:
`PYTHONPATH=. python scripts/screenshots.py`. What the terminal shows is drawn by xterm.js, which npm fetches.
"""

from __future__ import annotations

import base64
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from agentkit import Agent, tool
from agentkit.serve import create_app
from agentkit.testing import ScriptedModel, call, calls, say
from tests.cli.terminal import Terminal
from tests.serve.browser import CHROMIUM, Browser
from tests.serve.conftest import served

IMAGES = Path(__file__).parent.parent / "docs" / "images"
QUESTION = "Do you have Dune and Emma?"
ORDER = "Two of Emma for Saturday, please."
LOOK = calls(
    call("in_stock", title="Dune"),
    call("in_stock", title="Emma"),
    reasoning="Two books are asked for: I look in the stock.",
)
CALL = call("order", title="Emma", copies=2)
ANSWER = """There are **three** copies of *Dune*, and *Emma* is sold out.

| title | copies | price |
| --- | ---: | ---: |
| Dune | 3 | 12.50 |
| Emma | 0 | 9.00 |

I can order *Emma* from the publisher, who sends within two days."""
IN_WORDS = "There are three copies of Dune. Emma is sold out; I can order it, and it comes within two days."
PAGE = """<!doctype html><link rel="stylesheet" href="css/xterm.css"><script src="lib/xterm.js"></script>
<body style="margin: 0; background: #16181d"><div id="terminal" style="padding: 14px; width: max-content"></div>
<script>
const terminal = new Terminal({ cols: 100, rows: 40, convertEol: true, fontFamily: "DejaVu Sans Mono", fontSize: 14,
  lineHeight: 1.15, theme: { background: "#16181d", foreground: "#d8dbe2", cursor: "#16181d" } });
terminal.open(document.querySelector("#terminal"));
terminal.write(Uint8Array.from(atob("%s"), (letter) => letter.charCodeAt(0)), () => {
  terminal.resize(100, terminal.buffer.active.cursorY + 1);
  requestAnimationFrame(() => requestAnimationFrame(() => { document.title = "drawn"; }));
});
</script>"""


@tool(read_only=True)
def in_stock(title: str) -> int:
    """Tell how many copies of a book there are."""
    time.sleep(0.04)
    return {"Dune": 3}.get(title, 0)


@tool(approval=True)
def order(title: str, copies: int) -> str:
    """Order copies of a book from the publisher."""
    return f"{copies} copies of {title} are ordered."


def bookshop(answer: str = IN_WORDS) -> Agent:
    """An agent that says the same each time."""
    script = [LOOK, say(answer, usage=(812, 96)), CALL, say("They will be here on Saturday.", usage=(968, 11))]
    return Agent(ScriptedModel(script), tools=[in_stock, order], name="bookshop")


def chat_page(browser: Browser, *, dark: bool, narrow: bool) -> None:
    """One of the pictures of the chat page."""
    with served(create_app({"bookshop": bookshop(ANSWER)})) as url:
        browser.open(url, width=400 if narrow else 1000, height=760, dark=dark, phone=narrow)
        browser.ask(QUESTION)
        browser.wait_text("within two days")
        browser.wait("document.querySelector('#send[aria-label=Send]')")
        browser.ask(ORDER)
        browser.wait_text("needs your approval")
        browser.wait("document.querySelector('#send[aria-label=Send]')")
        browser.picture(IMAGES / f"chat-{'dark' if dark else 'light'}-{'narrow' if narrow else 'wide'}.png")


def chat_at_the_terminal(folder: Path) -> bytes:
    """What a terminal is sent in a chat, whose transcript is talk.json in the folder then."""
    shop = f"{Path(__file__).resolve()}:bookshop"
    with Terminal("chat", shop, "--transcript", "talk.json", folder=folder) as terminal:
        for typed in ("", QUESTION, ORDER, "y"):
            if typed:
                terminal.enter(typed)
            terminal.ready()
        shown = terminal.bytes
        terminal.enter("/quit")
        terminal.end()
    return shown


def fitted(browser: Browser, selector: str, path: Path) -> None:
    """A picture of a page that is as large as an element of it, and no higher than a window."""
    width, height = browser.evaluate(
        f"(box => [Math.ceil(box.right), Math.ceil(box.bottom)])(document.querySelector('{selector}')"
        ".getBoundingClientRect())"
    )
    browser.call(
        "Emulation.setDeviceMetricsOverride", width=width, height=min(height, 1000), deviceScaleFactor=1, mobile=False
    )
    browser.picture(path)


def terminal_and_timeline(browser: Browser, folder: Path) -> None:
    """The chat at the terminal, and its transcript as a page."""
    subprocess.run(["npm", "install", "--silent", "--prefix", str(folder), "@xterm/xterm@6"], check=True)  # noqa: S607
    page = folder / "node_modules" / "@xterm" / "xterm" / "terminal.html"
    page.write_text(PAGE % base64.b64encode(chat_at_the_terminal(folder)).decode("ascii"), "utf-8")
    browser.open(page.as_uri(), width=1200, height=1000)
    browser.wait("document.title === 'drawn'")
    fitted(browser, "#terminal", IMAGES / "terminal.png")
    html = folder / "talk.html"
    command = [sys.executable, "-m", "agentkit.cli", "show", str(folder / "talk.json"), "--html", str(html)]
    subprocess.run(command, check=True)
    browser.open(html.as_uri(), width=1000, height=1000)
    fitted(browser, "body", IMAGES / "timeline.png")


if __name__ == "__main__":
    if CHROMIUM is None:
        sys.exit("screenshots.py needs Chromium: apt-get install chromium")
    IMAGES.mkdir(parents=True, exist_ok=True)
    with Browser() as one, TemporaryDirectory() as made:
        for dark in (False, True):
            for narrow in (False, True):
                chat_page(one, dark=dark, narrow=narrow)
        terminal_and_timeline(one, Path(made))
    for image in sorted(IMAGES.glob("*.png")):
        print(f"{image.name}: {image.stat().st_size // 1024} KiB")
