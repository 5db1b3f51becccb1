"""What a client sends as a conversation, made a transcript again: its own messages, and the agent's steps between them.

The steps travel with the client: each answer's message may carry a sealed text with the entries of its run, bound to
the agent, to the client's key and to all messages up to that one. What does not open is left out, and the agent goes on
from what can be seen. A call in the clear is one of the client's own tools, whatever its name says: it gets a name that
no tool of the agent has, and is never run.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from agentkit._json import dumps, is_array, loads
from agentkit.errors import UsageError
from agentkit.messages import Message, ToolCall, ToolResult, calls_of, text_of
from agentkit.serve.decisions import DECIDE, decision_of
from agentkit.serve.fields import MESSAGES, STATE
from agentkit.transcript import NOT_RUN, CallRecord, Entry, Pending, Transcript

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from agentkit.approval import Decision
    from agentkit.serve.seal import Sealer

LOST: Final = "What came of this call is not known: the conversation went on without its result."


@dataclass(slots=True)
class Binding:
    """What the steps of an answer are bound to besides the messages: the agent's name and the client's key."""

    sealer: Sealer
    model: str
    key: str

    def seal(self, steps: Steps, link: bytes) -> str:
        """The steps as the client keeps them."""
        data = {
            "first": steps.first,
            "entries": Transcript(steps.entries).dump(),
            "calls": steps.calls,
            "decide": steps.decide,
            "open": steps.is_open,
        }
        return self.sealer.seal(dumps(data), self._bound(link))

    def open(self, sealed: object, link: bytes) -> Steps | None:
        """The steps that a message carries; None if it carries none of its own."""
        text = self.sealer.open(sealed, self._bound(link)) if isinstance(sealed, str) and sealed else None
        if text is None:
            return None
        try:
            data = loads(text)
            entries = Transcript.load(data["entries"]).entries
            calls = {name: (entry, position) for name, (entry, position) in data["calls"].items()}
            decide = {name: Held(*held) for name, held in data["decide"].items()}
            return Steps(data["first"], list(entries), calls, decide, data["open"])
        except (ValueError, KeyError, TypeError, UsageError):  # sealed by another version
            return None

    def _bound(self, link: bytes) -> bytes:
        return dumps([self.model, self.key, link.hex()])


class Held(NamedTuple):
    """A call that waits for a decision: where it stands, or the call that it is part of, and in that its path; what it
    waits for."""

    entry: int
    position: int
    path: list[str]
    hold: str


@dataclass(slots=True)
class Steps:
    """The entries that stand behind an answer.

    They take the place of what came of the messages from `first` on, counted without system messages. `calls` has where
    a call that the client can see stands, by the id that it sees; `decide` the call that a decision is about, and what
    it waits for. `is_open` is set if the run was ended before it was done.
    """

    first: int
    entries: list[Entry]
    calls: dict[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])
    decide: dict[str, Held] = field(default_factory=dict[str, "Held"])
    is_open: bool = False


def linked(link: bytes, message: Mapping[str, Any]) -> bytes:
    """The hash of a conversation up to a message, from the hash up to the one before.

    What clients add and leave out on the way does not count: nulls, other fields, space around a text.
    """
    content = message.get("content")
    parts = [part for part in content if part.get("type") != "text"] if is_array(content) else []
    said = [
        message["role"],
        text_of(content).strip(),
        parts,
        message.get("refusal") or "",
        [[call.id, call.name, call.arguments] for call in calls_of(message)],
        message.get("tool_call_id") or "",
    ]
    return sha256(link + dumps(said)).digest()


@dataclass(slots=True)
class Conversation:
    """A conversation as an agent can go on with it.

    `decisions` are those of calls that wait for one, `undecided` the calls that still do. `owners` has for each entry
    the message that it came of, `link` the hash of all messages. `system` has the texts of the system messages.
    `is_open` is set if it ends in the middle of a run, which goes on.
    """

    transcript: Transcript = field(default_factory=Transcript)
    owners: list[int] = field(default_factory=list[int])
    system: list[str] = field(default_factory=list[str])
    decisions: dict[str, Decision] = field(default_factory=dict[str, "Decision"])
    undecided: list[str] = field(default_factory=list[str])
    link: bytes = b""
    visible: int = 0
    last_role: str | None = None
    is_open: bool = False


class _Rebuilding:
    def __init__(self, binding: Binding, renamed: Callable[[str], str]) -> None:
        self.binding = binding
        self.renamed = renamed
        self.made = Conversation()
        self.starts: list[int] = []
        self.asked: dict[str, Pending] = {}
        self.undecided: dict[str, tuple[str, str]] = {}  # the call's id and its hold, by the id that the client sees
        self.held: set[Pending] = set()

    def add(self, message: Mapping[str, Any]) -> None:
        made, role = self.made, message["role"]
        if role in ("system", "developer"):
            made.system.append(text_of(message["content"]))
            return
        index, made.visible, made.last_role = made.visible, made.visible + 1, role
        self.starts.append(len(made.transcript))
        made.link = linked(made.link, message)
        made.is_open = False
        if role == "user":
            self._answer_others()
            kept = {name: value for name in _KEPT[role] if (value := message.get(name)) is not None}
            self._append(Entry(Message(kept)), index)
        elif role == "tool":
            self._answer(message)
        else:
            steps = self.binding.open(message.get(STATE), made.link)
            if steps is None or not 0 <= steps.first <= index:
                self._close()
                self._plain(message, index)
            else:
                self._sealed(steps)

    def _append(self, entry: Entry, owner: int) -> None:
        self.made.transcript.append(entry)
        self.made.owners.append(owner)

    def _sealed(self, steps: Steps) -> None:
        made = self.made
        # the message may be one of those whose place earlier steps have taken
        kept = min(self.starts[steps.first], len(made.transcript))
        made.transcript = Transcript(made.transcript.entries[:kept])
        del made.owners[kept:]
        self._close()
        for entry in steps.entries:
            self._append(entry, steps.first)
        places = {(pending.entry, pending.position): pending for pending in made.transcript.pending}
        for call_id, (offset, position) in steps.calls.items():
            if pending := places.get((kept + offset, position)):
                self.asked[call_id] = pending
        for call_id, held in steps.decide.items():
            if pending := places.get((kept + held.entry, held.position)):
                self.undecided[call_id] = "/".join((pending.call.id, *held.path)), held.hold
                self.held.add(pending)
        made.is_open = steps.is_open

    def _plain(self, message: Mapping[str, Any], index: int) -> None:
        kept = {name: value for name in _KEPT["assistant"] if (value := message.get(name)) is not None}
        calls = [call for call in calls_of(message) if call.name != DECIDE]
        if not calls and not text_of(kept.get("content")) and not kept.get("refusal"):
            return
        kept.setdefault("content", None)
        renamed = [ToolCall(call.id, self.renamed(call.name), call.arguments) for call in calls]
        if renamed:
            kept["tool_calls"] = [call.data for call in renamed]
        self._append(Entry(Message(kept), calls=tuple([CallRecord(call) for call in renamed])), index)
        for pending in self.made.transcript.pending:
            self.asked[calls[pending.position].id] = pending

    def _answer(self, message: Mapping[str, Any]) -> None:
        call_id = message["tool_call_id"]
        if call_id in self.undecided:
            pending_id, hold = self.undecided[call_id]
            self.made.decisions.setdefault(pending_id, decision_of(text_of(message["content"]), hold))
        elif pending := self.asked.pop(call_id, None):
            content = message["content"]
            parts = [part for part in content if part["type"] != "text"] if is_array(content) else []
            self.made.transcript.land(pending, ToolResult(text_of(content), parts=tuple(parts)))

    def _answer_others(self) -> None:
        """Answer the calls that had still to run when the server ended: the user may want something else by now."""
        for pending in self.made.transcript.pending:
            if pending not in self.held and pending not in self.asked.values():
                begun = self.made.transcript.record(pending).started_at is not None
                self.made.transcript.land(pending, ToolResult(LOST if begun else NOT_RUN, "not_run"))

    def _close(self) -> None:
        """Answer what is still open before the conversation goes on: no call waits behind a later answer."""
        own = set(self.asked.values())
        for pending in self.made.transcript.pending:
            told = NOT_RUN if pending in own else LOST
            self.made.transcript.land(pending, ToolResult(told, "not_run"))
        self.asked, self.undecided, self.held, self.made.decisions = {}, {}, set(), {}

    def finish(self) -> Conversation:
        made = self.made
        for pending in self.asked.values():
            made.transcript.land(pending, ToolResult(NOT_RUN, "not_run"))
        entries = list(made.transcript)
        while made.last_role == "tool" and entries and _is_answer(entries[-1]):
            entries.pop()  # its calls were left out: what it answered is answered anew
        made.transcript = Transcript(entries)
        made.undecided = [call_id for call_id, _ in self.undecided.values() if call_id not in made.decisions]
        if not made.transcript.pending and not made.is_open:  # limits are those of one request
            made.transcript = Transcript([replace(entry, run="") for entry in entries])
        return made


def _is_answer(entry: Entry) -> bool:
    return entry.message.role == "assistant" and not entry.calls


_KEPT: Final = {
    role: [name for name in schema["properties"] if name not in ("tool_calls", "reasoning_content", STATE)]
    for role, schema in MESSAGES.items()
}


def rebuilt(
    messages: Sequence[Mapping[str, Any]], binding: Binding, renamed: Callable[[str], str] = str
) -> Conversation:
    """The conversation that a client's messages make; `renamed` gives the name that a tool of the client goes by."""
    rebuilding = _Rebuilding(binding, renamed)
    for message in messages:
        rebuilding.add(message)
    return rebuilding.finish()
