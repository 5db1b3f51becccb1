"""The async driver, on asyncio and trio: the same effects as the sync one's, awaited."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

from anyio import create_task_group, move_on_after

from agentkit._http import HttpRequest
from agentkit.calling import hopper, threads
from agentkit.errors import AgentKitError, EndpointError
from agentkit.flow import Again, FlowEffect, Open, Send
from agentkit.loop import CallModel, Finished, RunTools, Tell, decide
from agentkit.tools import Invoke, TookTooLong, call_steps, startable
from agentkit.transcript import Pending

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator

    from agentkit.messages import Reply, ToolResult
    from agentkit.run import Run, Wire

R = TypeVar("R")


async def perform(steps: Generator[Any, Any, R], handle: Callable[[Any], Awaitable[Any]]) -> R:
    """Run a generator of effects to its end. An error of the handler goes into the generator, which decides."""
    try:
        effect = next(steps)
        while True:
            try:
                outcome = await handle(effect)
            except Exception as error:  # the flow lets out what it does not handle
                effect = steps.throw(error)
            else:
                effect = steps.send(outcome)
    except StopIteration as stop:
        result: R = stop.value
        return result
    finally:
        steps.close()


class Sender:
    """Performs a model's effects."""

    __slots__ = ("wire",)

    def __init__(self, wire: Wire) -> None:
        self.wire = wire

    async def __call__(self, effect: FlowEffect) -> Reply | None:
        """The outcome of an effect."""
        match effect:
            case Send():
                return await self.send(effect)
            case Open():
                await effect.endpoint.open()
            case Again():
                await self.wire.clock.wait(self.wire.wait_s(effect))
        return None

    async def send(self, effect: Send) -> Reply:
        """Send a request and read its reply."""
        address = await effect.endpoint.address()
        http = await effect.endpoint.http()
        reader, emit = effect.reader, self.wire.emit
        exchange = self.wire.begin(effect, address)
        request = HttpRequest(address.url, [*address.headers, *effect.headers], bytes(effect.body))
        try:
            async with http.open(request, effect.timeouts, self.wire.time_left()) as response:
                exchange.status, exchange.response_headers = response.status, response.headers
                reader.start(response.status, response.headers)
                async for piece in response.pieces():
                    for delta in reader.feed(piece):
                        if emit is not None:
                            emit(delta)
                    if reader.done:
                        break
                return reader.end()
        except EndpointError as error:
            self.wire.fail(effect, exchange, error, address.key)
            raise
        finally:
            self.wire.end(effect, exchange, address.key)


async def drive(run: Run) -> None:
    """Do what a run's state asks for until it is finished."""
    send = Sender(run.wire())
    try:
        while not isinstance(step := decide(run.state, run.clock.monotonic()), Finished):
            match step:
                case RunTools(calls):
                    await _run_tools(run, calls)
                case CallModel(request):
                    run.land_reply(await perform(run.model.flow(request), send))
                case Tell():
                    run.tell(step)
    except AgentKitError as error:
        run.fail(error)
        raise
    finally:
        run.abandon()


async def _run_tools(run: Run, calls: tuple[Pending, ...]) -> None:
    if len(calls) == 1:
        run.land(calls[0], await _call(run, calls[0]))
    else:
        await _run_together(run, calls)
    if run.failure is not None:
        raise run.failure


async def _run_together(run: Run, calls: tuple[Pending, ...]) -> None:
    waiting, running = list(calls), set[Pending]()

    def begin() -> None:
        for pending in startable(waiting, running, run.state.plan.tools) if run.failure is None else ():
            waiting.remove(pending)
            running.add(pending)
            group.start_soon(finish, pending)

    async def finish(pending: Pending) -> None:
        run.land(pending, await _call(run, pending))
        running.discard(pending)
        begin()

    try:
        async with create_task_group() as group:
            begin()
    except BaseExceptionGroup as errors:
        raise _first(errors) from None


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    first: BaseException = errors.exceptions[0]
    while isinstance(first, BaseExceptionGroup):
        first = cast("BaseExceptionGroup[BaseException]", first).exceptions[0]
    return first


async def _call(run: Run, pending: Pending) -> ToolResult:
    emit, made = run.emit, run.state.plan.tools.get(pending.call.name)
    if emit is not None and made is not None and not made.is_async:
        emit = partial(hopper(), emit)  # it comes from the tool's thread
    return await perform(call_steps(run.state.plan.tools, pending, run.start(pending, emit)), _invoke)


async def _invoke(invoke: Invoke) -> Any:
    tool, allowed_s = invoke.tool, invoke.context.allowed_s
    work: Callable[[], Awaitable[Any]] = invoke.run
    if not tool.is_async and not (tool.inline and tool.timeout_s is None):
        work = partial(threads.run, invoke.run_sync)
    if allowed_s is None:
        return await work()
    with move_on_after(allowed_s):
        return await work()
    invoke.context.cancel()
    raise TookTooLong(f"it took longer than {allowed_s:g} seconds")
