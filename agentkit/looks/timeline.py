"""A transcript as a story: who said what, which calls were made, when, for how many tokens. Pure.

What the user's redactor takes out is not in it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from agentkit._json import dumps, is_list, is_object
from agentkit.approval import Answer, Approve, Deny
from agentkit.logs import redacted
from agentkit.messages import Usage
from agentkit.plain import pretty
from agentkit.prices import cost_of_entries

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from agentkit.approval import Decision
    from agentkit.entries import CallRecord, Entry, Hold
    from agentkit.messages import Message
    from agentkit.transcript import Transcript

Speaker: TypeAlias = Literal["instructions", "user", "model", "agentkit"]
WAITING: Final[dict[Hold, str]] = {
    "ask": "waits to be asked about",
    "approval": "waits for approval",
    "answer": "waits for its answer",
    "unknown": "started, outcome unknown",
    "output": "the answer",
}
_REASONING: Final = ("reasoning_content", "reasoning")


@dataclass(slots=True)
class Attachment:
    """What a message or result has beside its text. `image` is a data: URL of an image, or None."""

    kind: str
    label: str
    image: str | None = None


@dataclass(slots=True)
class Call:
    """A call and what became of it. `offset_s` is when its function started, counted from the beginning.

    `changed` are the arguments that whoever approved it put in place of the model's.
    """

    id: str
    name: str
    arguments: str
    status: str
    result: str | None = None
    error: str | None = None
    attachments: tuple[Attachment, ...] = ()
    started_at: float | None = None
    offset_s: float | None = None
    decision: str | None = None
    changed: str | None = None
    inner: Timeline | None = None


@dataclass(slots=True)
class Moment:
    """One message. `at` is Unix time, 0 where it is not known, `offset_s` the same counted from the beginning.

    `instructions` are those that were made for this moment, by the agent that they are for.
    """

    index: int
    speaker: Speaker
    text: str
    message: Message
    step: int = 0
    reasoning: str = ""
    attachments: tuple[Attachment, ...] = ()
    calls: tuple[Call, ...] = ()
    at: float = 0.0
    offset_s: float | None = None
    elapsed_s: float = 0.0
    agent: str | None = None
    model: str | None = None
    source: str | None = None
    finish_reason: str | None = None
    usage: Usage | None = None
    cost: float | None = None
    instructions: tuple[tuple[str, str], ...] = ()

    @property
    def raw(self) -> str:
        """The message as it was sent or received."""
        return _seen(self.message.json.decode("utf-8", "replace"))


@dataclass(slots=True)
class Timeline:
    """The moments in order, and what they come to; `usage` and `cost` are those of inner ones too."""

    moments: tuple[Moment, ...] = ()
    runs: int = 0
    replies: int = 0
    calls: int = 0
    began_at: float | None = None
    lasted_s: float | None = None
    usage: Usage = field(default_factory=Usage)
    cost: float | None = None
    mended: tuple[str, ...] = ()


def timeline_of(transcript: Transcript) -> Timeline:
    """The timeline of a transcript, those of sub-agents inside it."""
    return timeline_of_entries(list(transcript), transcript.mended)


def timeline_of_entries(entries: Sequence[Entry], mended: tuple[str, ...] = ()) -> Timeline:
    """The same of some of its entries."""
    times = [entry.at for entry in entries if entry.at]
    began = min(times, default=None)
    moments = tuple(_moment(index, entry, began) for index, entry in enumerate(entries))
    inner = [call.inner.usage for moment in moments for call in moment.calls if call.inner is not None]
    usages = [*(entry.usage for entry in entries if entry.usage is not None), *inner]
    starts = [record.started_at for entry in entries for record in entry.calls if record.started_at]
    return Timeline(
        moments,
        runs=len({entry.run for entry in entries if entry.run}),
        replies=sum(entry.message.role == "assistant" for entry in entries),
        calls=sum(len(entry.calls) for entry in entries),
        began_at=began,
        lasted_s=None if began is None else max([*times, *starts]) - began,
        usage=sum(usages, Usage()),
        cost=cost_of_entries(entries) or None,
        mended=mended,
    )


def _moment(index: int, entry: Entry, began: float | None) -> Moment:
    data = entry.message.data
    text, attachments = split_content(data.get("content"))
    refusal = data.get("refusal")
    return Moment(
        index,
        _speaker(entry),
        redacted(text or (refusal if isinstance(refusal, str) else "")),
        entry.message,
        step=entry.step,
        reasoning=redacted(_reasoning(data)),
        attachments=attachments,
        calls=tuple(_call(record, began) for record in entry.calls),
        at=entry.at,
        offset_s=entry.at - began if entry.at and began is not None else None,
        elapsed_s=entry.elapsed_s,
        agent=entry.agent,
        model=entry.model,
        source=entry.source,
        finish_reason=entry.finish_reason,
        usage=entry.usage,
        cost=cost_of_entries([entry]) or None if entry.author == "model" else None,
        instructions=tuple(_instructions(entry.instructions)),
    )


def _speaker(entry: Entry) -> Speaker:
    match entry.message.role:
        case "system" | "developer":
            return "instructions"
        case "assistant":
            return "model"
        case _:
            return "agentkit" if entry.author == "loop" else "user"


def _reasoning(data: Mapping[str, Any]) -> str:
    return next((text for name in _REASONING if isinstance(text := data.get(name), str) and text), "")


def _instructions(made: Mapping[str, tuple[str, str]]) -> Iterator[tuple[str, str]]:
    for agent, texts in made.items():
        if told := "\n\n".join(filter(None, texts)):
            yield agent, redacted(told)


def _decided(decision: Decision | None) -> tuple[str | None, str | None]:
    """A decision in words, and the arguments that it put in place of the model's."""
    match decision:
        case Approve(None):
            return "approved", None
        case Approve(arguments):
            return "approved with other arguments", _seen(dumps(dict(arguments or {})).decode("utf-8", "replace"))
        case Deny(reason):
            return f"denied: {redacted(reason)}" if reason else "denied", None
        case Answer():
            return "answered", None
        case None:
            return None, None


