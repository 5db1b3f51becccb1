"""What a fake endpoint can be told to do with a request: answers, errors and faults.

An item is made by one of the functions below and never changes; it is turned into a `Response` anew for each request,
as JSON or as an event stream, whichever the request asks for. A fault takes another item and spoils its response, so
that faults can be put into one another: `cut(delayed(say("hello"), 0.2), after_events=2)`.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from itertools import pairwise
from typing import Any, Final, Literal, TypeAlias

from agentkit._json import is_array, is_object
from agentkit.messages import ToolCall
from agentkit.testing.chunks import CREATED, EventPieces, completion_events, sse

Headers: TypeAlias = Mapping[str, str]
UsageCounts: TypeAlias = Mapping[str, Any] | tuple[int, int]


@dataclass(slots=True)
class Request:
    """A request as the endpoint got it.

    Header names are in lower case. `json` is the parsed body, None where it is no JSON. `number` counts the endpoint's
    requests and `connection` its connections, both from 1. `received_at_s` is the monotonic clock's time.
    `disconnected` is set when the client hung up before its answer was complete.
    """

    method: str
    path: str
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    json: Any = None
    query: str = ""
    number: int = 1
    connection: int = 1
    received_at_s: float = 0.0
    disconnected: threading.Event = field(default_factory=threading.Event, repr=False)

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The conversation that was sent; [] if there is none."""
        messages = self.json.get("messages") if is_object(self.json) else None
        return messages if is_array(messages) else []

    @property
    def wants_stream(self) -> bool:
        """Whether the answer is to be an event stream."""
        return is_object(self.json) and self.json.get("stream") is True


@dataclass(slots=True)
class Pause:
    """Nothing is sent for `seconds`, or until the event is set; for ever where both are None."""

    seconds: float | None = None
    until: threading.Event | None = None


@dataclass(slots=True)
class End:
    """The connection is closed at once, in order ("close") or by a reset ("reset")."""

    how: Literal["close", "reset"]


@dataclass(slots=True)
class Response:
    """What goes out for one request: what happens `before` the head, then the head, then the body.

    An event stream's body has one piece for each event. With a `status` of None the body goes out without a head.
    """

    status: int | None
    headers: dict[str, str]
    body: list[bytes | Pause | End]
    chunked: bool = False
    before: list[Pause | End] = field(default_factory=list)

    @property
    def content(self) -> bytes:
        """The bytes of the body."""
        return b"".join(piece for piece in self.body if isinstance(piece, bytes))


@dataclass(slots=True)
class Item:
    """What to do with one request. Made by the functions of this module."""

    label: str
    respond: Callable[[Request], Response] = field(repr=False)
    tool_calls: tuple[ToolCall, ...] = ()


Step: TypeAlias = Item | str
"""An item, or a text in place of `say(text)`."""


# Answers


def say(
    text: str | Sequence[str],
    *,
    reasoning: str | None = None,
    refusal: str | None = None,
    finish_reason: str = "stop",
    usage: UsageCounts | None = None,
) -> Item:
    """The model says `text`. It is streamed word by word, or in the pieces that a list of strings gives.

    `usage` is the wire's object, or (prompt tokens, completion tokens).
    """
    pieces = None if isinstance(text, str) else tuple(text)
    message = {"role": "assistant", "content": text if pieces is None else "".join(pieces), "refusal": refusal}
    if reasoning is not None:
        message["reasoning_content"] = reasoning
    label = f"say({message['content']!r})"
    return _answer(label, message, finish_reason=finish_reason, usage=usage, text_pieces=pieces)


def call(name: str, /, **arguments: Any) -> Item:
    """The model calls one function. The call gets an id that is new in its conversation."""
    return calls(ToolCall(_NEW_ID, name, json.dumps(arguments, ensure_ascii=False)))


