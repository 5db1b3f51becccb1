"""What of a long conversation is sent: the transcript keeps all of it.

A history processor is a function of the entries that returns those to send. What it leaves out should change seldom,
for each change at the front costs the endpoint's prompt cache: so these do it in strides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from copy import copy
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias

from agentkit._json import is_list
from agentkit.chat.settings import Settings, check_number
from agentkit.entries import Entry, opens_turn
from agentkit.errors import AgentKitError, UsageError
from agentkit.messages import text_of, user
from agentkit.outputs import handle_in, shortened
from agentkit.transcript import Transcript

if TYPE_CHECKING:
    from agentkit.flow import SupportsFlow
    from agentkit.messages import Message, ToolResult

History: TypeAlias = Callable[[Sequence[Entry]], Sequence[Entry]]
BYTES_A_TOKEN: Final = 4
ATTACHED_BYTES: Final = 4 * BYTES_A_TOKEN * 256
"""What an image, a sound or a file counts as: endpoints count none of them by its bytes."""
SUMMARY_TOKENS: Final = 4096
CLEARED: Final = "(this result was cleared to save room: call the tool again if you need it)"
CLEARED_BUT_KEPT: Final = "(this result was cleared to save room: read_output(handle={handle!r}) gives it)"
SUMMARISE: Final = (
    "Stop here and sum up the conversation so far, for yourself: it will take the place of these messages. Say what "
    "was asked, what was decided, what was found out (names, numbers, ids and quotes exactly), what was done and what "
    "is still to do. Answer with the summary alone."
)
# What shapes an answer, and is not wanted of a summary.
_NOT_OF_A_SUMMARY: Final = (
    "response_format tool_choice stop modalities audio prediction logprobs top_logprobs logit_bias web_search_options"
).split()


class KeepTurns:
    """Send the last turns alone; a turn goes from a message of the caller to the next one after its answer.

    At least `turns` of them are sent, and fewer than `stride` more, so that the front moves once in so many turns.
    System messages and the summary of what came before stay.
    """

    def __init__(self, turns: int, *, stride: int | None = None) -> None:
        check_number("turns", turns, low=1, whole=True)
        self.turns: Final = turns
        self.stride: Final = max(1, turns // 2) if stride is None else stride
        check_number("stride", self.stride, low=1, whole=True)

    def __call__(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        """The entries to send."""
        starts = turn_starts(entries)
        dropped = max(0, len(starts) - self.turns) // self.stride * self.stride
        if not dropped:
            return entries
        return [*_pinned(entries[: starts[dropped]]), *entries[starts[dropped] :]]


class ClearResults:
    """Send old tool results as a word that they were cleared: all but the last `keep`, if they are longer than
    `min_chars`. They are cleared `stride` at a time, and none before the model has answered to it."""

    def __init__(self, keep: int = 10, *, min_chars: int = 500, stride: int | None = None) -> None:
        check_number("keep", keep, low=0, whole=True)
        check_number("min_chars", min_chars, low=0, whole=True)
        self.keep: Final = keep
        self.min_chars: Final = min_chars
        self.stride: Final = max(1, keep // 2) if stride is None else stride
        check_number("stride", self.stride, low=1, whole=True)

    def __call__(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        """The entries to send."""
        long = [sum(self._is_long(record.result) for record in entry.calls) for entry in entries]
        seen = sum(long[: unseen_from(entries)])
        left = max(0, min(sum(long) - self.keep, seen)) // self.stride * self.stride
        if not left:
            return entries
        sent: list[Entry] = []
        for entry in entries:
            calls = list(entry.calls)
            for place, record in enumerate(calls):
                if left and record.result is not None and self._is_long(record.result):
                    calls[place] = replace(record, result=_cleared(record.result))
                    left -= 1
            sent.append(entry if not calls or tuple(calls) == entry.calls else replace(entry, calls=tuple(calls)))
        return sent

    def _is_long(self, result: ToolResult | None) -> bool:
        return result is not None and (len(result.content) > self.min_chars or bool(result.parts))


def _cleared(result: ToolResult) -> ToolResult:
    handle = handle_in(result)
    content = CLEARED if handle is None else CLEARED_BUT_KEPT.format(handle=handle)
    return replace(result, content=content, parts=())


class Compaction:
    """Sum up a conversation that nears the model's window; the summary is sent in place of what it sums up.

    It is also done once more where the endpoint says that the conversation is too long. The summary is an entry of the
    transcript, with all that it stands for before it. What the model has not answered to is never summed up.

    Args:
        window: How many tokens the model takes.
        at: The part of the window from which on it is done.
        keep: How many entries at the end stay as they are; fewer, if they alone would fill half of the window.
        model: Who sums up, a model or its name; the agent's own model unless another is given.
        prompt: What it is asked.
    """

    def __init__(
        self,
        window: int,
        *,
        at: float = 0.8,
        keep: int = 6,
        model: str | SupportsFlow | None = None,
        prompt: str = SUMMARISE,
    ) -> None:
        check_number("window", window, low=1, whole=True)
        check_number("at", at, low=0.1, high=1)
        check_number("keep", keep, low=1, whole=True)
        if not prompt.strip():
            raise UsageError("Compaction: prompt is what the model is asked for the summary, and is empty")
        self.window: Final = window
        self.at: Final = at
        self.keep: Final = keep
        self.model = model
        self.prompt: Final = prompt

    def by(self, model: SupportsFlow | None) -> Self:
        """The same with another model, or the agent's own."""
        twin = copy(self)
        twin.model = model
        return twin

    def room(self, part: float = 1.0) -> int:
        """About how many bytes can be told the model at once, with room for a summary; or a part of that."""
        return int(self.window * (1 + self.at) / 2 * BYTES_A_TOKEN * part)

    def covered(self, transcript: Transcript, sent: Iterable[Entry] | None = None, *, part: float = 1.0) -> int:
        """How many entries of a transcript, of which `sent` is sent, a summary now would stand for; 0 if there is too
        little to sum up.

        They are no more than can be told the model at once, or a part of that.
        """
        before, end = self._between(transcript)
        if end <= before + 1:
            return 0
        entries, room, filled = transcript.entries, self.room(part), False
        sizes = {id(entry.message): _size(entry) for entry in sent or entries}
        if not any(id(entry.message) in sizes for entry in entries[before:end]):  # a processor has made others of them
            sizes = {id(entry.message): _size(entry) for entry in entries}
        for index in range(before, end):
            size = sizes.get(id(entries[index].message), 0)
            room -= size
            if room < 0 and filled and index > before + 1:
                return index
            filled = filled or size > 0
        return end

    def is_able(self, transcript: Transcript) -> bool:
        """Whether there is something to sum up."""
        before, end = self._between(transcript)
        return end > before + 1

    def _between(self, transcript: Transcript) -> tuple[int, int]:
        """How many entries are summed up already, and how many may be."""
        entries, before = transcript.entries, summed_up(transcript)[1]
        places = [index for index, entry in enumerate(entries) if not entry.covers]
        end, last = (places[-self.keep] if len(places) > self.keep else 0), unseen_from(entries)
        kept = sum(0 if entry.covers else _size(entry) for entry in entries[end:])
        while end < last and kept > self.room(0.5):
            kept -= 0 if entries[end].covers else _size(entries[end])
            end += 1
        return before, min(end, last)

    def asking(self, settings: Settings) -> Settings:
        """The settings to ask for a summary with, from the agent's: what shapes its answers is left out.

        Those of the agent are not another model's.
        """
        own = settings if self.model is None else Settings()
        changes: dict[str, Any] = dict.fromkeys(_NOT_OF_A_SUMMARY)
        if own.extra_body:
            extra = {name: value for name, value in own.extra_body.items() if name not in _NOT_OF_A_SUMMARY}
            changes["extra_body"] = extra or None
        for name in ("max_tokens", "max_completion_tokens"):
            if (given := getattr(own, name)) is not None:  # it bounds answers, which may be shorter than a summary
                changes[name] = max(given, min(SUMMARY_TOKENS, self.window - int(self.window * self.at)))
        return replace(own, **{**changes, "tool_choice": "none"})


