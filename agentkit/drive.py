"""The sync driver: it performs effects and waits for them in the caller's thread.

It is a generator of events, so that a stream is the same code with somebody who listens between its steps.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from queue import Empty, SimpleQueue
from threading import Event as Signal
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar, cast

from agentkit._http import Aborter, HttpRequest
from agentkit.calling import HEED_S, LoopThread, Outcome, outcome_of, report, threads, unfold
from agentkit.errors import AgentKitError, Cancelled, EndpointError
from agentkit.events import Event, ToolProgress
from agentkit.flow import Again, FlowEffect, Instead, Now, Open, Say, Send
from agentkit.loop import CallModel, Finished, RunTools, Tell
from agentkit.tools import Context, Invoke, TookTooLong, call_steps, failed, startable
from agentkit.wire import Pulse, Wire

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from agentkit.clock import Clock
    from agentkit.messages import Reply, ToolResult
    from agentkit.run import Begun, Run
    from agentkit.transcript import Pending
    from agentkit.turns import Turns

R = TypeVar("R")


def perform(
    steps: Generator[Any, Any, R], handle: Callable[[Any], Generator[Event, None, Any]]
) -> Generator[Event, None, R]:
    """Run a generator of effects to its end. An error of the handler goes into the generator, which decides."""
    try:
        effect = next(steps)
        while True:
            try:
                outcome = yield from handle(effect)
            except Exception as error:
                effect = steps.throw(error)
            else:
                effect = steps.send(outcome)
    except StopIteration as stop:
        result: R = stop.value
        return result
    finally:
        steps.close()


def last_of(events: Generator[Event, None, R], told: Callable[[Event], None] | None = None) -> R:
    """Go through to the end, for what is returned there."""
    while True:
        try:
            event = next(events)
        except StopIteration as stop:
            result: R = stop.value
            return result
        if told is not None:
            told(event)


class Caller:
    """Who waits: the caller's thread, with what it takes to wake it from another one."""

    def __init__(self) -> None:
        self.loop = LoopThread()
        self.aborter = Aborter()
        self.told: SimpleQueue[ToolProgress | Begun | None] = SimpleQueue()
        self.run: Run | None = None
        self._cancelled: Signal | None = None
        self.is_cancelled = False

    def cancel(self) -> None:
        """Wake the caller's thread, wherever it waits, with Cancelled. From any thread."""
        self.is_cancelled = True
        if self.run is not None:
            self.run.cancel()
        self.aborter.abort()
        self.loop.interrupt()
        self.told.put(None)
        if self._cancelled is not None:
            self._cancelled.set()

    def check(self) -> None:
        """Raise Cancelled if that was called."""
        if self.is_cancelled:
            raise Cancelled("the run was cancelled by its caller")

    def serve(self, run: Run) -> None:
        """Wait for this run."""
        self.run = run
        if self.is_cancelled:
            run.cancel()

    def signal(self) -> Signal:
        """What `wait_until` waits for; `cancel` sets it."""
        self._cancelled = Signal()
        return self._cancelled

    def wait_until(self, signal: Signal, clock: Clock, seconds: float | None) -> None:
        """Wait until the signal is set, or for so long. Raises Cancelled."""
        if seconds is None:
            signal.wait()
        else:
            clock.wait_sync(seconds, signal)
        signal.clear()
        self.check()

    def wait(self, wire: Wire, seconds: float) -> None:
        """Let time pass. Raises Cancelled."""
        self._cancelled = Signal()
        if self.is_cancelled or wire.clock.wait_sync(seconds, self._cancelled):
            raise Cancelled("the run was cancelled while it waited to try again")


