"""The async driver, on asyncio and trio: the same effects as the sync one's, awaited."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, assert_never, cast

from anyio import CancelScope, create_task_group, move_on_after, sleep_forever
from anyio import Event as Signal

from agentkit._http import HttpRequest
from agentkit.calling import Outcome, hopper, threads
from agentkit.consult import Answered, Query
from agentkit.context import Context, Function, Invoke, TookTooLong
from agentkit.errors import ContextLengthError, EndpointError
from agentkit.flow import Again, FlowEffect, Instead, Now, Open, Say, Send
from agentkit.logs import log
from agentkit.loop import CallModel, Consult, Finished, RunTools, Tell
from agentkit.run import Begun, Gate, Run
from agentkit.toolcalls import CallEffect, Delegate, call_steps, startable
from agentkit.wire import Pulse, Wire

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from agentkit.chat.request import Request
    from agentkit.clock import Clock
    from agentkit.messages import Content, Reply, ToolResult
    from agentkit.run import Begun, Run
    from agentkit.transcript import Pending
    from agentkit.turns import Turns

R = TypeVar("R")
Pace = Callable[[], Awaitable[bool]]


async def perform(steps: Generator[Any, Any, R], handle: Callable[[Any], Awaitable[Any]]) -> R:
    """Run a generator of effects to its end. An error of the handler goes into the generator, which decides."""
    try:
        effect = next(steps)
        while True:
            try:
                outcome = await handle(effect)
            except Exception as error:
                effect = steps.throw(error)
            else:
                effect = steps.send(outcome)
    except StopIteration as stop:
        result: R = stop.value
        return result
    finally:
        steps.close()


class _Bell:
    """Wakes a task that lets time pass."""

    def __init__(self) -> None:
        self._rung = False
        self._scope: CancelScope | None = None

    def ring(self) -> None:
        """Wake it, now or when it begins to wait; in its own event loop."""
        self._rung = True
        if self._scope is not None:
            self._scope.cancel()

    async def wait(self, clock: Clock, seconds: float | None) -> None:
        """Wait until it rings, or for so long."""
        with CancelScope() as self._scope:
            if not self._rung:
                await (sleep_forever() if seconds is None else clock.wait(seconds))
        self._scope, self._rung = None, False


class Sender:
    """Performs a model's effects. `pace` holds it up while whoever listens is far behind."""

    __slots__ = ("on_read", "pace", "wire")

    def __init__(self, wire: Wire, pace: Pace | None = None) -> None:
        self.wire = wire
        self.pace = pace
        self.on_read: Callable[[Send], None] | None = None

    async def __call__(self, effect: FlowEffect) -> Reply | float | None:
        """The outcome of an effect."""
        match effect:
            case Send():
                turns = effect.endpoint.turns
                return await (self.send(effect) if turns is None else self.send_in_turn(effect, turns))
            case Say(deltas):
                self.wire.tell(deltas)
                if self.pace is not None:
                    await self.pace()
            case Open(endpoint):
                await endpoint.open()
            case Again():
                await self.wire.clock.wait(self.wire.wait_s(effect))
            case Instead(error):
                self.wire.instead(error)
            case Now():
                return self.wire.clock.monotonic()
        return None

    async def send_in_turn(self, effect: Send, turns: Turns) -> Reply:
        """The same, once the pacing of the endpoint allows it."""
        clock, bell = self.wire.clock, _Bell()
        outcome: Reply | EndpointError | None = None
        turn = turns.ask(len(effect.body), partial(hopper(), bell.ring))
        try:
            while (wait_s := turns.look(turn, clock.monotonic())) != 0:
                await bell.wait(clock, self.wire.turn_s(wait_s))
            outcome = await self.send(effect)
        except EndpointError as error:
            outcome = error
            raise
        else:
            return outcome
        finally:
            turns.end(turn, clock, outcome)

    async def send(self, effect: Send) -> Reply:
        """Send a request and read its reply."""
        wire, reader = self.wire, effect.reader
        address = await effect.endpoint.address()
        request = HttpRequest(address.url, wire.headers(effect, address), bytes(effect.body))
        http, exchange = await effect.endpoint.http(), wire.begin(effect, address)
        deadline = wire.deadline(effect)
        try:
            async with http.open(request, effect.timeouts, deadline) as response:
                exchange.status, exchange.response_headers = response.status, response.headers
                reader.start(response.status, response.headers, now=exchange.started_at)
                if effect.endpoint.turns is not None:
                    effect.endpoint.turns.heed(wire.clock, response.headers)
                pulse = Pulse(effect)
                async for piece in response.pieces():
                    wire.tell(reader.feed(piece))
                    if self.on_read is not None:
                        self.on_read(effect)
                    if reader.done:
                        break
                    pulse.beat()
                    if self.pace is not None and await self.pace():
                        pulse.rest()
                wire.tell(reader.finish())
                return reader.end()
        except EndpointError as error:
            if reader.complete:  # the line broke after the last word
                wire.tell(reader.finish())
                return reader.end()
            wire.fail(effect, exchange, error, address.key)
            raise
        finally:
            wire.end(effect, exchange, address.key)


