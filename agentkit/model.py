"""Models: what answers a request. "openai:gpt-5-mini" names one."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Generator, Iterable, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from agentkit import drive, drive_async
from agentkit._http import load
from agentkit._json import is_object, loads
from agentkit.caller import Caller, drained, last_of, perform
from agentkit.chat.dialects import DIALECTS, Dialect, dialect_of, split_model
from agentkit.chat.jsonmode import lowered
from agentkit.chat.jsonreply import JsonReader
from agentkit.chat.lacking import lacking
from agentkit.chat.reader import ReplyReader
from agentkit.chat.request import Request, encode
from agentkit.chat.settings import Settings
from agentkit.chat.shaping import shaped
from agentkit.clock import clock
from agentkit.endpoint import Endpoint, Key, shared_endpoint
from agentkit.errors import EndpointError, UsageError
from agentkit.flow import Again, Open, Send, Steps, send
from agentkit.messages import Message, Reply, ToolSpec, user
from agentkit.policy import Retries, Timeouts
from agentkit.streams import ReplyStream, ReplyStreamSync, Stream
from agentkit.tools import as_tool, spec_of
from agentkit.transcript import Transcript
from agentkit.wire import Wire

if TYPE_CHECKING:
    from tenacity.retry import RetryBaseT
    from tenacity.stop import StopBaseT
    from tenacity.wait import WaitBaseT

    from agentkit._http import MakeParser
    from agentkit.events import Event
    from agentkit.pacing import Pacing
    from agentkit.prices import Price

Messages: TypeAlias = str | Transcript | Sequence[Mapping[str, Any] | Message]
"""A conversation: one question, a transcript, or Chat Completions messages."""


class Model:
    """Whatever answers a request. A model of your own has a `flow`; the verbs come with it.

    `flow` is a generator that yields effects and returns the Reply; a wrapper around another model is
    `reply = yield from self.inner.flow(request)` with something before or after it.
    """

    name: str = ""

    def flow(self, request: Request) -> Steps[Reply]:
        """The steps from a request to its reply."""
        raise NotImplementedError(f"{type(self).__name__} has no flow")

    def reply_sync(
        self, messages: Messages, *, tools: Iterable[object] = (), settings: Settings | Mapping[str, Any] | None = None
    ) -> Reply:
        """One reply to a conversation; calls in it are not run.

        `tools` are functions, Tools, ToolSpecs or the dicts of a request.

        Raises:
            UsageError: the messages, tools or settings cannot be sent.
            EndpointError: the endpoint failed.
        """
        return last_of(self._replying(_asked(messages, tools, settings), Wire(clock.get()), Caller(), deque()))

    async def reply(
        self, messages: Messages, *, tools: Iterable[object] = (), settings: Settings | Mapping[str, Any] | None = None
    ) -> Reply:
        """The same, awaited."""
        flow = self.flow(_asked(messages, tools, settings))
        return await drive_async.perform(flow, drive_async.Sender(Wire(clock.get())))

    def stream_sync(
        self, messages: Messages, *, tools: Iterable[object] = (), settings: Settings | Mapping[str, Any] | None = None
    ) -> ReplyStreamSync:
        """The reply's pieces as they come: `with … as stream: for event in stream`, then `stream.reply`."""
        outbox: deque[Event] = deque()
        caller, asked = Caller(), _asked(messages, tools, settings).with_(stream=True)
        return ReplyStreamSync(self._replying(asked, Wire(clock.get(), emit=outbox.append), caller, outbox), caller)

    def stream(
        self, messages: Messages, *, tools: Iterable[object] = (), settings: Settings | Mapping[str, Any] | None = None
    ) -> ReplyStream:
        """The same, async: `async with … as stream: async for event in stream`, then `stream.reply`."""
        asked = _asked(messages, tools, settings).with_(stream=True)

        async def work(stream: Stream[Reply]) -> Reply:
            wire = Wire(clock.get(), emit=stream.tell)
            reply = await drive_async.perform(self.flow(asked), drive_async.Sender(wire, stream.pace))
            wire.tell_whole(reply)
            return reply

        return ReplyStream(work)

    def _replying(
        self, asked: Request, wire: Wire, caller: Caller, outbox: deque[Event]
    ) -> Generator[Event, None, Reply]:
        try:
            reply = yield from perform(self.flow(asked), drive.Sender(wire, caller, outbox))
            wire.tell_whole(reply)
            yield from drained(outbox)
        finally:
            caller.loop.close()
        return reply

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})" if self.name else f"{type(self).__name__}()"


def _asked(messages: Messages, tools: Iterable[object], settings: Settings | Mapping[str, Any] | None) -> Request:
    if isinstance(messages, str):
        messages = [user(messages)]
    if not isinstance(messages, Transcript):
        messages = Transcript.load(messages, allow_system=True)
    return Request(messages, tuple([_spec(item) for item in tools]), Settings.of(settings))


def _spec(item: object) -> ToolSpec:
    if isinstance(item, ToolSpec) or is_object(item):
        return spec_of(item)
    return as_tool(item).spec