class Sender:
    """Performs a model's effects. What is told on the way is yielded from `outbox`."""

    __slots__ = ("caller", "on_read", "outbox", "wire")

    def __init__(self, wire: Wire, caller: Caller, outbox: deque[Event]) -> None:
        self.wire = wire
        self.caller = caller
        self.outbox = outbox
        self.on_read: Callable[[Send], None] | None = None

    def __call__(self, effect: FlowEffect) -> Generator[Event, None, Reply | float | None]:
        """The outcome of an effect."""
        self.caller.check()
        match effect:
            case Send():
                turns = effect.endpoint.turns
                return (yield from self.send(effect) if turns is None else self.send_in_turn(effect, turns))
            case Say(deltas):
                self.wire.tell(deltas)
            case Open(endpoint):
                endpoint.open_sync()
            case Again():
                wait_s = self.wire.wait_s(effect)
                yield from drained(self.outbox)
                self.caller.wait(self.wire, wait_s)
            case Instead(error):
                self.wire.instead(error)
            case Now():
                return self.wire.clock.monotonic()
        yield from drained(self.outbox)
        return None

    def send_in_turn(self, effect: Send, turns: Turns) -> Generator[Event, None, Reply]:
        """The same, once the pacing of the endpoint allows it."""
        clock = self.wire.clock
        outcome: Reply | EndpointError | None = None
        woken = self.caller.signal()
        turn = turns.ask(len(effect.body), woken.set)
        try:
            while (wait_s := turns.look(turn, clock.monotonic())) != 0:
                self.caller.wait_until(woken, clock, self.wire.turn_s(wait_s))
            outcome = yield from self.send(effect)
        except EndpointError as error:
            outcome = error
            raise
        else:
            return outcome
        finally:
            turns.end(turn, clock, outcome)

    def send(self, effect: Send) -> Generator[Event, None, Reply]:
        """Send a request and read its reply."""
        wire, reader, outbox = self.wire, effect.reader, self.outbox
        address = effect.endpoint.address_sync(self.caller.loop)
        request = HttpRequest(address.url, wire.headers(effect, address), bytes(effect.body))
        http, exchange = effect.endpoint.http_sync(), wire.begin(effect, address)
        deadline = wire.deadline(effect)
        try:
            with http.open(request, effect.timeouts, deadline, self.caller.aborter) as response:
                exchange.status, exchange.response_headers = response.status, response.headers
                reader.start(response.status, response.headers, now=exchange.started_at)
                if effect.endpoint.turns is not None:
                    effect.endpoint.turns.heed(wire.clock, response.headers)
                pulse = Pulse(effect)
                for piece in response.pieces():
                    wire.tell(reader.feed(piece))
                    if self.on_read is not None:
                        self.on_read(effect)
                    if outbox:
                        yield from drained(outbox)
                    if reader.done:
                        break
                    pulse.beat()
                wire.tell(reader.finish())
                yield from drained(outbox)
                return reader.end()
        except EndpointError as error:
            if reader.complete:  # the line broke after the last word
                wire.tell(reader.finish())
                return reader.end()
            wire.fail(effect, exchange, error, address.key)
            raise
        finally:
            wire.end(effect, exchange, address.key)


def drained(outbox: deque[Event]) -> Generator[Event, None, None]:
    """Yield what waits to be told."""
    while outbox:
        yield outbox.popleft()


def drive(run: Run, outbox: deque[Event], caller: Caller | None = None) -> Generator[Event, None, None]:
    """Do what a run's state asks for until it is finished; yields what `run.emit` has put into `outbox`."""
    driver = _Driver(run, outbox, caller or Caller())
    driver.caller.serve(run)
    try:
        while not isinstance(step := run.next(), Finished):
            match step:
                case RunTools(calls):
                    yield from driver.run_tools(calls)
                case CallModel(request):
                    yield from driver.call_model(request)
                case Tell():
                    run.tell(step)
            yield from drained(outbox)
        driver.leave(0.0)
    except BaseException as error:
        run.fail(error)
        driver.leave(HEED_S)
        if isinstance(error, AgentKitError):
            yield from drained(outbox)
        raise
    finally:
        run.abandon()
        driver.caller.loop.close()
        driver.sender.on_read = None  # it leads back to the driver: no garbage in circles


