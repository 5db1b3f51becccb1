"""One answer, for people and for scripts."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from pydantic_core import to_jsonable_python

from agentkit._json import dumps
from agentkit.cli.codes import DONE, PAUSED
from agentkit.cli.console import View, say
from agentkit.errors import AgentKitError, Cancelled
from agentkit.plain import plain

if TYPE_CHECKING:
    from agentkit.cli.choosing import Chosen
    from agentkit.pending import Decisions
    from agentkit.result import Result
    from agentkit.transcript import CallRecord, Transcript


def prompt_of(words: list[str]) -> str | None:
    """What is asked: the words, then what is piped in; None where there is neither."""
    given = " ".join(words)
    if given == "-":
        given = ""
    piped = "" if sys.stdin is None or sys.stdin.isatty() else sys.stdin.read().rstrip("\n")
    return "\n\n".join(filter(None, (given, piped))) or None


def run_once(
    chosen: Chosen, prompt: str | None, transcript: Transcript, decisions: Decisions | None, *, watch: bool
) -> Result[Any]:
    """The result; watched on the terminal if wanted. Raises what ends a run, with its transcript."""
    view = View() if watch else None
    stream = chosen.agent.stream_sync(prompt, **chosen.args(transcript, decisions))
    try:
        with view.watching() if view else nullcontext(), stream:
            for event in stream:
                if view:
                    view(event)
    except KeyboardInterrupt as interrupt:
        raise Stopped(stream.transcript) from interrupt
    return stream.result


class Stopped(Cancelled):
    """Ctrl-C, with what was done until then."""

    def __init__(self, transcript: Transcript) -> None:
        super().__init__("stopped by Ctrl-C", transcript=transcript)


def print_result(result: Result[Any], output: str, *, was_watched: bool) -> int:
    """Print what came of a run; the exit code."""
    if output == "json":
        write_json(result_data(result))
    elif not was_watched and not result.pending:
        write(f"{text_of_output(result)}\n")
    for waiting in result.pending:
        call = waiting.call
        say(f"waits for {waiting.hold}: {waiting.id} {call.name}({plain(call.arguments)})", "yellow")
    return PAUSED if result.pending else DONE


def text_of_output(result: Result[Any]) -> str:
    """The answer as text, a typed one as JSON."""
    output = result.output
    return output if isinstance(output, str) else dumps(to_jsonable_python(output)).decode("utf-8", "replace")


def result_data(result: Result[Any]) -> dict[str, Any]:
    """What came of a run, for scripts."""
    data: dict[str, Any] = {
        "status": result.status,
        "output": None if result.pending else to_jsonable_python(result.output),
        "finish_reason": result.finish_reason,
        "usage": result.usage.data,
        "tool_calls": [_call_data(record) for record in result.tool_calls],
    }
    if (cost := result.cost) is not None:
        data["cost_usd"] = cost
    if result.pending:
        data["pending"] = [
            {"id": each.id, "name": each.call.name, "arguments": each.call.arguments, "hold": each.hold}
            for each in result.pending
        ]
    return data


def error_data(error: BaseException) -> dict[str, Any]:
    """An error, for scripts."""
    told: dict[str, Any] = {"type": type(error).__name__, "message": str(error)}
    for name in ("status", "code", "request_id", "limit", "tool"):
        value = getattr(error, name, None)
        if isinstance(error, AgentKitError) and value is not None:
            told[name] = value
    return {"status": "failed", "error": told}


def _call_data(record: CallRecord) -> dict[str, Any]:
    call, result = record.call, record.result
    return {
        "id": call.id,
        "name": call.name,
        "arguments": call.arguments,
        "status": "pending" if result is None else result.status,
        "result": None if result is None else result.content,
    }


def write(text: str) -> None:
    """Write to stdout, whatever letters it knows; a terminal is not steered by it."""
    if sys.stdout.isatty():
        text = plain(text)
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    sys.stdout.write(text.encode(encoding, "replace").decode(encoding))
    sys.stdout.flush()


def write_json(data: dict[str, Any]) -> None:
    """Write a value as one line of JSON."""
    write(dumps(data).decode("utf-8", "replace") + "\n")