def calls(
    *several: Item | ToolCall,
    text: str | None = None,
    reasoning: str | None = None,
    finish_reason: str = "tool_calls",
    usage: UsageCounts | None = None,
) -> Item:
    """The model makes several calls in one message, with a text beside them if wanted.

    Each is made by `call`, or is a ToolCall where its id or the exact text of its arguments matters.
    """
    made = [each for one in several for each in (one.tool_calls if isinstance(one, Item) else (one,))]
    message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
    if reasoning is not None:
        message["reasoning_content"] = reasoning
    message["tool_calls"] = [each.data for each in made]
    label = f"calls({', '.join(each.name for each in made)})"
    item = _answer(label, message, finish_reason=finish_reason, usage=usage)
    item.tool_calls = tuple(made)
    return item


def reply(data: Mapping[str, Any], *, finish_reason: str | None = None, usage: UsageCounts | None = None) -> Item:
    """A message, or where it has `choices` a whole body, exactly as given."""
    if "choices" in data:
        return Item("reply(…)", lambda request: _completion(request, dict(data)))
    if finish_reason is None:
        finish_reason = "tool_calls" if data.get("tool_calls") else "stop"
    return _answer("reply(…)", dict(data), finish_reason=finish_reason, usage=usage)


# Errors and exact bytes


def status(
    code: int,
    body: Any = None,
    *,
    message: str | None = None,
    error_code: str | None = None,
    headers: Headers | None = None,
) -> Item:
    """A status, with an error in OpenAI's shape made from `message` and `error_code`.

    A `body` goes out in its place: bytes and text as they are, anything else as JSON.
    """
    kind = "application/json"
    if isinstance(body, str):
        kind = "text/html" if body.lstrip().startswith("<") else "text/plain"
        content = body.encode()
    elif isinstance(body, bytes):
        content = body
    else:
        content = json.dumps(error_body(code, message, code=error_code) if body is None else body).encode()
    return raw(code, {"content-type": kind, **_lower(headers)}, content, label=f"status({code})")


def raw(
    code: int | None,
    headers: Headers | None = None,
    body: bytes = b"",
    *,
    split: int | Sequence[int] | None = None,
    chunked: bool = False,
    label: str = "raw(…)",
) -> Item:
    """Exactly these bytes: `code` None sends them alone, without a head, and closes the connection.

    `split` cuts the body into separate writes: at these offsets, or into pieces of so many bytes. A chunked body has
    one chunk for each piece; otherwise a content-length is added where none is given.
    """
    fields = _lower(headers)
    if chunked:
        fields["transfer-encoding"] = "chunked"
    elif code is not None and code not in (204, 304) and "transfer-encoding" not in fields:
        fields.setdefault("content-length", str(len(body)))

    def respond(_: Request) -> Response:
        pieces = _paused(_split(body, split), 0)
        if code is None:
            pieces.append(End("close"))
        return Response(code, dict(fields), pieces, chunked=chunked)

    return Item(label, respond)


# Faults


def hang() -> Item:
    """No answer at all, not even a head, while the client waits."""
    return Item("hang()", lambda _: Response(None, {}, [], before=[Pause()]))


def delayed(item: Step, seconds: float | None = None, *, until: threading.Event | None = None) -> Item:
    """The answer comes after so many seconds, or once the event is set."""
    pause = Pause(seconds, until)
    return _spoilt("delayed", item, lambda _, answer: replace(answer, before=[pause, *answer.before]))


def stall(
    item: Step,
    *,
    after_bytes: int | None = None,
    after_events: int | None = None,
    until: threading.Event | None = None,
) -> Item:
    """The answer stops in its middle, for ever or until the event is set, with the connection open.

    The place is counted in bytes of the body, or in events of the stream; without a number it is half-way. In an answer
    that is no stream, `after_events` means half-way too.
    """
    return _spoilt("stall", item, lambda _, answer: _broken(answer, after_bytes, after_events, Pause(until=until)))


def cut(item: Step, *, after_bytes: int | None = None, after_events: int | None = None) -> Item:
    """The connection is closed before the answer is whole. The place is counted as in `stall`."""
    return _spoilt("cut", item, lambda _, answer: _broken(answer, after_bytes, after_events, End("close")))