def enough_for(processors: Sequence[History], compaction: Compaction | None) -> Callable[[Transcript], bool] | None:
    """What says of a conversation's end, with the last summary if there is one, whether it is all that a run needs.

    None if all of the conversation is sent.
    """
    first = processors[0] if processors else None
    if isinstance(first, KeepTurns):
        return partial(_is_enough, turns=first.turns + first.stride)
    return None if compaction is None else partial(_is_enough, turns=None)


def _is_enough(end: Transcript, *, turns: int | None) -> bool:
    entries = end.entries
    if "" != entries[0].run == entries[-1].run:
        return False  # the limits of a run that is gone on with count all of it
    at, _ = summed_up(end)
    if at is not None:  # what looks like the first turn may have begun before
        return entries[at].covers >= end.offset and len(turn_starts(entries[:at])) > 1
    return turns is not None and len(turn_starts(entries)) >= turns


def turn_starts(entries: Sequence[Entry]) -> list[int]:
    """Where the turns begin: each with the caller's first message after an answer."""
    starts: list[int] = []
    is_answered = True
    for index, entry in enumerate(entries):
        if opens_turn(entry):
            if is_answered:
                starts.append(index)
            is_answered = False
        elif entry.message.role == "assistant":
            is_answered = not entry.calls or any(record.hold == "output" for record in entry.calls)
    return starts


