"""Serves the wire cases on loopback, and compares what a client or a run made of one with what is right."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import email.utils
import gzip
import json
import re
import socket
import struct
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

HERE = Path(__file__).parent
API_KEY = "sk-test-0123456789abcdefSECRET"
FINAL_TEXT = "done"

_TEXT, _INT = {"type": "string"}, {"type": "integer"}


def _parameters(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


TOOLS = {
    "get_weather": _parameters(city=_TEXT),
    "add": _parameters(a=_INT, b=_INT),
    "ping": _parameters(),
    "tag": _parameters(labels={"type": "array", "items": _TEXT}),
    "write_file": _parameters(path=_TEXT, content=_TEXT),
}


def load(pattern: str = "*.json") -> list[dict[str, Any]]:
    return [json.loads(path.read_text("utf-8")) for path in sorted(HERE.glob(pattern))]


def body_bytes(case: dict[str, Any]) -> bytes:
    raw = base64.b64decode(case["body_b64"]) if "body_b64" in case else case["body"].encode()
    raw = raw.replace(b"{{api_key}}", API_KEY.encode())
    return gzip.compress(raw) if case.get("encode") == "gzip" else raw


def pieces(case: dict[str, Any], raw: bytes) -> list[bytes]:
    split = case.get("split") or []
    cuts = list(range(len(raw) + 1)) if split == "every_byte" else [0, *split, len(raw)]
    return [raw[start:end] for start, end in pairwise(cuts) if start < end]


def wants_stream(case: dict[str, Any]) -> bool:
    return case.get("request", {}).get("stream", case["kind"] == "sse")


def outcomes(case: dict[str, Any]) -> list[dict[str, Any]]:
    return case["expect"].get("any_of", [case["expect"]])


def filled_in(text: str) -> str:
    def value(found: re.Match[str]) -> str:
        moment = time.time() + int(found[2])
        return email.utils.formatdate(moment, usegmt=True) if found[1] == "http_date" else str(int(moment * 1000))

    return re.sub(r"\{\{(http_date|epoch_ms):([+-]\d+)\}\}", value, text).replace("{{api_key}}", API_KEY)


def headers_of(case: dict[str, Any]) -> dict[str, str]:
    return {name.lower(): filled_in(value) for name, value in case["headers"].items()}


def final_answer(*, stream: bool) -> tuple[dict[str, str], bytes]:
    head = {"id": "f", "object": "chat.completion", "created": 1, "model": "m"}
    if not stream:
        message = {"role": "assistant", "content": FINAL_TEXT}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return {"content-type": "application/json"}, json.dumps({**head, "choices": [choice], "usage": usage}).encode()
    head["object"] = "chat.completion.chunk"
    choices = [
        {"index": 0, "delta": {"role": "assistant", "content": FINAL_TEXT}, "finish_reason": None},
        {"index": 0, "delta": {}, "finish_reason": "stop"},
    ]
    events = "".join(f"data: {json.dumps({**head, 'choices': [choice]})}\n\n" for choice in choices)
    return {"content-type": "text/event-stream"}, f"{events}data: [DONE]\n\n".encode()


class Server:
    """Serves one case. The first request gets it, the next ones `then`, then a plain answer.

    A case without tool calls and without `sequence` is served to every request, so that a client that tries again meets
    the same fault. `requests` holds path, headers and parsed body of each.
    """

    def __init__(self, case: dict[str, Any]) -> None:
        self.case = case
        self.api_key = API_KEY
        self.requests: list[tuple[str, dict[str, str], Any]] = []
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *exc: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._handle, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in head[1:] if ": " in line)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                path = head[0].split(" ")[1]
                self.requests.append((path, headers, _json(body)))
                if not await self._answer(len(self.requests) - 1, path, writer):
                    break
        writer.close()

    def _pick(self, number: int, path: str) -> str:
        """Which answer a request gets: "case", "final", or the body itself."""
        if path.endswith("/again"):
            return "final"
        if number == 0:
            return "case"
        if number <= len(then := self.case.get("then", [])):
            return then[number - 1]
        called = {outcome.get("loop") for outcome in outcomes(self.case)} & {"run_tools", "tool_error"}
        return "final" if called or self.case.get("sequence") == "then_final" else "case"

    async def _answer(self, number: int, path: str, writer: asyncio.StreamWriter) -> bool:
        picked, case = self._pick(number, path), self.case
        sent = self.requests[number][2]
        streamed = bool(sent and sent.get("stream"))
        status, end = 200, "close"
        if picked == "case":
            status, end = case["status"], case.get("end", "close")
            headers, raw = {name: filled_in(value) for name, value in case["headers"].items()}, body_bytes(case)
            parts = pieces(case, raw)
            if case.get("encode") == "gzip":
                headers["content-encoding"] = "gzip"
        else:
            json_body = ({"content-type": "application/json"}, picked.encode())
            headers, raw = final_answer(stream=streamed) if picked == "final" else json_body
            parts = [raw]
        if end == "reset_before_headers":
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            return False
        if end == "hang_before_headers":
            await asyncio.sleep(60)
            return False
        chunked = case["kind"] == "sse" if picked == "case" else picked == "final" and streamed
        headers.update({"transfer-encoding": "chunked"} if chunked else {"content-length": str(len(raw))})
        if status in (204, 304):
            headers, parts, chunked = case["headers"], [], False
        head = f"HTTP/1.1 {status} X\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        writer.write(f"{head}\r\n".encode("latin-1"))
        for part in parts:
            writer.write(_frame(part, chunked=chunked))
            await writer.drain()
            await asyncio.sleep(0)
        return await self._finish(end, raw, writer, chunked=chunked)

    async def _finish(self, end: str, raw: bytes, writer: asyncio.StreamWriter, *, chunked: bool) -> bool:
        """Does what comes after the body; returns whether the connection stays open."""
        match end:
            case "repeat_body":
                for _ in range(300):
                    await asyncio.sleep(self.case["repeat_every_ms"] / 1000)
                    writer.write(_frame(raw, chunked=chunked))
                    await writer.drain()
            case "hang":
                await asyncio.sleep(60)
            case "cut":
                await asyncio.sleep(0.05)
            case _:
                writer.write(b"0\r\n\r\n" if chunked else b"")
                await writer.drain()
                return True
        return False


def _frame(part: bytes, *, chunked: bool) -> bytes:
    return b"%x\r\n%s\r\n" % (len(part), part) if chunked else part


def _json(text: bytes | str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


# What one model call made of a case


def compare_client(case: dict[str, Any], observed: dict[str, Any]) -> list[str]:
    """What is wrong. `observed` has text, streamed_text (the deltas joined, or None), reasoning, refusal,
    finish_reason, usage {input, output, total, cached, reasoning}, tool_calls [{id, name, arguments}], or
    error {class, retryable, retry_after, message}."""
    problems = min((_compare(outcome, observed) for outcome in outcomes(case)), key=len)
    message = str((observed.get("error") or {}).get("message", ""))
    if len(message) > case.get("max_message_chars", 10_000):
        problems.append("the error's message is not capped")
    return problems


def _compare(expect: dict[str, Any], observed: dict[str, Any]) -> list[str]:
    if "error" in expect:
        return list(_compare_error(expect, observed))
    if error := observed.get("error"):
        return [f"unexpected error {error}"]
    problems = [
        f"{name} {observed.get(name)!r}, want {expect[name]!r}"
        for name in ("reasoning", "refusal")
        if expect.get(name) is not None and (observed.get(name) or "") != expect[name]
    ]
    text = observed.get("text") or ""
    if text != expect.get("text", ""):
        problems.append(f"text {text!r}, want {expect.get('text', '')!r}")
    if observed.get("streamed_text") not in (None, expect.get("text", "")):
        problems.append(f"the deltas make {observed['streamed_text']!r}, want {expect.get('text', '')!r}")
    if "finish_reason" in expect and not _one_of(expect["finish_reason"], observed.get("finish_reason")):
        problems.append(f"finish_reason {observed.get('finish_reason')!r}, want {expect['finish_reason']!r}")
    if "usage" in expect and not _same_usage(expect["usage"], observed.get("usage")):
        problems.append(f"usage {observed.get('usage')!r}, want {expect['usage']!r}")
    return problems + list(_compare_calls(expect.get("tool_calls", []), observed.get("tool_calls") or []))


def _compare_error(expect: dict[str, Any], observed: dict[str, Any]) -> Any:
    want, got = expect["error"], observed.get("error")
    if not got:
        yield f"success, want error {want['class']}"
        return
    if not _one_of(want["class"], got["class"]):
        yield f"error class {got['class']!r}, want {want['class']!r}"
    if want.get("retryable", "any") not in ("any", got["retryable"]):
        yield f"retryable {got['retryable']!r}, want {want['retryable']!r}"
    after = want.get("retry_after")
    if after is not None:
        about, tolerance = (after["about"], after["tolerance"]) if isinstance(after, dict) else (after, 0.01)
        if got["retry_after"] is None or abs(got["retry_after"] - about) > tolerance:
            yield f"retry_after {got['retry_after']!r}, want {about}"
    elif got["retry_after"] is not None and not 0 <= got["retry_after"] < 1e9:
        yield f"retry_after {got['retry_after']!r} cannot be waited for"
    if want.get("message_contains", "").lower() not in got["message"].lower():
        yield f"the message lacks {want['message_contains']!r}: {got['message']!r}"
    secret = filled_in(want.get("message_not_contains", ""))
    if secret and secret in got["message"]:
        yield "the message shows the secret"
    partial = expect.get("partial_text")
    if None not in (partial, observed.get("streamed_text")) and observed["streamed_text"] != partial:
        yield f"streamed {observed['streamed_text']!r} before the error, want {partial!r}"


def _compare_calls(want: list[dict[str, Any]], got: list[dict[str, Any]]) -> Any:
    if len(want) != len(got):
        yield f"{len(got)} tool calls, want {len(want)}: {got}"
    if not all(isinstance(call["id"], str) and call["id"] for call in got):
        yield f"tool call ids not all nonempty strings: {got}"
    for wanted, call in zip(want, got, strict=False):
        for name, free in (("name", None), ("id", "any")):
            if wanted[name] not in (free, call[name]):
                yield f"tool {name} {call[name]!r}, want {wanted[name]!r}"
        if not wanted.get("arguments_invalid") and call["arguments"] != wanted["arguments"]:
            yield f"arguments {call['arguments']!r}, want {wanted['arguments']!r}"


def _one_of(want: Any, got: Any) -> bool:
    return got in want if isinstance(want, list) else got == want


def _same_usage(want: dict[str, int] | None, got: dict[str, int] | None) -> bool:
    if want is None:
        return not got or not any(got.values())
    return got is not None and all(got.get(name) == count for name, count in want.items())


# What a run made of a case


def compare_loop(case: dict[str, Any], observed: dict[str, Any], server: Server) -> list[str]:
    """What is wrong. `observed` has final_text, executed [(name, arguments)], error, seconds."""
    problems = min((_compare_run(case, outcome, observed, server) for outcome in outcomes(case)), key=len)
    if len(server.requests) > case.get("max_requests", 100):
        problems.append(f"{len(server.requests)} requests, at most {case['max_requests']}")
    if observed.get("seconds", 0) > case.get("max_seconds", 60):
        problems.append(f"took {observed['seconds']:.1f} s, at most {case['max_seconds']}")
    return problems


def _compare_run(case: dict[str, Any], expect: dict[str, Any], observed: dict[str, Any], server: Server) -> list[str]:
    ran = sorted(json.dumps(call, sort_keys=True) for call in observed.get("executed", []))
    if expect.get("loop") == "raise":
        return ([] if observed.get("error") else ["the run ended without an error"]) + [f"ran {call}" for call in ran]
    if observed.get("error"):
        return [f"the run failed: {observed['error']}"]
    text = observed.get("final_text") or ""
    if expect.get("loop") == "finish":
        return ([] if text == expect.get("text", "") else [f"final text {text!r}"]) + [f"ran {call}" for call in ran]
    problems = [] if text == FINAL_TEXT else [f"final text {text!r}, want {FINAL_TEXT!r}"]
    valid = [call for call in expect["tool_calls"] if not call.get("arguments_invalid") and call["name"] in TOOLS]
    calls = [[call["name"], call["arguments"]] for call in valid if expect["loop"] == "run_tools"]
    if "executions" in case:
        if len(ran) != case["executions"]:
            problems.append(f"{len(ran)} executions, want {case['executions']}")
    elif ran != sorted(json.dumps(call, sort_keys=True) for call in calls):
        problems.append(f"executed {ran}, want {calls}")
    bodies = [body for _, _, body in server.requests if body]
    if len(bodies) < 2:
        return [*problems, "no second request"]
    return problems + _next_request_problems(case, bodies[1]) + history_problems(bodies[-1])


def _next_request_problems(case: dict[str, Any], body: dict[str, Any]) -> list[str]:
    problems = []
    for check in case.get("next_request", []):
        value = _at(body, check["path"])
        other = _at(body, check.get("equals_path", check.get("not_equals_path", "messages")))
        right = [
            value is not KeyError,
            "equals" not in check or value == check["equals"],
            "json_equals" not in check or (isinstance(value, str) and _json(value) == check["json_equals"]),
            not check.get("nonempty") or bool(value),
            "type" not in check or isinstance(value, str),
            "equals_path" not in check or value == other,
            "not_equals_path" not in check or value != other,
        ]
        if not all(right):
            problems.append(f"the next request has {value!r} at {check['path']}, against {check}")
    return problems


def _at(document: Any, path: str) -> Any:
    try:
        for key in path.split("."):
            document = document[int(key)] if isinstance(document, list) else document[key]
    except (KeyError, IndexError, TypeError, ValueError):
        return KeyError
    return document


def history_problems(body: dict[str, Any]) -> list[str]:
    """What OpenAI would refuse: a call without exactly one result right after it, an orphan, arguments that are no
    text, a name out of bounds."""
    problems, pending = [], []
    for message in [*body.get("messages", []), {"role": "user"}]:
        if message.get("role") == "tool":
            if message.get("tool_call_id") in pending:
                pending.remove(message["tool_call_id"])
            else:
                problems.append(f"orphan tool message {message.get('tool_call_id')!r}")
            continue
        if pending:
            problems.append(f"calls without a result: {pending}")
        pending = [call.get("id") for call in message.get("tool_calls") or []]
        for call in message.get("tool_calls") or []:
            function = call.get("function") or {}
            if not isinstance(function.get("arguments"), str):
                problems.append("arguments sent back are not a string")
            if not re.fullmatch(r"[a-zA-Z0-9_.-]{1,128}", str(function.get("name"))):
                problems.append(f"name sent back {function.get('name')!r} is not acceptable")
    return problems
