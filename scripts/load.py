"""Many streaming clients at once, of a bare model and of a served agent: what serving adds, and what it leaves.

`python scripts/load.py [--clients 200] [--seconds 10] [--pieces-per-s 5]`; each part is a process of its own: the
model, the server, the clients. An answer has 20 pieces, each of which says when it was sent. One client in ten leaves
in the middle of each answer, one in five has the agent run a tool first. At the end nobody may have starved, no run may
be left, and the server may not have grown. With LOAD_FAST=1 the agent asks its model by way of the extra `fast`.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import random
import re
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import Any, Final, Self

ROOT: Final = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

PIECES: Final = 20
GROWTH_KB: Final = 8192
"""What the server may grow by after the first third: the allocator's own ways take some."""
WORK: Final = "look first"
SENT: Final = re.compile(rb'"content": ?"(\d+\.\d+) ')


# The processes


def listen(app: Any) -> None:
    """Serve an application on a free port, which uvicorn says."""
    import uvicorn

    uvicorn.run(app, port=0, access_log=False, ws="none", lifespan="off", backlog=4096)


def model(pieces_per_s: float) -> None:
    """Be the model."""

    async def app(_: Any, receive: Any, send: Any) -> None:
        body = b""
        while (message := await receive()).get("more_body"):
            body += message["body"]
        asked = json.loads(body + message["body"])["messages"]
        started = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]}
        await send(started)

        async def tell(delta: dict[str, Any], reason: str | None = None) -> None:
            choice = {"index": 0, "delta": delta, "finish_reason": reason}
            data = json.dumps({"id": "x", "object": "chat.completion.chunk", "choices": [choice]}).encode()
            await send({"type": "http.response.body", "body": b"data: " + data + b"\n\n", "more_body": True})

        if WORK in str(asked) and asked[-1]["role"] == "user":
            function = {"name": "look", "arguments": "{}"}
            await tell({"tool_calls": [{"index": 0, "id": "c", "type": "function", "function": function}]})
            await tell({}, "tool_calls")
        else:
            for _ in range(PIECES):
                await asyncio.sleep(1 / pieces_per_s)
                await tell({"content": f"{time.monotonic():.6f} "})
            await tell({}, "stop")
        await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})

    listen(app)


