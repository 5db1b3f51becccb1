"""What an endpoint's failure means: which error it is, whether to try again, and after how many seconds.

The endpoint's own code decides before its wording, both before the status: statuses are what gateways get wrong most.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, cast

from agentkit._json import loads
from agentkit.chat.wording import CODES, FIRM, STATUSES, TRANSIENT, WORDS, Kind, occurs
from agentkit.errors import (
    AuthenticationError,
    BadRequestError,
    ContentFilterError,
    ContextLengthError,
    EndpointError,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    ProtocolError,
    QuotaError,
    RateLimitError,
    ServerError,
    TimedOut,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAX_MESSAGE_CHARS: Final = 500
MAX_READ_CHARS: Final = 8_000
MAX_WAIT_S: Final = 365 * 86_400.0


RETRYABLE: Final[tuple[Kind, ...]] = (RateLimitError, ServerError, TimedOut)

REQUEST_IDS: Final = (
    *("x-request-id", "request-id", "openai-request-id", "apim-request-id", "x-ms-request-id", "x-amzn-requestid"),
    *("x-amz-request-id", "mistral-correlation-id", "x-ds-trace-id", "x-correlation-id", "x-trace-id", "cf-ray"),
)
_TEXTS: Final = (
    *("message", "Message", "msg", "error_description", "error_message", "error_msg", "detail", "error", "errors"),
    *("faultstring", "fault", "description", "reason", "title"),
)
# Said of every error, so that they name none.
_EMPTY_CODES: Final = frozenset({"error", "fail", "failed", "failure"})
_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})
_UNITS_S: Final = {
    **dict.fromkeys(("ns",), 1e-9),
    **dict.fromkeys(("us", "µs", "μs"), 1e-6),
    **dict.fromkeys(("ms", "milliseconds", "millisecond"), 1e-3),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hr", "hour", "hours"), 3600.0),
    **dict.fromkeys(("d", "day", "days"), 86_400.0),
}
_NUMBER: Final = r"[0-9]{1,20}(\.[0-9]{0,20})?"
_PIECE: Final = r"(\d{1,15}(?:\.\d{1,15})?)\s*([a-zµμ]+)"


def fault(status: int, headers: Mapping[str, str], body: bytes, *, now: float | None = None) -> EndpointError:
    """The error that an answer means. Header names are in lower case.

    `now` is the unix time, against which dates are counted; without it the answer's own `date` header serves.
    """
    if 300 <= status < 400:
        return _redirect(status, headers)
    told = _Told.from_body(body, headers)
    if status >= 400:
        return _error(told, status, headers, now)
    if told.error:
        return _in_reply(told, headers, now)
    return _no_reply(status, told.text or body.decode("utf-8", "replace").strip(), headers)


def fault_in_reply(error: object, headers: Mapping[str, str] = _NO_HEADERS) -> EndpointError:
    """The error that stands in a reply of status 200 or in an event of a stream.

    `error` is the value under "error", or the whole object where more of it tells (a "message" beside "error").
    `status` is then the one that the error names.
    """
    return _in_reply(_Told.from_error(error), headers, None)


def retry_after(headers: Mapping[str, str], *, now: float | None) -> float | None:
    """The seconds that the endpoint asks to wait, or None if it does not say, or says nonsense.

    A limit's reset counts if nothing of that limit remains, or if what remains is not told.
    """
    asked = _asked(headers, now)
    return _reset(headers, now) if asked is None else asked


def _in_reply(told: _Told, headers: Mapping[str, str], now: float | None) -> EndpointError:
    where = "error in the reply" if told.status is None else f"error {told.status} in the reply"
    return _error(told, told.status or 200, headers, now, where=where)


def _error(
    told: _Told, status: int, headers: Mapping[str, str], now: float | None, *, where: str = ""
) -> EndpointError:
    kind = _kind(told, status)
    retryable = issubclass(kind, RETRYABLE) and kind is not QuotaError and not told.never_fits
    should = headers.get("x-should-retry", "").strip().lower()
    if should in ("true", "false") and kind not in (QuotaError, AuthenticationError, PermissionDeniedError):
        retryable = should == "true"
    asked = _asked(headers, now)
    if asked is None:
        asked = told.wait_s
    if asked is None and kind is RateLimitError:
        asked = _reset({**headers, **told.headers}, now)
    return kind(
        _message(where or f"HTTP {status}", told.text),
        status=status,
        code=told.code,
        request_id=_request_id(headers) or told.request_id,
        retryable=retryable,
        retry_after_s=asked,
    )


def _kind(told: _Told, status: int) -> Kind:
    if told.day_is_used_up:
        return QuotaError
    vague = (ServerError, BadRequestError)
    coded = [kind for kind, codes in CODES.items() if not codes.isdisjoint(told.codes)]
    worded = [kind for kind, wording in WORDS.items() if occurs(wording, told.words)]
    if BadRequestError in coded:
        # The endpoint says that the request is at fault: the text is not searched for signs that it is itself.
        worded = [kind for kind in worded if kind not in (OverloadedError, TimedOut, ServerError)]
    telling = [kind for kind in coded if kind not in vague] + worded + [kind for kind in coded if kind in vague]
    for kind in telling:
        if _may_override(kind, status):
            transient = kind is QuotaError and occurs(TRANSIENT, told.words)
            return RateLimitError if transient else kind
    if status in STATUSES:
        return STATUSES[status]
    # An error in a reply of status 200 without a word on whose fault it is: the request had been accepted.
    return BadRequestError if 400 <= status < 500 else ServerError


def _may_override(kind: Kind, status: int) -> bool:
    if kind in (ContextLengthError, ContentFilterError, QuotaError):
        return status not in (401, 408, 409)
    if kind is AuthenticationError:
        return status not in (402, 429)
    if kind is RateLimitError:
        return status == 403 or status not in FIRM | {404}
    if kind is BadRequestError:
        return not 400 <= status < 500 and status not in (503, 529)
    return status not in FIRM


def _redirect(status: int, headers: Mapping[str, str]) -> EndpointError:
    # A query or user name in the address may hold a secret.
    place = re.sub(r"//[^/@]*@", "//", re.split(r"[?#]", headers.get("location", ""), maxsplit=1)[0])
    text = f"the endpoint redirects to {_one_line(place) or 'nowhere'}; give the final address as base_url"
    return NotFoundError(
        f"HTTP {status}: {text} (redirects are not followed, so that the key goes to no other host)",
        status=status,
        request_id=_request_id(headers),
    )


def _no_reply(status: int, text: str, headers: Mapping[str, str]) -> EndpointError:
    text = f"this is no Chat Completions reply: {text}" if text else "the body is empty"
    return ProtocolError(_message(f"HTTP {status}", text), status=status, request_id=_request_id(headers))


def _message(where: str, text: str) -> str:
    message = f"{where}: {_one_line(text) or 'the endpoint gave no reason'}"
    return message if len(message) <= MAX_MESSAGE_CHARS else message[: MAX_MESSAGE_CHARS - 1] + "…"


def _one_line(text: str) -> str:
    printable = "".join(c if c.isprintable() else " " for c in text[:MAX_READ_CHARS])
    return " ".join(printable.split())


def _request_id(headers: Mapping[str, str]) -> str | None:
    return next((headers[name] for name in REQUEST_IDS if headers.get(name)), None)


# What an error body tells


@dataclass(slots=True)
class _Told:
    """What was found in an error body. `codes` are in lower case, words joined by underscores."""

    text: str = ""
    words: str = ""
    code: str | None = None
    codes: frozenset[str] = frozenset()
    status: int | None = None
    request_id: str | None = None
    wait_s: float | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    day_is_used_up: bool = False
    error: bool = False

    @classmethod
    def from_body(cls, body: bytes, headers: Mapping[str, str]) -> _Told:
        text = body.decode("utf-8", "replace").removeprefix("\ufeff").strip()
        try:
            value: object = loads(text)
        except ValueError:
            markup = text.startswith("<") or "html" in headers.get("content-type", "")
            text = _without_tags(text) if markup else text
            return cls(text=text, words=text[:MAX_READ_CHARS].lower())
        told = cls.from_error(value)
        told.text = told.text or ("" if value in (None, {}, [], "") else text)
        return told

    @classmethod
    def from_error(cls, value: object) -> _Told:
        layers = list(_layers(value))
        named = [name for layer in layers for name in _codes_of(layer)]
        text = _text(value)
        raw = next((_text(m.get("raw")) for m in layers if m.get("raw")), "")
        if raw and raw not in text:
            text = f"{text} ({raw})" if text else raw
        words = next((n for n in named if not n.isdecimal()), None)
        return cls(
            text=text,
            words=text[:MAX_READ_CHARS].lower(),
            code=words or (named[0] if named else None),
            codes=frozenset("_".join(n.lower().split()) for n in named),
            status=next((s for layer in reversed(layers) for s in _statuses_of(layer)), None),
            request_id=next((i for layer in layers if isinstance(i := layer.get("request_id"), str)), None),
            wait_s=_wait_in(layers, text),
            headers=_headers_in(layers),
            day_is_used_up=any("PerDay" in str(layer.get("quotaId", "")) for layer in layers),
            error=any(layer.get("error") or layer.get("object") == "error" for layer in layers),
        )

    @property
    def never_fits(self) -> bool:
        """Whether the request alone is over the limit of a minute, so that waiting does not help."""
        limits = re.search(r"limit:? (\d{1,15}),? (?:used \d+, )?requested:? (\d{1,15})", self.words)
        return limits is not None and int(limits[2]) > int(limits[1])


def _layers(value: object, depth: int = 0) -> Iterator[dict[str, Any]]:
    """The objects that describe the error, the most particular first."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            value = loads(value)
        except ValueError:
            return
    if depth > 8:
        return
    if isinstance(value, list):
        for item in cast("list[object]", value)[:5]:
            yield from _layers(item, depth + 1)
    elif isinstance(value, dict):
        layer = cast("dict[str, Any]", value)
        for key in ("error", "errors", "message", "details", "violations", "metadata", "raw"):
            yield from _layers(layer.get(key), depth + 1)
        yield layer
        yield from _layers(layer.get("innererror"), depth + 1)