def reset(item: Step | None = None, *, after_bytes: int | None = None, after_events: int | None = None) -> Item:
    """The connection is reset: in the middle of the item's answer, as in `stall`, or without one before any head."""
    if item is None:
        return Item("reset()", lambda _: Response(None, {}, [], before=[End("reset")]))
    return _spoilt("reset", item, lambda _, answer: _broken(answer, after_bytes, after_events, End("reset")))


def drip(item: Step, delay_s: float, *, size: int | None = None) -> Item:
    """The answer comes in small pieces, so many seconds apart: of `size` bytes, or event by event in a stream."""

    def respond(_: Request, answer: Response) -> Response:
        pieces: list[bytes | Pause | End] = []
        for piece in answer.body:
            if not isinstance(piece, bytes):
                pieces.append(piece)
                continue
            for part in [piece] if size is None and answer.chunked else _split(piece, size or _DRIP_BYTES):
                pieces += [Pause(delay_s), part] if pieces else [part]
        return replace(answer, body=pieces)

    return _spoilt("drip", item, respond)


def error_event(
    item: Step, *, after_events: int = 1, code: int = 500, message: str | None = None, error_code: str | None = None
) -> Item:
    """After so many events the stream brings an error, made as `status` makes it, and ends.

    Where no stream is asked for, the whole answer is that error, with status 200.
    """
    error = json.dumps(error_body(code, message, code=error_code)).encode()
    return _spoilt("error_event", item, lambda _, answer: _replaced(answer, after_events, error))


def garbled(item: Step, *, after_events: int = 1, data: bytes = b'{"id": "chatcmpl-1", "choi') -> Item:
    """After so many events comes `data`, which is no JSON, and the stream ends; else the whole body is that."""
    return _spoilt("garbled", item, lambda _, answer: _replaced(answer, after_events, data))


def error_body(status: int, message: str | None = None, *, param: str | None = None, code: str | None = None) -> Any:
    """An error in OpenAI's shape, with that status' usual words."""
    kind, usual_code = _ERRORS.get(status, ("invalid_request_error" if status < 500 else "server_error", None))
    text = message or _reason(status)
    return {"error": {"message": text, "type": kind, "param": param, "code": code or usual_code}}


def as_item(step: Step) -> Item:
    """The item itself, or `say` for a text. Raises TypeError for anything else."""
    if isinstance(step, str):
        return say(step)
    if not isinstance(step, Item):  # pyright: ignore[reportUnnecessaryIsInstance]  # a script is written by hand
        raise TypeError(f"a script is made of say(…), call(…), status(…) and the like, not {type(step).__name__}")
    return step


_NEW_ID: Final = "\0new"
_DRIP_BYTES: Final = 32
_USAGE: Final = (10, 5)
_ERRORS: Final[dict[int, tuple[str, str | None]]] = {
    401: ("invalid_request_error", "invalid_api_key"),
    404: ("invalid_request_error", "model_not_found"),
    429: ("requests", "rate_limit_exceeded"),
}


def _reason(code: int) -> str:
    try:
        return HTTPStatus(code).phrase
    except ValueError:
        return f"Status {code}"


def _lower(headers: Headers | None) -> dict[str, str]:
    return {name.lower(): value for name, value in (headers or {}).items()}


def _usage(usage: UsageCounts | None) -> Mapping[str, Any]:
    if isinstance(usage, Mapping):
        return usage
    prompt, completion = usage or _USAGE
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _answer(
    label: str,
    message: dict[str, Any],
    *,
    finish_reason: str,
    usage: UsageCounts | None,
    text_pieces: Sequence[str] | None = None,
) -> Item:
    """An item that answers with a message, once for each choice that the request asks for."""

    def respond(request: Request) -> Response:
        asked: Mapping[str, Any] = request.json if is_object(request.json) else {}
        count = asked.get("n")
        own = _with_ids(message, request)
        choice = {"message": own, "logprobs": None, "finish_reason": finish_reason}
        body = {
            "id": f"chatcmpl-{request.number}",
            "object": "chat.completion",
            "created": CREATED,
            "model": asked.get("model", "fake-model"),
            "choices": [{"index": index, **choice} for index in range(count if isinstance(count, int) else 1)],
            "usage": _usage(usage),
            "system_fingerprint": "fp_fake",
        }
        return _completion(request, body, text_pieces)

    return Item(label, respond)