def unseen_from(entries: Sequence[Entry]) -> int:
    """From which entry on there is something that the model has not answered to."""
    for index in range(len(entries) - 1, -1, -1):
        if entries[index].message.role == "assistant":
            return index if entries[index].calls else index + 1
    return 0


def summed_up(transcript: Transcript) -> tuple[int | None, int]:
    """Where the last summary stands, and how many of the transcript's entries it stands for."""
    entries = transcript.entries
    for index in range(len(entries) - 1, -1, -1):
        if entries[index].covers:
            return index, max(0, min(entries[index].covers - transcript.offset, index))
    return None, 0


def without_summed_up(transcript: Transcript) -> Sequence[Entry]:
    """The entries to send: system messages, the last summary, what the caller asked in the turn that it was made in,
    and what the summary does not stand for."""
    entries = transcript.entries
    at, covered = summed_up(transcript)
    if at is None:
        return entries
    before = entries[:covered]
    system = [entry for entry in _pinned(before) if not entry.covers]
    # what is asked after the summary does not count, so that the front stays as it is
    turn = max(turn_starts(entries[:at]), default=covered)
    asked = filter(opens_turn, before[turn:])
    return [*system, entries[at], *asked, *(entry for entry in entries[covered:] if not entry.covers)]


def _pinned(entries: Sequence[Entry]) -> list[Entry]:
    return [entry for entry in entries if entry.covers or entry.message.role in ("system", "developer")]


def summary_message(text: str) -> Message:
    """A summary as it is sent."""
    return user(f"Summary of the conversation so far, which stands in place of its messages:\n\n{text}")


def estimated_tokens(transcript: Transcript, sent: Sequence[Entry] | None = None, *, beside: int = 0) -> int:
    """About how many tokens a conversation takes of which `sent` is sent, and so many bytes beside it.

    The usage of the last reply counts for all before it, if it came after the last summary; the rest is a quarter of
    its bytes.
    """
    extra = 0
    for entry in reversed(transcript.entries):
        if entry.covers:
            break
        if entry.author == "model" and entry.usage is not None and entry.usage.prompt_tokens:
            extra += sum(_result_size(record.result) for record in entry.calls)
            return entry.usage.prompt_tokens + entry.usage.completion_tokens + extra // BYTES_A_TOKEN
        extra += _size(entry)
    return (sum(map(_size, transcript.entries if sent is None else sent)) + beside) // BYTES_A_TOKEN


def _size(entry: Entry) -> int:
    results = sum(_result_size(record.result) for record in entry.calls)
    text = entry.message.json
    if entry.message.role != "user" or len(text) <= ATTACHED_BYTES or b'"type":' not in text:
        return len(text) + results
    content = entry.message.data.get("content")
    attached = sum(not text_of([part]) for part in content) if is_list(content) else 0
    return _bytes(text_of(content)) + ATTACHED_BYTES * attached + results


