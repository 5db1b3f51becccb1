"""Agent: a model, its tools and its instructions, ready to run."""

from __future__ import annotations

from collections import deque
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Generic, overload

from typing_extensions import TypeForm, TypeVar, Unpack

from agentkit import drive, drive_async
from agentkit.args import AgentArgs, Kept, OnLength, Overrides, RunArgs, Store, overrides
from agentkit.budget import Budget, RunBudget
from agentkit.caller import Caller, drained, last_of
from agentkit.chat.settings import Settings
from agentkit.checks import as_tools, check_choice, check_contexts, check_kind, listed, tools_and_groups
from agentkit.clock import clock
from agentkit.context import Hook
from agentkit.errors import UsageError
from agentkit.guards import InputGuard, ToolGuard, input_guards_of, tool_guards_of
from agentkit.handoffs import Handoff, handoff_tool
from agentkit.history import Compaction, enough_for
from agentkit.instructions import Instructions, joined, split
from agentkit.model import Model, model_of
from agentkit.output import Output
from agentkit.outputs import needs_reader, output_reader
from agentkit.plan import Persona, Plan, fields_of, with_reader
from agentkit.policy import Limits
from agentkit.result import Result, result_of
from agentkit.run import OnToolError, Run
from agentkit.shown import Shown
from agentkit.state import State
from agentkit.streams import RunStream, RunStreamSync
from agentkit.tools import Tool, tools_by_name
from agentkit.transcript import Transcript

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping, Sequence

    from agentkit.events import Event
    from agentkit.flow import SupportsFlow
    from agentkit.history import History
    from agentkit.messages import Content
    from agentkit.transcript import Pending

Deps = TypeVar("Deps", default=None)
Out = TypeVar("Out", default=str)


