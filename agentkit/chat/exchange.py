"""What went over the wire for one request: as sent and as received, without the key."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any, Final

from agentkit._json import loads
from agentkit.logs import redacted, redacted_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agentkit.chat.request import Body

HIDDEN: Final = "$KEY"
SHOWN_CHARS: Final = 4000
"""How much of a body `agentkit.debug()` shows."""


class Exchange:
    """One request and what came back. Bodies are held by reference, so that many exchanges of a run cost little.

    `headers` has the key replaced by $KEY. `status` is None and `response_headers` empty if no answer came.
    `started_at` is Unix time, `seconds` how long it took. Bodies and headers go through the redactor that
    `agentkit.redact` was given, if there is one, whenever they are looked at.
    """

    __slots__ = ("_body", "_came", "_pieces", "_sent", "seconds", "started_at", "status", "url")

    def __init__(self, url: str, headers: Sequence[tuple[str, str]], body: Body | bytes, *, started_at: float) -> None:
        self.url = url
        self._sent = tuple(headers)
        self._body = body
        self._pieces: Sequence[bytes] = ()
        self.status: int | None = None
        self._came: Mapping[str, str] = {}
        self.started_at = started_at
        self.seconds = 0.0

    def received(self, pieces: Sequence[bytes]) -> None:
        """Keep what came as the response's body."""
        self._pieces = pieces

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """The request's headers."""
        return tuple([(name, redacted(value)) for name, value in self._sent])

    @property
    def response_headers(self) -> dict[str, str]:
        """The response's headers, names in lower case."""
        return {name: redacted(value) for name, value in self._came.items()}

    @response_headers.setter
    def response_headers(self, headers: Mapping[str, str]) -> None:
        self._came = headers

    def hide(self, secret: str) -> None:
        """Take a secret out of what came."""
        came = b"".join(self._pieces)
        if secret.encode() in came:
            self._pieces = [came.replace(secret.encode(), HIDDEN.encode())]
        if any(secret in value for value in self._came.values()):
            self._came = {name: value.replace(secret, HIDDEN) for name, value in self._came.items()}

    def without_bodies(self) -> Exchange:
        """The same without what was sent and what came."""
        return _restored(self.url, b"", b"", self.started_at, self._state())

    @property
    def request_body(self) -> bytes:
        """The exact bytes that were sent."""
        return redacted_bytes(bytes(self._body))

    @property
    def request_json(self) -> dict[str, Any]:
        """What was sent, parsed."""
        body: dict[str, Any] = loads(self.request_body)
        return body

    @property
    def response_body(self) -> bytes:
        """The exact bytes that came, as far as they were read."""
        return redacted_bytes(b"".join(self._pieces))

    @property
    def response_json(self) -> Any:
        """What came, parsed. Raises ValueError for a stream, or what is no JSON."""
        return loads(self.response_body)

    def curl(self) -> str:
        """A shell command that sends the same request, with the key taken from $KEY."""
        lines = [f"curl {shlex.quote(self.url)}"]
        lines += [f"-H {_quoted(f'{name}: {value}')}" for name, value in self.headers]
        lines.append(f"--data-binary {shlex.quote(self.request_body.decode('utf-8', 'replace'))}")
        return " \\\n  ".join(lines)

    def shown(self) -> str:
        """What was sent and what came, for the terminal: long bodies are cut in the middle."""
        sent, came = (_cut(body.decode("utf-8", "replace")) for body in (self.request_body, self.response_body))
        return f"{self!r}\n→ {sent}\n← {came.strip() or '(nothing)'}"

    def __repr__(self) -> str:
        answer = "no answer" if self.status is None else str(self.status)
        return f"Exchange(POST {self.url} → {answer}, {self.seconds:.2f} s)"

    def __reduce__(self) -> tuple[Any, ...]:
        return (_restored, (self.url, self.request_body, self.response_body, self.started_at, self._state()))

    def _state(self) -> tuple[Any, ...]:
        return (self.headers, self.response_headers, self.status, self.seconds)


def _restored(url: str, sent: bytes, came: bytes, started_at: float, state: tuple[Any, ...]) -> Exchange:
    headers, response_headers, status, seconds = state
    exchange = Exchange(url, headers, sent, started_at=started_at)
    exchange.received([came])
    exchange.response_headers, exchange.status, exchange.seconds = response_headers, status, seconds
    return exchange


def _cut(text: str) -> str:
    half = SHOWN_CHARS // 2
    return text if len(text) <= SHOWN_CHARS else f"{text[:half]} … {len(text) - 2 * half} characters … {text[-half:]}"


def _quoted(header: str) -> str:
    # double quotes let the shell put the key in; all else in it is literal
    if HIDDEN not in header:
        return shlex.quote(header)
    return '"' + "$KEY".join(_escaped(part) for part in header.split(HIDDEN)) + '"'


def _escaped(text: str) -> str:
    for character in '\\"$`':
        text = text.replace(character, "\\" + character)
    return text
