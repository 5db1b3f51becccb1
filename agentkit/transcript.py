"""The state of a run: an append-only list of entries, how it is written down and read again."""

from __future__ import annotations

import operator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from agentkit._json import dumps, is_list, is_object, loads
from agentkit.approval import Approve, Decision, decision_data, decision_of
from agentkit.entries import CallRecord, Entry, Hold, Pending, entry_messages, mapped_entry
from agentkit.errors import UsageError
from agentkit.messages import Message, ToolCall, ToolResult, Usage, calls_of, content_data, text_of
from agentkit.shown import Shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

__all__ = ["NOT_RUN", "VERSION", "CallRecord", "Entry", "Pending", "Transcript", "entry_messages"]

VERSION: Final = 1
NOT_RUN: Final = (
    "This call was not run: the conversation was continued without it. Call the tool again if it is needed."
)


class Transcript(Shown):
    """A conversation as it was, complete: entries in order, each with its calls' results.

    A run copies the transcript that it is given (the entries are shared), so it never changes under its holder.
    """

    __slots__ = ("_entries", "_ids", "_open", "changed", "mended", "offset", "spliced")

    def __init__(self, entries: Sequence[Entry] = ()) -> None:
        self._entries: list[Entry] = []
        self._ids: set[str] = set()
        self._open: dict[tuple[int, int], None] = {}
        self.mended: tuple[str, ...] = ()
        self.offset = 0  # how many entries stand before the first, where only the last ones were read
        self.changed: dict[int, None] | None = None  # where a journal is kept: which entries it does not have yet
        self.spliced: dict[Any, Any] = {}  # chat/request.py keeps the encoded messages here: a cache, no state
        for entry in entries:
            self.append(entry)

    @property
    def entries(self) -> Sequence[Entry]:
        """The entries, oldest first. Not to be changed."""
        return self._entries

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The plain Chat Completions list: each call's result as a tool message after the message that asked for it."""
        return [data for entry in self._entries for data in entry_messages(entry)]

    @property
    def last(self) -> Entry | None:
        """The newest entry."""
        return self._entries[-1] if self._entries else None

    @property
    def pending(self) -> list[Pending]:
        """The calls without a result, in call order."""
        return [self._pending(i, j) for i, j in sorted(self._open)]

    def _pending(self, index: int, position: int) -> Pending:
        entry = self._entries[index]
        record = entry.calls[position]
        others = record.decision.arguments if isinstance(record.decision, Approve) else None
        arguments = None if others is None else dumps(dict(others)).decode()
        return Pending(index, position, record.call, self.key(entry.run, index, position), arguments)

    def key(self, run: str, index: int, position: int) -> str:
        """A call's idempotency key: of the run and the place, never of the content."""
        return f"{run}:{index + self.offset}:{position}"

    def record(self, pending: Pending) -> CallRecord:
        """What is known of a call."""
        return self._entries[pending.entry].calls[pending.position]

    def keep(self, *, since: Transcript) -> None:
        """Note from now on what changes, and what is other than in an earlier transcript, for a journal."""
        known = since.entries
        self.changed = {
            index: None for index, entry in enumerate(self._entries) if index >= len(known) or known[index] is not entry
        }

    def copy(self) -> Transcript:
        """The same entries in a transcript of its own."""
        twin = Transcript()
        twin.offset = self.offset
        twin._entries, twin._ids, twin._open = self._entries.copy(), self._ids.copy(), self._open.copy()
        return twin

    def append(self, entry: Entry) -> None:
        """Add a message. A call whose id is missing or taken gets one of its own."""
        if entry.calls:
            index = len(self._entries)
            calls = tuple(self._identified(record, index, j) for j, record in enumerate(entry.calls))
            entry = replace(entry, calls=calls) if calls != entry.calls else entry
            self._open |= {(index, j): None for j, record in enumerate(calls) if record.result is None}
        self._entries.append(entry)
        if self.changed is not None:  # afterwards: another thread may take the note, and write down what is there
            self.changed[len(self._entries) - 1] = None

    def replace(self, index: int, entry: Entry) -> None:
        """Put another entry in the place of one with the same calls."""
        self._entries[index] = entry
        if self.changed is not None:
            self.changed[index] = None

    def _identified(self, record: CallRecord, index: int, position: int) -> CallRecord:
        name = record.call.id
        if not name or name in self._ids:
            name = f"call_{index + self.offset}_{position}"
            while name in self._ids:
                name += "_"
            record = replace(record, call=replace(record.call, id=name))
        self._ids.add(name)
        return record

    def land(self, pending: Pending, result: ToolResult, *, elapsed_s: float = 0.0) -> None:
        """Record a call's result: the one way in for it. Raises UsageError if it has one already."""
        if self._open.pop((pending.entry, pending.position), self) is self:
            raise UsageError(f"call {pending.call.id!r} has a result already")
        self._change(pending, elapsed_s, result=result)

    def start(self, pending: Pending, at: float) -> None:
        """Record that a call's function is about to run."""
        self._change(pending, 0.0, started_at=at)

    def hold(self, pending: Pending, hold: Hold | None) -> None:
        """Record what a call waits for."""
        entry, place = self._entries[pending.entry], pending.position
        record = replace(entry.calls[place], hold=hold)
        self.replace(pending.entry, replace(entry, calls=(*entry.calls[:place], record, *entry.calls[place + 1 :])))

    def restart(self, pending: Pending, decision: Decision) -> None:
        """Record that a call, of which nobody knows how far it came, is to run again."""
        entry, place = self._entries[pending.entry], pending.position
        record = replace(entry.calls[place], started_at=None, hold=None, decision=decision)
        self.replace(pending.entry, replace(entry, calls=(*entry.calls[:place], record, *entry.calls[place + 1 :])))

    def decide(self, pending: Pending, decision: Decision) -> None:
        """Record what was decided of a call."""
        self._change(pending, 0.0, decision=decision)

    def delegate(self, pending: Pending, transcript: Transcript) -> None:
        """Record that a call is done in a conversation of its own."""
        self._change(pending, 0.0, transcript=transcript)

    def _change(
        self,
        pending: Pending,
        elapsed_s: float,
        *,
        started_at: float | None = None,
        result: ToolResult | None = None,
        decision: Decision | None = None,
        transcript: Transcript | None = None,
    ) -> None:
        entry = self._entries[pending.entry]
        known = entry.calls[pending.position]
        record = CallRecord(
            known.call,
            known.started_at if started_at is None else started_at,
            known.result if result is None else result,
            known.hold,
            known.decision if decision is None else decision,
            known.transcript if transcript is None else transcript,
        )
        place = pending.position
        self._entries[pending.entry] = Entry(  # a fifth of what replace() takes
            entry.message,
            entry.author,
            entry.run,
            entry.step,
            entry.at,
            max(entry.elapsed_s, elapsed_s),
            entry.agent,
            entry.source,
            entry.finish_reason,
            entry.usage,
            entry.cost,
            (*entry.calls[:place], record, *entry.calls[place + 1 :]),
            entry.model,
            entry.instructions,
            entry.guarded,
            entry.covers,
        )
        if self.changed is not None:
            self.changed[pending.entry] = None

    def adopt(self, run: str, adopted: Callable[[CallRecord], CallRecord]) -> None:
        """Make calls without a result that no run asked for (they were loaded) those of `run`."""
        for index in {i for i, _ in self._open}:
            entry = self._entries[index]
            if not entry.run:
                self._entries[index] = replace(entry, run=run, calls=tuple(map(adopted, entry.calls)))

    def mapped(self, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Transcript:
        """A new transcript whose messages, and results as tool messages, went through `change`."""
        twin = Transcript([mapped_entry(entry, change) for entry in self._entries])
        twin.offset = self.offset
        return twin

    def dump(self) -> str:
        """All of it as JSON, versioned. `load` restores it."""
        return _dumped(self).decode()

    def dump_entry(self, index: int) -> bytes:
        """One entry as it stands in a dump."""
        return _dump_entry(self._entries[index])

    @classmethod
    def load(
        cls,
        source: str | bytes | Sequence[Mapping[str, Any] | Message],
        *,
        trusted: bool = False,
        allow_system: bool = False,
    ) -> Transcript:
        """A transcript from a dump, or from a plain Chat Completions list (as JSON or as dicts).

        A plain list may come from anywhere. Untrusted, its calls without a result are answered as not run, and a system
        or developer message is refused unless `allow_system`; trusted, they run and stand. Either way a result without
        a call is left out and a call id that is used twice is renamed; `mended` says what was done. A dump is
        agentkit's own record and is restored as it is.

        Raises:
            UsageError: no dump and no list of messages, or a message that cannot be sent; it is named by its index.
        """
        value: Any = source
        if isinstance(source, str | bytes):
            try:
                value = loads(source)
            except ValueError as error:
                raise UsageError(f"a transcript is loaded from JSON; this is none: {error}") from None
        if is_object(value):
            return _load_dump(value)
        if is_list(value):
            return _load_plain(value, trusted=trusted, allow_system=allow_system or trusted)
        raise UsageError(f"a transcript is a dump or a list of messages, not {type(value).__name__}")

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Transcript) and self._entries == other._entries

    __hash__ = None  # type: ignore[assignment]  # it changes while a run goes on

    def __repr__(self) -> str:
        waiting = f", {len(self._open)} calls pending" if self._open else ""
        return f"Transcript({len(self._entries)} entries{waiting})"

    def __reduce__(self) -> tuple[Any, ...]:
        return (Transcript.load, (self.dump(),))


