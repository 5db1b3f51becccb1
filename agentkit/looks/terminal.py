"""Views for the terminal, in rich's lines and tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias, assert_never

from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from agentkit.looks.cards import card_of
from agentkit.looks.timeline import Call, Timeline
from agentkit.looks.view import Fold, Table, Words, few
from agentkit.looks.words import call_facts, facts, summary
from agentkit.plain import in_one_line, plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from agentkit.looks.timeline import Moment, Speaker
    from agentkit.looks.view import Card, Part

Line: TypeAlias = Text | Grid

_STYLES: Final[dict[Speaker, str]] = {
    "instructions": "magenta",
    "user": "bold cyan",
    "model": "bold green",
    "agentkit": "yellow",
}
MAX_CHARS: Final = 2_000
MOST: Final = 100
_BAR: Final = "│ "
_WRAPPER: Final = Console()


@dataclass(slots=True)
class Look:
    """How much is shown: of each text, how many messages and calls beside each other, and how wide lines may be.

    None is no limit. `hint` says where there is more of a text.
    """

    max_chars: int | None = MAX_CHARS
    width: int | None = None
    most: int | None = None
    hint: str = ""


def look_of(value: object, width: int) -> Iterator[Line]:
    """What rich shows of a value."""
    return card_lines(card_of(value), Look(width=width, most=MOST))


def card_lines(card: Card, look: Look) -> Iterator[Line]:
    """The lines of a card."""
    yield _head(plain(card.title), "bold", card.facts)
    for part in card.parts:
        yield from _part(part, look)


def _part(part: Part, look: Look) -> Iterator[Line]:
    match part:
        case Words():
            if part.title:
                yield Text(plain(part.title), "dim")
            yield from _block(part.text, look)
        case Table():
            yield _grid(part, look)
        case Fold():
            yield Text()
            yield Text(plain(part.title), "dim")
            yield from _moments(part.timeline, look)
        case Timeline():
            yield Text()
            yield from _moments(part, look)
        case Call():
            yield from _call(part, look)
        case _:
            assert_never(part)


def _grid(table: Table, look: Look) -> Grid:
    grid = Grid(box=None, padding=(0, 2, 0, 0), show_header=bool(table.head), header_style="dim")
    for name in table.head or ("", ""):
        grid.add_column(Text(plain(name)), overflow="fold")
    for row in table.rows:
        first, *rest = (_cut(plain(cell), look) for cell in row)
        grid.add_row(Text(first, "bold" if table.head else "dim"), *map(Text, rest))
    return grid


def lines_of(timeline: Timeline, look: Look) -> Iterator[Text]:
    """The lines of a timeline."""
    yield from _moments(timeline, look)
    yield Text(summary(timeline), "dim")
    for mended in timeline.mended:
        yield Text(f"mended: {plain(mended)}", "yellow")


def _moments(timeline: Timeline, look: Look) -> Iterator[Text]:
    head, left_out, tail = few(timeline.moments, look.most)
    for moment in head:
        yield from _moment(moment, look)
        yield Text()
    if left_out:
        yield Text(f"… {left_out:,} more messages …\n", "dim")
    for moment in tail:
        yield from _moment(moment, look)
        yield Text()


def _head(title: str, style: str, known: Iterable[str]) -> Text:
    head = Text(title, style)
    if told := in_one_line(" · ".join(known), 200):
        head.append(f"  {told}", "dim not bold")
    return head


def _moment(moment: Moment, look: Look) -> Iterator[Text]:
    yield _head(moment.speaker, _STYLES[moment.speaker], facts(moment))
    for agent, text in moment.instructions:
        yield from _block(f"(for {agent or 'the agent'}: {text})", look, "magenta")
    if moment.reasoning:
        yield from _block(moment.reasoning, look, "dim italic")
    if moment.text:
        yield from _block(moment.text, look)
    for attachment in moment.attachments:
        yield from _block(f"[{attachment.kind}: {attachment.label}]", look, "dim")
    head, left_out, tail = few(moment.calls, look.most)
    for call in head:
        yield from _call(call, look)
    if left_out:
        yield Text(f"{_BAR}… {left_out:,} more calls …", "dim")
    for call in tail:
        yield from _call(call, look)


def _call(call: Call, look: Look) -> Iterator[Text]:
    yield Text(_BAR, "dim").append_text(_head(f"→ {plain(call.name)}", "bold not dim", call_facts(call)))
    if call.arguments.strip() not in ("", "{}"):
        yield from _block(call.arguments, look, "dim", indent=1)
    if call.changed is not None:
        yield from _block(f"in place of these: {call.changed}", look, "yellow", indent=1)
    if call.inner is not None:
        width = None if look.width is None else max(20, look.width - 2 * len(_BAR))
        for line in lines_of(call.inner, Look(look.max_chars, width, look.most, look.hint)):
            yield Text(_BAR * 2, "dim").append_text(line)
    if call.result is not None:
        yield from _block(f"← {call.result}", look, "" if call.status == "ok" else "red", indent=1)
    if call.error:
        yield from _block(f"! {call.error}", look, "red", indent=1)
    for attachment in call.attachments:
        yield from _block(f"[{attachment.kind}: {attachment.label}]", look, "dim", indent=1)


def _cut(text: str, look: Look) -> str:
    if look.max_chars is None or len(text) <= look.max_chars:
        return text
    return f"{text[: look.max_chars]}\n… {len(text) - look.max_chars:,} more characters{look.hint}"


def _block(text: str, look: Look, style: str = "", *, indent: int = 0) -> Iterator[Text]:
    bar = Text(_BAR * (indent + 1), "dim")
    for line in plain(_cut(text, look)).split("\n"):
        written = Text(line, style or "not dim")
        for piece in [written] if look.width is None else written.wrap(_WRAPPER, max(20, look.width - len(bar))):
            yield bar.copy().append_text(piece)