async def drive(run: Run, pace: Pace | None = None) -> None:
    """Do what a run's state asks for until it is finished. `pace` is awaited after each piece of a stream and step."""
    try:
        async with AsyncExitStack() as stack:
            driver = _Driver(run, pace)
            if driver.may_start_early:
                driver.early_group = await stack.enter_async_context(create_task_group())
            try:
                await driver.loop()
            finally:
                driver.sender.on_read = None  # it leads back to the driver: no garbage in circles
                if driver.early_group is not None:
                    driver.early_group.cancel_scope.cancel()
    except BaseExceptionGroup as errors:
        error = _first(errors)
        run.fail(error)
        await _save_last(run)
        raise error from error.__cause__
    except BaseException as error:
        run.fail(error)
        await _save_last(run)
        raise
    finally:
        run.abandon()


async def _save_last(run: Run) -> None:
    """Write down what there is when the run fails; what the journal raises then is not what it failed of."""
    if run.is_kept:
        with CancelScope(shield=True):
            try:
                await threads.run(run.save)
            except Exception as error:
                log.warning("the end of a failed run could not be written down: %s", error)


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    first: BaseException = errors.exceptions[0]
    while isinstance(first, BaseExceptionGroup):
        first = cast("BaseExceptionGroup[BaseException]", first).exceptions[0]
    return first


