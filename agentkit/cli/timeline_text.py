"""A timeline for the terminal."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.text import Text

from agentkit.cli.plain import in_one_line, plain
from agentkit.prices import dollars

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agentkit.cli.timeline import Call, Moment, Speaker, Timeline
    from agentkit.messages import Usage

_STYLES: Final[dict[Speaker, str]] = {
    "instructions": "magenta",
    "user": "bold cyan",
    "model": "bold green",
    "agentkit": "yellow",
}
MAX_CHARS: Final = 2_000
_BAR: Final = "│ "
_WRAPPER: Final = Console()


@dataclass(slots=True)
class Look:
    """How a timeline is shown: how much of each text, and how wide lines may be; None for no limit."""

    max_chars: int | None = MAX_CHARS
    width: int | None = None


def lines_of(timeline: Timeline, look: Look) -> Iterator[Text]:
    """The lines to print."""
    for moment in timeline.moments:
        yield from _moment(moment, look)
        yield Text()
    yield Text(summary(timeline), "dim")
    for mended in timeline.mended:
        yield Text(f"mended: {plain(mended)}", "yellow")


def summary(timeline: Timeline) -> str:
    """What a timeline comes to, in one line."""
    parts = [_count(timeline.replies, "reply", "replies"), _count(timeline.calls, "tool call")]
    if tokens := tokens_of(timeline.usage):
        parts.append(tokens)
    if timeline.cost is not None:
        parts.append(dollars(timeline.cost))
    if timeline.lasted_s:
        parts.append(seconds(timeline.lasted_s))
    if timeline.began_at is not None:
        parts.append(f"began {when(timeline.began_at)}")
    return " · ".join(parts)


def tokens_of(usage: Usage | None) -> str:
    """Tokens in and out, '' where there are none."""
    if usage is None or not (usage.prompt_tokens or usage.completion_tokens):
        return ""
    cached = f" ({usage.cached_tokens} cached)" if usage.cached_tokens else ""
    reasoning = f" ({usage.reasoning_tokens} reasoning)" if usage.reasoning_tokens else ""
    return f"{usage.prompt_tokens} tokens in{cached}, {usage.completion_tokens} out{reasoning}"


def seconds(value: float) -> str:
    """A length of time as it is shown."""
    return f"{value:.1f} s" if value < 120 else f"{int(value // 60)} min {int(value % 60)} s"


def when(at: float) -> str:
    """A Unix time as it is shown, in UTC; '' where it is none."""
    try:
        return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError, OSError):
        return ""


def facts(moment: Moment) -> list[str]:
    """What is known of a moment beside what was said."""
    found = [
        f"step {moment.step}" if moment.step else "",
        f"agent {moment.agent}" if moment.agent else "",
        moment.model or "",
        moment.source or "" if moment.speaker == "model" else "",
        f"+{seconds(moment.offset_s)}" if moment.offset_s is not None else "",
        tokens_of(moment.usage),
        dollars(moment.cost) if moment.cost is not None else "",
        moment.finish_reason if moment.finish_reason not in (None, "stop", "tool_calls") else "",
    ]
    return [fact for fact in found if fact]


def call_facts(call: Call) -> list[str]:
    """What is known of a call beside its arguments and result."""
    found = [
        "" if call.status == "ok" or (call.status == "denied" and call.decision) else call.status,
        call.decision or "",
        f"+{seconds(call.offset_s)}" if call.offset_s is not None else "",
    ]
    return [fact for fact in found if fact]


def _moment(moment: Moment, look: Look) -> Iterator[Text]:
    head = Text(moment.speaker, _STYLES[moment.speaker])
    if known := facts(moment):
        head.append(f"  {in_one_line(' · '.join(known), 200)}", "dim not bold")
    yield head
    for agent, text in moment.instructions:
        yield from _block(f"(for {agent or 'the agent'}: {text})", look, "magenta")
    if moment.reasoning:
        yield from _block(moment.reasoning, look, "dim italic")
    if moment.text:
        yield from _block(moment.text, look)
    for attachment in moment.attachments:
        yield from _block(f"[{attachment.kind}: {attachment.label}]", look, "dim")
    for call in moment.calls:
        yield from _call(call, look)


def _call(call: Call, look: Look) -> Iterator[Text]:
    head = Text(_BAR, "dim").append(f"→ {plain(call.name)}", "bold not dim")
    if known := call_facts(call):
        head.append(f"  {in_one_line(' · '.join(known), 200)}", "dim not bold")
    yield head
    if call.arguments.strip() not in ("", "{}"):
        yield from _block(call.arguments, look, "dim", indent=1)
    if call.changed is not None:
        yield from _block(f"in place of these: {call.changed}", look, "yellow", indent=1)
    if call.inner is not None:
        within = Look(look.max_chars, None if look.width is None else max(20, look.width - 2 * len(_BAR)))
        for line in lines_of(call.inner, within):
            yield Text(_BAR * 2, "dim").append_text(line)
    if call.result is not None:
        yield from _block(f"← {call.result}", look, "" if call.status == "ok" else "red", indent=1)
    if call.error:
        yield from _block(f"! {call.error}", look, "red", indent=1)
    for attachment in call.attachments:
        yield from _block(f"[{attachment.kind}: {attachment.label}]", look, "dim", indent=1)


def _block(text: str, look: Look, style: str = "", *, indent: int = 0) -> Iterator[Text]:
    if look.max_chars is not None and len(text) > look.max_chars:
        text = f"{text[: look.max_chars]}\n… {len(text) - look.max_chars} more characters (--full shows all)"
    bar = Text(_BAR * (indent + 1), "dim")
    for line in plain(text).split("\n"):
        written = Text(line, style or "not dim")
        for piece in [written] if look.width is None else written.wrap(_WRAPPER, max(20, look.width - len(bar))):
            yield bar.copy().append_text(piece)


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
