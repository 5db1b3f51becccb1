"""POST /v1/chat/completions: from bytes to bytes, for a client that may leave, dawdle, or wait for long."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import anyio

from agentkit._json import dumps
from agentkit.clock import clock
from agentkit.messages import Usage
from agentkit.serve.faults import Refused, cut_off, refused
from agentkit.serve.preparing import job_of
from agentkit.serve.replies import DONE, PING, Chunks, Head, Outcome, Piece, choices_of, error_event
from agentkit.serve.request import read_json, read_request
from agentkit.serve.running import perform
from agentkit.serve.service import Line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
    from starlette.types import Receive, Scope, Send

    from agentkit.serve.limits import ServeLimits
    from agentkit.serve.request import ChatRequest
    from agentkit.serve.running import Job
    from agentkit.serve.service import Service, Slots

_AHEAD: Final = 64
"""How many pieces may wait for a client that reads slowly before the run waits too."""
_STREAM: Final = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
)


class Left(Exception):  # it is what happened
    """The client has gone, or reads nothing."""


@dataclass(slots=True)
class Told:
    """What a run has to say, for one choice: a piece, its outcome, or the error that it ended with."""

    index: int
    what: Piece | Outcome | BaseException


class ChatCompletions:
    """The endpoint, as an ASGI application."""

    def __init__(self, service: Service) -> None:
        self.service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        request_id = f"req_{clock.get().new_id()}"
        line = Line(scope["method"], scope["path"], request_id)
        client = Client(receive, send, self.service.limits, request_id)
        try:
            await self._answer(scope, client, line)
        except Left:
            line.say(left=True)
        except Refused as error:
            line.fail(error)
            await client.refuse(error)
        except Exception as error:
            problem = refused(error, acted=True)
            line.fail(problem)
            await client.refuse(problem)
        finally:
            line.write()

    async def _answer(self, scope: Scope, client: Client, line: Line) -> None:
        service, limits = self.service, self.service.limits
        caller, digest = service.admit(scope, line)
        body = await client.body(caller.headers)
        request = read_request(read_json(body, limits), limits)
        served = service.find(request.model)
        line.say(model=request.model, stream=request.stream, n=request.n)
        job = job_of(service, served, request, caller, digest)
        head = Head(f"chatcmpl-{clock.get().new_id()}", int(time.time()), request.model, served.fingerprint)
        with service.running(request.n) as slots:
            outcomes = await _Answering(job, request, head, client, slots).run()
        usage = sum((outcome.usage for outcome in outcomes), Usage())
        line.say(
            status=200,
            finish_reason=",".join(outcome.finish_reason or "" for outcome in outcomes),
            steps=sum(outcome.steps for outcome in outcomes),
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
        )


class Client:
    """The client's end of the line."""

    def __init__(self, receive: Receive, send: Send, limits: ServeLimits, request_id: str) -> None:
        self._receive = receive
        self._send = send
        self.limits = limits
        self._id = request_id.encode()
        self.has_begun = False
        self.has_ended = False

    async def body(self, headers: Any) -> bytes:
        """The body of the request. Raises Refused."""
        most = self.limits.body_bytes
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":  # a form of another site would be sent without asking
            raise Refused(415, "The body has to be application/json.", code="unsupported_media_type")
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise Refused(415, "The body may not be compressed.", code="unsupported_media_type")
        length = headers.get("content-length", "0")
        pieces, size = [b""], int(length) if length.isdigit() else 0
        try:
            with anyio.fail_after(self.limits.body_s):
                more = size <= most
                size = 0 if more else size
                while more:
                    message = await self._receive()
                    if message["type"] == "http.disconnect":
                        raise Left
                    pieces.append(message.get("body", b""))
                    size += len(pieces[-1])
                    more = message.get("more_body", False) and size <= most
        except TimeoutError:
            raise Refused(408, "The body did not come in time.", code="request_timeout") from None
        if size > most:
            raise Refused(413, f"The body has more than {most} bytes.", code="request_too_large")
        return b"".join(pieces)

    async def leave(self) -> None:
        """Return when the client has gone."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def whole(self, status: int, data: Any, headers: Iterator[tuple[bytes, bytes]] | tuple[()] = ()) -> None:
        """Answer in one piece."""
        body = dumps(data)
        sent = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"x-request-id", self._id),
            *headers,
        ]
        await self._sent({"type": "http.response.start", "status": status, "headers": sent})
        self.has_begun = self.has_ended = True
        await self._sent({"type": "http.response.body", "body": body})

    async def begin(self) -> None:
        """Begin a stream."""
        headers = [*_STREAM, (b"x-request-id", self._id)]
        await self._sent({"type": "http.response.start", "status": 200, "headers": headers})
        self.has_begun = True

    async def tell(self, data: bytes, *, more: bool = True) -> None:
        """Send a part of a stream. Raises Left if the client reads nothing."""
        self.has_ended = not more
        await self._sent({"type": "http.response.body", "body": data, "more_body": more})

    async def refuse(self, error: Refused) -> None:
        """Answer with an error, also in the middle of a stream."""
        try:
            if self.has_begun:
                await self.tell(error_event(error.body), more=False)
                return
            headers = ((name.encode(), value.encode()) for name, value in error.headers.items())
            await self.whole(error.status, error.body, headers)
        except Left:
            pass

    async def _sent(self, message: dict[str, Any]) -> None:
        try:
            with anyio.fail_after(self.limits.write_s):
                await self._send(message)
        except (TimeoutError, OSError):
            raise Left from None


@dataclass(slots=True)
class _Answering:
    """The runs of one request, side by side, and what is sent of them."""

    job: Job
    request: ChatRequest
    head: Head
    client: Client
    slots: Slots
    outcomes: dict[int, Outcome] = field(default_factory=dict[int, Outcome])
    failure: BaseException | None = None

    async def run(self) -> list[Outcome]:
        """Run, and answer. Raises Refused, Left, or what a run failed with."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._watch, tasks.cancel_scope)
            try:
                await self._perform()
            except Exception as error:  # it comes out as itself, not in a group
                self.failure = self.failure or error
            tasks.cancel_scope.cancel()
        if self.failure is not None:
            raise self.failure
        return [self.outcomes[index] for index in sorted(self.outcomes)]

    async def _watch(self, scope: anyio.CancelScope) -> None:
        await self.client.leave()
        if not self.client.has_ended:  # after an answer the server says so as well
            self.failure = Left()
            scope.cancel()

    async def _perform(self) -> None:
        sending, receiving = anyio.create_memory_object_stream[Told](_AHEAD)
        async with anyio.create_task_group() as tasks:
            with sending, receiving:
                for index in range(self.request.n):
                    tasks.start_soon(self._one, index, sending.clone())
                sending.close()
                try:
                    if self.request.stream:
                        await self._stream(receiving)
                    else:
                        await self._whole(receiving)
                except Exception as error:
                    self.failure = error
                tasks.cancel_scope.cancel()

    async def _one(self, index: int, sending: MemoryObjectSendStream[Told]) -> None:
        async def tell(piece: Piece) -> None:
            await sending.send(Told(index, piece))

        with sending:
            try:
                outcome: Outcome | BaseException = await perform(self.job, tell if self.request.stream else None)
            except Exception as error:
                outcome = error
            self.slots.free()
            await sending.send(Told(index, outcome))

    async def _whole(self, receiving: MemoryObjectReceiveStream[Told]) -> None:
        async for told in receiving:
            self._note(told)
        self._check_cut()
        await self.client.whole(200, self.head.completion([self.outcomes[i] for i in range(self.request.n)]))

    async def _stream(self, receiving: MemoryObjectReceiveStream[Told]) -> None:
        chunks = Chunks(self.head, include_usage=self.request.include_usage)
        begun: set[int] = set()
        while len(self.outcomes) < self.request.n:
            told = None
            with anyio.move_on_after(self.client.limits.ping_s):
                told = await receiving.receive()
            if told is not None:
                self._note(told)  # before anything is sent, so that an early failure has its own status
                if not self.client.has_begun and _says_nothing(told):
                    continue
            if not self.client.has_begun:
                await self.client.begin()
            if told is None:
                await self.client.tell(PING)
            else:
                await self._tell([told, *_waiting(receiving)], chunks, begun)
        self._check_cut()
        if self.request.include_usage:
            usage = sum((outcome.usage for outcome in self.outcomes.values()), Usage())
            await self.client.tell(chunks.usage(usage))
        await self.client.tell(DONE, more=False)

    async def _tell(self, together: list[Told], chunks: Chunks, begun: set[int]) -> None:
        """Send what there is at once: where much goes on, sending takes the most."""
        data: list[bytes] = []
        try:
            for told in together:
                self._note(told)
                if told.index not in begun:
                    begun.add(told.index)
                    data.append(chunks.begin(told.index))
                data += _data(chunks, told)
        finally:
            if data:
                await self.client.tell(b"".join(data))

    def _note(self, told: Told) -> None:
        if isinstance(told.what, BaseException):
            raise told.what
        if isinstance(told.what, Outcome):
            self.outcomes[told.index] = told.what

    def _check_cut(self) -> None:
        """Raise Refused if a run was ended before it was done."""
        outcomes = [self.outcomes[index] for index in range(self.request.n)]
        if all(outcome.finish_reason for outcome in outcomes):
            return
        is_kept = any(outcome.state or outcome.finish_reason for outcome in outcomes)
        choices = choices_of(outcomes) if is_kept and not self.request.stream else None
        raise cut_off(acted=any(outcome.acted for outcome in outcomes), is_kept=is_kept, choices=choices)


def _says_nothing(told: Told) -> bool:
    """Whether it is the outcome of a run that was ended before it did anything."""
    return isinstance(told.what, Outcome) and told.what.finish_reason is None and told.what.state is None


def _waiting(receiving: MemoryObjectReceiveStream[Told]) -> Iterator[Told]:
    while True:
        try:
            yield receiving.receive_nowait()
        except (anyio.WouldBlock, anyio.EndOfStream):
            return


def _data(chunks: Chunks, told: Told) -> Iterator[bytes]:
    if isinstance(told.what, Piece):
        yield chunks.piece(told.index, told.what)
    elif isinstance(told.what, Outcome):
        yield from chunks.end(told.index, told.what)