class Agent(Shown, Generic[Deps, Out]):
    """A model with tools and instructions. It never changes; `with_` gives a changed copy.

    Args:
        model: A model's name, as in "openai:gpt-5-mini" or "local", or a Model.
        output: What the answer is to be: any type that pydantic knows, functions whose arguments are the answer, or an
            Output, which says more. `str` is the model's text.
        tools: Functions that the model may call, and Toolsets.
        instructions: What the model is told in front of every conversation: texts become paragraphs, functions (of
            nothing or of the context) are asked once a run. See Instruction.
        validators: Functions of the output, or of the context and the output, sync or async, that look at it once it
            has its type. They return it, or what takes its place, or raise Retry with a word to the model.
        handoffs: Agents that the conversation may be handed to.
        input_guards: Functions that look at the prompt; see InputGuard.
        output_guards: Functions that look at the output: they return None, or what takes its place, or raise Refuse.
        tool_guards: Functions that look at calls before they run; see ToolGuard.
        settings: What its requests are made with; they go over the model's own.
        limits: How far a run may go.
        budget: What its runs may cost, all together.
        history: What of a long conversation is sent: functions of its entries, such as KeepTurns and ClearResults.
        compaction: When a conversation that nears the model's window is summed up, and how.
        store: Where the conversations are kept that runs name, such as agentkit.conversations.Conversations.
        name: What the agent is called in transcripts.
        on_tool_error: "tell" lets the model hear of a tool's error and go on; "raise" ends the run with ToolFailed.
        on_length: Whether an answer that was cut off at the token limit is returned or an error; unless it is said,
            text is returned and any other output an error.
        exchanges: Whether results and errors keep what went over the wire.
        eager: Whether calls of read_only tools may start while the reply that asks for them still streams.

    Raises:
        UsageError: a name, tool, setting or limit that cannot work.
    """

    @overload
    def __init__(self, model: str | Model, *, output: Output[Out], **args: Unpack[AgentArgs]) -> None: ...
    @overload
    def __init__(self, model: str | Model, *, output: TypeForm[Out] = ..., **args: Unpack[AgentArgs]) -> None: ...
    @overload
    def __init__(
        self,
        model: str | Model,
        *,
        output: Callable[..., Awaitable[Out]] | Sequence[Callable[..., Awaitable[Out]]],
        **args: Unpack[AgentArgs],
    ) -> None: ...
    @overload
    def __init__(
        self,
        model: str | Model,
        *,
        output: Callable[..., Out] | Sequence[Callable[..., Out]],
        **args: Unpack[AgentArgs],
    ) -> None: ...
    def __init__(
        self,
        model: str | Model,
        *,
        output: Any = str,
        tools: Iterable[object] = (),
        instructions: Instructions = "",
        validators: Iterable[Callable[..., Any]] = (),
        handoffs: Iterable[Agent[Any, Any] | Handoff] = (),
        input_guards: Iterable[InputGuard | Callable[..., Any]] = (),
        output_guards: Iterable[Callable[..., Any]] = (),
        tool_guards: Iterable[ToolGuard | Callable[..., Any]] = (),
        settings: Settings | Mapping[str, Any] | None = None,
        limits: Limits | None = None,
        budget: Budget | None = None,
        history: History | Sequence[History] = (),
        compaction: Compaction | None = None,
        store: Store | None = None,
        name: str | None = None,
        on_tool_error: OnToolError = "tell",
        on_length: OnLength | None = None,
        exchanges: bool = True,
        eager: bool = True,
    ) -> None:
        _one_of("on_tool_error", on_tool_error, ("tell", "raise"))
        _one_of("on_length", on_length or "return", ("return", "error"))
        tools = as_tools(tools)
        validators, handoffs = listed("validators", validators), listed("handoffs", handoffs)
        input_guards, output_guards = listed("input_guards", input_guards), listed("output_guards", output_guards)
        tool_guards = listed("tool_guards", tool_guards)
        history = (history,) if callable(history) else listed("history", history)
        check_kind("limits", limits, Limits, "Limits(…)")
        check_kind("budget", budget, Budget, "a Budget(…)")
        check_kind("compaction", compaction, Compaction, "a Compaction(…)")
        self._args: dict[str, Any] = {**locals()}
        del self._args["self"]
        self.model = model_of(model)
        self.output = Output.of(output)
        self.name = name
        self.settings = Settings.of(settings)
        self.limits = limits or Limits()
        self.budget = budget
        self.store = store
        self.on_tool_error: OnToolError = on_tool_error
        self.exchanges = exchanges
        self.eager = eager
        self.handoffs = tuple([item if isinstance(item, Handoff) else Handoff(item) for item in handoffs])
        self.persona = self._as_persona(tools, instructions)
        self.plan = Plan(
            **fields_of(self.persona),
            limits=self.limits,
            on_length=on_length or ("return" if self.output is None else "error"),
            output=self.output,
            validators=tuple([Hook(each, "validator", takes=1) for each in validators]),
            input_guards=input_guards_of(input_guards),
            output_guards=tuple([Hook(each, "output guard", takes=1) for each in output_guards]),
            tool_guards=tool_guards_of(tool_guards),
            history=history,
            compaction=compaction and compaction.by(_model_or_none(compaction.model)),
        )

    def _as_persona(self, items: Iterable[object], instructions: Instructions) -> Persona:
        tools, groups = tools_and_groups(items)
        given = [handoff for handoff in self.handoffs if not handoff.is_later]
        reader = [output_reader()] if needs_reader(tools.values()) and output_reader() not in tools.values() else []
        tools = tools_by_name([*tools.values(), *(handoff_tool(handoff) for handoff in given), *reader])
        if self.handoffs and not self.name:
            raise UsageError("an agent that hands over needs a name=, so that the transcript can tell who spoke")
        if self.output is not None and (taken := [spec.name for spec in self.output.specs if spec.name in tools]):
            raise UsageError(f"the tool {taken[0]!r} has the name of the output: rename one of them")
        check_choice(self.settings, tools, groups, self.output)
        check_contexts(tools.values())
        text, asked = split(instructions)
        return Persona(tools, self.name, text, self.settings, asked, groups, self.model)

    @property
    def tools(self) -> Mapping[str, Tool]:
        """The tools that are known without a run, by their names."""
        return self.persona.tools

    @property
    def instructions(self) -> str:
        """The instructions that are fixed."""
        return self.persona.instructions

    def with_(self, **changes: Any) -> Agent[Deps, Any]:
        """A copy with some arguments changed; they are those of Agent."""
        if unknown := changes.keys() - self._args.keys():
            raise UsageError(f"Agent has no argument {', '.join(sorted(unknown))}; it has {', '.join(self._args)}")
        return Agent(**{**self._args, **changes})

    def as_tool(self, name: str | None = None, description: str | None = None, **options: Any) -> Tool:
        """This agent as a tool of another one: its run is part of the caller's.

        The model gives it a prompt and gets its answer. The caller's deps, limits, budget, approvals and cancelling
        hold for it, its usage counts as the caller's, its events come as Nested, and its transcript is part of the
        call's state: where it waits for a decision, so does the caller's run. `options` are those of `tool`.
        """

        def ask(prompt: str) -> Any:
            return self.run_sync(prompt).output

        label = name or self.name
        if label is None:
            raise UsageError("an agent without a name needs as_tool(name=…)")
        told = description or f"Ask {label}, an agent. It knows nothing of this conversation: say all that it needs."
        made = Tool(ask, name=label, description=told, **options)
        made.delegate = self._part
        return made

    def run_sync(self, prompt: Content | None = None, /, **args: Unpack[RunArgs]) -> Result[Out]:
        """Run to the end, in the caller's thread: also where an event loop is running.

        Without a prompt it goes on from where the transcript stands.

        Raises:
            UsageError: what was given cannot work.
            EndpointError, ModelError, ToolFailed, Blocked, LimitReached: what ended the run; `transcript` has what was
                done.
        """
        with self._kept(args) as kept:
            run, past = self._begin(prompt, args, kept)
            last_of(drive.drive(run, deque()))
            return result_of(run, past)

    async def run(self, prompt: Content | None = None, /, **args: Unpack[RunArgs]) -> Result[Out]:
        """The same, awaited, on asyncio or trio."""
        async with self._kept(args) as kept:
            run, past = self._begin(prompt, args, kept)
            await drive_async.drive(run)
            return result_of(run, past)

    def stream_sync(self, prompt: Content | None = None, /, **args: Unpack[RunArgs]) -> RunStreamSync[Result[Out]]:
        """Run and watch: `with agent.stream_sync(…) as run: for event in run`; then `run.result`.

        Leaving the block cancels what is not done. Raises, from the loop over the events, what `run_sync` raises.
        """
        outbox: deque[Event] = deque()
        caller = Caller()

        def begin(kept: Kept | None) -> tuple[Run, Transcript]:
            run, past = self._begin(prompt, args, kept, stream=True)
            run.emit = _both(outbox.append, run.emit)
            stream.begin(run)
            return run, past

        def work() -> Generator[Event, None, Result[Out]]:
            with keeping as kept:
                run, past = begun or begin(kept)
                yield from drive.drive(run, outbox, caller)
                result = result_of(run, past)
                yield from drained(outbox)
                return result

        stream = RunStreamSync(work(), caller)
        keeping = self._kept(args)
        begun = begin(None) if args.get("conversation") is None else None
        return stream

    def stream(self, prompt: Content | None = None, /, **args: Unpack[RunArgs]) -> RunStream[Result[Out]]:
        """The same, async: `async with agent.stream(…) as run: async for event in run`, on asyncio or trio."""

        def begin(stream: RunStream[Result[Out]], kept: Kept | None) -> tuple[Run, Transcript]:
            run, past = self._begin(prompt, args, kept, stream=True)
            run.emit = _both(stream.tell, run.emit)
            stream.begin(run)
            return run, past

        async def work(stream: RunStream[Result[Out]]) -> Result[Out]:
            async with keeping as kept:
                run, past = begun or begin(stream, kept)
                await drive_async.drive(run, stream.pace)
                return result_of(run, past)

        stream = RunStream(work)
        keeping = self._kept(args)
        begun = begin(stream, None) if args.get("conversation") is None else None
        return stream

    def _kept(self, args: RunArgs) -> Kept | nullcontext[None]:
        """The conversation that a run goes on with, to be entered; or nothing."""
        conversation = args.get("conversation")
        if conversation is None:
            return nullcontext()
        if args.get("transcript") is not None:
            raise UsageError("conversation= and transcript= exclude each other: leave one of them out")
        if not isinstance(conversation, str):
            if "busy" in args:
                raise UsageError("busy= goes with a conversation's name: give store.open(…, busy=…) what it is")
            return conversation
        if self.store is None:
            raise UsageError(f"conversation={conversation!r} needs a store: Agent(store=Conversations(…))")
        enough = enough_for(self.plan.history, self.plan.compaction)
        return self.store.open(conversation, busy=args.get("busy", "wait"), enough=enough)

    def _begin(
        self, prompt: Content | None, args: RunArgs, kept: Kept | None, *, stream: bool = False
    ) -> tuple[Run, Transcript]:
        if unknown := args.keys() - RunArgs.__annotations__.keys():
            raise UsageError(
                f"a run has no argument {', '.join(sorted(unknown))}; it has {', '.join(RunArgs.__annotations__)}"
            )
        override = overrides.get() or Overrides()
        plan = self._planned(args, override)
        past: Any = args.get("transcript") if kept is None else kept.transcript
        if isinstance(past, Result):
            raise UsageError("transcript= is a Transcript or a list of messages: give result.transcript")
        transcript = past if isinstance(past, Transcript) else Transcript.load(past or [])
        time = clock.get()
        state = State(
            with_reader(plan, transcript),
            transcript,
            prompt,
            new_run=time.new_id(),
            at=time.now(),
            began=time.monotonic(),
            decisions=args.get("decisions"),
        )
        given = args.get("model")
        run = Run(
            state,
            override.model or (None if given is None else model_of(given)),
            time,
            args.get("deps"),
            args.get("on_event"),
            self.on_tool_error,
            [] if self.exchanges else None,
            stream=stream,
            eager=self.eager,
            resume_stream=args.get("resume_stream", False),
            pause=args.get("pause"),
            budgets=self._budgets(state, (args.get("budget"), self.budget)),
        )
        if kept is not None:
            run.journal = kept.record
            state.transcript.offset = kept.offset
            state.transcript.keep(since=transcript)
        return run, transcript

    def _budgets(self, state: State, shared: Iterable[Budget | None]) -> tuple[Budget, ...]:
        budgets = [budget for budget in shared if budget is not None]
        if (usd := state.plan.limits.cost_usd) is not None:
            budgets.append(RunBudget.of(usd, [entry for entry in state.transcript if entry.run == state.run]))
        return tuple(dict.fromkeys(budgets))

    def _planned(self, args: RunArgs, override: Overrides) -> Plan:
        """What holds for a run with these arguments."""
        family = family_of(self)
        if not args and override.is_nothing and len(family) <= 1 and not self.handoffs:
            return self.plan
        approve, limits = args.get("approve"), args.get("limits")
        check_kind("limits", limits, Limits, "Limits(…)")
        settings = Settings.of(args.get("settings"))
        more, groups = tools_and_groups(args.get("tools", ()))
        text, asked = split(args.get("instructions", ""))

        def changed(persona: Persona) -> Persona:
            own = persona.settings.merged(settings)
            tools = {**persona.tools, **more, **override.tools}
            groups_ = (*persona.groups, *groups)
            check_choice(own, tools, groups_, self.output)
            instructions = joined((persona.instructions, text))
            return replace(
                persona,
                tools=tools,
                settings=own,
                groups=groups_,
                instructions=instructions,
                asked=(*persona.asked, *asked),
            )

        plan = replace(
            self.plan,
            **fields_of(changed(family[self.name])),
            limits=limits or self.limits,
            approve=None if approve is None else Hook(approve, "approve", takes=1),
        )
        if override.model is not None and plan.compaction is not None:
            plan.compaction = plan.compaction.by(None)
        if self.handoffs:
            others = {str(name): changed(persona) for name, persona in family.items() if name != self.name}
            plan.personas = {**others, str(self.name): plan}
        return plan

    def _part(self, run: Run, pending: Pending, arguments: Mapping[str, Any]) -> Run:
        """The run of this agent that does a call of another run."""
        past = run.state.transcript.record(pending).transcript or Transcript()
        override = overrides.get() or Overrides()
        plan = replace(self._planned({}, override), approve=run.state.plan.approve)
        state = State(
            with_reader(plan, past),
            past,
            None if len(past) else arguments["prompt"],
            new_run=pending.key,
            at=run.clock.now(),
            began=run.clock.monotonic(),
        )
        if run.is_kept:
            state.transcript.keep(since=past)
        return Run(
            state,
            override.model,
            run.clock,
            run.deps,
            None,
            self.on_tool_error,
            run.exchanges,
            stream=run.stream,
            eager=self.eager,
            resume_stream=run.resume_stream,
            pause=run.pause,
            budgets=self._budgets(state, (*run.budgets, self.budget)),
            part=(run, pending),
        )

    def __repr__(self) -> str:
        name = f"{self.name!r}, " if self.name else ""
        tools = f", tools={list(self.tools)}" if self.tools else ""
        output = f", output={self.output!r}" if self.output else ""
        return f"Agent({name}{self.model!r}{tools}{output})"


