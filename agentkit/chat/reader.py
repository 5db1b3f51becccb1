"""What comes from the wire, streamed or not → deltas on the way, and the Reply or the error at the end."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from pydantic_core import from_json

from agentkit._json import is_array, is_nested_deeper, is_object
from agentkit.chat.faults import REQUEST_IDS, fault, fault_in_reply
from agentkit.chat.reply import excerpt, is_error, read_reply
from agentkit.chat.sse import MAX_EVENT_BYTES, EventStream, Incoming, ServerEvent
from agentkit.chat.stream import Assembler, deltas_of
from agentkit.errors import ConnectionFailed, EndpointError, ProtocolError, ServerError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from agentkit.events import Delta
    from agentkit.messages import Reply, ToolCall

MAX_BODY_BYTES: Final = 256 * 1024 * 1024
MAX_FAULT_BYTES: Final = 1024 * 1024
MAX_NESTING: Final = 200  # also where pydantic_core stops reading; it writes no more than 255

_DONE: Final = (b"[DONE]", b'"[DONE]"')
_BLANK: Final = b" \t\r\n"
_BOM: Final = b"\xef\xbb\xbf"
_PACK: Final = 1024


class ReplyReader:
    """Reads one answer: `start`, then `feed` for what comes until `done` or the end of the body, then `end`.

    Whether the body is a stream of events or one JSON value is told by what comes, not by what was asked for.

    `done` turns true when nothing more needs to be read: the stream said [DONE], or failed. `pieces` is all that came,
    for the record of the exchange (empty for a stream with `keep_body=False`). `progress` grows with each feed that
    brought more than something to keep the line alive. `complete` and `partial_text` serve a caller whose line broke.
    """

    def __init__(
        self,
        *,
        max_body_bytes: int = MAX_BODY_BYTES,
        max_event_bytes: int = MAX_EVENT_BYTES,
        max_fault_bytes: int = MAX_FAULT_BYTES,
        keep_body: bool = True,
    ) -> None:
        self._max_body = max_body_bytes
        self._max_fault = max_fault_bytes
        self._keep = keep_body
        self._status = 200
        self._headers: Mapping[str, str] = {}
        self._now: float | None = None
        self._events = EventStream(max_event_bytes=max_event_bytes)
        self._assembler = Assembler()
        self._streamed: bool | None = None
        self._size = 0
        self._packed = 0
        self._told_done = False
        self._ended = False
        self._understood = False  # something in the stream was a chunk
        self._failure: EndpointError | None = None
        self._reply: Reply | None = None
        self.pieces: list[bytes] = []
        self.done = False
        self.progress = 0

    def start(self, status: int, headers: Mapping[str, str], *, now: float | None = None) -> None:
        """The answer's head. Header names are in lower case; `now` is the Unix time, for a Retry-After with a date."""
        self._status = status
        self._now = now
        self._headers = headers

    def feed(self, data: bytes) -> list[Delta]:
        """The next bytes of the body; returns what they say anew.

        Raises:
            EndpointError: what came before tells of an error.
        """
        if self._failure is not None:
            raise self._failure
        if self.done or not data:
            return []
        self._size += len(data)
        if self._streamed is None:
            return self._feed_first(data)
        if not self._streamed:
            self._feed_whole(data)
            return []
        if self._keep:
            self.pieces.append(data)
            if len(self.pieces) - self._packed >= _PACK:
                self._pack()
        return self._feed_stream(data)

    def finish(self) -> list[Delta]:
        """The body is complete: what it still held back. `end` tells the rest, errors too."""
        if self._ended:
            return []
        self._ended = True
        if self._failure is not None:
            return []
        deltas: list[Delta] = []
        try:
            if self._streamed:
                if not self._told_done:
                    deltas = self._take(self._events.end(), last=True)
                if self._failure is None:
                    self._reply = self._end_of_stream()
            else:
                deltas = self._end_of_body()
            if self._reply is not None and self._failure is None:
                _check_end(self._reply, self._status)
        except EndpointError as error:
            self._fail(error)
        return deltas

    def end(self) -> Reply:
        """The Reply.

        Raises:
            EndpointError: of the kind that the answer, or the lack of one, means.
        """
        self.finish()
        if self._failure is not None:
            raise self._failure
        assert self._reply is not None  # finish sets one or the other
        return self._reply

    @property
    def complete(self) -> bool:
        """Whether what came is a whole reply even if the line breaks now: each choice has said why it ended."""
        return self._failure is None and (self._told_done or (bool(self._streamed) and self._assembler.finished))

    @property
    def partial_text(self) -> str:
        """The text that came so far in a stream."""
        return self._assembler.partial_text

    @property
    def body(self) -> bytes:
        """All that came."""
        return b"".join(self.pieces)

    @property
    def sealed(self) -> int:
        """How many tool calls are whole and have a later one after them."""
        return self._assembler.sealed

    def sealed_calls(self) -> list[ToolCall]:
        """Those calls."""
        return self._assembler.sealed_calls()

    # What comes in

    def _feed_first(self, data: bytes) -> list[Delta]:
        self._store(data)
        if not 200 <= self._status < 300:
            self._streamed = False
            self._limit_whole()
            return []
        first = data.lstrip(_BLANK + _BOM)[:1]
        if not first:
            self._limit_whole()
            return []
        said = "event-stream" in self._headers.get("content-type", "")
        # The letters that a stream's first line can begin with: data, event, id, retry, or a comment.
        self._streamed = first not in (b"{", b"[", b"<") and (said or first in (b"d", b"e", b"i", b"r", b":"))
        if not self._streamed:
            self.progress += 1
            self._limit_whole()
            return []
        begun = self.body
        if not self._keep:
            self.pieces.clear()
        return self._feed_stream(begun)

    def _feed_whole(self, data: bytes) -> None:
        self._store(data)
        if data.strip(_BLANK):
            self.progress += 1
        self._limit_whole()

    def _limit_whole(self) -> None:
        if not 200 <= self._status < 300:
            self.done = self._size >= self._max_fault  # the status has said enough
        elif self._size > self._max_body:
            self._fail(self._too_large())

    def _feed_stream(self, data: bytes) -> list[Delta]:
        if self._size > self._max_body:
            self._fail(self._too_large())
            return []
        try:
            events = self._events.feed(data)
        except ProtocolError as error:
            self._fail(error)
            return []
        return self._take(events) if events else []

    def _store(self, data: bytes) -> None:
        self.pieces.append(data)
        if len(self.pieces) - self._packed >= _PACK:
            self._pack()

    def _pack(self) -> None:
        # Many small pieces take many times their bytes: a bytes object is 33 of its own.
        self.pieces[self._packed :] = [b"".join(self.pieces[self._packed :])]
        self._packed += 1

    # Events

    def _take(self, events: list[Incoming], *, last: bool = False) -> list[Delta]:
        deltas: list[Delta] = []
        assembler, feed = self._assembler, self._assembler.feed
        heard = False
        try:
            for event in events:
                if type(event) is bytes:
                    chunk: dict[str, Any] | None
                    try:
                        chunk = from_json(event)
                    except ValueError:
                        chunk = None
                    if type(chunk) is dict and "choices" in chunk and "error" not in chunk:
                        heard = True
                        deltas += feed(chunk)
                        if assembler.error is None:
                            continue
                        raise fault_in_reply(assembler.error, self._headers)
                self._take_odd(event, deltas, last=last)
                if self.done:
                    break
        except EndpointError as error:
            self._fail(error)
        if heard:
            self._understood = True
            self.progress += 1
        return deltas

    def _take_odd(self, event: Incoming, deltas: list[Delta], *, last: bool) -> None:
        """An event that is no plain chunk: the end, an error, a chunk in another form, or nothing to us."""
        data, name, stray = event if isinstance(event, ServerEvent) else (event, b"", b"")
        for text, framed in ((data, True), (stray, False)):
            if not text or not text.strip():
                continue
            if text.strip() in _DONE:
                self._told_done = self.done = True
                return
            told = text
            failed = framed and name == b"error"
            if not framed and text.startswith(b"error:"):
                told, failed = text[6:].strip(), True
            try:
                documents = list(_documents(told))
            except ValueError:
                if failed:
                    raise fault_in_reply(told.decode("utf-8", "replace"), self._headers) from None
                if not framed or told.lstrip()[:1] != b"{" or (last and self._assembler.finished):
                    continue  # a keep-alive, or what was cut off after the answer was whole
                raise self._broken("in the middle of an event") if last else self._no_json(told) from None
            for document in documents:
                if isinstance(document, _Done):
                    self._told_done = self.done = True
                    return
                self._take_document(document, deltas, failed=failed, named=bool(name))

    def _take_document(self, document: Any, deltas: list[Delta], *, failed: bool, named: bool) -> None:
        if not is_object(document):
            if failed:
                raise fault_in_reply(document, self._headers)
            return
        error = _error_in(document)
        if error is None and failed:
            error = document
        if "choices" in document or "usage" in document:
            self._understood = True
            self.progress += 1
            deltas += self._assembler.feed(document)
        elif error is None and not named:
            self._assembler.feed(document)
        if error is not None:
            raise fault_in_reply(error, self._headers)

    # The end

    def _end_of_stream(self) -> Reply:
        if not self._told_done and not self._assembler.finished:
            if not self._understood and "event-stream" not in self._headers.get("content-type", ""):
                raise self._no_json(self.body)
            raise self._broken("without a finish_reason or [DONE]")
        return self._assembler.reply()

    def _end_of_body(self) -> list[Delta]:
        raw = self.body
        if not 200 <= self._status < 300:
            raise fault(self._status, self._headers, raw, now=self._now)
        text = raw.lstrip(_BLANK).removeprefix(_BOM).strip(_BLANK)
        if not text:
            raise ProtocolError("the answer's body is empty", retryable=True)
        try:
            value = parse(text)
        except ValueError:
            return self._end_of_lines(text)
        error = _error_in(value) if is_object(value) else None
        if error is not None:
            raise fault_in_reply(error, self._headers)
        if not is_object(value) or "choices" not in value:
            raise fault(self._status, self._headers, raw, now=self._now)
        self._reply = read_reply(value)
        return deltas_of(self._reply)

    def _end_of_lines(self, text: bytes) -> list[Delta]:
        """Chunks that came line by line, without the frame of events; else the error that this is no JSON."""
        documents: list[Any] = []
        for line in text.split(b"\n"):
            told = line.strip().removeprefix(b"data:").strip()
            if told in _DONE:
                self._told_done = True
                break
            if told and told[:1] != b":":
                try:
                    documents.append(parse(told))
                except ValueError:
                    raise self._no_json(text) from None
        deltas: list[Delta] = []
        for document in documents:
            self._take_document(document, deltas, failed=False, named=False)
        self._reply = self._end_of_stream()
        return deltas

    # What went wrong

    def _fail(self, error: EndpointError) -> None:
        self.done = True
        self._failure = error
        error.partial_text = error.partial_text or self.partial_text
        error.status = error.status or self._status
        error.request_id = error.request_id or next((v for n in REQUEST_IDS if (v := self._headers.get(n))), None)

    def _broken(self, where: str) -> ConnectionFailed:
        length = len(self.partial_text)
        return ConnectionFailed(f"the stream ended {where}, after {length} characters of text", retryable=True)

    def _no_json(self, came: bytes) -> ProtocolError:
        kind = self._headers.get("content-type") or "no content type"
        hint = "; is base_url right?" if came[:1] == b"<" else ""
        return ProtocolError(
            f"the answer is no JSON ({kind}){hint}: {excerpt(came)}", retryable=came[:1] in (b"{", b"[")
        )

    def _too_large(self) -> ProtocolError:
        return ProtocolError(
            f"the answer is larger than max_body_bytes={self._max_body}; raise it if the endpoint means it"
        )


