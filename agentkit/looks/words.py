"""What a timeline tells beside what was said, in few words."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from agentkit.prices import dollars

if TYPE_CHECKING:
    from agentkit.looks.timeline import Call, Moment, Timeline
    from agentkit.messages import Usage


def summary(timeline: Timeline) -> str:
    """What a timeline comes to, in one line."""
    began = [] if timeline.began_at is None else [f"began {when(timeline.began_at)}"]
    return " · ".join([*totals(timeline), *began])


def totals(timeline: Timeline) -> list[str]:
    """How much there was of what in a timeline."""
    return [
        fact
        for fact in (
            counted(timeline.replies, "reply", "replies"),
            counted(timeline.calls, "tool call"),
            tokens_of(timeline.usage),
            "" if timeline.cost is None else dollars(timeline.cost),
            seconds(timeline.lasted_s) if timeline.lasted_s else "",
        )
        if fact
    ]


def counted(number: int, one: str, many: str = "") -> str:
    """So many of something."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


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
