"""Agent: a model, its tools and its instructions, ready to run."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypeAlias, TypedDict

from typing_extensions import TypeVar, Unpack

from agentkit import drive, drive_async
from agentkit.chat.settings import Settings
from agentkit.clock import clock
from agentkit.errors import UsageError
from agentkit.events import Event, RunFinished
from agentkit.model import Model, model_of
from agentkit.policy import Limits
from agentkit.run import OnToolError, Run
from agentkit.state import Plan, State
from agentkit.streams import RunStream, RunStreamSync, Stream
from agentkit.tools import tools_by_name
from agentkit.transcript import CallRecord, Entry, Transcript

if TYPE_CHECKING:
    from agentkit.chat.exchange import Exchange
    from agentkit.messages import Content, Usage

Deps = TypeVar("Deps", default=None)
Past: TypeAlias = Transcript | Sequence[Mapping[str, Any]] | None


class RunArgs(TypedDict, total=False):
    """What a run may be given besides the prompt.

    `transcript`: what it goes on from, a Transcript or a plain list (which is not trusted: see Transcript.load).
    `deps`: reaches tools through their Context. `settings`, `limits`: in place of the agent's, field by field for
    settings. `model`: in place of the agent's. `tools`: more of them. `on_event`: called with each event.
    `resume_stream`: a stream that breaks after something was told of it begins anew, with a Restarted event.
    """

    transcript: Past
    deps: Any
    settings: Settings | Mapping[str, Any] | None
    limits: Limits | None
    model: str | Model | None
    tools: Iterable[object]
    on_event: Callable[[Event], None] | None
    resume_stream: bool


@dataclass(slots=True)
class Overrides:
    """What takes the place of every agent's own model and tools for a while; set by agentkit.testing.override."""

    model: Model | None = None
    tools: Mapping[str, Any] = field(default_factory=dict[str, Any])


overrides: Final[ContextVar[Overrides | None]] = ContextVar("agentkit_overrides", default=None)


@dataclass(slots=True)
class Result:
    """What came of a run.

    `output` is the answer; `text` the same as text. `transcript` is the whole conversation, to go on from or to dump.
    `tool_calls` are this run's calls with their results, in order. `usage` sums up this run's replies. `finish_reason`
    is the last reply's. `exchanges` are the requests and responses as they went over the wire.
    """

    output: str
    transcript: Transcript
    usage: Usage
    finish_reason: str | None
    tool_calls: tuple[CallRecord, ...]
    new_messages: list[dict[str, Any]]
    exchanges: tuple[Exchange, ...] = field(default=(), repr=False)
    status: Literal["done"] = "done"

    @property
    def text(self) -> str:
        """The answer as text."""
        return self.output

    def __str__(self) -> str:
        return self.output


