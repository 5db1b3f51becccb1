"""What agents and runs may be given, and what takes its place for a while."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, Self, TypeAlias, TypedDict

from agentkit.transcript import Transcript

if TYPE_CHECKING:
    from agentkit.agent import Agent
    from agentkit.budget import Budget
    from agentkit.chat.settings import Settings
    from agentkit.events import Event
    from agentkit.guards import InputGuard, ToolGuard
    from agentkit.handoffs import Handoff
    from agentkit.history import Compaction, History
    from agentkit.instructions import Instructions
    from agentkit.model import Model
    from agentkit.pending import Decisions
    from agentkit.policy import Limits
    from agentkit.run import OnToolError

Past: TypeAlias = Transcript | Sequence[Mapping[str, Any]] | None
OnLength: TypeAlias = Literal["return", "error"]


class Kept(Protocol):
    """A kept conversation, for a `with` or `async with` block: what it holds, and where each entry is written down."""

    offset: int

    @property
    def transcript(self) -> Transcript:
        """The conversation, or its last entries; `offset` others stand before them."""
        ...

    def record(self, index: int, entry_json: bytes) -> None:
        """Write down an entry of the transcript, new or changed."""
        ...

    def __enter__(self) -> Self: ...
    def __exit__(self, *error: object) -> object: ...
    async def __aenter__(self) -> Self: ...
    async def __aexit__(self, *error: object) -> object: ...


class Store(Protocol):
    """Where conversations are kept, as in agentkit.conversations."""

    def open(
        self,
        name: str,
        *,
        busy: Literal["wait", "refuse"] = "wait",
        enough: Callable[[Transcript], bool] | None = None,
    ) -> Kept:
        """A conversation to go on with; a name that is new begins one.

        It may be read backwards from its end until `enough` says of what was read that no more is needed.
        """
        ...


class AgentArgs(TypedDict, total=False):
    """What an agent may be given besides its model and its output; see Agent."""

    tools: Iterable[object]
    instructions: Instructions
    validators: Iterable[Callable[..., Any]]
    handoffs: Iterable[Agent[Any, Any] | Handoff]
    input_guards: Iterable[InputGuard | Callable[..., Any]]
    output_guards: Iterable[Callable[..., Any]]
    tool_guards: Iterable[ToolGuard | Callable[..., Any]]
    settings: Settings | Mapping[str, Any] | None
    limits: Limits | None
    budget: Budget | None
    history: History | Sequence[History]
    compaction: Compaction | None
    store: Store | None
    name: str | None
    on_tool_error: OnToolError
    on_length: OnLength | None
    exchanges: bool
    eager: bool


class RunArgs(TypedDict, total=False):
    """What a run may be given besides the prompt.

    `transcript`: what it goes on from, a Transcript or a plain list (which is not trusted: see Transcript.load).
    `conversation`: in place of that the name of a kept one, or what the store opens; while another run has it, this one
    waits, or is refused with `busy="refuse"`. `decisions`: what is decided of its pending calls, by their ids, or one
    decision for all. `approve`: asked about each call that waits for a decision, a function of the call, or of the
    context and the call; it returns a decision, a bool, or None to leave it pending. `deps`: reaches functions through
    their Context. `settings`, `limits`: in place of the agent's, field by field for settings. `model`: in place of the
    agent's. `tools`, `instructions`: more of them, for each agent of the run. `budget`: what all runs that share it may
    cost. `on_event`: called with each event.
    `resume_stream`: a stream that breaks after something was told of it begins anew, with a Restarted event.
    `pause`: asked before each step, a request to the model or calls of tools; if it says True, the run ends there,
    paused, to be gone on with: for a program that is about to end.
    """

    transcript: Past
    conversation: str | Kept | None
    busy: Literal["wait", "refuse"]
    decisions: Decisions | None
    approve: Callable[..., Any] | None
    deps: Any
    settings: Settings | Mapping[str, Any] | None
    limits: Limits | None
    model: str | Model | None
    tools: Iterable[object]
    instructions: Instructions
    budget: Budget | None
    on_event: Callable[[Event], None] | None
    resume_stream: bool
    pause: Callable[[], bool] | None


@dataclass(slots=True)
class Overrides:
    """What takes the place of every agent's own model and tools for a while; set by agentkit.testing.override."""

    model: Model | None = None
    tools: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def is_nothing(self) -> bool:
        """Whether all is as the agents have it."""
        return self.model is None and not self.tools


overrides: Final[ContextVar[Overrides | None]] = ContextVar("agentkit_overrides", default=None)
