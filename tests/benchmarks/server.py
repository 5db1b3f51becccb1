"""A Chat Completions endpoint on this machine that answers the same each time and costs next to nothing.

The model's name is the scenario, as `Task.model` spells it: how many rounds of calls come before the answer, and how it
is streamed. Which round it is, the tool messages in the request tell, so the server keeps no state.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from functools import cache
from typing import Any, NamedTuple

MODEL = re.compile(rb'"model":\s*"([^"=]*=[^"]*)"')
TOOL_MESSAGE = re.compile(rb'"role":\s*"tool"')
STREAMED = re.compile(rb'"stream":\s*true')
LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


class Scenario(NamedTuple):
    """`rounds` of `calls` calls, each with `args_bytes` of arguments; then a text of `tokens` tokens.

    Streamed, the arguments come in `pieces`, which take `args_ms` in all for a call, and a token takes `token_ms`.
    """

    rounds: int = 1
    calls: int = 1
    args_bytes: int = 40
    tokens: int = 20
    pieces: int = 4
    args_ms: int = 0
    token_ms: int = 0

    @classmethod
    def of(cls, model: str) -> Scenario:
        return cls(**{name: int(value) for name, _, value in (word.partition("=") for word in model.split(","))})

    @property
    def model(self) -> str:
        return ",".join(f"{name}={value}" for name, value in self._asdict().items())

    @property
    def text(self) -> str:
        return "".join(token(place) for place in range(self.tokens))

    def arguments(self, turn: int, call: int) -> str:
        empty = json.dumps({"key": f"k{turn}_{call}", "pad": ""})
        return f"{empty[:-2]}{'x' * (self.args_bytes - len(empty))}{empty[-2:]}"


def token(place: int) -> str:
    return f"tok{place % 10} "


def _call(scenario: Scenario, turn: int, place: int, arguments: str) -> dict[str, Any]:
    function = {"name": "lookup", "arguments": arguments}
    return {"id": f"call_{turn}_{place}", "type": "function", "function": function}


def _head(kind: str, turn: int) -> dict[str, Any]:
    return {"id": f"chatcmpl-{turn}", "object": kind, "created": 1_790_000_000, "model": "bench"}


def _usage(scenario: Scenario, turn: int) -> dict[str, Any]:
    count = scenario.tokens if turn >= scenario.rounds else 7 * scenario.calls
    return {
        "prompt_tokens": 11 + turn,
        "completion_tokens": count,
        "total_tokens": 11 + turn + count,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }


@cache
def whole(scenario: Scenario, turn: int) -> bytes:
    """The HTTP answer of a turn."""
    message: dict[str, Any] = {"role": "assistant", "content": None}
    reason = "stop"
    if turn < scenario.rounds:
        places = range(scenario.calls)
        message["tool_calls"] = [_call(scenario, turn, i, scenario.arguments(turn, i)) for i in places]
        reason = "tool_calls"
    else:
        message["content"] = scenario.text
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
    body = json.dumps({**_head("chat.completion", turn), "choices": [choice], "usage": _usage(scenario, turn)}).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)


@cache
def streamed(scenario: Scenario, turn: int) -> list[tuple[float, bytes]]:
    """The same as a stream, one event a chunk: what is written, and how many seconds after what stands before it."""
    parts: list[tuple[float, bytearray]] = [(0.0, bytearray(b"HTTP/1.1 200 OK\r\n"))]
    parts[0][1].extend(b"content-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")

    def tell(delta: dict[str, Any], *, reason: str | None = None, after_s: float = 0.0) -> None:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        add({**_head("chat.completion.chunk", turn), "choices": [choice], "usage": None}, after_s)

    def add(value: Any, after_s: float = 0.0) -> None:
        event = b"data: %s\n\n" % (
            value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()
        )
        if after_s:
            parts.append((after_s, bytearray()))
        parts[-1][1].extend(b"%x\r\n%s\r\n" % (len(event), event))

    tell({"role": "assistant", "content": ""})
    if turn < scenario.rounds:
        for i in range(scenario.calls):
            tell({"tool_calls": [{"index": i, **_call(scenario, turn, i, "")}]})
            arguments = scenario.arguments(turn, i)
            size = -(-len(arguments) // scenario.pieces)
            starts = range(0, len(arguments), size)
            for at in starts:
                piece = {"index": i, "function": {"arguments": arguments[at : at + size]}}
                tell({"tool_calls": [piece]}, after_s=scenario.args_ms / 1000 / len(starts))
        tell({}, reason="tool_calls")
    else:
        for place in range(scenario.tokens):
            tell({"content": token(place)}, after_s=scenario.token_ms / 1000)
        tell({}, reason="stop")
    add({**_head("chat.completion.chunk", turn), "choices": [], "usage": _usage(scenario, turn)})
    add(b"[DONE]")
    parts[-1][1].extend(b"0\r\n\r\n")
    return [(after_s, bytes(data)) for after_s, data in parts]


class Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self._buffer = bytearray()
        self._transport: Any = None
        self._talking: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._transport.set_write_buffer_limits(high=1 << 26)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._talking is not None:
            self._talking.cancel()

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        head = buffer.find(b"\r\n\r\n")
        if head >= 0 and (length := LENGTH.search(buffer, 0, head)) and len(buffer) >= head + 4 + int(length[1]):
            body = bytes(buffer[head + 4 :])
            buffer.clear()
            self._answer(body)

    def _answer(self, body: bytes) -> None:
        named = MODEL.search(body)
        assert named is not None, body[:200]
        scenario = Scenario.of(named[1].decode())
        turn = len(TOOL_MESSAGE.findall(body)) // scenario.calls
        if not STREAMED.search(body):
            self._transport.write(whole(scenario, turn))
        else:
            self._talking = asyncio.get_running_loop().create_task(self._talk(streamed(scenario, turn)))

    async def _talk(self, parts: list[tuple[float, bytes]]) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        for after_s, data in parts:
            due += after_s
            if (left := due - loop.time()) > 0:
                await asyncio.sleep(left)
            self._transport.write(data)


async def serve() -> None:
    """Serve until standard input ends; the port stands on standard output."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Connection, "127.0.0.1", 0, backlog=2048)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve())
