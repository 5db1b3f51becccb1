"""The sync driver: it performs effects and waits for them in the caller's thread.

It is a generator of events, so that a stream is the same code with somebody who listens between its steps.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from queue import Empty, SimpleQueue
from time import monotonic
from typing import TYPE_CHECKING, Any, assert_never, cast

from agentkit._http import HttpRequest
from agentkit.caller import Caller, Errand, drained, last_of, perform
from agentkit.calling import HEED_S, Outcome, outcome_of, report, threads, unfold
from agentkit.consult import Answered, Query
from agentkit.context import Context, Invoke, TookTooLong
from agentkit.errors import AgentKitError, Cancelled, ContextLengthError, EndpointError
from agentkit.flow import Again, FlowEffect, Instead, Now, Open, Say, Send
from agentkit.logs import log
from agentkit.loop import CallModel, Consult, Finished, RunTools, Tell
from agentkit.run import Begun, Gate, Run
from agentkit.toolcalls import Delegate, call_steps, failed, startable
from agentkit.wire import Pulse, Wire

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from agentkit.chat.request import Request
    from agentkit.events import Event
    from agentkit.messages import Reply, ToolResult
    from agentkit.toolcalls import CallEffect
    from agentkit.transcript import Pending
    from agentkit.turns import Turns


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


def drive(run: Run, outbox: deque[Event], caller: Caller | None = None) -> Generator[Event, None, None]:
    """Do what a run's state asks for until it is finished; yields what `run.emit` has put into `outbox`."""
    driver = _Driver(run, outbox, caller or Caller())
    driver.caller.serve(run)
    try:
        run.tell_landed(run.state.decided)
        run.save()
        while not isinstance(step := run.next(), Finished):
            match step:
                case RunTools(calls):
                    yield from driver.run_tools(calls)
                case CallModel(request, guarded):
                    yield from driver.call_guarded(request) if guarded else driver.call_model(request)
                case Consult():
                    yield from driver.consult(step)
                case Tell():
                    run.tell(step)
                case _:
                    assert_never(step)
            run.save()
            yield from drained(outbox)
        driver.leave(0.0)
    except BaseException as error:
        run.fail(error)
        driver.leave(HEED_S)
        driver.save_last()
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
        self.outbox = outbox
        self.caller = caller
        self.sender = Sender(run.wire(), caller, outbox)
        self.threaded: list[Begun] = []
        if run.starts_early:
            self.sender.on_read = self.start_early

    def call_model(self, request: Request) -> Generator[Event, None, None]:
        try:
            reply = yield from self.reply(request, self.sender)
        except ContextLengthError:
            if not self.run.state.overflow():
                raise
        else:
            self.run.land_reply(reply, self.sender.wire)

    def reply(self, request: Request, sender: Sender) -> Generator[Event, None, Reply]:
        wire = sender.wire
        wire.step = self.run.state.tally.steps + 1
        request.stream = self.run.stream
        reply = yield from perform(self.run.asked().flow(request), sender)
        wire.tell_whole(reply)
        return reply

    def call_guarded(self, request: Request) -> Generator[Event, None, None]:
        """Ask the model while the guards look at the prompt. Nothing is told before they are through."""
        run, wire = self.run, self.sender.wire
        guards, emit = run.guards(), wire.emit
        gate = Gate(emit, len(guards))
        outcomes: SimpleQueue[Outcome] = SimpleQueue()

        def hear(*, wait: bool) -> None:
            while gate.left and (wait or not outcomes.empty()):
                gate.passed(outcomes.get().get())

        def tell(event: Event) -> None:
            hear(wait=False)
            gate.tell(event)

        with self.caller.another() as inner:
            for steps in guards:
                threads.submit(partial(self.guard, steps, inner, outcomes))
            wire.emit = None if emit is None else tell
            try:
                reply = yield from self.reply(request, Sender(wire, inner, self.outbox))
            except Cancelled:  # a guard has refused, or has another prompt: that is heard first
                self.caller.check()
                reply = None
            except ContextLengthError:
                if not run.state.overflow():
                    raise
                reply = None
            finally:
                wire.emit = emit
            hear(wait=True)
        if run.guarded(gate.changes) and reply is not None:
            yield from drained(self.outbox)
            run.land_reply(reply, wire)

    def guard(self, steps: Generator[Invoke, Any, Any], inner: Caller, outcomes: SimpleQueue[Outcome]) -> None:
        """What a guard says, in a thread of its own; the request is broken off if it is not what was to be asked."""
        outcome = outcome_of(lambda: last_of(perform(steps, partial(self.invoke, outbox=deque()))))
        outcomes.put(outcome)
        if outcome.raised is not None or outcome.value is not None:
            inner.cancel()

    def consult(self, effect: Consult) -> Generator[Event, None, None]:
        """Ask functions of the user's."""
        yield from perform(self.run.consult(effect), partial(self.invoke, outbox=self.outbox))
        self.caller.check()

    def query(self, query: Query) -> Generator[Event, None, Answered]:
        """What a model says beside the conversation."""
        wire = self.run.wire_beside()
        sender = Sender(wire, self.caller, deque())
        reply = yield from perform((query.model or self.run.asked()).flow(query.request), sender)
        return Answered(reply, wire.model, wire.step_cost, wire.clock.now(), wire.clock.monotonic())

    def start_early(self, effect: Send) -> None:
        while self.run.early and not self.caller.told.empty():
            self.hear(self.caller.told.get())
        for pending in self.run.startable_early(effect.reader.sealed_calls()) if effect.reader.sealed else ():
            self.start([pending], early=True)

    def start(self, calls: Sequence[Pending], *, early: bool = False) -> None:
        started = [self.run.begin(pending, self.caller.told.put, early=early) for pending in calls]
        self.run.save()
        for begun, context in started:
            threads.submit(partial(self.work, begun, context))
            self.threaded.append(begun)

    def work(self, begun: Begun, context: Context[Any]) -> None:
        begun.outcome = outcome_of(partial(self.call, begun, context))
        self.caller.told.put(begun)

    def call(self, begun: Begun, context: Context[Any]) -> ToolResult | None:
        """A call's result, waited for in this thread."""
        handle = partial(self.invoke, outbox=deque(), begun=begun)
        return last_of(perform(self.steps(begun.pending, context), handle))

    def steps(self, pending: Pending, context: Context[Any]) -> Generator[CallEffect, Any, ToolResult | None]:
        return call_steps(self.run.state.tools, pending, context, self.run.state.plan.tool_guards)

    def run_tools(self, calls: tuple[Pending, ...]) -> Generator[Event, None, None]:
        """Run calls, those together that may; each result lands when it is there."""
        run, told = self.run, self.caller.told
        waiting = [pending for pending in calls if pending not in run.begun]
        for begun in list(run.begun.values()):
            if begun.outcome is not None:  # it was done before its reply was whole
                run.land(begun.pending, begun.outcome.get())
        while (waiting and run.failure is None) or run.begun:
            batch = startable(waiting, run.begun, run.state.tools) if run.failure is None else []
            for pending in batch:
                waiting.remove(pending)
            if len(batch) == 1 and not run.begun and not self.needs_thread(batch[0]):
                yield from self.run_here(batch[0])
                continue
            self.start(batch)
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
            if (made := self.run.state.tools.get(begun.pending.call.name)) is not None:
                error = TookTooLong("it was not done when the run's time was over")
                self.run.land(begun.pending, failed(made, error))

    def hear(self, item: Event | Begun | Errand | None) -> None:
        """Take in what a thread has told."""
        if isinstance(item, Errand):
            item.give(self.run.delegate(item.effect, self.caller.told.put))
            return
        if item is not None and not isinstance(item, Begun):
            if self.run.emit is not None:
                self.run.emit(item)
            return
        if item is None or item.flag.is_heeded:
            self.caller.check()  # it may also have heeded its own timeout
        if item is not None and item.pending in self.run.begun:
            self.run.land(item.pending, cast("Outcome", item.outcome).get())
            self.run.save()

    def save_last(self) -> None:
        """Write down what there is when the run fails; what the journal raises then is not what it failed of."""
        try:
            self.run.save()
        except Exception as error:
            log.warning("the end of a failed run could not be written down: %s", error)

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
        self.run.save()
        yield from drained(self.outbox)
        handle = partial(self.invoke, outbox=self.outbox, begun=begun, here=True)
        result = yield from perform(self.steps(pending, context), handle)
        self.run.check_relayed()
        if begun.flag.is_heeded:
            self.caller.check()
        self.run.land(pending, result)
        self.run.save()

    def needs_thread(self, pending: Pending) -> bool:
        made = self.run.state.tools.get(pending.call.name)
        return made is not None and made.needs_thread

    def delegate(
        self, effect: Delegate, begun: Begun, context: Context[Any], outbox: deque[Event], *, here: bool
    ) -> Generator[Event, None, Any]:
        """What the agent gives that does a call, whose run is part of this one."""
        if here:
            run = self.run.delegate(effect, self.run.relay)
        else:
            errand = Errand(effect)
            self.caller.told.put(errand)
            run = errand.wait(context)
        timeout_s, inner = effect.tool.timeout_s, None
        try:
            with self.caller.another(timeout_s) as inner:
                begun.stop = inner.cancel
                yield from drive(run, outbox, inner)
        except Cancelled:
            is_late = inner is not None and inner.is_cancelled
            if timeout_s is not None and is_late and not (begun.flag.is_set or self.caller.is_cancelled):
                raise TookTooLong(f"it took longer than {timeout_s:g} seconds") from None
            begun.flag.is_heeded = True  # what became of the call is not its result
            raise
        finally:
            self.run.delegated(run)
            begun.stop = None
        return run.outcome

    def invoke(
        self, invoke: CallEffect | Query, *, outbox: deque[Event], begun: Begun | None = None, here: bool = False
    ) -> Generator[Event, None, Any]:
        """What a function gives. In the caller's thread, what it tells on the way is yielded from `outbox`."""
        if isinstance(invoke, Query):
            return (yield from self.query(invoke))
        context = invoke.context
        if isinstance(invoke, Delegate):
            assert begun is not None  # only calls are delegated
            return (yield from self.delegate(invoke, begun, context, outbox, here=here))
        if not invoke.target.needs_thread:
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
        if invoke.target.is_async:
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