class ChatModel(Model):
    """A model behind a Chat Completions endpoint.

    Args:
        name: "openai:gpt-5-mini" and the like; "local" for the model that agentkit runs itself; with a base URL, given
            or in OPENAI_BASE_URL, any model's name alone.
        base_url: The endpoint's address up to the version, as in "https://host.example/v1".
        api_key: The key, or a function, sync or async, that gives the one of the moment. Without it the environment is
            asked at the first request, for the variable that the endpoint's users know.
        settings: What every request of this model is made with.
        tools: "json" for a model without tool calling of its own: calls are then made by way of response_format.
        retries: How often a request that failed is sent again, or a Retries with more said of it.
        timeouts: How long to wait for what.
        pacing: How much may go to the endpoint at once and in a minute. It holds for all who share the endpoint, and
            the one that was given last counts.
        http_client: An httpx.Client or httpx.AsyncClient to send with, in place of agentkit's own connections.
        http: "aiohttp" for aiohttp's parser, in C, in async requests on asyncio; it needs the extra `fast`, and is
            imported here, which takes 0.3 s, not with the first request. Sync verbs use agentkit's own all the same,
            as the local model does, and on trio a request is a UsageError.
        dialect: What the endpoint does differently, where agentkit does not know it by its name or address.
        price: What the model costs, where genai-prices (the extra `prices`) does not know it: Price(0, 0) for one of
            your own.

    Raises:
        UsageError: the name has no known prefix and there is no base URL, or the base URL is none; `http` is not
            known, not installed, or given with http_client.
    """

    def __init__(
        self,
        name: str,
        *,
        base_url: str | None = None,
        api_key: Key | None = None,
        settings: Settings | Mapping[str, Any] | None = None,
        tools: Literal["native", "json"] | None = None,
        retries: int | Retries = 2,
        timeouts: Timeouts | None = None,
        pacing: Pacing | None = None,
        http_client: Any = None,
        http: Literal["httpx", "aiohttp"] = "httpx",
        dialect: Dialect | None = None,
        price: Price | None = None,
        stop: StopBaseT | None = None,
        wait: WaitBaseT | None = None,
        retry: RetryBaseT | None = None,
    ) -> None:
        self.settings = Settings.of(settings)
        self.timeouts = timeouts or Timeouts()
        self.retries = Retries(retries, stop=stop, wait=wait, retry=retry) if isinstance(retries, int) else retries
        self.tools: Literal["native", "json"] | None = tools
        self.price = price
        parser = _parser_of(http, http_client)
        if base_url is None and name.partition(":")[0] == "local":
            self.name = "local"
            self.endpoint: Endpoint = _load_extra("local").local_endpoint(name.partition(":")[2] or None)
            if pacing is not None:
                self.endpoint.pace(pacing)
            return
        known, self.name = split_model(name, has_base_url=bool(base_url or os.environ.get("OPENAI_BASE_URL")))
        address = base_url or known.find_base_url(os.environ)
        if address is None:
            raise UsageError(
                f"{known.name} has no address of its own: give base_url, or set {' or '.join(known.base_url_env)}"
            )
        if dialect is None:
            dialect = dialect_of(address) if known is DIALECTS["generic"] else known
        if http_client is None:
            self.endpoint = shared_endpoint(address, dialect, api_key, parser)
        else:
            self.endpoint = Endpoint(address, dialect, api_key=api_key, http_client=http_client)
        if pacing is not None:
            self.endpoint.pace(pacing)

    def flow(self, request: Request) -> Steps[Reply]:
        """Send the request, and again while the failure is one that passes."""
        endpoint = self.endpoint
        if not endpoint.is_open:
            yield Open(endpoint)
        asked = request.with_(settings=self.settings.merged(request.settings))
        dialect = endpoint.learnt.get(self.name, endpoint.dialect)
        written, in_json = self._written(asked, dialect)
        body = encode(written, self.name, dialect, endpoint.source)
        headers = tuple((asked.settings.extra_headers or {}).items())
        attempt = mended = 0
        while True:
            attempt += 1
            reader = JsonReader() if in_json else ReplyReader()
            try:
                sent = Send(endpoint, body, reader, self.timeouts, headers, attempt + mended, self.name, self.price)
                reply = yield from send(sent)
            except EndpointError as error:
                failure = error
            else:
                reply.source = endpoint.source
                return reply
            refused = None if failure.partial_text else lacking(failure, loads(bytes(body)), dialect)
            if refused is not None:
                dialect = endpoint.learn(self.name, refused)
                written, in_json = self._written(asked, dialect)
                body = encode(written, self.name, dialect, endpoint.source)
                attempt, mended = attempt - 1, mended + 1
                continue
            yield Again(failure, attempt, self.retries, self.timeouts.total_s)

    def _written(self, asked: Request, dialect: Dialect) -> tuple[Request, bool]:
        """The request in the words of the wire, and whether its calls are made in JSON."""
        written = shaped(asked, dialect, tools=self.tools)
        if not written.tools or (self.tools or dialect.tools) != "json":
            return written, False
        answers = frozenset(spec.name for spec in asked.output.specs) if asked.output is not None else frozenset[str]()
        return lowered(written, quoted=dialect.quoted, answers=answers), True

    def __repr__(self) -> str:
        return f"ChatModel({self.name!r}, {self.endpoint!r})"


def _load_extra(name: str) -> Any:
    # the one door through which the parts behind extras come in
    return import_module(f"agentkit.{name}")


def _parser_of(http: str, http_client: Any) -> MakeParser | None:
    if http == "httpx":
        return None
    if http != "aiohttp":
        raise UsageError(
            f'http={http!r} is not known: give "httpx", or "aiohttp" after `pip install \'agentkit[fast]\'`'
        )
    if http_client is not None:
        raise UsageError('http="aiohttp" and http_client= exclude each other: leave one of them out')
    if find_spec("aiohttp") is None:
        raise UsageError("http=\"aiohttp\" needs aiohttp: `pip install 'agentkit[fast]'`")
    load()
    parser: MakeParser = _load_extra("_http.llhttp").LlhttpParser
    return parser


def model_of(model: str | Model) -> Model:
    """A model by its name, or as it is. Raises UsageError."""
    return ChatModel(model) if isinstance(model, str) else model
