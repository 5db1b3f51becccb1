"""Tools: functions that a model may call."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import update_wrapper
from types import MethodType
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast, overload

from pydantic_core import PydanticSerializationError, to_json, to_jsonable_python

from agentkit._json import dumps, is_list
from agentkit.calling import Kind, LoopThread, finish, finish_async, kind_of
from agentkit.errors import AgentKitError, BadArguments, Cancelled, UsageError
from agentkit.messages import Audio, File, Image, ToolCall, ToolResult, ToolSpec
from agentkit.schema import FunctionSchema, describe

if TYPE_CHECKING:
    from agentkit.transcript import Pending

Deps = TypeVar("Deps")
F = TypeVar("F", bound=Callable[..., Any])
MAX_OUTPUT_CHARS: Final = 100_000


class Retry(Exception):  # it is a request to the model, raised by tools
    """Raised by a tool to tell the model what to do differently: its text goes to the model as it is."""


class TookTooLong(TimeoutError):  # it says what happened
    """A tool's function was given up after its timeout_s; raised by the drivers."""


class CancelFlag:
    """Whether a piece of work is no longer wanted; set from any thread."""

    __slots__ = ("is_heeded", "is_set")

    def __init__(self) -> None:
        self.is_set = False
        self.is_heeded = False  # the work has seen it: what it gives from then on is not what was asked for


class Context(Generic[Deps]):
    """What a tool may know of the run that calls it: give the tool a first parameter annotated `Context[…]`.

    `deps` is what the caller passed to the run. `idempotency_key` names this call and stays the same if it is run again
    after a retry or in a resumed run. The result has to be there within `allowed_s` seconds, that is at `deadline` on
    time.monotonic(); both are None if there is no limit.
    """

    __slots__ = ("_flag", "_progress", "allowed_s", "call", "deadline", "deps", "idempotency_key", "step")

    def __init__(
        self,
        deps: Deps,
        call: ToolCall,
        *,
        idempotency_key: str = "",
        step: int = 0,
        deadline: float | None = None,
        allowed_s: float | None = None,
        flag: CancelFlag | None = None,
        progress: Callable[[Any], None] | None = None,
    ) -> None:
        self.deps = deps
        self.call = call
        self.idempotency_key = idempotency_key
        self.step = step
        self.deadline = deadline
        self.allowed_s = allowed_s
        self._flag = flag or CancelFlag()
        self._progress = progress

    @property
    def cancelled(self) -> bool:
        """True once the result is no longer wanted; a long sync tool should look now and then, and return."""
        if self._flag.is_set:
            self._flag.is_heeded = True
        return self._flag.is_set

    def cancel(self) -> None:
        """Set `cancelled`."""
        self._flag.is_set = True

    def progress(self, value: Any) -> None:
        """Tell whoever listens to the run how far the work is. Raises Cancelled if the result is no longer wanted."""
        if self.cancelled:
            raise Cancelled("the result is no longer wanted")
        if self._progress is not None:
            self._progress(value)


@dataclass(slots=True, eq=False)
class Invoke:
    """Run a tool's function with these arguments; the outcome is what it returned, or the error that it raised."""

    tool: Tool
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    context: Context[Any]

    def start(self) -> Any:
        """Call the function: its value, or the coroutine or generator that gives it."""
        if self.tool.wants_context:
            return self.tool.function(self.context, *self.args, **self.kwargs)
        return self.tool.function(*self.args, **self.kwargs)

    def run_sync(self) -> Any:
        """The result of a function that is not async."""
        return finish(self.start(), self.context.progress)

    async def run(self) -> Any:
        """The result of any function; one that is not async holds the event loop meanwhile."""
        return await finish_async(self.start(), self.context.progress)


