"""A fake endpoint: a real HTTP server on loopback that plays scripted answers, errors and faults.

```python
from agentkit.testing.endpoint import FakeEndpoint
from agentkit.testing.script import call, cut, say, status

with FakeEndpoint([status(429, headers={"retry-after": "0"}), call("add", a=1, b=2), cut(say("3")), say("3")]) as fake:
    ...  # use fake.base_url and fake.api_key, then look at fake.requests
```
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias

from agentkit.testing.chunks import CREATED
from agentkit.testing.http1 import Connection
from agentkit.testing.script import Request, Response, Step, as_item, error_body, raw
from agentkit.testing.strict import Refusal, parse, refusals

if TYPE_CHECKING:
    from types import TracebackType

Script: TypeAlias = Iterable[Step] | Callable[[Request], Step]
"""Items in order, one for each request; or a function that makes the item for a request."""

_HOST: Final = "127.0.0.1"
_BACKLOG: Final = 2048
_START_S: Final = 10.0


class FakeEndpoint:
    """A Chat Completions endpoint on loopback that does what its script says. Use it in a `with` block.

    It runs in its own thread, so that it serves sync and async tests alike. Without a script it says "ok" to all. One
    that is an iterator may be endless: `itertools.repeat(say("hi"))`. A function is called in the server's thread and
    must not wait; `delayed` waits.

    Requests are held to the rules of the strictest endpoint and refused with a 400 where they break one, unless
    `strict` is off; `extra_fields` names top-level fields that are let through. Neither those that are refused, nor
    those with a wrong path or key, use up an item of the script. An `api_key` of None accepts any key, or none.

    What a test should not overlook stands in `problems`: refused requests, a script that is over, one that raised. The
    end of the block raises AssertionError if there are any, unless `check` is off or another exception is on its way.
    """

    def __init__(
        self,
        script: Script | None = None,
        *,
        api_key: str | None = "sk-fake",
        strict: bool = True,
        check: bool = True,
        extra_fields: Collection[str] = (),
        prefix: str = "/v1",
    ) -> None:
        self.api_key = "any-key" if api_key is None else api_key
        self.requests: list[Request] = []
        self.problems: list[str] = []
        self._any_key = api_key is None
        self._strict = strict
        self._check = check
        self._extra_fields = frozenset(extra_fields)
        self._prefix = prefix
        self._port = 0
        self._connection_count = 0
        self._open: set[Connection] = set()
        self._listener: socket.socket | None = None
        self._accepting: set[asyncio.Task[Any]] = set()
        self._changed = threading.Condition()
        self._refusing = self._closing = False
        self.play((lambda _: "ok") if script is None else script)

    @property
    def base_url(self) -> str:
        """The URL for a client to use, with the version at its end."""
        if not self._port:
            raise RuntimeError("a FakeEndpoint has its URL inside of its `with` block only")
        return f"http://{_HOST}:{self._port}{self._prefix}"

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._open)

    def play(self, script: Script) -> None:
        """Go on with another script from the next request on."""
        if isinstance(script, str):
            raise TypeError("a script is a list of items, not one text; write [say(…)]")
        self._next: Callable[[Request], Step] | Iterator[Step] = script if callable(script) else iter(script)

    def wait_until(self, condition: Callable[[], bool], *, timeout_s: float = 5.0) -> None:
        """Wait until the condition holds; it is looked at when a request, a connection or an answer begins or ends.

        It blocks the calling thread: in async code call it by `await asyncio.to_thread(fake.wait_until, …)`.
        Raises AssertionError after `timeout_s`, with what the endpoint has seen.
        """
        with self._changed:
            if not self._changed.wait_for(condition, timeout_s):
                seen = ", ".join(f"{each.method} {each.path}" for each in self.requests[-5:])
                text = f"not so after {timeout_s} s: {self.connections} connections, {len(self.requests)} requests"
                raise AssertionError(f"{text} ({seen})" if seen else text)

    def refuse(self) -> None:
        """Refuse new connections from now on; those that are open end after the answer that is under way."""
        self._call(self._stop_listening)

    def accept(self) -> None:
        """Accept connections again, on the same port."""
        self._call(self._listen)

    def __enter__(self) -> Self:
        self._failure: BaseException | None = None
        self._closing = False
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="agentkit-fake-endpoint", daemon=True)
        self._thread.start()
        self._ready.wait(_START_S)
        if self._failure is not None:
            raise self._failure
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._port = 0
        if not self.problems or not self._check:
            return
        text = "the fake endpoint found problems:\n" + "\n".join(f"- {each}" for each in self.problems)
        if error is None:
            raise AssertionError(text)
        error.add_note(text)

    # What runs in the server's thread

    def _run(self) -> None:
        try:
            # Neither a user's event loop policy nor Windows' default loop, which cannot wait for a socket of one's own.
            with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
                runner.run(self._serve())
        except BaseException as error:  # raised again in the thread that waits
            self._failure = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._listen()
        self._ready.set()
        await self._stop.wait()
        self._closing = True
        self._stop_listening()
        while self._open or len(asyncio.all_tasks()) > 1:
            for connection in tuple(self._open):
                connection.close()
            await asyncio.sleep(0)

    def _listen(self) -> None:
        # Not asyncio's own server: on closing, that loses a connection that it is just accepting (Python 3.11).
        if self._listener is None:
            listener = socket.create_server((_HOST, self._port), backlog=_BACKLOG)
            listener.settimeout(0)
            self._loop.add_reader(listener, self._accept, listener)
            self._listener, self._refusing = listener, False
            self._port = listener.getsockname()[1]

    def _accept(self, listener: socket.socket) -> None:
        while self._listener is listener:
            try:
                sock, _ = listener.accept()
            except (BlockingIOError, ConnectionError):
                return
            except OSError as error:
                self.problems.append(f"no connection can be accepted any more: {error}")
                self._stop_listening()
                return
            # asyncio would, for a socket that says it is TCP's; without it a second write waits 40 ms for an ACK
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            task = self._loop.create_task(self._loop.connect_accepted_socket(self._connect, sock))
            self._accepting.add(task)
            task.add_done_callback(self._accepting.discard)

    def _stop_listening(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            self._refusing = True
            self._loop.remove_reader(listener)
            listener.close()
            for connection in tuple(self._open):
                if connection.idle:
                    connection.close()

    def _connect(self) -> Connection:
        self._connection_count += 1
        return Connection(self, self._connection_count)

    def _call(self, action: Callable[[], None]) -> None:
        """Do something in the server's thread and wait until it is done."""
        if threading.current_thread() is self._thread:
            action()
            return

        async def act() -> None:
            action()

        asyncio.run_coroutine_threadsafe(act(), self._loop).result(_START_S)

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()

    @property
    def keeps_alive(self) -> bool:
        """Whether a connection stays open after an answer."""
        return not self._refusing

    def opened(self, connection: Connection) -> None:
        """A connection was made."""
        self._open.add(connection)
        self._notify()

    def closed(self, connection: Connection, unanswered: Request | None) -> None:
        """A connection is gone."""
        self._open.discard(connection)
        if unanswered is not None and not self._closing:
            unanswered.disconnected.set()
        self._notify()

    def answer(self, request: Request) -> Response:
        """What to send for a request, which is kept."""
        request.received_at_s = time.monotonic()
        request.number = len(self.requests) + 1
        try:
            request.json = parse(request.body) if self._strict else json.loads(request.body)
            unreadable = None
        except (ValueError, RecursionError) as error:
            unreadable = str(error)
        self.requests.append(request)
        self._notify()
        refused = self._refused(request, unreadable)
        return self._scripted(request) if refused is None else refused

    def _refused(self, request: Request, unreadable: str | None) -> Response | None:
        """The answer to a request that the script is not asked for."""
        asked = f"{request.method} {request.path}"
        allowed = {f"{self._prefix}/chat/completions": "POST", f"{self._prefix}/models": "GET"}.get(request.path)
        if allowed is None:
            return _error(request, 404, Refusal(f"Invalid URL ({asked})", code="unknown_url"))
        if request.method != allowed:
            text = f"Not allowed to {request.method} on {request.path}."
            return _error(request, 405, Refusal(text, code="method_not_supported"), {"allow": allowed})
        key = request.headers.get("authorization", "").removeprefix("Bearer ") or request.headers.get("api-key", "")
        if not self._any_key and key != self.api_key:
            text = "Incorrect API key provided." if key else "You didn't provide an API key."
            return _error(request, 401, Refusal(text, code="invalid_api_key"))
        if allowed == "GET":
            return raw(200, {"content-type": "application/json"}, json.dumps(_MODELS).encode()).respond(request)
        if unreadable is not None:
            text = f"We could not parse the JSON body of your request. ({unreadable})"
            return self._refuse(request, Refusal(text))
        if self._strict:
            if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
                return self._refuse(request, Refusal("Unsupported content type; send 'application/json'."))
            try:
                refusal = next(refusals(request.json, extra_fields=self._extra_fields), None)
            except RecursionError:
                refusal = Refusal("The body is nested too deeply.")
            if refusal is not None:
                return self._refuse(request, refusal)
        return None

    def _refuse(self, request: Request, refusal: Refusal) -> Response:
        where = f" (param {refusal.param})" if refusal.param else ""
        self.problems.append(f"request {request.number} was refused: {refusal.message}{where}")
        return _error(request, 400, refusal)

    def _scripted(self, request: Request) -> Response:
        try:
            step = self._next(request) if callable(self._next) else next(self._next, None)
            if step is not None:
                return as_item(step).respond(request)
            problem = f"the script is over: request {request.number} has no item left"
        except Exception as error:  # whatever a script raises is told to its test
            problem = f"the script failed at request {request.number}: {type(error).__name__}: {error}"
        self.problems.append(problem)
        return _error(request, 500, Refusal(problem, code="script"), {"x-should-retry": "false"})


_MODELS: Final[dict[str, Any]] = {
    "object": "list",
    "data": [{"id": "fake-model", "object": "model", "created": CREATED, "owned_by": "agentkit"}],
}


def _error(request: Request, code: int, refusal: Refusal, headers: dict[str, str] | None = None) -> Response:
    body = error_body(code, refusal.message, param=refusal.param, code=refusal.code)
    fields = {"content-type": "application/json", "x-request-id": f"req_{request.number}", **(headers or {})}
    return raw(code, fields, json.dumps(body).encode()).respond(request)