class Agent(Generic[Deps]):
    """A model with tools and instructions. It never changes; `with_` gives a changed copy.

    Args:
        model: A model's name, as in "openai:gpt-5-mini" or "local", or a Model.
        tools: Functions that the model may call.
        instructions: What the model is told in front of every conversation; several texts become paragraphs.
        settings: What its requests are made with; they go over the model's own.
        limits: How far a run may go.
        name: What the agent is called in transcripts.
        on_tool_error: "tell" lets the model hear of a tool's error and go on; "raise" ends the run with ToolFailed.
        on_length: Whether an answer that was cut off at the token limit is returned or an error.
        exchanges: Whether results and errors keep what went over the wire.
        eager: Whether calls of read_only tools may start while the reply that asks for them still streams.

    Raises:
        UsageError: a name, tool, setting or limit that cannot work.
    """

    def __init__(
        self,
        model: str | Model,
        *,
        tools: Iterable[object] = (),
        instructions: str | Sequence[str] = "",
        settings: Settings | Mapping[str, Any] | None = None,
        limits: Limits | None = None,
        name: str | None = None,
        on_tool_error: OnToolError = "tell",
        on_length: Literal["return", "error"] = "return",
        exchanges: bool = True,
        eager: bool = True,
    ) -> None:
        _one_of("on_tool_error", on_tool_error, ("tell", "raise"))
        _one_of("on_length", on_length, ("return", "error"))
        self.model = model_of(model)
        self.tools = tools_by_name(tools)
        self.instructions = instructions if isinstance(instructions, str) else "\n\n".join(instructions)
        self.settings = Settings.of(settings)
        self.limits = limits or Limits()
        self.name = name
        self.on_tool_error: OnToolError = on_tool_error
        self.on_length: Literal["return", "error"] = on_length
        self.exchanges = exchanges
        self.eager = eager
        _check_choice(self.settings, self.tools)

    def with_(self, **changes: Any) -> Agent[Deps]:
        """A copy with some arguments changed; they are those of Agent."""
        kept: dict[str, Any] = {name: getattr(self, name) for name in _ARGUMENTS}
        if unknown := changes.keys() - kept.keys():
            raise UsageError(f"Agent has no argument {', '.join(sorted(unknown))}; it has {', '.join(kept)}")
        kept["tools"] = self.tools.values()
        return Agent(**{**kept, **changes})

    def run_sync(self, prompt: Content | None = None, /, **args: Unpack[RunArgs]) -> Result:
        """Run to the end, in the caller's thread: also where an event loop is running.

        Without a prompt it goes on from where the transcript stands.

        Raises:
            UsageError: what was given cannot work.
            EndpointError, ModelError, ToolFailed, LimitReached: what ended the run; `transcript` has what was done.
        """
        run, past = self._begin(prompt, args)
        drive.last_of(drive.drive(run, deque()))
        return _result(run, past)

    async def run(self, prompt: Content | None = None, /, **args: Unpack[RunArgs]) -> Result:
        """The same, awaited, on asyncio or trio."""
        run, past = self._begin(prompt, args)
        await drive_async.drive(run)
        return _result(run, past)

    def stream_sync(self, prompt: Content | None = None, /, **args: Unpack[RunArgs]) -> RunStreamSync[Result]:
        """Run and watch: `with agent.stream_sync(…) as run: for event in run`; then `run.result`.

        Leaving the block cancels what is not done. Raises, from the loop over the events, what `run_sync` raises.
        """
        run, past = self._begin(prompt, args, stream=True)
        outbox: deque[Event] = deque()
        run.emit = _both(outbox.append, run.emit)
        caller = drive.Caller()

        def work() -> Generator[Event, None, Result]:
            yield from drive.drive(run, outbox, caller)
            result = _result(run, past)
            yield from drive.drained(outbox)
            return result

        return RunStreamSync(run, work(), caller)

    def stream(self, prompt: Content | None = None, /, **args: Unpack[RunArgs]) -> RunStream[Result]:
        """The same, async: `async with agent.stream(…) as run: async for event in run`, on asyncio or trio."""
        run, past = self._begin(prompt, args, stream=True)

        async def work(stream: Stream[Result]) -> Result:
            run.emit = _both(stream.tell, run.emit)
            await drive_async.drive(run, stream.pace)
            return _result(run, past)

        return RunStream(run, work)

    def _begin(self, prompt: Content | None, args: RunArgs, *, stream: bool = False) -> tuple[Run, int]:
        if unknown := args.keys() - RunArgs.__annotations__.keys():
            raise UsageError(
                f"a run has no argument {', '.join(sorted(unknown))}; it has {', '.join(RunArgs.__annotations__)}"
            )
        override = overrides.get() or Overrides()
        tools = {**self.tools, **tools_by_name(args.get("tools", ())), **override.tools}
        settings = self.settings.merged(Settings.of(args.get("settings")))
        _check_choice(settings, tools)
        plan = Plan(tools, self.name, self.instructions, settings, args.get("limits") or self.limits, self.on_length)
        given = args.get("model")
        past = args.get("transcript")
        transcript = past if isinstance(past, Transcript) else Transcript.load(past or [])
        time = clock.get()
        state = State(plan, transcript, prompt, new_run=time.new_id(), at=time.now(), began=time.monotonic())
        run = Run(
            state,
            override.model or (self.model if given is None else model_of(given)),
            time,
            args.get("deps"),
            args.get("on_event"),
            self.on_tool_error,
            [] if self.exchanges else None,
            stream=stream,
            eager=self.eager,
            resume_stream=args.get("resume_stream", False),
        )
        return run, len(transcript)

    def __repr__(self) -> str:
        tools = f", tools={list(self.tools)}" if self.tools else ""
        return f"Agent({self.model!r}{tools})"


_ARGUMENTS: Final = (
    "model",
    "tools",
    "instructions",
    "settings",
    "limits",
    "name",
    "on_tool_error",
    "on_length",
    "exchanges",
    "eager",
)


def _result(run: Run, past: int) -> Result:
    transcript = run.state.transcript
    new = list(transcript)[past:]
    last = transcript.last
    text = "" if last is None else last.message.text
    transcript.spliced.clear()  # it is as large as all messages, and the next run goes on in a copy
    result = Result(
        text,
        transcript,
        run.state.tally.usage,
        None if last is None else last.finish_reason,
        tuple([record for entry in transcript if entry.run == run.state.run for record in entry.calls]),
        _messages(new),
        tuple(run.exchanges or ()),
    )
    if run.emit is not None:
        run.emit(RunFinished(result, run.state.tally.steps))
    return result


def _both(first: Callable[[Event], None], second: Callable[[Event], None] | None) -> Callable[[Event], None]:
    if second is None:
        return first

    def tell(event: Event) -> None:
        first(event)
        second(event)

    return tell


def _messages(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    return Transcript(entries).messages


def _one_of(name: str, value: object, known: Sequence[str]) -> None:
    if value not in known:
        raise UsageError(f"{name}={value!r} is not one of {', '.join(map(repr, known))}")


def _check_choice(settings: Settings, tools: Mapping[str, Any]) -> None:
    forced = settings.forced
    if forced is not None and (not tools or (forced and forced not in tools)):
        raise UsageError(
            f"tool_choice={settings.tool_choice!r} forces a call, but the tools are: {', '.join(tools) or 'none'}"
        )
    if (settings.n or 1) > 1:
        raise UsageError("n > 1 gives several answers, and an agent goes on from one: ask a ChatModel for them")