def parse(data: bytes) -> Any:
    """The value of a JSON text, also of one with bytes that are no UTF-8 (U+FFFD) or bare control characters.

    Raises:
        ValueError: it is none, or nested too deeply.
    """
    try:
        return from_json(data, cache_strings="keys")
    except ValueError:
        pass
    try:
        value = json.loads(data.decode("utf-8", "replace").strip().removeprefix("\ufeff"), strict=False)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if is_nested_deeper(value, MAX_NESTING):
        raise ValueError("nested too deeply")
    return value


def _documents(text: bytes) -> Iterator[Any]:
    """The JSON values in an event's data: one, those of a list, or one a line where no blank line parts the events."""
    try:
        value = parse(text)
    except ValueError:
        lines = [line for line in text.split(b"\n") if line.strip()]
        if len(lines) < 2:
            raise
        value = [_Done() if line.strip() in _DONE else parse(line.removeprefix(b"data:")) for line in lines]
    yield from value if is_array(value) else [value]


class _Done:
    """Stands for a [DONE] among the values."""


def _error_in(document: dict[str, Any]) -> Any:
    """What tells of an error in a body or a chunk: the value under "error" or the whole; None if nothing does."""
    error = document.get("error")
    if is_error(error):
        beside = any(name in document for name in ("message", "detail", "code", "status"))
        return document if beside and not is_object(error) else error
    choices = document.get("choices")
    if choices:
        return None
    said = document.get("object") == "error" or document.get("type") == "error" or "detail" in document
    return document if said or ("choices" not in document and isinstance(document.get("message"), str)) else None


def _check_end(reply: Reply, status: int) -> None:
    for choice in reply.choices:
        if is_error(error := choice.extra.get("error")):
            raise fault_in_reply(error)
        if choice.finish_reason == "error":
            raise ServerError("the endpoint ended the answer with finish_reason 'error'", status=status, retryable=True)