# Dumps

# What of an entry is dumped as it is, and the value that is left out.
_PLAIN: Final[dict[str, Any]] = {
    "author": None,
    "run": "",
    "step": 0,
    "at": 0.0,
    "elapsed_s": 0.0,
    "guarded": None,
    "covers": 0,
    **dict.fromkeys(("agent", "source", "finish_reason", "cost", "model")),
}


def _dumped(transcript: Transcript) -> bytes:
    offset = b'"offset":%d,' % transcript.offset if transcript.offset else b""
    entries = b",".join(map(_dump_entry, transcript.entries))
    return b'{"agentkit":%d,%s"entries":[%s]}' % (VERSION, offset, entries)


def _dump_entry(entry: Entry) -> bytes:
    beside: dict[str, Any] = {name: value for name, usual in _PLAIN.items() if (value := getattr(entry, name)) != usual}
    if entry.usage is not None:
        beside["usage"] = entry.usage.data
    if entry.calls:
        beside["calls"] = [_dump_call(record) for record in entry.calls]
    if entry.instructions:
        beside["instructions"] = entry.instructions
    return b'{"message":%s,%s' % (entry.message.json, dumps(beside)[1:])


def _dump_call(record: CallRecord) -> dict[str, Any]:
    call, result = record.call, record.result
    data: dict[str, Any] = {"id": call.id, "name": call.name, "arguments": call.arguments}
    if record.started_at is not None:
        data["started_at"] = record.started_at
    if record.hold is not None:
        data["hold"] = record.hold
    if record.decision is not None:
        data["decision"] = decision_data(record.decision)
    if record.transcript is not None:
        data["transcript"] = loads(_dumped(record.transcript))
    if result is not None:
        kept: dict[str, Any] = {"content": result.content, "status": result.status}
        if result.parts:
            kept["parts"] = list(result.parts)
        if result.error is not None:
            kept["error"] = result.error
        if result.handoff is not None:
            kept["handoff"] = result.handoff
        if result.whole is not None:
            kept["whole"] = result.whole
        data["result"] = kept
    return data


