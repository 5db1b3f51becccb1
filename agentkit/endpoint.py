"""The one thing that lives long: an endpoint's address, key and connections."""

from __future__ import annotations

import inspect
import os
import re
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias
from urllib.parse import urlsplit
from weakref import WeakSet, WeakValueDictionary, finalize

from anyio.lowlevel import RunVar
from sniffio import current_async_library

from agentkit._http import AsyncHttp, RawHeaders, SyncHttp, is_loaded, load, raw_headers
from agentkit.calling import threads
from agentkit.chat.exchange import HIDDEN
from agentkit.chat.lacking import without
from agentkit.circuit import Circuit
from agentkit.errors import AuthenticationError, UsageError
from agentkit.logs import log
from agentkit.turns import Turns

if TYPE_CHECKING:
    from agentkit._http import MakeParser
    from agentkit.calling import LoopThread
    from agentkit.chat.dialects import Dialect
    from agentkit.pacing import Pacing

Key: TypeAlias = str | Callable[[], str] | Callable[[], Awaitable[str]]
"""A key, or a function that gives the one of the moment (a token that is renewed)."""

_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class Tape(Protocol):
    """Stands between all endpoints and their connections: it writes down what goes over them, or plays it back.

    While it `replays`, no key is looked up and no server is started.
    """

    @property
    def replays(self) -> bool:
        """Whether nothing is sent."""
        ...

    def dialect(self, endpoint: Endpoint) -> Dialect:
        """What was known of a server that is not started now."""
        ...

    def http_sync(self, endpoint: Endpoint) -> SyncHttp:
        """What sends the requests of threads."""
        ...

    async def http(self, endpoint: Endpoint) -> AsyncHttp:
        """What sends the requests of the running event loop."""
        ...


class _Gate:
    """Whether requests may leave this machine, and what listens to them; agentkit.testing's, for test runs."""

    closed = False
    tape: Tape | None = None

    @property
    def replays(self) -> bool:
        """Whether answers come from a tape, and nothing is sent."""
        return self.tape is not None and self.tape.replays


gate: Final = _Gate()


@dataclass(slots=True, eq=False)
class Address:
    """Where a request goes. `plain` are its headers, `headers` the same made ready to be sent, `shown` without key."""

    url: str
    headers: RawHeaders
    plain: list[tuple[str, str]]
    shown: list[tuple[str, str]]
    key: str | None
    shown_url: str


@dataclass(slots=True)
class Started:
    """What a server that is started on first use gives: its base URL, its key, and what it can do."""

    base_url: str
    api_key: str | None
    dialect: Dialect


