"""A reply's body → Reply.

The assembler of streams makes such a body out of deltas and reads it here too, so there is one set of rules. They take
what real endpoints send: a field that is missing, null or of another type is as good as absent, and stays in the
message as it came.
"""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any, Final

from agentkit._json import dumps, is_array, is_object
from agentkit.chat.merge import place_of
from agentkit.errors import ProtocolError
from agentkit.messages import Choice, Message, Reply, ToolCall, Usage, calls_of, text_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

REASONING_FIELDS: Final = (
    "reasoning_content",
    "reasoning",
    "reasoning_text",
    "thinking",
    "reasoning_details",
    "thinking_blocks",
)
"""The names that reasoning goes by. Endpoints that send several say the same in each: the first one counts."""

_SAID_IN: Final = ("text", "thinking", "summary", "reasoning", "content")


def read_reply(body: Mapping[str, Any]) -> Reply:
    """The Reply in a whole body.

    Raises:
        ProtocolError: there is no choice in it, or one without a message.
    """
    found = body.get("choices")
    listed = [found] if is_object(found) else found if is_array(found) else []
    given: list[dict[str, Any]] = [item for item in listed if is_object(item)]
    if not given:
        raise ProtocolError(f"the answer has no choices: {excerpt(body)}", retryable=True)
    indices = [place_of(choice.get("index"), position) for position, choice in enumerate(given)]
    if len(set(indices)) < len(indices):
        indices = list(range(len(given)))
    choices = [_read_choice(choice, index) for choice, index in zip(given, indices, strict=True)]
    choices.sort(key=lambda choice: choice.index)
    usage = _find_usage(body, given)
    extra = {name: value for name, value in body.items() if name not in ("choices", "usage")}
    return Reply(tuple(choices), usage, extra)


def _read_choice(choice: Mapping[str, Any], index: int) -> Choice:
    finish = choice.get("finish_reason")
    reason = str(finish) if isinstance(finish, str | int) and not isinstance(finish, bool) and finish != "" else None
    data = _message_in(choice, finished=reason is not None)
    calls = _read_calls(data)
    message = Message(data)
    try:
        _ = message.json  # encoded here, while it can still be told whose fault it is
    except ValueError as error:
        raise ProtocolError(f"the answer's message {error}") from None
    content = data.get("content")
    extra = {
        name: value for name, value in choice.items() if name not in ("index", "message", "delta", "finish_reason")
    }
    if reason is None and finish not in (None, ""):
        extra["finish_reason"] = finish
    return Choice(
        message,
        text=text_of(content) or transcript_in(data),
        reasoning=reasoning_in(data)[1],
        refusal=_refusal_in(data),
        tool_calls=calls,
        finish_reason=reason,
        index=index,
        extra=extra,
    )


def _message_in(choice: Mapping[str, Any], *, finished: bool) -> dict[str, Any]:
    message: Any = choice.get("message")
    if not (is_object(message) or isinstance(message, str)):
        message = choice.get("delta")
    if isinstance(message, str):
        message = {"content": message}
    if is_object(message):
        return {"role": "assistant"} | message | {"role": "assistant"}
    if finished:  # Gemini leaves the message out where the model said nothing
        return {"role": "assistant", "content": None}
    raise ProtocolError(f"the answer's choice has no message: {excerpt(choice)}", retryable=True)


# Text and reasoning, in a whole message or in a delta


def transcript_in(fields: Mapping[str, Any]) -> str:
    """What is said in a message's or a delta's audio."""
    audio = fields.get("audio")
    transcript = audio.get("transcript") if is_object(audio) else None
    return transcript if isinstance(transcript, str) else ""


def reasoning_in(fields: Mapping[str, Any]) -> tuple[str, str]:
    """The field of a message or a delta that shows reasoning, and its text; both '' if there is none."""
    for name in REASONING_FIELDS:
        if (value := fields.get(name)) and (text := _said(value)):
            return name, text
    content = fields.get("content")
    if is_array(content):
        text = "".join(_said(part) for part in content if is_reasoning(part))
        if text:
            return "content", text
    return "", ""


def is_reasoning(part: object) -> bool:
    """Whether a content part shows reasoning."""
    return is_object(part) and str(part.get("type")).startswith(("thinking", "reasoning"))


def _said(value: object) -> str:
    if isinstance(value, str):
        return value
    if is_array(value):
        return "".join(map(_said, value))
    if is_object(value):
        return next((text for name in _SAID_IN if (text := _said(value.get(name)))), "")
    return ""


def _refusal_in(message: Mapping[str, Any]) -> str | None:
    refusal, content = message.get("refusal"), message.get("content")
    if isinstance(refusal, str) and refusal:
        return refusal
    if is_array(content):
        said = [part.get("refusal") for part in content if is_object(part) and part.get("type") == "refusal"]
        return "".join(text for text in said if isinstance(text, str)) or None
    return None


# Tool calls


def _read_calls(message: dict[str, Any]) -> tuple[ToolCall, ...]:
    found = message.get("tool_calls")
    if is_object(found) or is_array(found):
        listed = call_entries(found)
        spoken = [_in_form(entry) for entry in listed if not _is_blank(entry)]
        if spoken != found:
            message["tool_calls"] = spoken
    legacy = message.get("function_call")
    if is_object(legacy) and not (legacy.get("name") or legacy.get("arguments")):
        del message["function_call"]
    return with_ids(calls_of(message))