def _codes_of(layer: dict[str, Any]) -> Iterator[str]:
    for key in ("code", "type", "error_type", "status", "reason"):
        value = layer.get(key)
        if isinstance(value, int) and not isinstance(value, bool):
            yield str(value)
        elif isinstance(value, str) and 0 < len(value) <= 80 and value.lower() not in _EMPTY_CODES:
            yield value
    beside = layer.get("error")
    if isinstance(beside, str) and layer.get("message") and len(beside) <= 80:
        yield beside


def _statuses_of(layer: dict[str, Any]) -> Iterator[int]:
    for key in ("code", "status", "status_code", "statusCode", "http_code"):
        value = layer.get(key)
        if isinstance(value, str) and value.isascii() and value.isdecimal():
            value = int(value[:9])
        if isinstance(value, int) and 400 <= value < 600:
            yield value


def _text(value: object, depth: int = 0) -> str:
    """What there is to read in an error's value."""
    if depth > 6:
        return ""
    if isinstance(value, str):
        text = value.strip()
        if text[:1] in ("{", "["):
            try:
                return _text(loads(text), depth + 1) or text
            except ValueError:
                return text
        return _without_tags(text) if text[:1] == "<" else text
    if isinstance(value, list):
        return "; ".join(filter(None, (_text(item, depth + 1) for item in cast("list[object]", value)[:5])))
    if not isinstance(value, dict):
        return ""
    layer = cast("dict[str, Any]", value)
    text = next((t for key in _TEXTS if (t := _text(layer.get(key), depth + 1))), "")
    place = layer.get("loc")
    if isinstance(place, list) and text:
        return f"{'.'.join(str(p) for p in cast('list[object]', place))}: {text}"
    return text