class Endpoint:
    """A Chat Completions endpoint: one a base URL and key, shared by all models that name them.

    It may be used from any number of threads and event loops at once. `learnt` has the dialect of each model that has
    refused something; `turns` is None unless requests are paced.
    """

    def __init__(
        self,
        base_url: str | None,
        dialect: Dialect,
        *,
        api_key: Key | None = None,
        http_client: Any = None,
        parser: MakeParser | None = None,
        start: Callable[[], Started] | None = None,
    ) -> None:
        """Describe an endpoint; nothing is opened, and no key is looked up, before the first request.

        `http_client` is the caller's own httpx.Client or httpx.AsyncClient. `parser` judges answers on
        asyncio in h11's place. `start` brings up a server on first use.
        """
        self.dialect = dialect
        self._base_url = "local" if base_url is None else _checked(base_url)
        self.source = _without_login(self._base_url)
        self._key = api_key
        self._start = start
        self._started: Started | None = None
        self._address: Address | None = None
        self._client = http_client
        self._parser = parser
        self.learnt: dict[str, Dialect] = {}
        self.turns: Turns | None = None
        self._circuits: dict[str, Circuit] = {}
        self._lock = threading.Lock()
        self._http: SyncHttp | None = None
        self._closer: finalize[..., Endpoint] | None = None
        _living.add(self)

    @property
    def is_open(self) -> bool:
        """Whether nothing has to be started before a request."""
        return self._start is None or self._started is not None

    def open_sync(self) -> None:
        """Start what has to be started."""
        if self.is_open:
            return
        if gate.tape is not None and gate.tape.replays:
            self.dialect = gate.tape.dialect(self)
        else:
            self._bring_up()

    async def open(self) -> None:
        """The same, awaited."""
        if not self.is_open:
            await threads.run(self.open_sync)

    def address_sync(self, loop: LoopThread) -> Address:
        """Where to send a request now, and with which headers. Raises AuthenticationError if a key is missing."""
        if gate.replays:
            return self._replayed()
        key = self._key() if callable(self._key) else self._key
        if inspect.isawaitable(key):
            waiting: Awaitable[str] = key
            key = loop.run(partial(_awaited, waiting))
        return self._addressed(key)

    async def address(self) -> Address:
        """The same, awaited."""
        if gate.replays:
            return self._replayed()
        key = self._key() if callable(self._key) else self._key
        return self._addressed(await key if inspect.isawaitable(key) else key)

    def learn(self, model: str, feature: str) -> Dialect:
        """The model's dialect from now on: without a feature that it has refused."""
        with self._lock:
            dialect = self.learnt.get(model, self.dialect)
            if feature in dialect.learnt:
                return dialect
            dialect = self.learnt[model] = without(dialect, feature)
        log.warning("%s at %s does not know %s: it is left out from now on", model, self.source, feature)
        return dialect

    def pace(self, pacing: Pacing) -> None:
        """Let requests keep to these limits, in place of those that were given before."""
        with self._lock:
            if self.turns is None:
                self.turns = Turns(pacing)
                return
        self.turns.limit(pacing)

    def circuit(self, model: str) -> Circuit:
        """Whether a model is worth a try."""
        return self._circuits.setdefault(model, Circuit())

    def _bring_up(self) -> None:
        with self._lock:
            if self._started is None and self._start is not None:
                self._started = self._start()
                self.dialect = self._started.dialect

    def _addressed(self, key: str | None) -> Address:
        base_url = self._base_url
        if self._started is not None:
            base_url, key = self._started.base_url, self._started.api_key
        elif key is None:
            key = self.dialect.find_key(os.environ)
        known = self._address
        if known is not None and known.key == key and not gate.closed:
            return known
        if key is None and self.dialect.key_required:
            raise AuthenticationError(
                f"{self.dialect.name} needs a key: set {' or '.join(self.dialect.key_env)}, or give api_key="
            )
        _check_gate(base_url)
        plain = [("content-type", "application/json")]
        headers, shown = list(plain), list(plain)
        if key is not None:
            _check_key(key, self.dialect)
            headers += self.dialect.key_headers(key).items()
            shown += self.dialect.key_headers(HIDDEN).items()
        url = base_url + "/chat/completions"
        self._address = Address(url, raw_headers(headers), headers, shown, key, _without_login(url))
        return self._address

    def _replayed(self) -> Address:
        """Where a request would go, without a key."""
        plain = [("content-type", "application/json")]
        url = self.source + "/chat/completions"
        return Address(url, raw_headers(plain), plain, plain, None, url)

    def http_sync(self) -> SyncHttp:
        """What sends the requests of threads: the connections, or the tape before them."""
        return self.connections_sync() if gate.tape is None else gate.tape.http_sync(self)

    async def http(self) -> AsyncHttp:
        """The same of the running event loop."""
        return await (self.connections() if gate.tape is None else gate.tape.http(self))

    def connections_sync(self) -> SyncHttp:
        """The connections for threads."""
        if self._http is None:
            with self._lock:
                if self._http is None:
                    self._http = SyncHttp(None if _is_async(self._client) else self._client)
                    # not in __del__: in a cycle of garbage, the sockets may be ended, and complain, before it is called
                    self._closer = finalize(self, self._http.close)
        return self._http

    async def connections(self) -> AsyncHttp:
        """The connections of the running event loop; they are closed when the loop shuts down."""
        if not is_loaded():
            await threads.run(load)
        try:
            held = _held.get()
        except LookupError:
            held = _Held()
            held.closer = held.close_at_end()
            await anext(held.closer)
            _held.set(held)
        http = held.by_endpoint.get(self)
        if http is None:
            library = current_async_library()
            if self._parser is not None and library != "asyncio":
                raise UsageError(f'http="aiohttp" works on asyncio alone, and this is {library}: leave it out here')
            client = self._client if _is_async(self._client) else None
            http = held.by_endpoint[self] = AsyncHttp(client, parser=self._parser)
        return http

    def close(self) -> None:
        """Close the connections that threads used; those of an event loop close with the loop."""
        with self._lock:
            closer, self._closer, self._http = self._closer, None, None
        if closer is not None:
            closer()

    def forget(self) -> None:
        """Let go of what a forked child may not use: the parent's connections, locks and servers."""
        self._lock = threading.Lock()
        if self.turns is not None:
            self.turns.after_fork()
        self._http = None
        if self._closer is not None:
            self._closer.detach()
            self._closer = None
        self._started = None
        self._address = None

    def __repr__(self) -> str:
        return f"Endpoint({self.source!r}, {self.dialect.name})"