def of_process() -> dict[str, int]:
    """What this process holds."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return {
        "files": len(list(Path("/proc/self/fd").iterdir())),
        "rss_kb": pages * os.sysconf("SC_PAGE_SIZE") // 1024,
    }


def server(url: str) -> None:
    """Be the server, which tells at /stats what it holds."""
    from agentkit import Agent, ChatModel, tool
    from agentkit.serve import ServeLimits, create_app

    @tool(inline=True)
    def look() -> str:
        """Look."""
        return "seen"

    fast: Any = {"http": "aiohttp"} if os.environ.get("LOAD_FAST") else {}
    agent = Agent(ChatModel("x", base_url=url, api_key="none", **fast), tools=[look], exchanges=False)

    served = create_app({"bot": agent}, limits=ServeLimits(runs=10_000))

    gc.collect()
    gc.freeze()  # as agentkit.serve.serve does

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] != "/stats":
            return await served(scope, receive, send)
        held = {"runs": served.state.agentkit.runs, "tasks": len(asyncio.all_tasks()), **of_process()}
        await send({"type": "http.response.start", "status": 200, "headers": []})
        return await send({"type": "http.response.body", "body": json.dumps(held).encode()})

    listen(app)


class Process:
    """One of the processes, and where it listens."""

    def __init__(self, *arguments: object) -> None:
        command = [sys.executable, __file__, *map(str, arguments)]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        lines = []
        while found := self.process.stderr.readline():
            lines.append(found)
            if address := re.search(r"http://127\.0\.0\.1:\d+", found):
                self.url = address[0]
                return
        raise RuntimeError("".join(lines))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.communicate(timeout=20)


# The clients


@dataclass
class Seen:
    """What the clients saw."""

    first_s: list[float] = field(default_factory=list)
    lag_s: list[float] = field(default_factory=list)
    answers: Counter[int] = field(default_factory=Counter)
    left: int = 0
    errors: Counter[str] = field(default_factory=Counter)


async def ask(url: str, number: int, seen: Seen, *, agent: bool) -> None:
    """Ask once, and read the answer, or leave in the middle of it. An HTTP client would be what is measured."""
    text = WORK if agent and number % 5 == 0 else "Hello"
    body = json.dumps({"model": "bot", "messages": [{"role": "user", "content": text}], "stream": True}).encode()
    host, port = url.removeprefix("http://").split(":")
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: {host}:{port}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
    )
    began, pieces = time.monotonic(), 0
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(head.encode() + body)
        async for line in reader:
            now = time.monotonic()
            sent = SENT.search(line)
            if b'"error"' in line:
                raise RuntimeError(line)
            if sent is None:
                continue
            seen.lag_s.append(now - float(sent[1]))
            pieces += 1
            if pieces == 1 and text != WORK:
                seen.first_s.append(now - began)
            if number % 10 == 1 and pieces == PIECES // 2:
                seen.left += 1
                return
    finally:
        writer.close()
    if pieces != PIECES:
        raise RuntimeError(f"{pieces} pieces")
    seen.answers[number] += 1


async def crowd(url: str, clients: int, seconds: float, spread_s: float, *, agent: bool) -> Seen:
    """So many clients, which come within `spread_s`; each asks again and again for so long."""
    seen = Seen()

    async def one(number: int) -> None:
        await asyncio.sleep(random.random() * spread_s)  # noqa: S311  # they do not come all at the same moment
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                await ask(url, number, seen, agent=agent)
            except Exception as error:
                seen.errors[repr(error)[:200]] += 1

    await asyncio.gather(*map(one, range(clients)))
    return seen


def held(url: str) -> dict[str, int]:
    """What the server holds, once it has let go of what it can."""
    import httpx

    known: dict[str, int] = {}
    for _ in range(100):  # a client that has left is noticed within a second
        known = httpx.get(f"{url}/stats", timeout=30).json()
        if not known["runs"]:
            break
        time.sleep(0.05)
    return known


def measure(clients: int, seconds: float, pieces_per_s: float) -> tuple[Seen, Seen, list[dict[str, int]]]:
    """What clients see of the bare model and of the agent; what the server holds before, after a third, at the end."""
    with Process("--model", pieces_per_s) as fake, Process("--server", f"{fake.url}/v1") as real:
        spread_s = PIECES / pieces_per_s
        bare = asyncio.run(crowd(fake.url, clients, seconds / 2, spread_s, agent=False))
        asyncio.run(crowd(real.url, clients, 1, spread_s, agent=True))
        holds = [held(real.url)]
        asyncio.run(crowd(real.url, clients, seconds / 3, spread_s, agent=True))
        holds.append(held(real.url))
        served = asyncio.run(crowd(real.url, clients, seconds * 2 / 3, spread_s, agent=True))
        holds.append(held(real.url))
    return bare, served, holds


def problems(clients: int, served: Seen, holds: list[dict[str, int]]) -> list[str]:
    """What is not as it should be."""
    found = [f"{count} times {error}" for error, count in served.errors.items()]
    stayed = [served.answers[number] for number in range(clients) if number % 10 != 1]
    if min(stayed) < median(stayed) / 2:
        found.append(f"a client had {min(stayed)} answers where others had {median(stayed)}")
    if holds[-1]["runs"]:
        found.append(f"{holds[-1]['runs']} runs are left")
    most = {"tasks": 10, "files": clients + 50, "rss_kb": holds[1]["rss_kb"] + GROWTH_KB}  # files: lines that are kept
    found += [
        f"{name}: {holds[-1][name]}, more than {bound}" for name, bound in most.items() if holds[-1][name] > bound
    ]
    return found


def ms(values: list[float], percent: int) -> float:
    """A percentile in milliseconds."""
    return quantiles(values, n=100)[percent - 1] * 1000


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--pieces-per-s", type=float, default=5)
    parser.add_argument("--model", type=float)
    parser.add_argument("--server")
    asked = parser.parse_args()
    if asked.model:
        return model(asked.model)
    if asked.server:
        return server(asked.server)
    bare, served, holds = measure(asked.clients, asked.seconds, asked.pieces_per_s)
    print("| ms | bare p50 | bare p99 | served p50 | served p99 | added p50 | added p99 |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name, of in (("first piece", "first_s"), ("a piece, from its sending", "lag_s")):
        four = [ms(getattr(seen, of), percent) for seen in (bare, served) for percent in (50, 99)]
        print(f"| {name} | {' | '.join(f'{each:.1f}' for each in (*four, four[2] - four[0], four[3] - four[1]))} |")
    print(f"{sum(served.answers.values())} answers, {served.left} left in the middle; held: {holds}")
    found = problems(asked.clients, served, holds)
    print("\n".join(found) or "nobody starved, nothing is left")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
