"""Cassettes: what went over the wire, as JSON that a person can read, without keys."""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlsplit

from agentkit._json import is_array, is_object
from agentkit.chat.exchange import HIDDEN
from agentkit.errors import UsageError
from agentkit.logs import redacted, redacted_bytes
from agentkit.wire import SECRET

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

VERSION: Final = 1
SHORTEST_SECRET: Final = 8
"""A shorter key is none to protect ("ollama", "any"), and may be a word of what is said."""

_NEVER_SHOWN: Final = SECRET | {"set-cookie", "openai-organization", "openai-project"}
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_KEY_IN_URL: Final = re.compile(r"(?<=[?&])([^=&]*(?:key|token|sig|secret)[^=&]*)=[^&]*", re.IGNORECASE)
_LINE_CHARS: Final = 100


@dataclass(slots=True)
class Recorded:
    """One request and its answer.

    `pieces` are those of the answer's body, each with the seconds since the request went out; `status` is None if no
    answer came. `error` is what broke the request or the answer off: the error's type, its words, whether to try again.
    """

    url: str
    headers: dict[str, str]
    body: bytes
    method: str = "POST"
    status: int | None = None
    answer_headers: dict[str, str] = field(default_factory=dict[str, str])
    pieces: list[tuple[float, bytes]] = field(default_factory=list[tuple[float, bytes]])
    error: dict[str, Any] | None = None

    @property
    def json(self) -> Any:
        """The request's body as it may be seen, parsed; as text if it is no JSON."""
        body = redacted_bytes(self.body)
        try:
            return json.loads(body)
        except ValueError:
            return body.decode("utf-8", "replace")

    @property
    def place(self) -> tuple[str, str]:
        """Method and URL; a server of this machine has another port each time."""
        parts = urlsplit(self.url)
        url = parts._replace(netloc=str(parts.hostname)).geturl() if parts.hostname in _LOOPBACK else self.url
        return self.method, _KEY_IN_URL.sub(rf"\1={HIDDEN}", url)


def secrets_in(headers: Iterable[tuple[str, str]]) -> set[str]:
    """The keys that a request's headers carry."""
    found: set[str] = set()
    for name, value in headers:
        if name.lower() in SECRET:
            found |= {value, value.rpartition(" ")[2]}
    return {secret for secret in found if len(secret) >= SHORTEST_SECRET}