def _load_dump(dump: Mapping[str, Any]) -> Transcript:
    version = dump.get("agentkit")
    if not isinstance(version, int):
        raise UsageError("a dumped transcript has its version under 'agentkit'; this object has none")
    if version > VERSION:
        raise UsageError(f"this dump has version {version}; this agentkit reads up to {VERSION}: upgrade agentkit")
    try:
        transcript = Transcript([_load_entry(data) for data in dump["entries"]])
        transcript.offset = operator.index(dump.get("offset", 0))
    except (KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"this dump is damaged: {type(error).__name__}: {error}") from error
    return transcript


def _load_entry(data: Mapping[str, Any]) -> Entry:
    usage = data.get("usage")
    return Entry(
        Message(data["message"]),
        **{name: data[name] for name in _PLAIN if name in data},
        usage=None if usage is None else Usage(**usage),
        instructions={name: (head, turn) for name, (head, turn) in data.get("instructions", {}).items()},
        calls=tuple(_load_call(call) for call in data.get("calls", ())),
    )


def _load_call(data: Mapping[str, Any]) -> CallRecord:
    kept = data.get("result")
    result = None
    if kept is not None:
        parts = tuple(kept.get("parts", ()))
        result = ToolResult(
            kept["content"], kept["status"], parts, kept.get("error"), kept.get("handoff"), kept.get("whole")
        )
    decision, inner = data.get("decision"), data.get("transcript")
    return CallRecord(
        ToolCall(data["id"], data["name"], data["arguments"]),
        data.get("started_at"),
        result,
        data.get("hold"),
        None if decision is None else decision_of(decision),
        None if inner is None else _load_dump(inner),
    )


