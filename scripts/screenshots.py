"""Takes the pictures of the chat page that the documentation shows: docs/images/chat-{light,dark}-{wide,narrow}.png.

It needs Chromium (Debian's `chromium`) and the extra `serve`: `PYTHONPATH=. python scripts/screenshots.py`.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from agentkit import Agent, tool
from agentkit.serve import create_app
from agentkit.testing import ScriptedModel, call, calls, say
from tests.serve.browser import CHROMIUM, Browser
from tests.serve.conftest import served

IMAGES = Path(__file__).parent.parent / "docs" / "images"
ANSWER = """There are **three** copies of *Dune*, and *Emma* is sold out.

| title | copies | price |
| --- | ---: | ---: |
| Dune | 3 | 12.50 |
| Emma | 0 | 9.00 |

I can order *Emma* from the publisher, who sends within two days."""


@tool(read_only=True)
def in_stock(title: str) -> int:
    """Tell how many copies of a book there are."""
    time.sleep(0.04)
    return {"Dune": 3}.get(title, 0)


@tool(approval=True)
def order(title: str, copies: int) -> str:
    """Order copies of a book from the publisher."""
    return f"{copies} of {title!r} are ordered."


def bookshop() -> Agent:
    """An agent that says the same each time."""
    look = calls(
        call("in_stock", title="Dune"),
        call("in_stock", title="Emma"),
        reasoning="Two books are asked for: I look in the stock.",
    )
    return Agent(
        ScriptedModel([look, say(ANSWER, usage=(812, 96)), call("order", title="Emma", copies=2)]),
        tools=[in_stock, order],
    )


def take(browser: Browser, *, dark: bool, narrow: bool) -> None:
    """Take one of the pictures."""
    with served(create_app({"bookshop": bookshop()})) as url:
        browser.open(url, width=400 if narrow else 1000, height=760, dark=dark, phone=narrow)
        browser.ask("Do you have Dune and Emma?")
        browser.wait_text("within two days")
        browser.wait("document.querySelector('#send[aria-label=Send]')")
        browser.ask("Two of Emma for Saturday, please.")
        browser.wait_text("needs your approval")
        browser.wait("document.querySelector('#send[aria-label=Send]')")
        browser.picture(IMAGES / f"chat-{'dark' if dark else 'light'}-{'narrow' if narrow else 'wide'}.png")


if __name__ == "__main__":
    if CHROMIUM is None:
        sys.exit("screenshots.py needs Chromium: apt-get install chromium")
    IMAGES.mkdir(parents=True, exist_ok=True)
    with Browser() as one:
        for dark in (False, True):
            for narrow in (False, True):
                take(one, dark=dark, narrow=narrow)
    for image in sorted(IMAGES.glob("chat-*.png")):
        print(f"{image.name}: {image.stat().st_size // 1024} KiB")