def family_of(agent: Agent[Any, Any]) -> dict[str | None, Persona]:
    """An agent and all that it may hand over to, and those in turn, by their names. Raises UsageError."""
    family: dict[str | None, Persona] = {agent.name: agent.persona}
    agents: dict[str | None, Agent[Any, Any]] = {agent.name: agent}
    waiting = deque([agent])
    while waiting:
        giver = waiting.popleft()
        later: list[Tool] = []
        for handoff in giver.handoffs:
            other = handoff.agent
            known = agents.setdefault(other.name, other)
            if known is not other:
                raise UsageError(f"two agents of different kinds are named {other.name!r}: rename one")
            if handoff.is_later:
                later.append(handoff_tool(handoff))
            if other.name not in family:
                family[other.name] = other.persona
                waiting.append(other)
        if later:
            persona = family[giver.name]
            family[giver.name] = replace(persona, tools=tools_by_name([*persona.tools.values(), *later]))
    return family


def _both(first: Callable[[Event], None], second: Callable[[Event], None] | None) -> Callable[[Event], None]:
    if second is None:
        return first

    def tell(event: Event) -> None:
        first(event)
        second(event)

    return tell


def _model_or_none(model: str | SupportsFlow | None) -> SupportsFlow | None:
    return model_of(model) if isinstance(model, str) else model


def _one_of(name: str, value: object, known: Sequence[object]) -> None:
    if value not in known:
        raise UsageError(f"{name}={value!r} is not one of {', '.join(map(repr, known))}")
