"""Where a toolset's tools come from: given, loaded, on a condition, found by a search; and what changes them.

What hangs on the moment is asked by generators that yield the functions to run. Nothing is kept between requests.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Mapping
from copy import copy
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from agentkit._json import is_object
from agentkit.context import Context, Hook, Invoke, asked
from agentkit.errors import UsageError
from agentkit.messages import ToolSpec
from agentkit.tools import Tool, as_tool
from agentkit.toolsearch import ranked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentkit.transcript import Transcript

Place: TypeAlias = tuple[int, int, int]
"""Where in the conversation a tool was found: the entry, the call, the rank among what that call found."""
Placed: TypeAlias = Generator[Invoke, Any, list[tuple[Place, Tool]]]
"""Yields the functions to run, is sent what they returned, and returns the tools to offer with their places."""
Offering: TypeAlias = Generator[Invoke, Any, list[Tool]]
"""The same without the places."""

AT_THE_HEAD: Final[Place] = (-1, 0, 0)
_SHOWN_NAMES: Final = 2
_FOUND: Final = r"(?m)^- ([a-zA-Z0-9_-]{1,64})(?::|$)"


class Keep:
    """A step that leaves tools out."""

    def __init__(self, hook: Hook) -> None:
        self.hook: Final = hook
        self.needs_run: Final = hook.wants_context or hook.is_async


Step: TypeAlias = Keep | Callable[[Tool], Tool]
"""A change of each tool, or the leaving out of some."""


class Source:
    """Where tools come from. `certain` are those that are always offered, `known` those that may be.

    `is_complete` says that there are no others, `is_static` that what is offered does not hang on the moment.
    """

    label: str
    known: tuple[Tool, ...] = ()
    certain: tuple[Tool, ...] = ()
    is_complete: bool = False
    is_static: bool = False

    def changed(self, step: Step) -> Source:
        """The same, each tool changed or left out."""
        raise NotImplementedError

    def offer(self, context: Context[Any]) -> Placed:
        """The tools to offer just now."""
        raise NotImplementedError


class Direct(Source):
    """Tools as they were given, and the steps that hang on the moment or come after such a one."""

    def __init__(self, name: str | None, tools: Sequence[Tool], steps: tuple[Step, ...] = ()) -> None:
        self._name = name
        self._tools = tuple(tools)
        self._steps = steps
        more = ", …" if len(tools) > _SHOWN_NAMES else ""
        shown = ", ".join([tool.name for tool in tools[:_SHOWN_NAMES]])
        self.label = f"the tools {shown}{more}" if name is None else f"toolset {name!r}"
        changes = [step for step in steps if not isinstance(step, Keep)]
        for change in changes:
            tools = [change(tool) for tool in tools]
        filters = len(changes) < len(steps)
        self.known = tuple(tools)
        self.certain = () if filters else tuple([tool for tool in tools if tool.enabled is True])
        self.is_static = not filters and all(isinstance(tool.enabled, bool) for tool in tools)
        self.is_complete = True

    def changed(self, step: Step) -> Source:
        """The same, each tool changed or left out: at once, if that does not take a run."""
        if self._steps or (isinstance(step, Keep) and step.needs_run):
            return Direct(self._name, self._tools, (*self._steps, step))
        if isinstance(step, Keep):
            return Direct(self._name, [tool for tool in self._tools if step.hook.function(tool)])
        return Direct(self._name, [step(tool) for tool in self._tools])

    def offer(self, context: Context[Any]) -> Placed:
        """The tools to offer just now."""
        if self.is_static:
            return [(AT_THE_HEAD, tool) for tool in self.certain]
        return (yield from _stepped(self._tools, self._steps, context))


class Loaded(Source):
    """Tools that a function gives."""

    def __init__(self, name: str | None, hook: Hook, steps: tuple[Step, ...] = ()) -> None:
        self.label = f"what {hook.name} loads" if name is None else f"toolset {name!r}"
        self._name = name
        self._hook = hook
        self._steps = steps

    def changed(self, step: Step) -> Source:
        """The same, each tool changed or left out once they are loaded."""
        return Loaded(self._name, self._hook, (*self._steps, step))

    def offer(self, context: Context[Any]) -> Placed:
        """The tools to offer just now."""
        loaded = yield from asked(self._hook, context)
        tools = [made(item) for item in listed(loaded, f"{self._hook.name} has to load a list of tools, not")]
        return (yield from _stepped(tools, self._steps, context))


class Conditional(Source):
    """Tools that are offered while a condition holds."""

    def __init__(self, sources: Sequence[Source], hook: Hook) -> None:
        self.label = " and ".join([source.label for source in sources])
        self._sources = sources
        self._hook = hook
        self.known = tuple([tool for source in sources for tool in source.known])
        self.is_complete = all(source.is_complete for source in sources)

    def changed(self, step: Step) -> Source:
        """The same, each tool changed or left out."""
        return Conditional([source.changed(step) for source in self._sources], self._hook)

    def offer(self, context: Context[Any]) -> Placed:
        """The tools to offer just now."""
        if not (yield from asked(self._hook, context)):
            return []
        return (yield from _offered(self._sources, context))


class Searched(Source):
    """Tools that a search has to find first, but for those that are named in `always`."""

    def __init__(self, sources: Sequence[Source], search: Tool, top: int, always: tuple[str, ...]) -> None:
        self.label = f"Searchable {search.name!r}"
        self._sources = sources
        self._search = search
        self._top = top
        self._always = always
        self.known = (search, *[tool for source in sources for tool in source.known])
        self.certain = (search, *[tool for source in sources for tool in source.certain if tool.name in always])
        self.is_complete = all(source.is_complete for source in sources)

    def changed(self, step: Step) -> Source:
        """The same, each tool changed or left out; the search itself stays as it is."""
        always = self._always
        if not isinstance(step, Keep):
            always = tuple([step(made(ToolSpec(name))).name for name in always])
        return Searched([source.changed(step) for source in self._sources], self._search, self._top, always)

    def offer(self, context: Context[Any]) -> Placed:
        """The tools to offer just now: the search, those that are always there, those that were found."""
        inner = yield from _offered(self._sources, context)
        hidden = [tool for _, tool in inner if tool.name not in self._always]
        places = _places(context.transcript, self._search.name)
        search = copy(self._search)
        search.function = Search(hidden, self._top)
        return [
            (AT_THE_HEAD, search),
            *[(place, tool) for place, tool in inner if tool.name in self._always],
            *[(places[tool.name], tool) for tool in hidden if tool.name in places],
        ]


class Search:
    """The function of a search."""

    def __init__(self, tools: Sequence[Tool], top: int) -> None:
        self._tools = tools
        self._top = top

    def __call__(self, query: str) -> str:
        """Find tools by what they do. There are more tools than you see; you can call those that are found.

        Args:
            query: What the tool has to do, in a few words.
        """
        best = ranked(query, self._tools)[: self._top]
        if not best:
            return "No tool fits. Try other words for what it has to do."
        return "\n".join(["You can call these tools now:", *map(_line, best)])


def _line(tool: Tool) -> str:
    first = tool.description.strip().partition("\n")[0].strip()
    return f"- {tool.name}: {first}" if first else f"- {tool.name}"


def _places(transcript: Transcript, search: str) -> dict[str, Place]:
    """The tools that a search has found so far, by name, and where it first found them."""
    places: dict[str, Place] = {}
    for index, entry in enumerate(transcript.entries):
        for position, record in enumerate(entry.calls):
            result = record.result
            if record.call.name == search and result is not None and result.status == "ok":
                for rank, found in enumerate(re.finditer(_FOUND, result.content)):
                    places.setdefault(found[1], (index, position, rank))
    return places


def _offered(sources: Iterable[Source], context: Context[Any]) -> Placed:
    placed: list[tuple[Place, Tool]] = []
    for source in sources:
        new = yield from source.offer(context)
        placed += new
    return placed


def _stepped(tools: Sequence[Tool], steps: Sequence[Step], context: Context[Any]) -> Placed:
    """The tools changed, without those that are left out or not enabled."""
    left = list(tools)
    for step in steps:
        if isinstance(step, Keep):
            kept: list[Tool] = []
            for tool in left:
                if (yield from asked(step.hook, context, tool)):
                    kept.append(tool)  # noqa: PERF401  # a comprehension cannot yield
            left = kept
        else:
            left = [step(tool) for tool in left]
    enabled: list[tuple[Place, Tool]] = []
    for tool in left:
        wanted = (yield from asked(tool.enabled, context)) if isinstance(tool.enabled, Hook) else tool.enabled
        if wanted:
            enabled.append((AT_THE_HEAD, tool))
    return enabled


def made(item: object) -> Tool:
    """A Tool of what may stand for one: a function, a Tool, a ToolSpec, a dict of the wire. Raises UsageError."""
    return Tool.of(item) if isinstance(item, ToolSpec) or is_object(item) else as_tool(item)


def listed(value: Any, problem: str) -> Iterable[object]:
    """The items of a list of tools. Raises UsageError with `problem` and the value if it is none."""
    if isinstance(value, str | Mapping) or not isinstance(value, Iterable):
        raise UsageError(f"{problem} {value!r}")
    return value  # pyright: ignore[reportUnknownVariableType]  # of whatever


def check_certain(sources: Iterable[Source]) -> None:
    """Raise UsageError if two tools that are always offered have the same name."""
    check_names((source.label, tool) for source in sources for tool in source.certain)


def check_names(labelled: Iterable[tuple[str, Tool]]) -> None:
    """Raise UsageError if two tools have the same name; it says where each is from."""
    labels: dict[str, str] = {}
    for label, tool in labelled:
        if tool.name in labels:
            other = labels[tool.name]
            whose = f"both of {label}" if other == label else f"one of {other}, one of {label}"
            raise UsageError(
                f"two tools are named {tool.name!r}, {whose}: give one another name with @tool(name=…), .renamed() or "
                ".prefixed()"
            )
        labels[tool.name] = label


def check_known(sources: Sequence[Source], names: Iterable[str], what: str) -> None:
    """Raise UsageError if a name is certainly none of a tool."""
    if not all(source.is_complete for source in sources):
        return
    known = [tool.name for source in sources for tool in source.known]
    for name in names:
        if name not in known:
            from difflib import get_close_matches  # 5 ms, for an error alone

            nearest = get_close_matches(name, known, 1) or known[:1] or ["none"]
            raise UsageError(f"{what}: there is no tool {name!r} in the toolset; the nearest is {nearest[0]!r}")