def _without_tags(text: str) -> str:
    from html import unescape  # 1 ms, and few endpoints fail in HTML

    text = text[:MAX_READ_CHARS]
    title = re.search(r"(?is)<title[^<>]*>([^<]*)</title", text)
    if title and title[1].strip():
        return unescape(title[1]).strip()
    text = re.sub(r"(?is)<(script|style)\b.*?(?:</\1\s*>|\Z)", " ", text)
    return " ".join(unescape(re.sub(r"<[^<>]*>", " ", text)).split())


def _headers_in(layers: list[dict[str, Any]]) -> dict[str, str]:
    """The headers that OpenRouter hands on in an error's metadata."""
    for layer in layers:
        if isinstance(given := layer.get("headers"), dict):
            return {str(name).lower(): str(value) for name, value in cast("dict[object, object]", given).items()}
    return {}


def _wait_in(layers: list[dict[str, Any]], text: str) -> float | None:
    for layer in layers:
        for key in ("retryDelay", "retry_after", "retry_after_seconds", "estimated_time"):
            if key in layer and (wait := seconds_until(str(layer[key]), None)) is not None:
                return wait
    hint = re.search(rf"(?i)(?:try again|retry) (?:in|after) ((?:{_PIECE}\s*)+)", text[:MAX_READ_CHARS])
    return _duration(hint[1].strip().lower()) if hint else None