class Tool:
    """A function with what a model is told of it and how it is to be run. It stays callable as the function it was.

    See `tool` for the options.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        description: str | None = None,
        timeout_s: float | None = None,
        attempts: int = 1,
        retry_on: tuple[type[Exception], ...] = (),
        max_output_chars: int = MAX_OUTPUT_CHARS,
        read_only: bool = False,
        exclusive: bool | str = False,
        repeatable: bool = False,
        inline: bool = False,
        strict: bool = False,
        localns: Mapping[str, Any] | None = None,
    ) -> None:
        described = _as_called(function)
        schema = describe(described, context=Context, name=name, description=description, localns=localns)
        if attempts < 1:
            raise UsageError(f"tool {schema.name}: attempts={attempts} must be 1 or more")
        if attempts > 1 and not retry_on:
            raise UsageError(
                f"tool {schema.name}: attempts={attempts} needs retry_on=, the errors that are worth a retry"
            )
        if timeout_s is not None and not timeout_s > 0:
            raise UsageError(f"tool {schema.name}: timeout_s={timeout_s} must be more than 0")
        if max_output_chars < 1:
            raise UsageError(f"tool {schema.name}: max_output_chars={max_output_chars} must be 1 or more")
        self.function = function
        self.schema: FunctionSchema = schema
        self.kind: Kind = kind_of(described)
        self.timeout_s = timeout_s
        self.attempts = attempts
        self.retry_on = retry_on
        self.max_output_chars = max_output_chars
        self.read_only = read_only
        self.exclusive = exclusive
        self.repeatable = repeatable
        self.inline = inline
        self.spec = _spec(schema, strict=strict)
        update_wrapper(self, function if hasattr(function, "__name__") else described, updated=())

    @property
    def name(self) -> str:
        """The name that the model calls it by."""
        return self.schema.name

    @property
    def description(self) -> str:
        """What the model is told that it does."""
        return self.schema.description

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The JSON Schema of the arguments, as the model is told it."""
        return self.spec.parameters

    @property
    def wants_context(self) -> bool:
        """Whether the function takes a Context first."""
        return self.schema.wants_context

    @property
    def is_async(self) -> bool:
        """Whether the function has to be awaited."""
        return self.kind in ("async", "async generator")

    @property
    def needs_thread(self) -> bool:
        """Whether sync code needs a thread beside its own to run the function: to await it, or to give it up."""
        return self.is_async or self.timeout_s is not None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function as it is."""
        return self.function(*args, **kwargs)

    def __get__(self, instance: object, owner: type | None = None) -> Tool:
        bound = getattr(self.function, "__get__", None)
        if bound is None:
            return self
        return self._with(bound(instance, owner))

    def _with(self, function: Callable[..., Any]) -> Tool:
        twin = object.__new__(Tool)
        twin.__dict__.update(self.__dict__)
        twin.function = function
        return twin

    def call_sync(self, arguments: str | bytes | Mapping[str, Any] = "{}", *, deps: Any = None) -> Any:
        """Validate the arguments (JSON text, or a dict), call the function, and return what it returned.

        Raises:
            BadArguments: the arguments do not fit; the function was not called.
        """
        invoke = self._alone(arguments, deps)
        if not self.is_async:
            return invoke.run_sync()
        loop = LoopThread()
        try:
            return loop.run(invoke.run)
        finally:
            loop.close()

    async def call(self, arguments: str | bytes | Mapping[str, Any] = "{}", *, deps: Any = None) -> Any:
        """The same, awaited; a function that is not async runs in the event loop's thread."""
        return await self._alone(arguments, deps).run()

    def _alone(self, arguments: str | bytes | Mapping[str, Any], deps: Any) -> Invoke:
        text = arguments if isinstance(arguments, str) else ""
        return self.bind(arguments, Context(deps, ToolCall("", self.name, text)))

    def bind(self, arguments: str | bytes | Mapping[str, Any], context: Context[Any]) -> Invoke:
        """The call that these arguments ask for. Raises BadArguments."""
        args, kwargs = self.schema.validate(arguments)
        return Invoke(self, args, kwargs, context)

    def __repr__(self) -> str:
        return f"Tool({self.name!r})"


def _as_called(function: Any) -> Callable[..., Any]:
    """The function as it looks to a caller: without the `self` or `cls` of a method in the class being defined."""
    if isinstance(function, staticmethod):
        return _callable(cast("Any", function).__func__)
    if isinstance(function, classmethod):
        return MethodType(cast("Any", function).__func__, object)
    owner, _, _ = getattr(function, "__qualname__", "").rpartition(".")
    names = getattr(getattr(function, "__code__", None), "co_varnames", ())
    if owner and not owner.endswith("<locals>") and not isinstance(function, MethodType):
        if names[:1] == ("self",):
            return MethodType(function, object())
        if names[:1] == ("cls",):  # a @tool below a @classmethod
            return MethodType(function, object)
    return _callable(function)


def _callable(function: object) -> Callable[..., Any]:
    if not callable(function):
        raise UsageError(f"a tool is a function or another callable, not {function!r}")
    return function