class _Held:
    """The connections of one event loop."""

    def __init__(self) -> None:
        self.by_endpoint: dict[Endpoint, AsyncHttp] = {}
        self.closer: AsyncGenerator[None] | None = None

    async def close_at_end(self) -> AsyncGenerator[None]:
        # asyncio and trio end the async generators that are still suspended when a loop shuts down: the one moment at
        # which connections can be closed in their own loop without anybody having to call for it
        try:
            yield
        finally:
            for http in self.by_endpoint.values():
                await http.aclose()
            # the generator holds the loop: kept, the two would hold each other, and every endpoint, for ever
            self.by_endpoint.clear()
            self.closer = None


_held: Final[RunVar[_Held]] = RunVar("agentkit_connections")
_living: Final[WeakSet[Endpoint]] = WeakSet()
_shared: Final[WeakValueDictionary[tuple[str, int, Key | None, MakeParser | None], Endpoint]] = WeakValueDictionary()
_sharing: Final = threading.Lock()


def shared_endpoint(base_url: str, dialect: Dialect, api_key: Key | None, parser: MakeParser | None = None) -> Endpoint:
    """The process's endpoint for a base URL, key and parser."""
    # the endpoint keeps its dialect alive, and so the id taken
    name = (_checked(base_url), id(dialect), api_key, parser)
    with _sharing:
        endpoint = _shared.get(name)
        if endpoint is None:
            endpoint = _shared[name] = Endpoint(base_url, dialect, api_key=api_key, parser=parser)
    return endpoint


def unlearn() -> None:
    """Let every endpoint forget what models have refused, so that a recording holds in a process that knows nothing."""
    for endpoint in list(_living):
        endpoint.learnt.clear()


def _after_fork() -> None:
    for endpoint in list(_living):
        endpoint.forget()  # of this module


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork)


async def _awaited(waiting: Awaitable[str]) -> str:
    return await waiting


def _is_async(client: Any) -> bool:
    return hasattr(client, "aclose")


def _checked(base_url: str) -> str:
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(
            f"base_url {_without_login(base_url)!r} is no address: give one like 'https://host.example/v1'"
        )
    return base_url.rstrip("/").removesuffix("/chat/completions")


def _without_login(url: str) -> str:
    """An address as it may be shown: a password may stand before the host."""
    return re.sub(r"//[^/@]*@", "//", url)


def _check_key(key: str, dialect: Dialect) -> None:
    if not key.isascii() or not key.isprintable() or key != key.strip():
        source = f" (from {' or '.join(dialect.key_env)})" if dialect.key_env else ""
        raise UsageError(f"the key for {dialect.name}{source} has a space, line break or non-ASCII character in it")


def _check_gate(base_url: str) -> None:
    if gate.closed and urlsplit(base_url).hostname not in _LOOPBACK:
        raise UsageError(
            f"a request to {_without_login(base_url)} is forbidden in this test run: use ScriptedModel, FakeEndpoint "
            "or override(), or allow it with forbid_real_requests(False)"
        )
