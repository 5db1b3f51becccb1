"""Replies in the JSON form that jsonmode.py asks for: read as ordinary calls and text, also while they come."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, Final

from pydantic_core import from_json

from agentkit._json import dumps, is_object, loads
from agentkit.chat.jsonmode import ANSWER, ARGUMENTS, TOOL
from agentkit.chat.reader import ReplyReader
from agentkit.events import Delta, TextDelta
from agentkit.messages import Choice, Message, Reply, ToolCall, is_cut

CALL_ID: Final = "call_json"
_OPENING: Final = re.compile(
    r'\s*\{\s*(?:"question"\s*:\s*"(?:[^"\\]|\\.)*"\s*,\s*)?"(tool|answer)"\s*:\s*"', re.DOTALL
)


class JsonReader(ReplyReader):
    """Reads a reply in the JSON form: an answer is told as text while it comes."""

    def __init__(self) -> None:
        super().__init__()
        self._written: dict[int, _Written] = {}

    def feed(self, data: bytes) -> list[Delta]:
        """As ReplyReader's, with what the JSON says in place of the JSON."""
        return self._told(super().feed(data))

    def finish(self) -> list[Delta]:
        """As ReplyReader's, with what the JSON says in place of the JSON."""
        return self._told(super().finish())

    def end(self) -> Reply:
        """As ReplyReader's, with calls as calls and the answer as text."""
        return lifted(super().end())

    def _told(self, deltas: list[Delta]) -> list[Delta]:
        told: list[Delta] = []
        for delta in deltas:
            if not isinstance(delta, TextDelta):
                told.append(delta)
            elif text := self._written.setdefault(delta.choice, _Written()).add(delta.text):
                told.append(TextDelta(text, choice=delta.choice))
        return told


class _Written:
    """The JSON of one choice as it comes, and how much of its answer was told."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._text = ""
        self._start: int | None = None
        self._is_call = False

    def add(self, piece: str) -> str:
        """The text that a further piece lets one tell."""
        if self._is_call:
            return ""
        self._text += piece
        if self._start is None:
            found = _OPENING.match(self._text)
            if found is None:
                return ""  # nothing is sure yet; what never becomes sure is told with the whole reply
            self._is_call = found[1] == TOOL
            self._start = found.end()
            if self._is_call:
                return ""
        told, length = _readable(self._text, self._start)
        self._start += length
        return told


def _readable(text: str, start: int) -> tuple[str, int]:
    """What a JSON string says from `start` on, as far as it has come whole; and how much of the text that is."""
    end = start
    while end < len(text) and text[end] != '"':
        end += 2 if text[end] == "\\" else 1
    for stop in range(min(end, len(text)), max(start, end - 14), -1):
        # an escape, or a pair of them for one character, may have come in part
        try:
            told: str = from_json('"' + text[start:stop] + '"')
        except ValueError:
            continue
        return told, stop - start
    return "", 0


def lifted(reply: Reply) -> Reply:
    """The same reply with its calls as calls and its answer as text."""
    return replace(reply, choices=tuple([_lifted(choice) for choice in reply.choices]))


def _lifted(choice: Choice) -> Choice:
    call, text = read(choice.text, cut=is_cut(choice.finish_reason))
    if call is not None:
        data = {**choice.message.data, "content": None, "tool_calls": [call.data]}
        reason = choice.finish_reason if is_cut(choice.finish_reason) else "tool_calls"
        return replace(choice, message=Message(data), text="", tool_calls=(call,), finish_reason=reason)
    return replace(choice, message=Message({**choice.message.data, "content": text}), text=text or "")


def read(text: str, *, cut: bool) -> tuple[ToolCall | None, str | None]:
    """The call that a text spells, or the answer. What is neither is the answer itself."""
    try:
        value = loads(text)
    except ValueError:
        return _read_cut(text) if cut else (None, text)
    if not is_object(value):
        return None, text
    if isinstance(name := value.get(TOOL), str):
        return ToolCall(CALL_ID, name, dumps(value.get(ARGUMENTS) or {}).decode()), None
    if ANSWER not in value:
        return None, text
    answer: Any = value[ANSWER]
    return None, answer if isinstance(answer, str) else dumps(answer).decode()


def _read_cut(text: str) -> tuple[ToolCall | None, str | None]:
    found = _OPENING.match(text)
    if found is None:
        return None, text
    told, length = _readable(text, found.end())
    if found[1] == ANSWER:
        return None, told
    arguments = text[found.end() + length :].partition(f'"{ARGUMENTS}"')[2].lstrip(" :\n")
    return ToolCall(CALL_ID, told, arguments), None
