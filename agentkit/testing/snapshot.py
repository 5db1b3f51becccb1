"""A transcript as text that is the same each time, to be compared."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from agentkit._json import dumps, is_list, is_object
from agentkit.messages import is_cut, text_of
from agentkit.result import Result

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from agentkit.transcript import CallRecord, Entry, Transcript

_USUAL_ENDS = (None, "stop", "tool_calls", "function_call")


def snapshot_of(ran: Transcript | Result[Any], *, hide: Iterable[str | re.Pattern[str]] = ()) -> str:
    """A transcript as text: who said what, the calls with their arguments and results; no times, ids, usage, models.

    It is made to be kept in a test: `assert snapshot_of(result) == snapshot("…")`. What in its words is another each
    time (a date, a number of an order) is put as … where a pattern of `hide` finds it.

    Examples:
        >>> from agentkit import Transcript
        >>> said = Transcript.load([{"role": "user", "content": "Where is order 1043?"}])
        >>> snapshot_of(said, hide=["[0-9]+"])
        'user: Where is order …?'
    """
    transcript = ran.transcript if isinstance(ran, Result) else ran
    text = "\n".join(_lines(transcript))
    for pattern in hide:
        text = re.sub(pattern, "…", text)
    return text


def _lines(transcript: Transcript) -> Iterator[str]:
    several = len({entry.agent for entry in transcript if entry.agent is not None}) > 1
    for entry in transcript:
        data = entry.message.data
        yield from _said(_who(entry, several=several), _content(data.get("content")))
        for field, name in (("reasoning_content", "reasoning"), ("reasoning", "reasoning"), ("refusal", "refusal")):
            if isinstance(text := data.get(field), str) and text:
                yield from _said(f"  {name}:", text)
        for record in entry.calls:
            yield from _call(record)
        if entry.finish_reason not in _USUAL_ENDS or is_cut(entry.finish_reason):
            yield f"  (finish_reason {entry.finish_reason})"


def _who(entry: Entry, *, several: bool) -> str:
    name = f" {entry.agent}" if several and entry.agent and entry.message.role == "assistant" else ""
    author = " (loop)" if entry.author == "loop" else ""
    return f"{entry.message.role}{name}{author}:"


def _said(who: str, text: str) -> Iterator[str]:
    if not text:
        yield who
    elif "\n" not in text:
        yield f"{who} {text}"
    else:
        indent = " " * (len(who) - len(who.lstrip()) + 2)
        yield who
        yield from (f"{indent}{line}".rstrip() for line in text.splitlines())


def _content(content: Any) -> str:
    if not is_list(content):
        return text_of(content)
    return "\n".join(text_of([part]) or f"[{part.get('type')}]" for part in content if is_object(part))


def _call(record: CallRecord) -> Iterator[str]:
    try:
        given = record.call.parsed
    except ValueError:
        given = None
    told = record.call.arguments
    if is_object(given):
        told = ", ".join(f"{name}={dumps(value).decode()}" for name, value in given.items())
    yield f"  → {record.call.name}({told})"
    if record.transcript is not None:
        yield from (f"    {line}" for line in _lines(record.transcript))
    result = record.result
    if result is None:
        yield "  ← (no result)" if record.hold is None else f"  ← (waits: {record.hold})"
        return
    status = "" if result.status == "ok" else f" {result.status}:"
    parts = "".join(f" [{part.get('type')}]" for part in result.parts)
    yield from _said(f"  ←{status}", result.content + parts)