class Hiding:
    """Takes keys out of what is written down."""

    def __init__(self, secrets: Iterable[str]) -> None:
        spelled = {way for secret in secrets for way in _spellings(secret)}
        # the longest first, for one may stand in another
        ordered = sorted(spelled, key=lambda way: (-len(way), way))
        self._pattern = re.compile("|".join(map(re.escape, ordered)).encode()) if ordered else None

    def text(self, text: str) -> str:
        """A text without them, and without what the user's redactor takes out."""
        if self._pattern is not None:
            text = self._pattern.sub(HIDDEN.encode(), text.encode("utf-8", "surrogatepass")).decode(
                "utf-8", "surrogatepass"
            )
        return redacted(text)

    def headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Headers, those that are never shown as $KEY."""
        return {
            name: HIDDEN if name.lower() in _NEVER_SHOWN else self.text(value)
            for name, value in headers.items()
            if name != "accept-encoding"
        }

    def pieces(self, pieces: Sequence[bytes]) -> list[bytes]:
        """The pieces of a body; a key that lies over several of them is found too."""
        if self._pattern is None:
            return [redacted_bytes(piece) for piece in pieces]
        whole, ends = b"".join(pieces), list(accumulate(map(len, pieces)))
        clean = [bytearray() for _ in pieces]
        at = 0
        for found in self._pattern.finditer(whole):
            _copy(whole, ends, clean, at, found.start())
            clean[bisect_right(ends, found.start())] += HIDDEN.encode()
            at = found.end()
        _copy(whole, ends, clean, at, len(whole))
        return [redacted_bytes(bytes(piece)) for piece in clean]


def _copy(whole: bytes, ends: Sequence[int], pieces: list[bytearray], start: int, stop: int) -> None:
    while start < stop:
        index = bisect_right(ends, start)
        end = min(ends[index], stop)
        pieces[index] += whole[start:end]
        start = end


def _spellings(secret: str) -> set[str]:
    in_json = json.dumps(secret)[1:-1]
    return {secret, in_json, in_json.replace("/", "\\/"), quote(secret, safe="")}


# The file


def save(path: Path, exchanges: Sequence[Recorded], dialects: Mapping[str, Mapping[str, Any]], hiding: Hiding) -> None:
    """Write a cassette; a file that is there is replaced at once or not at all."""
    data: dict[str, Any] = {"agentkit_cassette": VERSION}
    if dialects:
        data["started"] = dialects
    data["exchanges"] = [_exchange_data(each, hiding) for each in exchanges]
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".new")
    beside.write_text(_written(data) + "\n", encoding="utf-8")
    beside.replace(path)


def load(path: Path) -> tuple[list[Recorded], dict[str, dict[str, Any]]]:
    """The exchanges of a cassette, and what was known of the servers that were started. Raises UsageError."""
    try:
        data = json.loads(path.read_text("utf-8"))
        if not is_object(data) or data.get("agentkit_cassette") != VERSION:
            raise UsageError(f"{path} is no cassette of version {VERSION}: record it anew")
        return [_exchange_of(each) for each in data["exchanges"]], data.get("started", {})
    except FileNotFoundError:
        raise UsageError(
            f"there is no cassette {path}: record it with agentkit.testing.record({str(path)!r}), "
            "or pytest --agentkit-record=new"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{path} is a damaged cassette, record it anew: {type(error).__name__}: {error}") from error


def _exchange_data(each: Recorded, hiding: Hiding) -> dict[str, Any]:
    url = _KEY_IN_URL.sub(rf"\1={HIDDEN}", hiding.text(each.url))
    (body,) = hiding.pieces([each.body])
    request = {"method": each.method, "url": url, "headers": hiding.headers(each.headers), "body": _json_or_text(body)}
    data: dict[str, Any] = {"request": request}
    if each.status is not None:
        answer: dict[str, Any] = {"status": each.status, "headers": hiding.headers(each.answer_headers)}
        clean = hiding.pieces([piece for _, piece in each.pieces])
        body = b"".join(clean)
        value = _json_or_text(body)
        if isinstance(value, str) or _compact(value) is None:
            answer["chunks"] = [
                [round(at, 4), _as_text(piece)] for (at, _), piece in zip(each.pieces, clean, strict=True)
            ]
        else:
            answer |= {"seconds": round(each.pieces[-1][0], 4), "body": value}
        data["response"] = answer
    if each.error is not None:
        data["error"] = {**each.error, "message": hiding.text(each.error["message"])}
    return data


def _exchange_of(data: Mapping[str, Any]) -> Recorded:
    request, answer = data["request"], data.get("response")
    body = request["body"]
    recorded = Recorded(
        request["url"],
        request["headers"],
        body.encode() if isinstance(body, str) else json.dumps(body).encode(),
        request["method"],
        error=data.get("error"),
    )
    if answer is not None:
        recorded.status, recorded.answer_headers = answer["status"], answer["headers"]
        if "chunks" in answer:
            recorded.pieces = [(at, _as_bytes(text)) for at, text in answer["chunks"]]
        else:
            recorded.pieces = [(answer["seconds"], _compact(answer["body"]) or b"")]
    return recorded


def _json_or_text(body: bytes) -> Any:
    """JSON as a value, where nothing is lost by that; else as text."""
    try:
        value = json.loads(body)
    except ValueError:
        value = None
    if is_object(value) or is_array(value):
        return value
    return body.decode("utf-8", "replace")


def _compact(value: Any) -> bytes | None:
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    except ValueError:
        return None  # NaN, or half a letter


def _as_text(piece: bytes) -> str | dict[str, str]:
    try:
        return piece.decode()
    except UnicodeDecodeError:  # it ends in the middle of a letter
        return {"base64": b64encode(piece).decode()}


def _as_bytes(text: str | Mapping[str, str]) -> bytes:
    return text.encode() if isinstance(text, str) else b64decode(text["base64"])


def _written(value: Any, indent: str = "") -> str:
    """JSON with one line for whatever is short, and for a chunk."""
    line = json.dumps(value, ensure_ascii=False)
    is_chunk = is_array(value) and len(value) == 2 and isinstance(value[0], float)
    if is_chunk or len(line) + len(indent) <= _LINE_CHARS or not (is_object(value) or is_array(value)):
        return _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", line)
    inner = indent + "  "
    if is_object(value):
        parts = [
            f"{inner}{json.dumps(name, ensure_ascii=False)}: {_written(each, inner)}" for name, each in value.items()
        ]
        return "{\n" + ",\n".join(parts) + f"\n{indent}}}"
    return "[\n" + ",\n".join(f"{inner}{_written(each, inner)}" for each in value) + f"\n{indent}]"


_SURROGATE: Final = re.compile("[\ud800-\udfff]")