def _with_ids(message: dict[str, Any], request: Request) -> dict[str, Any]:
    """The message with an id for each call made by `call`: the first call_1, call_2, … that the request hasn't used."""
    calls = message.get("tool_calls")
    if not is_array(calls) or not any(is_object(each) and each.get("id") == _NEW_ID for each in calls):
        return message
    used = {each.get("id") for each in calls if is_object(each)}
    for old in request.messages:
        used.update(each.get("id") for each in old.get("tool_calls") or () if is_object(each))
    numbered: list[Any] = []
    number = 0
    for each in calls:
        if not is_object(each) or each.get("id") != _NEW_ID:
            numbered.append(each)
            continue
        while (new := f"call_{(number := number + 1)}") in used:
            pass
        numbered.append({**each, "id": new})
    return {**message, "tool_calls": numbered}


def _completion(request: Request, body: dict[str, Any], text_pieces: Sequence[str] | None = None) -> Response:
    """A completion's body, as JSON or as events."""
    fields = {"x-request-id": f"req_{request.number}"}
    if not request.wants_stream:
        content = json.dumps(body).encode()
        fields |= {"content-type": "application/json", "content-length": str(len(content))}
        return Response(200, fields, [content])
    options = request.json.get("stream_options")
    include_usage = is_object(options) and options.get("include_usage") is True
    events = completion_events(body, EventPieces(text=text_pieces, include_usage=include_usage))
    fields |= {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}
    return Response(200, fields | {"transfer-encoding": "chunked"}, list(events), chunked=True)


def _spoilt(name: str, step: Step, change: Callable[[Request, Response], Response]) -> Item:
    item = as_item(step)
    return Item(f"{name}({item.label})", lambda request: change(request, item.respond(request)))


def _split(body: bytes, split: int | Sequence[int] | None) -> list[bytes]:
    if isinstance(split, int):
        places: Sequence[int] = range(split, len(body), split)
    else:
        places = split or ()
    cuts = [0, *places, len(body)]
    return [body[start:end] for start, end in pairwise(cuts) if start < end]


def _paused(pieces: Sequence[bytes], seconds: float) -> list[bytes | Pause | End]:
    """The pieces with a pause between any two."""
    result: list[bytes | Pause | End] = []
    for piece in pieces:
        result += [Pause(seconds), piece] if result else [piece]
    return result


def _broken(answer: Response, after_bytes: int | None, after_events: int | None, what: Pause | End) -> Response:
    """The response with something put into its body."""
    if after_events is not None and answer.chunked:
        sizes = [len(piece) for piece in answer.body if isinstance(piece, bytes)]
        place = sum(sizes[:after_events])
    else:
        place = len(answer.content) // 2 if after_bytes is None else after_bytes
    head, rest = _parted(answer.body, place)
    return replace(answer, body=[*head, what, *([] if isinstance(what, End) else rest)])


def _parted(
    body: Sequence[bytes | Pause | End], place: int
) -> tuple[list[bytes | Pause | End], list[bytes | Pause | End]]:
    head: list[bytes | Pause | End] = []
    for index, piece in enumerate(body):
        if place <= 0:
            return head, list(body[index:])
        if isinstance(piece, bytes) and len(piece) > place:
            return [*head, piece[:place]], [piece[place:], *body[index + 1 :]]
        head.append(piece)
        place -= len(piece) if isinstance(piece, bytes) else 0
    return head, []


def _replaced(answer: Response, after_events: int, data: bytes) -> Response:
    """The response with `data` in place of all that comes after so many events."""
    if not answer.chunked:
        return replace(answer, headers={**answer.headers, "content-length": str(len(data))}, body=[data])
    kept: list[bytes | Pause | End] = []
    for piece in answer.body:
        if isinstance(piece, bytes):
            if after_events == 0:
                break
            after_events -= 1
        kept.append(piece)
    return replace(answer, body=[*kept, sse(data)])
