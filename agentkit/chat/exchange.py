"""What went over the wire for one request: as sent and as received, without the key."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from agentkit._json import loads

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agentkit.chat.request import Body

HIDDEN = "$KEY"


class Exchange:
    """One request and what came back. Bodies are held by reference, so that many exchanges of a run cost little.

    `headers` has the key replaced by $KEY. `status` is None and `response_headers` empty if no answer came.
    `started_at` is Unix time, `seconds` how long it took.
    """

    __slots__ = ("_body", "_pieces", "headers", "response_headers", "seconds", "started_at", "status", "url")

    def __init__(self, url: str, headers: Sequence[tuple[str, str]], body: Body | bytes, *, started_at: float) -> None:
        self.url = url
        self.headers = tuple(headers)
        self._body = body
        self._pieces: Sequence[bytes] = ()
        self.status: int | None = None
        self.response_headers: Mapping[str, str] = {}
        self.started_at = started_at
        self.seconds = 0.0

    def received(self, pieces: Sequence[bytes]) -> None:
        """Keep what came as the response's body."""
        self._pieces = pieces

    @property
    def request_body(self) -> bytes:
        """The exact bytes that were sent."""
        return bytes(self._body)

    @property
    def request_json(self) -> dict[str, Any]:
        """What was sent, parsed."""
        body: dict[str, Any] = loads(self.request_body)
        return body

    @property
    def response_body(self) -> bytes:
        """The exact bytes that came, as far as they were read."""
        return b"".join(self._pieces)

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

    def __repr__(self) -> str:
        answer = "no answer" if self.status is None else str(self.status)
        return f"Exchange(POST {self.url} → {answer}, {self.seconds:.2f} s)"

    def __reduce__(self) -> tuple[Any, ...]:
        state = {name: getattr(self, name) for name in ("headers", "response_headers", "seconds", "status")}
        return (_restored, (self.url, self.request_body, self.response_body, self.started_at, state))


def _restored(url: str, sent: bytes, came: bytes, started_at: float, state: dict[str, Any]) -> Exchange:
    exchange = Exchange(url, (), sent, started_at=started_at)
    exchange.received([came])
    for name, value in state.items():
        setattr(exchange, name, value)
    return exchange


def _quoted(header: str) -> str:
    # double quotes let the shell put the key in; all else in it is literal
    if HIDDEN not in header:
        return shlex.quote(header)
    return '"' + "$KEY".join(_escaped(part) for part in header.split(HIDDEN)) + '"'


def _escaped(text: str) -> str:
    for character in '\\"$`':
        text = text.replace(character, "\\" + character)
    return text