# Plain lists


@dataclass(slots=True)
class _PlainList:
    """The messages of a plain list as they are read: results find their calls, what fits nowhere is told."""

    transcript: Transcript = field(default_factory=Transcript)
    asked: list[tuple[str, str, Pending]] = field(
        default_factory=list[tuple[str, str, Pending]]
    )  # the id as it was written, name, place
    mended: list[str] = field(default_factory=list[str])

    def add(self, index: int, message: Message, data: Mapping[str, Any]) -> None:
        calls = calls_of(data) if message.role == "assistant" else []
        place = len(self.transcript)
        self.transcript.append(Entry(message, calls=tuple(CallRecord(call) for call in calls)))
        for position, call in enumerate(calls):
            kept = self.transcript.entries[place].calls[position].call
            if kept.id != call.id:
                self.mended.append(f"message {index}: call id {call.id!r} is missing or used twice, now {kept.id!r}")
            self.asked.append((call.id, call.name, Pending(place, position, kept, "")))

    def answer(self, index: int, data: Mapping[str, Any]) -> None:
        wanted = str(data.get("tool_call_id") or "")
        name = data.get("name") if data.get("role") == "function" else None
        for at, (call_id, call_name, pending) in enumerate(self.asked):
            if call_id == wanted and (name is None or call_name == name):
                del self.asked[at]
                content = content_data("" if data.get("content") is None else data["content"])
                listed = [] if isinstance(content, str) else content
                other = tuple([part for part in listed if part["type"] not in ("text", "output_text")])
                return self.transcript.land(pending, ToolResult(text_of(content), parts=other))
        self.mended.append(
            f"message {index}: left out, a result for {wanted or name!r}, which no call before it asked for"
        )
        return None


def _load_plain(messages: Sequence[Any], *, trusted: bool, allow_system: bool) -> Transcript:
    plain = _PlainList()
    for index, data in enumerate(messages):
        if isinstance(data, Message):
            data = data.data  # noqa: PLW2901  # the same message
        if not is_object(data):
            raise UsageError(f"message {index} is a {type(data).__name__}; a message is a dict with a 'role'")
        role = data.get("role")
        if role in ("system", "developer") and not allow_system:
            raise UsageError(
                f"message {index} is a {role} message in a list that is not trusted: leave it out, put it into the "
                "agent's instructions, or load the list with allow_system=True"
            )
        try:
            if role in ("tool", "function"):
                plain.answer(index, data)
                continue
            content = data.get("content")
            if content is not None or (role != "assistant"):
                content_data(content)
            plain.add(index, Message(dict(data)), data)
        except UsageError as error:
            raise UsageError(f"message {index}: {error}") from None
    for _, _, pending in [] if trusted else plain.asked:
        plain.mended.append(f"call {pending.call.id!r} of {pending.call.name!r} has no result: answered as not run")
        plain.transcript.land(pending, ToolResult(NOT_RUN, status="not_run"))
    plain.transcript.mended = tuple(plain.mended)
    return plain.transcript