def _spec(schema: FunctionSchema, *, strict: bool) -> ToolSpec:
    parameters: Mapping[str, Any] | None = schema.parameters
    if strict and (parameters := schema.strict()) is None:
        raise UsageError(
            f"tool {schema.name}: strict=True, but its parameters have no strict form (free-form objects and **kwargs "
            "have none); give them a type with named fields, or leave strict out"
        )
    return ToolSpec(schema.name, schema.description, parameters, strict=strict)


@overload
def tool(function: Callable[..., Any], /) -> Tool: ...
@overload
def tool(
    *,
    name: str | None = None,
    description: str | None = None,
    timeout_s: float | None = None,
    attempts: int = 1,
    retry_on: type[Exception] | Iterable[type[Exception]] = (),
    max_output_chars: int = MAX_OUTPUT_CHARS,
    read_only: bool = False,
    exclusive: bool | str = False,
    repeatable: bool = False,
    inline: bool = False,
    strict: bool = False,
) -> Callable[[Callable[..., Any]], Tool]: ...
def tool(function: Callable[..., Any] | None = None, /, **options: Any) -> Tool | Callable[[Callable[..., Any]], Tool]:
    """Make a function a tool, with more said of it than its signature and docstring can.

    Args:
        name: What the model calls it by, in place of the function's name.
        description: What the model is told, in place of the docstring.
        timeout_s: How long one call may take; after that the model is told so. A sync function then runs in a thread.
        attempts: How often the function is run if it raises one of `retry_on`, under the same idempotency key.
        retry_on: The errors that are worth another attempt.
        max_output_chars: Of a longer result the model gets head and tail, and how much was left out.
        read_only: It changes nothing: it may start while the reply still streams.
        exclusive: Among the calls of one reply: True runs it with nothing else, a name not with others of that name.
        repeatable: The same call with the same result again and again is no sign of a model that is stuck.
        inline: A sync function so short that an async run may call it in the event loop's thread.
        strict: Ask the endpoint to hold the model to the schema, in OpenAI's strict form.

    Raises:
        UsageError: a parameter cannot be described to a model, or an option is out of range.
    """
    retry_on = options.pop("retry_on", ())
    errors = (retry_on,) if isinstance(retry_on, type) else tuple(retry_on)
    # annotations may name what is local to the decorating function
    localns = sys._getframe(1).f_locals  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]

    def decorate(decorated: Callable[..., Any]) -> Tool:
        return Tool(decorated, retry_on=errors, localns=localns, **options)

    return decorate if function is None else decorate(function)


def as_tool(function: object) -> Tool:
    """A function as a tool; a Tool as it is. Raises UsageError."""
    if isinstance(function, Tool):
        return function
    if isinstance(function, MethodType) and isinstance(function.__func__, Tool):
        return function.__func__.__get__(function.__self__)  # a @tool below a @classmethod
    if not callable(function):
        raise UsageError(f"a tool is a function or a Tool, not {type(function).__name__} {function!r}")
    return Tool(function)


def tools_by_name(functions: Iterable[object]) -> dict[str, Tool]:
    """Functions and Tools by their names. Raises UsageError if two have the same."""
    tools: dict[str, Tool] = {}
    for function in functions:
        made = as_tool(function)
        if made.name in tools:
            raise UsageError(f"two tools are named {made.name!r}: rename one with @tool(name=…)")
        tools[made.name] = made
    return tools


def find_tool(tools: Mapping[str, Tool], name: str) -> Tool | None:
    """The tool that a model means by a name: as it stands, or alone under the prefixes and junk that models add."""
    if name in tools:
        return tools[name]
    for cut in ("<", "(", "{"):
        name = name.partition(cut)[0]
    bare = _folded(name.strip().strip("\"'`").replace(":", ".").replace("/", ".").rpartition(".")[2])
    found = [made for known, made in tools.items() if _folded(known) == bare]
    return found[0] if bare and len(found) == 1 else None


def _folded(name: str) -> str:
    return name.strip().lower().replace("-", "_").replace(" ", "_")


def startable(waiting: Sequence[Pending], running: Collection[Pending], tools: Mapping[str, Tool]) -> list[Pending]:
    """Which of the waiting calls may start beside the running ones, in call order."""
    locks = {_lock(pending, tools) for pending in running}
    if True in locks:
        return []
    chosen: list[Pending] = []
    for pending in waiting:
        lock = _lock(pending, tools)
        if lock is True:
            if not running and not chosen:
                chosen.append(pending)
            break  # a barrier: what stands after it waits for it
        if lock is False or lock not in locks:
            chosen.append(pending)
        locks.add(lock)
    return chosen


