"""The sync driver: it performs effects and waits for them in the caller's thread."""

from __future__ import annotations

from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

from agentkit._http import HttpRequest
from agentkit.calling import LoopThread, Outcome, outcome_of, threads
from agentkit.errors import AgentKitError, EndpointError
from agentkit.events import ToolProgress
from agentkit.flow import Again, FlowEffect, Open, Send
from agentkit.loop import CallModel, Finished, RunTools, Tell, decide
from agentkit.tools import Invoke, TookTooLong, Tool, call_steps, startable
from agentkit.transcript import Pending

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from agentkit.messages import Reply, ToolResult
    from agentkit.run import Run, Wire

R = TypeVar("R")


def perform(steps: Generator[Any, Any, R], handle: Callable[[Any], Any]) -> R:
    """Run a generator of effects to its end. An error of the handler goes into the generator, which decides."""
    try:
        effect = next(steps)
        while True:
            try:
                outcome = handle(effect)
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

    __slots__ = ("loop", "wire")

    def __init__(self, wire: Wire, loop: LoopThread) -> None:
        self.wire = wire
        self.loop = loop

    def __call__(self, effect: FlowEffect) -> Reply | None:
        """The outcome of an effect."""
        match effect:
            case Send():
                return self.send(effect)
            case Open():
                effect.endpoint.open_sync()
            case Again():
                self.wire.clock.wait_sync(self.wire.wait_s(effect))
        return None

    def send(self, effect: Send) -> Reply:
        """Send a request and read its reply."""
        address = effect.endpoint.address_sync(self.loop)
        reader, emit = effect.reader, self.wire.emit
        exchange = self.wire.begin(effect, address)
        request = HttpRequest(address.url, [*address.headers, *effect.headers], bytes(effect.body))
        try:
            with effect.endpoint.http_sync().open(request, effect.timeouts, self.wire.time_left()) as response:
                exchange.status, exchange.response_headers = response.status, response.headers
                reader.start(response.status, response.headers)
                for piece in response.pieces():
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


def drive(run: Run) -> None:
    """Do what a run's state asks for until it is finished."""
    loop = LoopThread()
    send = Sender(run.wire(), loop)
    try:
        while not isinstance(step := decide(run.state, run.clock.monotonic()), Finished):
            match step:
                case RunTools(calls):
                    _run_tools(run, calls, loop)
                case CallModel(request):
                    run.land_reply(perform(run.model.flow(request), send))
                case Tell():
                    run.tell(step)
    except AgentKitError as error:
        run.fail(error)
        raise
    finally:
        run.abandon()
        loop.close()


def _run_tools(run: Run, calls: tuple[Pending, ...], loop: LoopThread) -> None:
    tools = run.state.plan.tools
    waiting, running = list(calls), set[Pending]()
    told: SimpleQueue[ToolProgress | tuple[Pending, Outcome]] = SimpleQueue()
    while (waiting and run.failure is None) or running:
        batch = startable(waiting, running, tools) if run.failure is None else []
        if len(batch) == 1 and not running and not _needs_thread(tools, batch[0]):
            waiting.remove(batch[0])
            run.land(batch[0], _call(run, batch[0], run.emit, loop)())
            continue
        for pending in batch:
            waiting.remove(pending)
            running.add(pending)
            threads.submit(partial(_told, told, pending, _call(run, pending, told.put, loop)))
        item = told.get()
        if isinstance(item, ToolProgress):
            if run.emit is not None:
                run.emit(item)
            continue
        pending, outcome = item
        running.discard(pending)
        run.land(pending, outcome.get())
    if run.failure is not None:
        raise run.failure


def _told(queue: SimpleQueue[Any], pending: Pending, work: Callable[[], ToolResult]) -> None:
    queue.put((pending, outcome_of(work)))


def _call(
    run: Run, pending: Pending, progress: Callable[[ToolProgress], None] | None, loop: LoopThread
) -> Callable[[], ToolResult]:
    context = run.start(pending, progress)
    return partial(perform, call_steps(run.state.plan.tools, pending, context), partial(_invoke, loop=loop))


def _needs_thread(tools: Mapping[str, Tool], pending: Pending) -> bool:
    made = tools.get(pending.call.name)
    return made is not None and made.needs_thread


def _invoke(invoke: Invoke, *, loop: LoopThread) -> Any:
    if not invoke.tool.needs_thread:
        return invoke.run_sync()
    outcomes: SimpleQueue[Outcome] = SimpleQueue()
    if invoke.tool.is_async:
        cancel = loop.submit(invoke.run, outcomes.put)
    else:
        cancel = invoke.context.cancel
        threads.submit(lambda: outcomes.put(outcome_of(invoke.run_sync)))
    try:
        return outcomes.get(timeout=invoke.context.allowed_s).get()
    except Empty:
        cancel()
        invoke.context.cancel()
        raise TookTooLong(f"it took longer than {invoke.context.allowed_s:g} seconds") from None
    except BaseException:
        cancel()
        raise