class _Driver:
    def __init__(self, run: Run, outbox: deque[Event], caller: Caller) -> None:
        self.run = run
        self.tools = run.state.plan.tools
        self.outbox = outbox
        self.caller = caller
        self.sender = Sender(run.wire(), caller, outbox)
        self.threaded: list[Begun] = []
        if run.stream and run.eager and any(made.read_only for made in self.tools.values()):
            self.sender.on_read = self.start_early

    def call_model(self, request: Any) -> Generator[Event, None, None]:
        wire = self.sender.wire
        wire.step = self.run.state.tally.steps + 1
        request.stream = self.run.stream
        reply = yield from perform(self.run.model.flow(request), self.sender)
        wire.tell_whole(reply)
        self.run.land_reply(reply)

    def start_early(self, effect: Send) -> None:
        while self.run.early and not self.caller.told.empty():
            self.hear(self.caller.told.get())
        for pending in self.run.startable_early(effect.reader.sealed_calls()) if effect.reader.sealed else ():
            self.start(pending, early=True)

    def start(self, pending: Pending, *, early: bool = False) -> None:
        begun, context = self.run.begin(pending, self.caller.told.put, early=early)

        def work() -> None:
            begun.outcome = outcome_of(partial(self.call, pending, context))
            self.caller.told.put(begun)

        threads.submit(work)
        self.threaded.append(begun)

    def call(self, pending: Pending, context: Context[Any]) -> ToolResult:
        """A call's result, waited for in this thread."""
        return last_of(perform(call_steps(self.tools, pending, context), partial(self.invoke, outbox=deque())))

    def run_tools(self, calls: tuple[Pending, ...]) -> Generator[Event, None, None]:
        """Run calls, those together that may; each result lands when it is there."""
        run, told = self.run, self.caller.told
        waiting = [pending for pending in calls if pending not in run.begun]
        for begun in list(run.begun.values()):
            if begun.outcome is not None:  # it was done before its reply was whole
                run.land(begun.pending, begun.outcome.get())
        while (waiting and run.failure is None) or run.begun:
            batch = startable(waiting, run.begun, self.tools) if run.failure is None else []
            for pending in batch:
                waiting.remove(pending)
            if len(batch) == 1 and not run.begun and not self.needs_thread(batch[0]):
                yield from self.run_here(batch[0])
                continue
            for pending in batch:
                self.start(pending)
            yield from drained(self.outbox)
            try:
                self.hear(told.get(timeout=run.time_left()))
            except Empty:
                if run.time_left() == 0:
                    self.give_up()
                    break
            yield from drained(self.outbox)
        if run.failure is not None:
            raise run.failure

    def give_up(self) -> None:
        """The run's time is over: no call is waited for any more."""
        for begun in tuple(self.run.begun.values()):
            begun.drop()
            if (made := self.tools.get(begun.pending.call.name)) is not None:
                error = TookTooLong("it was not done when the run's time was over")
                self.run.land(begun.pending, failed(made, error))

    def hear(self, item: ToolProgress | Begun | None) -> None:
        """Take in what a thread has told."""
        if isinstance(item, ToolProgress):
            if self.run.emit is not None:
                self.run.emit(item)
            return
        if item is None or item.flag.is_heeded:
            self.caller.check()  # it may also have heeded its own timeout
        if item is not None and item.pending in self.run.begun:
            self.run.land(item.pending, cast("Outcome", item.outcome).get())

    def leave(self, wait_s: float) -> None:
        """Give what still runs in threads a moment to heed that it is cancelled; report what does not."""
        self.caller.loop.close()
        ends = monotonic() + wait_s
        while left := [begun for begun in self.threaded if begun.outcome is None]:
            try:
                self.caller.told.get(timeout=max(0.0, ends - monotonic()))
            except Empty:
                break
        for begun in left:
            report(f"tool {begun.pending.call.name}")

    def run_here(self, pending: Pending) -> Generator[Event, None, None]:
        """Run a call in the caller's thread."""
        begun, context = self.run.begin(pending, self.run.relay)
        yield from drained(self.outbox)
        invoke = partial(self.invoke, outbox=self.outbox)
        result = yield from perform(call_steps(self.tools, pending, context), invoke)
        self.run.check_relayed()
        if begun.flag.is_heeded:
            self.caller.check()
        self.run.land(pending, result)

    def needs_thread(self, pending: Pending) -> bool:
        made = self.tools.get(pending.call.name)
        return made is not None and made.needs_thread

    def invoke(self, invoke: Invoke, *, outbox: deque[Event]) -> Generator[Event, None, Any]:
        """What a tool's function gives. In the caller's thread, what it tells on the way is yielded from `outbox`."""
        context = invoke.context
        if not invoke.tool.needs_thread:
            values = unfold(invoke.start())
            try:
                while True:
                    context.progress(next(values))
                    yield from drained(outbox)
            except StopIteration as stop:
                return stop.value
            finally:
                values.close()
        outcomes: SimpleQueue[Outcome] = SimpleQueue()
        if invoke.tool.is_async:
            cancel = self.caller.loop.submit(invoke.run, outcomes.put)
        else:
            cancel = context.cancel
            threads.submit(lambda: outcomes.put(outcome_of(invoke.run_sync)))
        try:
            return outcomes.get(timeout=context.allowed_s).get()
        except Empty:
            cancel()
            context.cancel()
            raise TookTooLong(f"it took longer than {context.allowed_s:g} seconds") from None
        except BaseException:
            cancel()
            raise