def _result_size(result: ToolResult | None) -> int:
    return 0 if result is None else _bytes(result.content) + ATTACHED_BYTES * len(result.parts)


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


class View:
    """What is sent of a transcript, from one request to the next: while it only grows, what is encoded stays."""

    __slots__ = ("_compaction", "_processors", "_sent", "overflowed")

    def __init__(self, processors: Sequence[History], compaction: Compaction | None = None) -> None:
        self._processors = processors
        self._compaction = compaction
        self._sent: Transcript | None = None
        self.overflowed = False  # the endpoint found it too long, and it was not summed up since

    def of(self, transcript: Transcript) -> Transcript:
        """The transcript to send; itself if nothing is left out. Raises UsageError if a processor fails."""
        whole = without_summed_up(transcript)
        entries = given = tuple(entry for entry in whole if entry.guarded is not False) if self._processors else whole
        for process in self._processors:
            entries = _processed(process, entries)
        if entries is given and whole is transcript.entries:
            return transcript
        sent = self._sent
        if (
            sent is None
            or len(sent) > len(entries)
            or not all(_are_sent_alike(a, b) for a, b in zip(sent, entries, strict=False))
        ):
            sent = self._sent = Transcript()
        for entry in entries[len(sent) :]:
            sent.append(entry)
        return sent

    def is_crowded(self, transcript: Transcript, *, beside: int) -> bool:
        """Whether a transcript has to be summed up before it is sent with so many bytes beside it."""
        compaction = self._compaction
        if compaction is None or not compaction.is_able(transcript):
            return False
        sent = self.of(transcript)
        near = compaction.window * compaction.at
        if not self.overflowed and estimated_tokens(transcript, sent.entries, beside=beside) < near:
            return False
        return any(not entry.covers for entry in self._part(transcript, sent, compaction.covered(transcript, sent)))

    def to_sum_up(self, transcript: Transcript, part: float) -> tuple[Transcript, int]:
        """What a summary is asked of, with the request for it, and how many entries it stands for."""
        compaction = self._compaction
        assert compaction is not None  # it asks for the summary
        sent = self.of(transcript)
        covers = compaction.covered(transcript, sent, part=part)
        entries = self._part(transcript, sent, covers)
        longest = compaction.room(part / 4)
        asked = Transcript([_with_short_results(entry, longest) for entry in entries])
        asked.append(Entry(user(compaction.prompt)))
        return asked, covers

    def _part(self, transcript: Transcript, sent: Transcript, covers: int) -> list[Entry]:
        """What is sent of the entries that a summary is to stand for."""
        kept = {id(entry.message) for entry in transcript.entries[covers:] if not entry.covers}
        return [entry for entry in sent if id(entry.message) not in kept]


def _processed(process: History, entries: Sequence[Entry]) -> Sequence[Entry]:
    name = getattr(process, "__name__", type(process).__name__)
    try:
        made: Any = process(entries)
    except AgentKitError:
        raise
    except Exception as error:
        raise UsageError(f"the history processor {name} failed with {type(error).__name__}: {error}") from error
    if not is_list(made) or not all(isinstance(entry, Entry) for entry in made):
        raise UsageError(f"the history processor {name} returned {made!r:.200}, which is no list of entries")
    if entries and not made:
        raise UsageError(f"the history processor {name} left nothing to send: keep at least the last question")
    return made


def _are_sent_alike(one: Entry, other: Entry) -> bool:
    return one is other or (
        (one.author, one.source, one.guarded is False) == (other.author, other.source, other.guarded is False)
        and (one.message is other.message or one.message.json == other.message.json)
        and one.calls == other.calls
    )


def _with_short_results(entry: Entry, longest: int) -> Entry:
    if all(record.result is None or len(record.result.content) <= longest for record in entry.calls):
        return entry
    calls = [
        record
        if record.result is None
        else replace(record, result=replace(record.result, content=shortened(record.result.content, longest)))
        for record in entry.calls
    ]
    return replace(entry, calls=tuple(calls))
