"""The extra `fast`: async requests over connections of asyncio's own, read by aiohttp's parser.

Loaded by name only, for it brings aiohttp in. Proxies that the environment names are left to agentkit's usual way.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from agentkit._http.answer import all_headers
from agentkit._http.asynchronous import AsyncResponse
from agentkit._http.fast_answer import FastAnswer
from agentkit._http.fast_line import FastLine, dial_fast

if TYPE_CHECKING:
    from agentkit._http.answer import Route
    from agentkit._http.request import HttpRequest


class FastTransport:
    """Takes the place of agentkit's own connections, in one event loop of asyncio's."""

    def answer(self, route: Route, *args: Any) -> AsyncResponse:
        """A request to be entered, and then its answer."""
        return FastResponse(route, *args)

    async def aclose(self) -> None:
        """Give the event loop the turn in which it closes what was let go of."""
        await asyncio.sleep(0)


class FastResponse(AsyncResponse):
    """An answer over a connection of asyncio's own."""

    _answer: FastAnswer

    def __init__(self, route: Route, *args: Any) -> None:
        super().__init__(*args)
        self._route = route
        self._line: FastLine | None = None

    async def _open(self) -> None:
        head = _head(self._route, self._request)
        if not await self._ask_kept(head):
            self._line = await dial_fast(self._route.address, self._allowance)
            await self._ask(self._line, head)
        self._allowance.enter("read")
        self.status, self.headers = self._answer.status, self._answer.headers
        self._raw = self._answer

    async def _ask_kept(self, head: bytes) -> bool:
        """Whether a kept connection gave an answer. None has if all were dead before the request had left."""
        line: FastLine | None
        while (line := self._route.stack.take()) is not None:
            if line.is_alive():
                break
            line.close()
        else:
            return False
        self._line = line
        try:
            await self._ask(line, head)
        except Exception:
            if line.heard or not line.unsent:
                raise
            self._line = None
            line.close()
            return False
        return True

    async def _ask(self, line: FastLine, head: bytes) -> None:
        self._allowance.left()
        self._allowance.enter("first_byte")
        line.send(head, self._request.body, self._allowance)
        self._answer = FastAnswer(line, self._host, self._request.method, asyncio.get_running_loop())
        await self._answer.read_head()

    async def _stop(self, grace_s: float) -> None:
        if self._line is not None:
            self._line.leave(grace_s)

    async def _close(self, *, reusable: bool) -> None:
        line, self._line = self._line, None
        if line is None:
            return
        if not (reusable and self._answer.reusable and line.rest()):
            line.close()
        elif surplus := self._route.stack.put(line):
            surplus.close()


def _head(route: Route, request: HttpRequest) -> bytes:
    lines = [b"%b %b HTTP/1.1" % (request.method.encode("ascii"), route.address.path)]
    lines += [b"%b: %b" % header for header in all_headers(route.address, request)]
    return b"\r\n".join([*lines, b"", b""])