def _call(record: CallRecord, began: float | None) -> Call:
    call, result, started = record.call, record.result, record.started_at
    decided, changed = _decided(record.decision)
    if result is None:
        begun = "pending" if started is None else "started, no result"
        status = begun if record.hold is None or record.decision is not None else WAITING[record.hold]
    else:
        status = result.status.replace("_", " ")
    return Call(
        call.id,
        call.name,
        _seen(call.arguments),
        status,
        result=None if result is None else _seen(result.content),
        error=None if result is None or result.error is None else redacted(result.error),
        attachments=() if result is None else tuple(_attachment(part) for part in result.parts),
        started_at=started,
        offset_s=None if started is None or began is None else started - began,
        decision=decided,
        changed=changed,
        inner=None if record.transcript is None else timeline_of(record.transcript),
    )


def _seen(text: str) -> str:
    return redacted(pretty(text))


def split_content(content: object) -> tuple[str, tuple[Attachment, ...]]:
    """The text of a message's content, and what else is in it."""
    if isinstance(content, str):
        return content, ()
    parts: Iterable[object] = content if is_list(content) else () if content is None else (content,)
    texts: list[str] = []
    attachments: list[Attachment] = []
    for part in parts:
        if isinstance(part, str):
            texts.append(part)
        elif is_object(part) and isinstance(text := part.get("text"), str):
            texts.append(text)
        else:
            attachments.append(_attachment(part))
    return "".join(texts), tuple(attachments)


def _attachment(part: object) -> Attachment:
    if not is_object(part):
        return Attachment("part", _shown(part))
    kind = str(part.get("type") or "part")
    inner = part.get(kind)
    url = inner.get("url") if is_object(inner) else inner
    if kind == "image_url" and isinstance(url, str):
        is_inline = url.startswith(("data:image/png;", "data:image/jpeg;", "data:image/gif;", "data:image/webp;"))
        return Attachment("image", _short_url(url), url if is_inline else None)
    if kind == "file" and is_object(inner):
        return Attachment("file", redacted(str(inner.get("filename") or inner.get("file_id") or "a file")))
    if kind == "input_audio" and is_object(inner):
        return Attachment("audio", str(inner.get("format") or "sound"))
    return Attachment(kind, _shown(part))


def _short_url(url: str) -> str:
    return f"{url.partition(',')[0]}, {len(url)} characters" if url.startswith("data:") else redacted(url)


def _shown(value: object) -> str:
    text = redacted(dumps(value).decode("utf-8", "replace"))
    return text if len(text) <= 200 else f"{text[:199]}…"
