"""A timeline as one page that needs nothing but itself: no script, no request, readable in the dark and on paper."""

from __future__ import annotations

from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from agentkit.cli.plain import in_one_line
from agentkit.cli.timeline_text import call_facts, facts, summary, when

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentkit.cli.timeline import Attachment, Call, Moment, Timeline

_STYLE: Final = files("agentkit.cli").joinpath("timeline.css").read_text("utf-8")
# Even what slips through could load nothing and run nothing.
_POLICY: Final = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
SHORT_CHARS: Final = 600
"""Calls and reasoning up to this length are shown at once, longer ones on a click."""
LONG_CHARS: Final = 20_000
"""The same of what is said."""


def page_of(timeline: Timeline, *, title: str) -> str:
    """The whole page."""
    mended = "".join(f"<p class=note>mended: {_text(line)}</p>\n" for line in timeline.mended)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{_text(title)}</title>
<style>
{_STYLE}</style>
</head>
<body>
<header>
<h1>{_text(title)}</h1>
<p>{_text(summary(timeline))}</p>
{mended}</header>
<main>
{_moments(timeline)}</main>
</body>
</html>
"""


def _text(value: str) -> str:
    """Text as it may stand anywhere in the page, quotes included; what no page can hold is shown as missing."""
    kept = [letter if _is_allowed(letter) else "\N{REPLACEMENT CHARACTER}" for letter in value]
    return escape("".join(kept), quote=True)


def _is_allowed(letter: str) -> bool:
    code = ord(letter)
    is_control = code < 32 or 127 <= code < 160
    return letter in "\t\n" or not (is_control or 0xD800 <= code < 0xE000 or code & 0xFFFE == 0xFFFE)


def _moments(timeline: Timeline) -> str:
    return "".join(_moment(moment) for moment in timeline.moments)


def _moment(moment: Moment) -> str:
    title = f' title="{_text(when(moment.at))}"' if moment.at else ""
    known = "".join(f"<span>{_text(fact)}</span>" for fact in facts(moment))
    parts = [
        f'<article class="{moment.speaker}">\n<h2>{moment.speaker}</h2>\n<p class="facts"{title}>{known}</p>\n',
        *(_folded(f"instructions for {agent or 'the agent'}", text, kind="raw") for agent, text in moment.instructions),
        _folded("reasoning", moment.reasoning, kind="reasoning") if moment.reasoning else "",
        _long(moment.text) if moment.text else "",
        _attachments(moment.attachments),
        *map(_call, moment.calls),
        _folded("as it was sent or received", moment.raw, kind="raw"),
        "</article>\n",
    ]
    return "".join(parts)


def _call(call: Call) -> str:
    told = "".join(f"<span>{_text(fact)}</span>" for fact in call_facts(call))
    state = "ok" if call.status == "ok" else "waiting" if call.result is None else "bad"
    size = len(call.arguments) + len(call.result or "")
    return (
        f'<details class="call {state}"{_open(size)}>\n'
        f"<summary><b>{_text(call.name)}</b> <code>{_text(_hint(call))}</code> "
        f'<span class="facts">{told}</span></summary>\n'
        f"<h3>arguments</h3>\n{_pre(call.arguments or '{}')}"
        + ("" if call.changed is None else f"<h3>in place of these</h3>\n{_pre(call.changed)}")
        + _inner(call)
        + ("" if call.result is None else f"<h3>result</h3>\n{_pre(call.result)}")
        + (f"<h3>error</h3>\n{_pre(call.error, 'error')}" if call.error else "")
        + f'{_attachments(call.attachments)}<p class="facts"><span>{_text(call.id)}</span></p>\n</details>\n'
    )


def _hint(call: Call) -> str:
    """Enough of a call that is folded to tell which it is."""
    arguments = "" if call.arguments.strip() == "{}" else in_one_line(call.arguments, 60)
    return f"{arguments} → {in_one_line(call.result, 60)}" if call.result is not None else arguments


def _inner(call: Call) -> str:
    if call.inner is None:
        return ""
    told = f"<span>{_text(summary(call.inner))}</span>"
    body = _moments(call.inner)
    return f'<details class="inner" open>\n<summary>its own conversation {told}</summary>\n{body}</details>\n'


def _long(text: str) -> str:
    if len(text) <= LONG_CHARS:
        return f'<div class="text" dir="auto">{_text(text)}</div>\n'
    return _folded(f"{text[:200]}…", text, kind="text")


def _folded(title: str, text: str, *, kind: str) -> str:
    shown = _open(len(text)) if kind == "reasoning" else ""
    return f'<details class="{kind}"{shown}>\n<summary>{_text(title)}</summary>\n{_pre(text)}</details>\n'


def _open(size: int) -> str:
    return " open" if size <= SHORT_CHARS else ""


def _pre(text: str, kind: str = "") -> str:
    # the parser of a page drops a line break that comes first
    return f'<pre class="{kind}" dir="auto">\n{_text(text)}</pre>\n'


def _attachments(attachments: Sequence[Attachment]) -> str:
    found: list[str] = []
    for attachment in attachments:
        label = f"{attachment.kind}: {attachment.label}"
        if attachment.image is None:
            found.append(f'<p class="attachment">{_text(label)}</p>\n')
        else:
            found.append(f'<p class="attachment"><img alt="{_text(label)}" src="{_text(attachment.image)}"></p>\n')
    return "".join(found)