# Seconds to wait


def _asked(headers: Mapping[str, str], now: float | None) -> float | None:
    now = _clock(headers) if now is None else now
    ms = headers.get("retry-after-ms", "").strip()
    if re.fullmatch(_NUMBER, ms):
        return min(float(ms) / 1000, MAX_WAIT_S)
    return seconds_until(headers.get("retry-after", ""), now)


def _reset(headers: Mapping[str, str], now: float | None) -> float | None:
    now = _clock(headers) if now is None else now
    resets = {n: v for n, v in headers.items() if "ratelimit" in n and "reset" in n}
    told = {n: headers.get(n.replace("reset", "remaining")) for n in resets}
    if any(told.values()):
        resets = {n: v for n, v in resets.items() if (told[n] or "").strip() in ("0", "0.0")}
    return max((s for v in resets.values() if (s := seconds_until(v, now)) is not None), default=None)


def seconds_until(text: str, now: float | None) -> float | None:
    """The seconds in "2", "0.5", "1m30s", "120ms", a unix time in seconds or milliseconds, an ISO or an HTTP date."""
    text = text.strip()[:64]
    if re.fullmatch(_NUMBER, text):
        wait = float(text)
        if wait < 1e9:
            return min(wait, MAX_WAIT_S)
        return _until(wait / 1000 if wait >= 1e11 else wait, now)
    if (duration := _duration(text.lower())) is not None:
        return duration
    return _until(_date(text), now) if text[:1].isalnum() else None


def _duration(text: str) -> float | None:
    if not re.fullmatch(rf"(?:{_PIECE}[\s,]*)+", text):
        return None
    pieces = [(float(n), _UNITS_S.get(unit)) for n, unit in re.findall(_PIECE, text)]
    if any(unit is None for _, unit in pieces):
        return None
    return min(math.fsum(n * (unit or 0) for n, unit in pieces), MAX_WAIT_S)


def _until(then: float | None, now: float | None) -> float | None:
    if then is None or now is None:
        return None
    return min(max(then - now, 0.0), MAX_WAIT_S)


def _date(text: str) -> float | None:
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        pass
    else:
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    from email.utils import mktime_tz, parsedate_tz  # 15 ms, for the rare date

    try:
        parts = parsedate_tz(text)
        # A date without a zone is in GMT by the standard, and in local time by this library.
        return None if parts is None else float(mktime_tz((*parts[:9], parts[9] or 0)))
    except (ValueError, OverflowError, IndexError, TypeError):
        return None


def _clock(headers: Mapping[str, str]) -> float | None:
    return _date(headers["date"]) if headers.get("date") else None