def call_entries(found: object) -> list[dict[str, Any]]:
    """The entries of a `tool_calls` field: a list, one call alone, or an object of calls."""
    if is_object(found):
        alone = any(name in found for name in ("function", "name", "id", "arguments"))
        found = [found] if alone else list(found.values())
    return [entry for entry in found if is_object(entry)] if is_array(found) else []


def _in_form(entry: dict[str, Any]) -> dict[str, Any]:
    """The entry itself if it has a `function`; else one that has, from the same call in another form."""
    if is_object(entry.get("function")):
        return entry
    custom = entry.get("custom")
    spec = custom if is_object(custom) else entry
    function = {"name": spec.get("name"), "arguments": spec.get("arguments", spec.get("input"))}
    return {**{name: value for name, value in entry.items() if name not in ("name", "arguments")}, "function": function}


def _is_blank(entry: Mapping[str, Any]) -> bool:
    """Whether an entry says nothing: some endpoints send one beside a text, or after the last call."""
    spec = entry.get("function")
    function: Mapping[str, Any] = spec if is_object(spec) else {}
    return not (
        entry.get("id") or function.get("name") or function.get("arguments") or entry.get("name") or entry.get("custom")
    )


def with_ids(calls: Iterable[ToolCall]) -> tuple[ToolCall, ...]:
    """The calls, those without an id, and those whose id an earlier one has, with one of their own: `call_` + place."""
    calls = tuple(calls)
    given = {call.id for call in calls}
    seen = {""}
    for position, call in enumerate(calls, 1):
        if call.id in seen:
            number = position
            while (call_id := f"call_{number}") in given or call_id in seen:
                number += len(calls)
            call.id = call_id
        seen.add(call.id)
    return calls


# Usage

_COUNTS: Final = {
    "prompt_tokens": "prompt_tokens",
    "input_tokens": "prompt_tokens",
    "completion_tokens": "completion_tokens",
    "output_tokens": "completion_tokens",
    "total_tokens": "total_tokens",
}
_PROMPT_DETAILS: Final = {
    "cached_tokens": "cached_tokens",
    "text_tokens": "prompt_text_tokens",
    "audio_tokens": "prompt_audio_tokens",
    "image_tokens": "prompt_image_tokens",
}
_COMPLETION_DETAILS: Final = {
    "text_tokens": "completion_text_tokens",
    "audio_tokens": "completion_audio_tokens",
    "reasoning_tokens": "reasoning_tokens",
}
_DETAILS: Final = {
    "prompt_tokens_details": _PROMPT_DETAILS,
    "input_tokens_details": _PROMPT_DETAILS,
    "completion_tokens_details": _COMPLETION_DETAILS,
    "output_tokens_details": _COMPLETION_DETAILS,
}
# Where else a detail is found: DeepSeek, Moonshot and Anthropic-like endpoints. They stay in `extra` too.
_ELSEWHERE: Final = {
    "cached_tokens": "cached_tokens",
    "prompt_cache_hit_tokens": "cached_tokens",
    "cache_read_input_tokens": "cached_tokens",
    "reasoning_tokens": "reasoning_tokens",
}


def _find_usage(body: Mapping[str, Any], choices: Iterable[Mapping[str, Any]]) -> Usage | None:
    groq = body.get("x_groq")
    places = [body.get("usage"), groq.get("usage") if is_object(groq) else None]
    places += [choice.get("usage") for choice in choices]
    return next((usage for place in places if (usage := read_usage(place)) is not None), None)


def read_usage(usage: object) -> Usage | None:
    """The counts in a `usage` object, or None if it has none."""
    if not is_object(usage):
        return None
    counts: dict[str, int] = {}
    extra: dict[str, Any] = {}
    for name, value in usage.items():
        if name in _DETAILS and is_object(value):
            if rest := _take(value, _DETAILS[name], counts):
                extra[name] = rest
        elif (field := _COUNTS.get(name)) is not None and (count := _count(value)) is not None:
            counts[field] = max(count, counts.get(field, 0))
        elif value is not None:
            extra[name] = value
    for name, field in _ELSEWHERE.items():
        if not counts.get(field) and (count := _count(usage.get(name))) is not None:
            counts[field] = count
    if not counts and not extra:
        return None
    if "total_tokens" not in counts:
        counts["total_tokens"] = counts.get("prompt_tokens", 0) + counts.get("completion_tokens", 0)
    return Usage(**counts, extra=extra)


def _take(fields: Mapping[str, Any], names: Mapping[str, str], counts: dict[str, int]) -> dict[str, Any]:
    """Puts the fields that are counts into `counts`; returns the others that are not null."""
    rest: dict[str, Any] = {}
    for name, value in fields.items():
        field, count = names.get(name), _count(value)
        if field is not None and count is not None:
            counts[field] = max(count, counts.get(field, 0))
        elif value is not None:
            rest[name] = value
    return rest


def _count(value: object) -> int | None:
    if type(value) is int:
        return value if 0 <= value < 2**63 else None
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 19:
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        return None
    return int(value) if 0 <= value < 2**63 else None


def is_error(value: object) -> bool:
    """Whether what stands under "error" tells of one: some gateways send an object of empty fields beside a reply."""
    return any(value.values()) if is_object(value) else bool(value)


def excerpt(value: object, limit: int = 200) -> str:
    """What came, cut to a length that fits a message."""
    if not isinstance(value, str | bytes):
        value = dumps(value)
    text = value if isinstance(value, str) else value[: 4 * limit].decode("utf-8", "replace")
    return text if len(text) <= limit else f"{text[:limit]}… ({len(value)} in all)"
