"""What of a long conversation is sent: the transcript keeps all of it.

A history processor is a function of the entries that returns those to send. What it leaves out should change seldom,
for each change at the front costs the endpoint's prompt cache: so these do it in strides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from agentkit.chat.settings import check_number
from agentkit.entries import Entry
from agentkit.messages import text_of, user
from agentkit.transcript import Transcript

if TYPE_CHECKING:
    from agentkit.flow import SupportsFlow
    from agentkit.messages import Message

History: TypeAlias = Callable[[Sequence[Entry]], Sequence[Entry]]
BYTES_A_TOKEN: Final = 4
CLEARED: Final = "(this result was cleared to save room: call the tool again if you need it)"
SUMMARISE: Final = (
    "Stop here and sum up the conversation so far, for yourself: it will take the place of these messages. Say what "
    "was asked, what was decided, what was found out (names, numbers, ids and quotes exactly), what was done and what "
    "is still to do. Answer with the summary alone."
)


class KeepTurns:
    """Send the last turns alone; a turn goes from one message of the caller to the next. Calls keep their results.

    At least `turns` of them are sent, and up to `stride` more, so that the front moves once in so many turns.
    """

    def __init__(self, turns: int, *, stride: int | None = None) -> None:
        check_number("turns", turns, low=1, whole=True)
        self.turns: Final = turns
        self.stride: Final = max(1, turns // 2) if stride is None else stride
        check_number("stride", self.stride, low=1, whole=True)

    def __call__(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        """The entries to send."""
        starts = [index for index, entry in enumerate(entries) if opens_turn(entry)]
        dropped = max(0, len(starts) - self.turns) // self.stride * self.stride
        return entries[starts[dropped] :] if dropped else entries


class ClearResults:
    """Send old tool results as a word that they were cleared: all but the last `keep`, if they are longer than
    `min_chars`. They are cleared `stride` at a time."""

    def __init__(self, keep: int = 10, *, min_chars: int = 500, stride: int | None = None) -> None:
        check_number("keep", keep, low=0, whole=True)
        check_number("min_chars", min_chars, low=0, whole=True)
        self.keep: Final = keep
        self.min_chars: Final = min_chars
        self.stride: Final = max(1, keep // 2) if stride is None else stride
        check_number("stride", self.stride, low=1, whole=True)

    def __call__(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        """The entries to send."""
        count = sum(self._is_long(record.result) for entry in entries for record in entry.calls)
        left = max(0, count - self.keep) // self.stride * self.stride
        sent: list[Entry] = []
        for entry in entries:
            calls = list(entry.calls)
            for place, record in enumerate(calls):
                if left and record.result is not None and self._is_long(record.result):
                    calls[place] = replace(record, result=replace(record.result, content=CLEARED, parts=()))
                    left -= 1
            sent.append(entry if not calls or tuple(calls) == entry.calls else replace(entry, calls=tuple(calls)))
        return sent

    def _is_long(self, result: Any) -> bool:
        return result is not None and (len(result.content) > self.min_chars or bool(result.parts))


class Compaction:
    """Sum up a conversation that nears the model's window; the summary is sent in place of what it sums up.

    It is also done once more where the endpoint says that the conversation is too long. The summary is an entry of the
    transcript, with all that it stands for before it.

    Args:
        window: How many tokens the model takes.
        at: The part of the window from which on it is done.
        keep: How many entries at the end stay as they are.
        model: Who sums up; the agent's own model unless another is given.
        prompt: What it is asked.
    """

    def __init__(
        self,
        window: int,
        *,
        at: float = 0.8,
        keep: int = 6,
        model: SupportsFlow | None = None,
        prompt: str = SUMMARISE,
    ) -> None:
        check_number("window", window, low=1, whole=True)
        check_number("at", at, low=0, high=1)
        check_number("keep", keep, low=1, whole=True)
        self.window: Final = window
        self.at: Final = at
        self.keep: Final = keep
        self.model: Final = model
        self.prompt: Final = prompt

    def is_due(self, sent: Sequence[Entry], *, beside: int = 0) -> bool:
        """Whether these entries, and so many bytes beside them, near the window."""
        return estimated_tokens(sent, beside=beside) >= self.window * self.at

    def covered(self, entries: Sequence[Entry]) -> int:
        """How many of a transcript's entries a summary now would stand for; 0 if there is too little to sum up."""
        end = len(entries) - self.keep
        return end if end > summed_up(entries)[1] + 1 else 0


def opens_turn(entry: Entry) -> bool:
    """Whether an entry is a message of the caller."""
    return entry.author == "caller" and entry.message.role == "user"


def summed_up(entries: Sequence[Entry]) -> tuple[int | None, int]:
    """Where the last summary stands, and how many entries it stands for."""
    for index in range(len(entries) - 1, -1, -1):
        if entries[index].covers:
            return index, entries[index].covers
    return None, 0


def without_summed_up(entries: Sequence[Entry]) -> Sequence[Entry]:
    """The entries to send: the last summary, what the caller asked last, and what the summary does not stand for."""
    at, covered = summed_up(entries)
    if at is None:
        return entries
    rest = [entry for entry in entries[covered:] if not entry.covers]
    asked = [] if any(map(opens_turn, rest)) else [entry for entry in entries[:covered] if opens_turn(entry)][-1:]
    return [entries[at], *asked, *rest]


def summary_message(text: str) -> Message:
    """A summary as it is sent."""
    return user(f"Summary of the conversation so far, which stands in place of its messages:\n\n{text}")


def estimated_tokens(entries: Sequence[Entry], *, beside: int = 0) -> int:
    """About how many tokens entries take, and so many bytes beside them (instructions, tools).

    The last reply's usage counts for all before it; the rest is a quarter of its bytes.
    """
    extra = 0
    for entry in reversed(entries):
        if entry.author == "model" and entry.usage is not None and entry.usage.prompt_tokens:
            results = sum(_size(record.result) for record in entry.calls)
            return entry.usage.prompt_tokens + entry.usage.completion_tokens + (extra + results) // BYTES_A_TOKEN
        extra += len(entry.message.json) + sum(_size(record.result) for record in entry.calls)
    return (extra + beside) // BYTES_A_TOKEN


def _size(result: Any) -> int:
    return 0 if result is None else len(result.content) + sum(len(text_of([part])) for part in result.parts)


class View:
    """What is sent of a transcript, from one request to the next: while it only grows, what is encoded stays."""

    def __init__(self, processors: Sequence[History]) -> None:
        self._processors = processors
        self._sent: Transcript | None = None

    def of(self, transcript: Transcript) -> Transcript:
        """The transcript to send; itself if nothing is left out."""
        entries = without_summed_up(transcript.entries)
        for process in self._processors:
            entries = process(entries)
        if entries is transcript.entries:
            return transcript
        sent = self._sent
        if (
            sent is None
            or len(sent) > len(entries)
            or any(a is not b and a != b for a, b in zip(sent, entries, strict=False))
        ):
            sent = self._sent = Transcript()
        for entry in entries[len(sent) :]:
            sent.append(entry)
        return sent
