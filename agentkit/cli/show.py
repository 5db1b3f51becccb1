"""A transcript to look at: in the terminal, or as a page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agentkit.cli.console import out, say
from agentkit.cli.files import load_transcript
from agentkit.errors import UsageError
from agentkit.looks.html import page_of
from agentkit.looks.terminal import MAX_CHARS, Look, lines_of
from agentkit.looks.timeline import timeline_of

if TYPE_CHECKING:
    from pathlib import Path


def show_transcript(path: Path, *, html: Path | None, full: bool) -> None:
    """Print the timeline of a transcript's file, or write it as a page. Raises UsageError."""
    timeline = timeline_of(load_transcript(path, only_to_look=True))
    if html is None:
        console = out()
        width = console.width if console.is_terminal else None
        look = Look(None if full else MAX_CHARS, width, hint=" (--full shows all)")
        for line in lines_of(timeline, look):
            console.print(line)
        return
    page = page_of(timeline, title="stdin" if str(path) == "-" else path.name)
    if str(html) == "-":
        out().file.write(page)
        return
    try:
        html.write_text(page, "utf-8")
    except OSError as error:
        raise UsageError(f"the page cannot be written to {str(html)!r}: {error.strerror or error}") from None
    say(f"wrote {html}")
