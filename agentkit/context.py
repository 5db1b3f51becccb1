"""What functions of the user's know of the run that calls them, and how they are run."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from agentkit.calling import Kind, finish, finish_async, kind_of
from agentkit.errors import AgentKitError, Cancelled, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from agentkit.messages import ToolCall, Usage
    from agentkit.transcript import Transcript

Deps = TypeVar("Deps")


class Retry(Exception):  # it is a request to the model, raised by tools and validators
    """Raised to tell the model what to do differently: its text goes to the model as it is."""


class TookTooLong(TimeoutError):  # it says what happened
    """A function was given up after its timeout_s; raised by the drivers."""


class CancelFlag:
    """Whether a piece of work is no longer wanted; set from any thread."""

    __slots__ = ("is_heeded", "is_set")

    def __init__(self) -> None:
        self.is_set = False
        self.is_heeded = False  # the work has seen it: what it gives from then on is not what was asked for


class SupportsView(Protocol):
    """What a context shows of the run's state."""

    transcript: Transcript

    @property
    def usage(self) -> Usage:
        """What the run has used so far."""
        ...


class Context(Generic[Deps]):
    """What a function may know of the run that calls it: give it a first parameter annotated `Context[…]`.

    `deps` is what the caller passed to the run. In a tool, `call` is the call, and `idempotency_key` names it and stays
    the same if it is run again after a retry or in a resumed run. The result has to be there within `allowed_s`
    seconds, that is at `deadline` on time.monotonic(); both are None if there is no limit.
    """

    __slots__ = (
        "_call",
        "_flag",
        "_progress",
        "_view",
        "allowed_s",
        "deadline",
        "deps",
        "idempotency_key",
        "step",
    )

    def __init__(
        self,
        deps: Deps,
        call: ToolCall | None = None,
        *,
        idempotency_key: str = "",
        step: int = 0,
        deadline: float | None = None,
        allowed_s: float | None = None,
        flag: CancelFlag | None = None,
        progress: Callable[[Any], None] | None = None,
        view: SupportsView | None = None,
    ) -> None:
        self.deps = deps
        self._call = call
        self.idempotency_key = idempotency_key
        self.step = step
        self.deadline = deadline
        self.allowed_s = allowed_s
        self._flag = flag or CancelFlag()
        self._progress = progress
        self._view = view

    @property
    def call(self) -> ToolCall:
        """The tool call. Raises UsageError where there is none: in instructions, validators and guards of a text."""
        if self._call is None:
            raise UsageError("this context belongs to no tool call")
        return self._call

    @property
    def transcript(self) -> Transcript:
        """The conversation so far, a copy."""
        return self._viewed().transcript.copy()

    @property
    def usage(self) -> Usage:
        """The tokens that the run has used so far, its sub-agents' among them."""
        return self._viewed().usage

    def _viewed(self) -> SupportsView:
        if self._view is None:
            raise UsageError("this context belongs to no run: the tool was called by itself")
        return self._view

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


class Function:
    """A function of the user's and how it is run. `name` is for messages."""

    function: Callable[..., Any]
    kind: Kind
    wants_context: bool
    timeout_s: float | None = None
    inline: bool = False

    @property
    def name(self) -> str:
        """What it is called."""
        raise NotImplementedError

    @property
    def is_async(self) -> bool:
        """Whether the function has to be awaited."""
        return self.kind in ("async", "async generator")

    @property
    def needs_thread(self) -> bool:
        """Whether sync code needs a thread beside its own to run the function: to await it, or to give it up."""
        return self.is_async or self.timeout_s is not None


class Hook(Function):
    """A function that a run asks: for instructions, an approval, a check. The context comes first, if it wants it."""

    def __init__(self, function: Callable[..., Any], what: str, *, takes: int) -> None:
        """`takes` is how many arguments there are besides the context. Raises UsageError if it takes others."""
        if not callable(function):
            raise UsageError(f"{what} is a function, not {function!r}")
        self.function = function
        self.kind = kind_of(function)
        self._name = getattr(function, "__name__", type(function).__name__)
        self.what = f"{what} {self._name}"
        self.wants_context = _wants_context(function, self.what, takes)

    @property
    def name(self) -> str:
        """The function's own name."""
        return self._name

    def __repr__(self) -> str:
        return f"Hook({self._name})"


def _wants_context(function: Callable[..., Any], what: str, takes: int) -> bool:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (ValueError, TypeError):  # a builtin that does not tell
        return False
    placed = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    first = bool(placed) and _is_context(placed[0].annotation)
    if named := [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]:
        raise UsageError(f"{what} needs {', '.join(named)} by name, and is called without names")
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return first
    needed = sum(p.default is p.empty for p in placed)
    if first or needed > takes:
        if needed <= takes + 1 <= len(placed):
            return True
    elif len(placed) >= takes:
        return False
    raise UsageError(
        f"{what} takes {needed} arguments; it is called with {takes}, or with {takes + 1}, the first a Context"
    )


def _is_context(annotation: Any) -> bool:
    if isinstance(annotation, str):
        return annotation.partition("[")[0].rpartition(".")[2] == "Context"
    return getattr(annotation, "__origin__", annotation) is Context


@dataclass(slots=True, eq=False)
class Invoke:
    """Run a function with these arguments; the outcome is what it returned, or the error that it raised."""

    target: Function
    context: Context[Any]
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict[str, Any])

    def start(self) -> Any:
        """Call the function: its value, or the coroutine or generator that gives it."""
        if self.target.wants_context:
            return self.target.function(self.context, *self.args, **self.kwargs)
        return self.target.function(*self.args, **self.kwargs)

    def run_sync(self) -> Any:
        """The result of a function that is not async."""
        return finish(self.start(), self.context.progress)

    async def run(self) -> Any:
        """The result of any function; one that is not async holds the event loop meanwhile."""
        return await finish_async(self.start(), self.context.progress)


def asked(
    hook: Hook, context: Context[Any], *args: Any, words: tuple[type[Exception], ...] = ()
) -> Generator[Invoke, Any, Any]:
    """What a function says. Its own error comes out as a UsageError; `words` to agentkit, and its own, as they are."""
    try:
        return (yield Invoke(hook, context, args))
    except Exception as error:
        if isinstance(error, (AgentKitError, *words)):
            raise
        raise UsageError(f"{hook.what} failed with {type(error).__name__}: {error}") from error
