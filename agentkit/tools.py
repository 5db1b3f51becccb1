"""Tools: functions that a model may call."""

from __future__ import annotations

import sys
from functools import update_wrapper
from types import MethodType
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, cast, overload

from agentkit._json import is_object
from agentkit.calling import Kind, LoopThread, kind_of
from agentkit.context import Context, Function, Hook, Invoke
from agentkit.errors import UsageError
from agentkit.guards import ToolGuard, tool_guards_of
from agentkit.messages import ToolCall, ToolSpec
from agentkit.schema import BareSchema, FunctionSchema, describe
from agentkit.shown import Shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

MAX_OUTPUT_CHARS: Final = 100_000
OnUnknown: TypeAlias = Literal["retry", "ask", "fail"]


class Tool(Shown, Function):
    """A function with what a model is told of it and how it is to be run. It stays callable as the function it was.

    See `tool` for the options.
    """

    handoff: str | None = None
    """The agent that goes on after this call, if it is a hand-off."""
    delegate: Callable[..., Any] | None = None
    """Makes the run that does the calls, if another agent does them."""

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
        approval: bool | Callable[..., Any] = False,
        external: bool = False,
        enabled: bool | Callable[..., Any] = True,
        on_unknown: OnUnknown | None = None,
        guards: Iterable[ToolGuard | Callable[..., Any]] = (),
        keep_output: bool = False,
        schema: FunctionSchema | BareSchema | None = None,
        localns: Mapping[str, Any] | None = None,
    ) -> None:
        described = _as_called(function)
        if schema is None:
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
        if external and keep_output:
            raise UsageError(
                f"tool {schema.name}: keep_output keeps what a function returns, and an external tool has none; its "
                "Answer goes to the model, so shorten what you answer"
            )
        if on_unknown not in (None, "retry", "ask", "fail"):
            raise UsageError(f"tool {schema.name}: on_unknown={on_unknown!r} is not one of 'retry', 'ask', 'fail'")
        self.function = function
        self.schema = schema
        self.kind: Kind = kind_of(described)
        self.wants_context = schema.wants_context
        self.timeout_s = timeout_s
        self.attempts = attempts
        self.retry_on = retry_on
        self.max_output_chars = max_output_chars
        self.read_only = read_only
        self.exclusive = exclusive
        self.repeatable = repeatable
        self.inline = inline
        self.approval = Hook(approval, f"approval of {schema.name}:", takes=1) if callable(approval) else approval
        self.external = external
        self.enabled = Hook(enabled, f"enabled of {schema.name}:", takes=0) if callable(enabled) else enabled
        self.on_unknown: OnUnknown = on_unknown or ("retry" if read_only else "ask")
        self.guards = tool_guards_of(guards)
        self.keep_output = keep_output
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
    def may_overtake(self) -> bool:
        """Whether its calls may start while the reply that asks for them is still being read."""
        plain = self.exclusive is False and self.approval is False and not self.external and not self.guards
        # what starts early is not written down yet: after a crash it starts again
        again = self.on_unknown == "retry"
        return self.read_only and again and plain and self.delegate is None and self.handoff is None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function as it is."""
        return self.function(*args, **kwargs)

    def __get__(self, instance: object, owner: type | None = None) -> Tool:
        bound = getattr(self.function, "__get__", None)
        if bound is None:
            return self
        return self._with(bound(instance, owner))

    @classmethod
    def of(cls, spec: ToolSpec | Mapping[str, Any], function: Callable[..., Any] | None = None, **options: Any) -> Tool:
        """A tool whose JSON Schema is known at run time alone, as a ToolSpec or as it stands in a request.

        `function` is called with the run's Context and the arguments as a dict; without one the tool is external.
        The options are those of `tool`. Raises UsageError.
        """
        schema = BareSchema(spec_of(spec))
        return cls(function or _no_body, schema=schema, external=function is None, **options)

    def renamed(self, name: str, description: str | None = None) -> Tool:
        """The same tool under another name. Raises UsageError if it cannot be one."""
        schema = self.schema.renamed(name, self.description if description is None else description)
        twin = self._with(self.function)
        twin.schema = schema
        twin.spec = _spec(schema, strict=self.spec.strict)
        return twin

    def _with(self, function: Callable[..., Any]) -> Tool:
        twin = object.__new__(type(self))
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
        return Invoke(self, context, args, kwargs)

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


def _no_body(context: Context[Any], arguments: dict[str, Any]) -> Any:
    raise UsageError(f"{context.call.name} has no body: its caller answers the call of {context.call.id}, {arguments}")


def spec_of(item: ToolSpec | Mapping[str, Any]) -> ToolSpec:
    """A tool as it stands in a request, as a ToolSpec. Raises UsageError."""
    if isinstance(item, ToolSpec):
        return item
    function = item.get("function")
    if not is_object(function) or not isinstance(function.get("name"), str):
        raise UsageError(f"a tool as a dict is {{'type': 'function', 'function': {{'name': …}}}}, not {dict(item)!r}")
    return ToolSpec(
        function["name"],
        function.get("description", ""),
        function.get("parameters"),
        strict=bool(function.get("strict")),
    )


def _spec(schema: FunctionSchema | BareSchema, *, strict: bool) -> ToolSpec:
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
    approval: bool | Callable[..., Any] = False,
    external: bool = False,
    enabled: bool | Callable[..., Any] = True,
    on_unknown: OnUnknown | None = None,
    guards: Iterable[ToolGuard | Callable[..., Any]] = (),
    keep_output: bool = False,
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
        approval: Whether a call waits for a decision before it runs; or a function of the call, or of the context and
            the call, sync or async, that says so.
        external: It has no body: a call waits for its caller to answer it.
        enabled: Whether it is offered; or a function, which may take the context, asked before each request.
        on_unknown: What becomes of a call that had started when the process died, so that nobody knows whether it was
            done: "retry" runs it again under the same idempotency key, "ask" puts it to the caller, "fail" tells the
            model. "ask" unless the tool is read_only, which is run again.
        guards: What looks at its calls before they run, and after.
        keep_output: A result longer than max_output_chars is kept whole in the transcript, and the agent offers a tool
            `read_output` by which the model reads on in it.

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
    """A function as a tool; a Tool as it is. Raises UsageError.

    Examples:
        >>> def area(width: float, height: float = 1) -> float:
        ...     return width * height
        >>> as_tool(area).parameters["required"]
        ['width']
        >>> as_tool(area).call_sync({"width": "3", "height": 2})
        6.0
    """
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
