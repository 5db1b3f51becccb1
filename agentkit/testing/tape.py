"""`record` and `replay`: a tape between all endpoints and their connections."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from agentkit._http import AsyncHttp, AsyncResponse, HttpRequest, Response, SyncHttp
from agentkit.chat.dialects import DIALECTS, Dialect
from agentkit.endpoint import gate, unlearn
from agentkit.errors import UsageError
from agentkit.testing.cassette import Hiding, Recorded, load, save, secrets_in
from agentkit.testing.differing import json_diff
from agentkit.testing.taped import AsyncHeard, AsyncPlayed, Heard, Played

if TYPE_CHECKING:
    from os import PathLike

    from agentkit._http import Aborter, TimeoutSettings
    from agentkit.endpoint import Endpoint

Mode: TypeAlias = Literal["none", "new", "all"]
Normalize: TypeAlias = Callable[[Any], Any]


class CassetteMismatch(AssertionError):
    """A request that a cassette does not have; the message shows where its body differs from the recorded one."""


class Cassette:
    """What was recorded, and what of it was played. Made by `record` and `replay`.

    `exchanges` has the requests and answers, `played` how many of them were asked for in this block.
    """

    def __init__(self, path: Path, mode: Mode, *, pace: float, normalize: Normalize | None) -> None:
        self.path = path
        self.mode = mode
        self.pace = pace
        self.problems: list[str] = []
        self.exchanges, self._started = (
            ([], {}) if mode == "all" or (mode == "new" and not path.exists()) else load(path)
        )
        self._waiting = list(self.exchanges)
        self._loaded = len(self.exchanges)
        self._asked = 0
        self._normalize: Normalize = normalize or (lambda body: body)
        self._secrets: set[str] = set()
        self._lock = threading.Lock()
        self._discarded = False

    @property
    def replays(self) -> bool:
        """Whether nothing is sent."""
        return self.mode == "none"

    @property
    def played(self) -> int:
        """How many recorded answers were given."""
        return self._loaded - len(self._waiting)

    def dialect(self, endpoint: Endpoint) -> Dialect:
        """What was known of a server that is started on first use."""
        known = self._started.get(endpoint.source)
        return endpoint.dialect if known is None else _dialect_from(known)

    def http_sync(self, endpoint: Endpoint) -> SyncHttp:
        """What sends the requests of threads."""
        return _Taped(self, endpoint)

    async def http(self, endpoint: Endpoint) -> AsyncHttp:
        """What sends the requests of an event loop."""
        return _AsyncTaped(self, endpoint, None if self.replays else await endpoint.connections())

    def find(self, endpoint: Endpoint, request: HttpRequest) -> tuple[Recorded, bool]:
        """The exchange of a request, and whether it was recorded before: else it is to be filled by what comes.

        Raises CassetteMismatch.
        """
        pairs = [(_text(name), _text(value)) for name, value in _pairs(request.headers)]
        asked = Recorded(endpoint.source + "/chat/completions", dict(pairs), request.body, request.method)
        with self._lock:
            self._asked += 1
            self._secrets |= secrets_in(pairs)
            wanted = self._normalize(asked.json)
            for index, known in enumerate(self._waiting):
                if known.place == asked.place and self._normalize(known.json) == wanted:
                    return self._waiting.pop(index), True
            if self.replays:
                self.problems.append(problem := self._mismatch(asked))
                raise CassetteMismatch(problem)
            if endpoint.source == "local":
                self._started[endpoint.source] = _dialect_data(endpoint.dialect)
            self.exchanges.append(asked)
            return asked, False

    def _mismatch(self, asked: Recorded) -> str:
        remedy = "record it anew with agentkit.testing.record, or pytest --agentkit-record=all"
        if not self._waiting:
            body = json_diff(None, self._normalize(asked.json)).partition("\n-null\n")[2]
            return (
                f"{self.path}: request {self._asked} is one more than the {self._loaded} that were recorded; {remedy}\n"
                f"{' '.join(asked.place)}\n{body}"
            )
        known = self._waiting[0]
        number = next(index for index, each in enumerate(self.exchanges, 1) if each is known)
        text = f"{self.path}: request {self._asked} is not what was recorded as exchange {number}; {remedy}"
        if known.place != asked.place:
            text += f"\n- {' '.join(known.place)}\n+ {' '.join(asked.place)}"
        diff = json_diff(self._normalize(known.json), self._normalize(asked.json))
        return f"{text}\n{diff}" if diff else text

    def discard(self) -> None:
        """Leave the file as it was, and say nothing at the end of the block: the test has failed already."""
        self._discarded = True

    def end(self) -> None:
        """Write down what was recorded. Raises CassetteMismatch for what a test should not overlook."""
        if self._discarded:
            return
        if self.mode != "none":
            self._save()
        problems = list(self.problems)
        if self.replays and self._waiting and not problems:
            left = ", ".join(each.url for each in self._waiting[:3])
            problems.append(
                f"{self.path}: {len(self._waiting)} of its {self._loaded} exchanges were not asked for ({left}); "
                "record it anew, or allow that with check=False"
            )
        if problems:
            raise CassetteMismatch("\n".join(problems))

    def _save(self) -> None:
        if self.mode == "all" or len(self.exchanges) > self._loaded:
            # one that was broken off by its caller has neither
            whole = [each for each in self.exchanges if each.status is not None or each.error is not None]
            save(self.path, whole, self._started, Hiding(self._secrets))


@contextmanager
def record(
    path: str | PathLike[str], *, only_new: bool = False, normalize: Normalize | None = None
) -> Generator[Cassette]:
    """Write down, as JSON without keys, every request that is sent within the block and what was answered.

    It holds for all endpoints and in all threads. With `only_new`, requests that the file has are answered from it, and
    others are sent and added. A block that ends with an exception leaves the file as it was.
    """
    with _tape(Cassette(Path(path), "new" if only_new else "all", pace=0.0, normalize=normalize), check=True) as tape:
        yield tape


@contextmanager
def replay(
    path: str | PathLike[str], *, pace: float = 0.0, check: bool = True, normalize: Normalize | None = None
) -> Generator[Cassette]:
    """Answer every request within the block from a cassette: nothing is sent, no key is needed.

    A request gets the answer to the first recorded one, of those not yet played, that has the same method, URL and JSON
    body. `normalize` is given each body, parsed, and returns what is compared. `pace=1` has pieces come at the times at
    which they came, `pace=0.5` in half of that, 0 at once.

    Raises:
        UsageError: there is no such cassette.
        CassetteMismatch: a request is not in it; it shows how its body differs. Again at the end of the block, where
            something has caught that, or if recorded exchanges were not asked for, unless `check` is off.
    """
    with _tape(Cassette(Path(path), "none", pace=pace, normalize=normalize), check=check) as tape:
        yield tape


@contextmanager
def _tape(cassette: Cassette, *, check: bool) -> Generator[Cassette]:
    if gate.tape is not None:
        raise UsageError("a cassette is in already: record and replay do not nest")
    unlearn()
    gate.tape = cassette
    try:
        yield cassette
    finally:
        gate.tape = None
        unlearn()
    if check:
        cassette.end()


def _pairs(headers: Any) -> Any:
    return headers.items() if hasattr(headers, "items") else headers


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _dialect_data(dialect: Dialect) -> dict[str, Any]:
    usual = DIALECTS.get(dialect.name)
    changed = {
        each.name: value
        for each in fields(dialect)
        if usual is not None
        and (value := getattr(dialect, each.name)) != getattr(usual, each.name)
        and isinstance(value, str | bool | None)
    }
    return {"dialect": dialect.name, **changed}


def _dialect_from(known: dict[str, Any]) -> Dialect:
    return replace(DIALECTS[known["dialect"]], **{name: value for name, value in known.items() if name != "dialect"})


class _Taped(SyncHttp):
    """In the place of an endpoint's connections for threads."""

    def __init__(self, tape: Cassette, endpoint: Endpoint) -> None:
        self._tape = tape
        self._endpoint = endpoint

    def open(
        self,
        request: HttpRequest,
        timeouts: TimeoutSettings,
        deadline: float | None = None,
        aborter: Aborter | None = None,
    ) -> Response:
        """The recorded answer, or one that is recorded as it comes."""
        recorded, known = self._tape.find(self._endpoint, request)
        if known:
            return Played(recorded, self._tape.pace, aborter)
        return Heard(recorded, self._endpoint.connections_sync().open(request, timeouts, deadline, aborter))


class _AsyncTaped(AsyncHttp):
    """In the place of an endpoint's connections of an event loop, which are None where nothing is sent."""

    def __init__(self, tape: Cassette, endpoint: Endpoint, connections: AsyncHttp | None) -> None:
        self._tape = tape
        self._endpoint = endpoint
        self._inner = connections

    def open(self, request: HttpRequest, timeouts: TimeoutSettings, deadline: float | None = None) -> AsyncResponse:
        """The recorded answer, or one that is recorded as it comes."""
        recorded, known = self._tape.find(self._endpoint, request)
        if known or self._inner is None:
            return AsyncPlayed(recorded, self._tape.pace)
        return AsyncHeard(recorded, self._inner.open(request, timeouts, deadline))
