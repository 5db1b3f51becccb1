"""A server on this machine that says, byte by byte, what a test wants said, and sees what its clients do."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import pytest
from anyio.from_thread import start_blocking_portal

from agentkit._http import AsyncHttp, HttpRequest, SyncHttp
from agentkit._http.llhttp import LlhttpParser
from tests.tiers import SOON_S

SIDES = ("sync", "asyncio", "trio")
FAST = "fast"
SIDES_AND_FAST = (*SIDES, FAST)
"""A session of the side "fast" is one on asyncio, with aiohttp's parser."""


@dataclass
class Limits:
    """What Timeouts will be, with short limits."""

    connect_s: float | None = 20
    first_byte_s: float | None = 20
    read_s: float | None = 20
    total_s: float | None = 60


class Request(NamedTuple):
    line: str
    headers: dict[str, str]
    body: bytes


class Peer:
    """One connection, seen from the server."""

    def __init__(self, sock: socket.socket, server: Server) -> None:
        self.sock = sock
        self.server = server
        self._buffer = bytearray()

    def request(self) -> Request | None:
        """The next request, or None once the client has hung up."""
        if not self._until(lambda: b"\r\n\r\n" in self._buffer):
            return None
        head = self._take(self._buffer.index(b"\r\n\r\n") + 4)[:-4]
        line, *fields = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, value in (field.split(": ", 1) for field in fields)}
        length = int(headers.get("content-length", 0))
        if not self._until(lambda: len(self._buffer) >= length):
            return None
        request = Request(line, headers, self._take(length))
        self.server.saw(request)
        return request

    def _take(self, count: int) -> bytes:
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken

    def _until(self, ready: Callable[[], bool]) -> bool:
        while not ready():
            try:
                data = self.sock.recv(65536)
            except OSError:
                data = b""
            if not data:
                return False
            self._buffer += data
        return True

    def send(self, *pieces: bytes) -> None:
        with contextlib.suppress(OSError):
            for piece in pieces:
                self.sock.sendall(piece)

    def reset(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()

    def wait_for_hangup(self) -> None:
        """Says nothing until the client is gone."""
        self._until(lambda: False)


class Server:
    """Runs `script` once for each connection, in a thread of its own."""

    def __init__(self, script: Callable[[Peer], Any], tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[Request] = []
        self.connections = 0
        self.go = threading.Event()  # for scripts that wait for the test
        self._script = script
        self._tls = tls
        self._changed = threading.Condition()
        self._open: set[Peer] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1000)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}/v1/chat/completions"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.go.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for peer in tuple(self._open):
            peer.close()
        assert self.wait_until(lambda: not self._open), "a script did not end"

    def wait_until(self, condition: Callable[[], bool], seconds: float = 20) -> bool:
        """Waits for a change in what clients did; whether it came."""
        with self._changed:
            return self._changed.wait_for(condition, seconds)

    def wait_for_requests(self, count: int) -> None:
        assert self.wait_until(lambda: len(self.requests) >= count), "not as many requests came"

    def all_hung_up(self, seconds: float = SOON_S) -> bool:
        """Whether no client holds a connection, at the latest after this time."""
        return self.wait_until(lambda: not self._open, seconds)

    def saw(self, request: Request) -> None:
        with self._changed:
            self.requests.append(request)
            self._changed.notify_all()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                peer = Peer(sock, self)
                with self._changed:
                    self.connections += 1
                    self._open.add(peer)
                    self._changed.notify_all()
                threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: Peer) -> None:
        try:
            with contextlib.suppress(OSError):
                if self._tls is not None:
                    peer.sock = self._tls.wrap_socket(peer.sock, server_side=True)
                self._script(peer)
        finally:
            peer.close()
            with self._changed:
                self._open.discard(peer)
                self._changed.notify_all()


@contextlib.contextmanager
def unanswered() -> Iterator[int]:
    """A port of this machine where connections do not come about: its queue is full, so it says nothing."""
    with socket.socket() as full, contextlib.ExitStack() as stack:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(4):
            sock = stack.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex(full.getsockname())
        yield full.getsockname()[1]


def answer(body: bytes = b"hello", *headers: str, status: str = "200 OK") -> bytes:
    """An answer whose length is told."""
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def chunked_head(*headers: str) -> bytes:
    return "\r\n".join(["HTTP/1.1 200 OK", "transfer-encoding: chunked", *headers, "", ""]).encode()


def chunk(data: bytes) -> bytes:
    """One chunk; the last one if it is empty."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def always(*reply: bytes) -> Callable[[Peer], None]:
    """A script that answers every request on a connection with the same bytes."""

    def script(peer: Peer) -> None:
        while peer.request() is not None:
            peer.send(*reply)

    return script


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    pieces: list[bytes]

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)


class Session:
    """A SyncHttp, or an AsyncHttp in a loop of its own, behind one interface."""

    def __init__(self, http: Any, client: Any, portal: Any) -> None:
        self.http = http
        self.client = client
        self.portal = portal

    def post(
        self, url: str, *, body: bytes = b"{}", headers: Any = None, limits: Limits | None = None, **options: Any
    ) -> Answer:
        request = HttpRequest(url, headers or {"authorization": "Bearer key"}, body)
        if self.portal is None:
            with self.http.open(request, limits or Limits(), **options) as response:
                return Answer(response.status, response.headers, list(response.pieces()))
        return self.portal.call(self._post, request, limits or Limits(), options)

    async def _post(self, request: HttpRequest, limits: Limits, options: dict[str, Any]) -> Answer:
        async with self.http.open(request, limits, **options) as response:
            return Answer(response.status, response.headers, [piece async for piece in response.pieces()])


@contextlib.contextmanager
def session(side: str, client: Any = None, **settings: Any) -> Iterator[Session]:
    """A session of one side. `client` is a module with httpx's interface: a client of its is given to the session."""
    if side == "sync":
        own = client and client.Client(trust_env=False, verify=False)
        http = SyncHttp(own, **settings)
        try:
            yield Session(http, own, None)
        finally:
            http.close()
            if own:
                own.close()
        return
    if side == FAST:
        if client:
            pytest.skip("a client of the caller's has no need of aiohttp")
        side, settings = "asyncio", {"parser": LlhttpParser, **settings}
    with start_blocking_portal(side) as portal:
        own = client and client.AsyncClient(trust_env=False, verify=False)
        async_http = AsyncHttp(own, **settings)
        try:
            yield Session(async_http, own, portal)
        finally:
            portal.call(async_http.aclose)
            if own:
                portal.call(own.aclose)