def _lock(pending: Pending, tools: Mapping[str, Tool]) -> bool | str:
    made = tools.get(pending.call.name)
    return made is not None and made.exclusive


def early_calls(sealed: Sequence[ToolCall], tools: Mapping[str, Tool]) -> list[ToolCall]:
    """Which calls of a reply that is still being read may start: the first ones, as long as they only look.

    A look must not overtake a write, so the first call of another kind ends the list.
    """
    chosen: list[ToolCall] = []
    for call in sealed:
        made = find_tool(tools, call.name)
        if made is None or not made.read_only or made.exclusive is not False:
            break
        chosen.append(call if made.name == call.name else replace(call, name=made.name))
    return chosen


def call_steps(
    tools: Mapping[str, Tool], pending: Pending, context: Context[Any]
) -> Generator[Invoke, Any, ToolResult]:
    """From a call to its result: the arguments are checked, the function is run, its value is written for the model."""
    made = tools.get(pending.call.name)
    if made is None:
        return unknown(pending.call.name, tools)
    try:
        invoke = made.bind(pending.call.arguments, context)
    except BadArguments as error:
        return ToolResult(str(error), "not_run")
    attempt = 1
    while True:
        try:
            value = yield invoke
        except Exception as error:  # whatever it is, the model is told and the caller has it
            # what was given up may still be at work, and is not started a second time beside that
            if attempt >= made.attempts or isinstance(error, TookTooLong) or not isinstance(error, made.retry_on):
                return failed(made, error)
        else:
            return result_of(made, value)
        attempt += 1


def unknown(name: str, tools: Mapping[str, Tool]) -> ToolResult:
    """What the model is told that called a tool that there is not."""
    known = ", ".join(sorted(tools)) or "none"
    return ToolResult(f"There is no tool {name!r}. The tools are: {known}.", "not_run")


def failed(made: Tool, error: Exception) -> ToolResult:
    """What the model is told of an error: the words meant for it, of an unexpected one only its type."""
    shown = f"{type(error).__name__}: {error}"
    if isinstance(error, Retry | AgentKitError):
        content = str(error)
    elif isinstance(error, TookTooLong):
        content = f"{made.name} was given up: {error}."
    else:
        content = f"{made.name} failed with {type(error).__name__}."
    return ToolResult(content, "failed", error=shown, raised=error)


def result_of(made: Tool, value: Any) -> ToolResult:
    """A function's value as the model gets it: text as it is, values as JSON, images and files as parts beside it."""
    if isinstance(value, ToolResult):
        return value
    parts: tuple[dict[str, Any], ...] = ()
    if isinstance(value, str):
        content = value
    elif value is None:
        content = ""
    else:
        items: Sequence[Any] = value if is_list(value) else (value,)
        parts = tuple([item.data for item in items if isinstance(item, _PARTS)])
        try:
            content = _beside(parts, items) if parts else _written(value)
        except ValueError as error:
            message = f"{made.name} returned a {type(value).__name__}, which cannot be written as JSON."
            return ToolResult(message, "failed", error=f"{type(error).__name__}: {error}", value=value, raised=error)
    return ToolResult(shortened(content, made.max_output_chars), parts=parts, value=value)


_PARTS: Final = (Image, Audio, File)


def _beside(parts: Sequence[Mapping[str, Any]], items: Sequence[Any]) -> str:
    rest = [item for item in items if not isinstance(item, _PARTS)]
    texts = [item if isinstance(item, str) else _written(item) for item in rest]
    return "\n".join([*texts, f"({len(parts)} attached in the next message: {', '.join(p['type'] for p in parts)})"])


def _written(value: object) -> str:
    try:
        return to_json(value).decode()
    except PydanticSerializationError:  # of a name that is no Unicode, as a folder may hold, too
        return dumps(to_jsonable_python(value)).decode()


def shortened(text: str, limit: int) -> str:
    """A text of at most `limit` characters: its head and tail, and between them how much was left out."""
    if len(text) <= limit:
        return text
    room = max(0, limit - len(_left_out(len(text), len(text))))
    tail = room // 3
    return text[: room - tail] + _left_out(len(text) - room, len(text)) + (text[-tail:] if tail else "")


def _left_out(count: int, total: int) -> str:
    return f"\n… {count} of {total} characters left out …\n"