class _Driver:
    def __init__(self, run: Run, pace: Pace | None) -> None:
        self.run = run
        self.pace = pace
        self.sender = Sender(run.wire(), pace)
        self.early_group: TaskGroup | None = None
        self.landed: Signal | None = None
        self.may_start_early = run.starts_early
        if self.may_start_early:
            self.sender.on_read = self.start_early

    async def loop(self) -> None:
        run = self.run
        run.tell_landed(run.state.decided)
        await self.save()
        while not isinstance(step := run.next(), Finished):
            match step:
                case RunTools(calls):
                    await self.run_tools(calls)
                case CallModel(request, guarded):
                    await (self.call_guarded(request) if guarded else self.call_model(request))
                case Consult():
                    await perform(run.consult(step), self.invoke)
                case Tell():
                    run.tell(step)
                case _:
                    assert_never(step)
            await self.save()
            if self.pace is not None:
                await self.pace()

    async def save(self) -> None:
        """Write down what has changed, where that is done; it may take its time, so not in the event loop."""
        if self.run.is_kept:
            await threads.run(self.run.save)

    async def call_model(self, request: Request) -> None:
        try:
            reply = await self.reply(request)
        except ContextLengthError:
            if not self.run.state.overflow():
                raise
        else:
            self.run.land_reply(reply, self.sender.wire)

    async def reply(self, request: Request) -> Reply:
        wire = self.sender.wire
        wire.step = self.run.state.tally.steps + 1
        request.stream = self.run.stream
        reply = await perform(self.run.asked().flow(request), self.sender)
        wire.tell_whole(reply)
        return reply

    async def call_guarded(self, request: Request) -> None:
        """Ask the model while the guards look at the prompt. Nothing is told before they are through."""
        run, wire = self.run, self.sender.wire
        guards, emit = run.guards(), wire.emit
        gate = Gate(emit, len(guards))
        wire.emit = None if emit is None else gate.tell
        reply: Reply | None = None

        async def guard(steps: Generator[Invoke, Any, Content | None]) -> None:
            change = await perform(steps, self.invoke)
            gate.passed(change)
            if change is not None:  # the model was asked something else
                scope.cancel()

        scope = CancelScope()
        try:
            async with create_task_group() as group:
                for steps in guards:
                    group.start_soon(guard, steps)
                with scope:
                    try:
                        reply = await self.reply(request)
                    except ContextLengthError:
                        if not run.state.overflow():
                            raise
        finally:
            wire.emit = emit
        if run.guarded(gate.changes) and reply is not None:
            run.land_reply(reply, wire)

    def start_early(self, effect: Send) -> None:
        for pending in self.run.startable_early(effect.reader.sealed_calls()) if effect.reader.sealed else ():
            self.start(pending, cast("TaskGroup", self.early_group), early=True)

    def start(self, pending: Pending, group: TaskGroup, *, early: bool = False) -> None:
        begun, context = self.run.begin(pending, self.progress(pending), early=early)
        group.start_soon(self.finish_early if early else self.finish, begun, context)

    async def finish(self, begun: Begun, context: Context[Any]) -> None:
        await self.save()
        begun.outcome = Outcome(await self.call(begun.pending, context))
        if self.landed is not None:
            self.landed.set()

    async def finish_early(self, begun: Begun, context: Context[Any]) -> None:
        if begun.flag.is_set:
            return  # it was dropped before it came to run
        with CancelScope() as scope:
            begun.stop = scope.cancel
            await self.finish(begun, context)

    async def run_tools(self, calls: tuple[Pending, ...]) -> None:
        """Run calls, those together that may; each result lands when it is there."""
        run = self.run
        if len(calls) == 1 and not run.begun:
            _, context = run.begin(calls[0], self.progress(calls[0]))
            await self.save()
            run.land(calls[0], await self.call(calls[0], context))
        else:
            async with create_task_group() as group:
                await self.run_together(calls, group)
        if run.failure is not None:
            raise run.failure

    async def run_together(self, calls: tuple[Pending, ...], group: TaskGroup) -> None:
        run = self.run
        waiting = [pending for pending in calls if pending not in run.begun]
        while (waiting and run.failure is None) or run.begun:
            self.landed = Signal()
            for pending in startable(waiting, run.begun, run.state.tools) if run.failure is None else ():
                waiting.remove(pending)
                self.start(pending, group)
            done = [begun for begun in run.begun.values() if begun.outcome is not None]
            for begun in done:
                run.land(begun.pending, cast("Outcome", begun.outcome).get())
            if done:
                await self.save()
            else:
                await self.landed.wait()
        self.landed = None

    def progress(self, pending: Pending) -> Callable[[Any], None] | None:
        made = self.run.state.tools.get(pending.call.name)
        if self.run.emit is None or made is None:
            return None
        if _in_loop(made):
            return self.run.relay
        return partial(hopper(), self.run.relay)  # it comes from the tool's thread

    async def call(self, pending: Pending, context: Context[Any]) -> ToolResult | None:
        state = self.run.state
        result = await perform(call_steps(state.tools, pending, context, state.plan.tool_guards), self.invoke)
        self.run.check_relayed()
        return result

    async def query(self, query: Query) -> Answered:
        """What a model says beside the conversation."""
        wire = self.run.wire_beside()
        reply = await perform((query.model or self.run.asked()).flow(query.request), Sender(wire))
        return Answered(reply, wire.model, wire.step_cost, wire.clock.now(), wire.clock.monotonic())

    async def invoke(self, invoke: CallEffect | Query) -> Any:
        """What a function gives, or the agent that does a call, whose run is part of this one."""
        if isinstance(invoke, Query):
            return await self.query(invoke)
        if isinstance(invoke, Delegate):
            run, timeout_s = self.run.delegate(invoke, self.run.relay), invoke.tool.timeout_s
            try:
                with move_on_after(timeout_s):
                    await drive(run)
                    return run.outcome
            finally:
                self.run.delegated(run)
            raise TookTooLong(f"it took longer than {timeout_s:g} seconds")
        allowed_s = invoke.context.allowed_s
        if not _in_loop(invoke.target):
            return await _invoke_in_thread(invoke)
        if allowed_s is None:
            return await invoke.run()
        with move_on_after(allowed_s):
            return await invoke.run()
        invoke.context.cancel()
        raise TookTooLong(f"it took longer than {allowed_s:g} seconds")


def _in_loop(target: Function) -> bool:
    return target.is_async or (target.inline and target.timeout_s is None)


async def _invoke_in_thread(invoke: Invoke) -> Any:
    context, working = invoke.context, threads.begin(invoke.run_sync)
    try:
        with move_on_after(context.allowed_s) as scope:
            await working.done.wait()
    except BaseException:  # cancelled
        context.cancel()
        await working.leave(f"tool {invoke.target.name}")
        raise
    if not scope.cancelled_caught:
        return working.get()
    context.cancel()
    raise TookTooLong(f"it took longer than {context.allowed_s:g} seconds")
