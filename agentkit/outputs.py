"""Tool output that is too long for the model: kept whole beside the transcript, and read on by a tool."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from agentkit.context import Context, Retry
from agentkit.tools import Tool

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agentkit.messages import ToolResult
    from agentkit.transcript import Pending, Transcript

READER: Final = "read_output"
CHARS: Final = 10_000
MOST_CHARS: Final = 50_000
_HANDLE_CHARS: Final = 12
_UNNAMED: Final = f"({READER}(handle='', start="
_NAMED: Final = re.compile(rf"\({READER}\(handle='(\d+\.\d+)', start=\d+\)[^()]*\)\Z")


def shortened(text: str, limit: int) -> str:
    """A text of at most `limit` characters: its head and tail, and between them how much was left out."""
    return text if len(text) <= limit else _shortened(text, limit)[0]


def _shortened(text: str, limit: int) -> tuple[str, int]:
    room = max(0, limit - len(_left_out(len(text), len(text))))
    tail = room // 3
    return (
        text[: room - tail] + _left_out(len(text) - room, len(text)) + (text[-tail:] if tail else ""),
        room - tail,
    )


def _left_out(count: int, total: int) -> str:
    return f"\n… {count} of {total} characters left out …\n"


def with_handle(text: str, limit: int) -> str:
    """The same, and at its end how to read on; `named` fills in where the whole text is kept."""
    told = f"\n{_UNNAMED}{len(text)}) reads on in what was left out)"
    short, start = _shortened(text, limit - len(told) - _HANDLE_CHARS)
    return f"{short}\n{_UNNAMED}{start}) reads on in what was left out)"


def named(result: ToolResult, transcript: Transcript, pending: Pending) -> ToolResult:
    """The result of a call with the handle by which the model can read on, if it is kept whole."""
    if result.whole is None:
        return result
    before, found, after = result.content.rpartition(_UNNAMED)
    handle = f"{transcript.offset + pending.entry}.{pending.position}"
    return replace(result, content=before + _UNNAMED.replace("''", repr(handle)) + after) if found else result


def handle_in(result: ToolResult) -> str | None:
    """The handle that the model was told of, if the result is kept whole."""
    found = None if result.whole is None else _NAMED.search(result.content)
    return None if found is None else found[1]


def kept_in(transcript: Transcript) -> dict[str, tuple[str, str]]:
    """What is kept whole, by its handle: the tool's name, and the text."""
    return {
        f"{transcript.offset + index}.{position}": (record.call.name, record.result.whole)
        for index, entry in enumerate(transcript)
        for position, record in enumerate(entry.calls)
        if record.result is not None and record.result.whole is not None
    }


def needs_reader(tools: Iterable[Tool], transcript: Transcript | None = None) -> bool:
    """Whether one of the tools keeps its output, or the conversation has some that was kept."""
    if any(made.keep_output for made in tools):
        return True
    results = (record.result for entry in transcript or () for record in entry.calls)
    return any(result is not None and result.whole is not None for result in results)


def read_output(ctx: Context[Any], handle: str, start: int = 0, chars: int = CHARS) -> str:
    """Read on in the output of an earlier tool call that was too long to be shown whole.

    Args:
        handle: What the shortened output names at its end.
        start: At which character to begin, from 0.
        chars: How many characters to read.
    """
    kept = kept_in(ctx.transcript)
    if handle not in kept:
        known = ", ".join(f"{each!r} ({name})" for each, (name, _) in kept.items()) or "none"
        raise Retry(f"There is no kept output {handle!r}; those that there are: {known}.")
    _, whole = kept[handle]
    if not 0 <= start < len(whole):
        raise Retry(f"The output {handle!r} has {len(whole)} characters: start={start} is not one of them.")
    if chars < 1:
        raise Retry(f"chars={chars} reads nothing: ask for 1 or more.")
    end = min(len(whole), start + min(chars, MOST_CHARS))
    more = "that is its end" if end == len(whole) else f"{READER}(handle={handle!r}, start={end}) gives more"
    return f"{whole[start:end]}\n(characters {start} to {end} of {len(whole)}; {more})"


@cache
def output_reader() -> Tool:
    """The tool by which a model reads on in outputs that were kept whole."""
    return Tool(read_output, read_only=True, inline=True, max_output_chars=2 * MOST_CHARS)
