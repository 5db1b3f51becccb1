"""Answers that are played, and answers that are heard: what stands in the place of one that comes over the wire."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Self

import anyio
import anyio.lowlevel

from agentkit import errors
from agentkit._http import AsyncResponse, Response
from agentkit.errors import EndpointError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from types import TracebackType

    from agentkit._http import Aborter
    from agentkit.testing.cassette import Recorded


class Played(Response):
    """A recorded answer."""

    def __init__(self, recorded: Recorded, pace: float, aborter: Aborter | None) -> None:
        self._recorded = recorded
        self._pace = pace
        self._aborter = aborter
        self._cut = threading.Event()
        self._began = time.monotonic()

    def __enter__(self) -> Self:
        if self._aborter is not None:
            self._aborter.hold(self)
        if self._recorded.status is None:
            self.__exit__(None, None, None)
            raise _error_from(self._recorded.error or {"type": "", "message": "no answer", "retryable": False})
        self.status, self.headers = self._recorded.status, dict(self._recorded.answer_headers)
        return self

    def pieces(self) -> Iterator[bytes]:
        """The body, in the pieces that it came in."""
        for at, piece in self._recorded.pieces:
            if self._pace:
                self._cut.wait(max(0.0, self._began + at * self._pace - time.monotonic()))
            if self._aborter is not None:
                self._aborter.check()
            yield piece
        if self._recorded.error is not None:
            raise _error_from(self._recorded.error)

    def cut(self) -> None:
        """Ends a wait, from any thread."""
        self._cut.set()

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._aborter is not None:
            self._aborter.release(self)


class Heard(Response):
    """An answer that is written down as it comes."""

    def __init__(self, recorded: Recorded, inner: Response) -> None:
        self._recorded = recorded
        self._inner = inner
        self._began = time.monotonic()

    def __enter__(self) -> Self:
        try:
            self._inner.__enter__()
        except EndpointError as error:
            self._recorded.error = _error_data(error)
            raise
        self.status, self.headers = self._inner.status, self._inner.headers
        _head(self._recorded, self.status, self.headers)
        return self

    def pieces(self) -> Iterator[bytes]:
        """The body, in the pieces that it comes in."""
        try:
            for piece in self._inner.pieces():
                self._recorded.pieces.append((time.monotonic() - self._began, piece))
                yield piece
        except EndpointError as error:
            self._recorded.error = _error_data(error)
            raise

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._inner.__exit__(exc_type, exc, traceback)


class AsyncPlayed(AsyncResponse):
    """A recorded answer."""

    def __init__(self, recorded: Recorded, pace: float) -> None:
        self._recorded = recorded
        self._pace = pace
        self._began = time.monotonic()
        self._left = iter(recorded.pieces)

    async def __aenter__(self) -> Self:
        await anyio.lowlevel.checkpoint()
        if self._recorded.status is None:
            raise _error_from(self._recorded.error or {"type": "", "message": "no answer", "retryable": False})
        self.status, self.headers = self._recorded.status, dict(self._recorded.answer_headers)
        return self

    async def __anext__(self) -> bytes:
        for at, piece in self._left:
            if self._pace:
                await anyio.sleep(max(0.0, self._began + at * self._pace - time.monotonic()))
            return piece
        if self._recorded.error is not None:
            raise _error_from(self._recorded.error)
        raise StopAsyncIteration

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass


class AsyncHeard(AsyncResponse):
    """An answer that is written down as it comes."""

    def __init__(self, recorded: Recorded, inner: AsyncResponse) -> None:
        self._recorded = recorded
        self._inner = inner
        self._began = time.monotonic()

    async def __aenter__(self) -> Self:
        try:
            await self._inner.__aenter__()
        except EndpointError as error:
            self._recorded.error = _error_data(error)
            raise
        self.status, self.headers = self._inner.status, self._inner.headers
        self._pieces: AsyncIterator[bytes] = self._inner.pieces()
        _head(self._recorded, self.status, self.headers)
        return self

    async def __anext__(self) -> bytes:
        try:
            piece = await self._pieces.__anext__()
        except EndpointError as error:
            self._recorded.error = _error_data(error)
            raise
        self._recorded.pieces.append((time.monotonic() - self._began, piece))
        return piece

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._inner.__aexit__(exc_type, exc, traceback)


def _head(recorded: Recorded, status: int, headers: dict[str, str]) -> None:
    # What is kept of the body is neither compressed nor framed.
    framing = ("content-encoding", "transfer-encoding", "content-length")
    recorded.status = status
    recorded.answer_headers = {name: value for name, value in headers.items() if name not in framing}


def _error_data(error: EndpointError) -> dict[str, Any]:
    return {"type": type(error).__name__, "message": str(error), "retryable": error.retryable}


def _error_from(known: dict[str, Any]) -> EndpointError:
    kind = getattr(errors, known["type"], EndpointError)
    made: EndpointError = kind(known["message"], retryable=known["retryable"])
    return made
