"""Views as HTML that needs nothing but itself: no script, no request, in the light and in the dark.

In a notebook its colours are mixed from the text's own, since no notebook says in CSS whether it is dark.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Final, assert_never

from agentkit.looks.cards import card_of
from agentkit.looks.timeline import Call, Timeline
from agentkit.looks.view import Fold, Table, Words, few
from agentkit.looks.words import call_facts, facts, summary, when
from agentkit.plain import in_one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from agentkit.looks.timeline import Attachment, Moment
    from agentkit.looks.view import Card, Part

_FOLDER: Final = files("agentkit.looks")
_LOOK: Final = _FOLDER.joinpath("look.css").read_text("utf-8")
_PAGE: Final = _FOLDER.joinpath("page.css").read_text("utf-8")
# Even what slips through could load nothing and run nothing.
_POLICY: Final = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
SHORT_CHARS: Final = 600
"""Calls and reasoning up to this length are shown at once on a page, longer ones on a click."""
LONG_CHARS: Final = 20_000
"""The same of what is said."""
_NO_LIMIT: Final = 1 << 60


@dataclass(slots=True)
class Look:
    """How much is shown: of each text, of all texts together, and how many messages and calls beside each other.

    Calls and reasoning are open up to `open_chars`, longer ones on a click. `raw` has each message also as it was sent.
    """

    max_chars: int = _NO_LIMIT
    all_chars: int = _NO_LIMIT
    most: int | None = None
    open_chars: int = SHORT_CHARS
    raw: bool = True


def look_of(value: object) -> str:
    """What a notebook shows of a value. Its size has a bound, since the notebook keeps it."""
    look = Look(max_chars=8_000, all_chars=200_000, most=40, open_chars=0, raw=False)
    return (
        f'<div class="agentkit-look">\n<style>\n{_LOOK}</style>\n{"".join(_Writer(look).card(card_of(value)))}</div>\n'
    )


def page_of(timeline: Timeline, *, title: str) -> str:
    """A timeline, all of it, as a page that is fit for print too."""
    mended = "".join(f"<p>mended: {_text(line)}</p>\n" for line in timeline.mended)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{_text(title)}</title>
<style>
{_PAGE}{_LOOK}</style>
</head>
<body>
<header>
<h1>{_text(title)}</h1>
<p>{_text(summary(timeline))}</p>
{mended}</header>
<main class="agentkit-look">
{"".join(_Writer(Look()).timeline(timeline))}</main>
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


class _Writer:
    """Writes views, and counts how much text it has written."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self._left = look.all_chars

    def card(self, card: Card) -> Iterator[str]:
        yield f'<div class="head"><b>{_text(card.title)}</b> {_facts(card.facts)}</div>\n'
        for part in card.parts:
            yield from self._part(part)

    def _part(self, part: Part) -> Iterator[str]:
        match part:
            case Words(text, title, is_code):
                if title:
                    yield f'<div class="label">{_text(title)}</div>\n'
                yield self._pre(text) if is_code else self._said(text)
            case Table():
                yield from self._table(part)
            case Fold(title, timeline, is_open):
                yield f"<details{' open' if is_open else ''}>\n<summary>{_text(title)}</summary>\n"
                yield from self.timeline(timeline)
                yield "</details>\n"
            case Timeline():
                yield from self.timeline(part)
            case Call():
                yield from self._call(part)
            case _:
                assert_never(part)

    def _table(self, table: Table) -> Iterator[str]:
        yield '<div class="table">\n<table>\n'
        if table.head:
            cells = "".join(f"<th>{_text(name)}</th>" for name in table.head)
            yield f"<thead><tr>{cells}</tr></thead>\n"
        yield "<tbody>\n"
        for name, *others in table.rows:
            cells = "".join(f"<td>{_text(self._cut(cell))}</td>" for cell in others)
            yield f"<tr><th>{_text(self._cut(name))}</th>{cells}</tr>\n"
        yield "</tbody>\n</table>\n</div>\n"

    def timeline(self, timeline: Timeline) -> Iterator[str]:
        head, left_out, tail = few(timeline.moments, self._look.most)
        for moment in head:
            yield from self._moment(moment)
        yield _left_out(left_out, "messages")
        for moment in tail:
            yield from self._moment(moment)

    def _moment(self, moment: Moment) -> Iterator[str]:
        title = f' title="{_text(when(moment.at))}"' if moment.at else ""
        yield f'<article class="{moment.speaker}"{title}>\n'
        yield f'<div class="head"><b role="heading" aria-level="2">{moment.speaker}</b> {_facts(facts(moment))}</div>\n'
        for agent, text in moment.instructions:
            yield self._folded(f"instructions for {agent or 'the agent'}", text, kind="raw")
        if moment.reasoning:
            yield self._folded("reasoning", moment.reasoning, kind="reasoning")
        if moment.text:
            yield self._said(moment.text)
        yield self._attachments(moment.attachments)
        head, left_out, tail = few(moment.calls, self._look.most)
        for call in head:
            yield from self._call(call)
        yield _left_out(left_out, "calls")
        for call in tail:
            yield from self._call(call)
        if self._look.raw:
            yield self._folded("as it was sent or received", moment.raw, kind="raw")
        yield "</article>\n"

    def _call(self, call: Call) -> Iterator[str]:
        state = "ok" if call.status == "ok" else "waiting" if call.result is None else "bad"
        size = len(call.arguments) + len(call.result or "")
        # what waits for a decision has to be read before that
        is_open = size <= (SHORT_CHARS if state == "waiting" else self._look.open_chars)
        yield f'<details class="call {state}"{" open" if is_open else ""}>\n'
        yield f"<summary><b>{_text(call.name)}</b> <code>{_text(_hint(call))}</code> "
        yield f"{_facts(call_facts(call))}</summary>\n"
        yield f'<div class="label">arguments</div>\n{self._pre(call.arguments or "{}")}'
        if call.changed is not None:
            yield f'<div class="label">in place of these</div>\n{self._pre(call.changed)}'
        if call.inner is not None:
            yield from self._inner(call.inner)
        if call.result is not None:
            yield f'<div class="label">result</div>\n{self._pre(call.result)}'
        if call.error:
            yield f'<div class="label">error</div>\n{self._pre(call.error, "error")}'
        yield self._attachments(call.attachments)
        yield f'<div class="label">{_text(call.id)}</div>\n</details>\n'

    def _inner(self, timeline: Timeline) -> Iterator[str]:
        is_open = " open" if self._look.open_chars else ""
        told = _facts([summary(timeline)])
        yield f'<details class="inner"{is_open}>\n<summary>its own conversation {told}</summary>\n'
        # a run of agents in agents has no other bound
        yield from self.timeline(timeline) if self._left else [_left_out(len(timeline.moments), "messages")]
        yield "</details>\n"

    def _said(self, text: str) -> str:
        if len(text) <= min(LONG_CHARS, self._look.max_chars):
            return f'<div class="text" dir="auto">{_text(self._cut(text))}</div>\n'
        return self._folded(f"{text[:200]}…", text, kind="text")

    def _folded(self, title: str, text: str, *, kind: str) -> str:
        is_open = " open" if kind == "reasoning" and len(text) <= self._look.open_chars else ""
        return f'<details class="{kind}"{is_open}>\n<summary>{_text(title)}</summary>\n{self._pre(text)}</details>\n'

    def _pre(self, text: str, kind: str = "") -> str:
        # the parser of a page drops a line break that comes first
        return f'<pre class="{kind}" dir="auto">\n{_text(self._cut(text))}</pre>\n'

    def _cut(self, text: str) -> str:
        room = min(self._look.max_chars, self._left)
        self._left -= min(len(text), room)
        return text if len(text) <= room else f"{text[:room]}\n… {len(text) - room:,} more characters"

    def _attachments(self, attachments: Sequence[Attachment]) -> str:
        found: list[str] = []
        for each in attachments:
            label = _text(f"{each.kind}: {each.label}")
            if each.image is None or len(each.image) > self._left:
                found.append(f'<div class="label">{label}</div>\n')
            else:
                self._left -= len(each.image)
                found.append(f'<div><img alt="{label}" src="{_text(each.image)}"></div>\n')
        return "".join(found)


def _facts(known: Iterable[str]) -> str:
    return f'<span class="facts">{"".join(f"<span>{_text(fact)}</span> " for fact in known)}</span>'


def _left_out(count: int, what: str) -> str:
    return f'<div class="label">… {count:,} more {what} …</div>\n' if count else ""


def _hint(call: Call) -> str:
    """Enough of a call that is folded to tell which it is."""
    arguments = "" if call.arguments.strip() == "{}" else in_one_line(call.arguments, 60)
    return f"{arguments} → {in_one_line(call.result, 60)}" if call.result is not None else arguments
