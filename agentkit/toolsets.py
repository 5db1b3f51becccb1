"""Toolsets: groups of tools that are renamed, filtered, loaded, offered on a condition or through a search, together.

A toolset is made of sources (toolsources.py), and a change of it is a change of each.
"""

from __future__ import annotations

from copy import copy
from itertools import groupby
from typing import TYPE_CHECKING, Any, TypedDict, Unpack, cast

from agentkit.context import Context, Hook
from agentkit.errors import UsageError
from agentkit.messages import ToolSpec
from agentkit.shown import Shown
from agentkit.tools import OnUnknown, Tool
from agentkit.toolsources import (
    Conditional,
    Direct,
    Keep,
    Loaded,
    Offering,
    Place,
    Search,
    Searched,
    Source,
    check_certain,
    check_known,
    check_names,
    listed,
    made,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from agentkit.guards import ToolGuard


class ToolOptions(TypedDict, total=False):
    """What `Toolset.with_options` takes: the options of `tool` that may hold for a whole group."""

    timeout_s: float | None
    attempts: int
    retry_on: type[Exception] | tuple[type[Exception], ...]
    max_output_chars: int
    read_only: bool
    exclusive: bool | str
    repeatable: bool
    inline: bool
    approval: bool | Callable[..., Any]
    on_unknown: OnUnknown
    guards: Iterable[ToolGuard | Callable[..., Any]]
    keep_output: bool


class Toolset(Shown):
    """A group of tools: functions, Tools, tools as they stand in a request (dicts, ToolSpecs), and other toolsets.

    With `load` they come from a function of nothing or of the context, sync or async. It is asked before each request
    of a run, and nothing is kept: what is slow in it, its author keeps. `name` is for messages. A toolset never
    changes; its methods give changed ones.

    Raises:
        UsageError: something is no tool, or two tools that are always offered have the same name.
    """

    def __init__(
        self, tools: Iterable[object] = (), *, name: str | None = None, load: Callable[..., Any] | None = None
    ) -> None:
        items = listed(tools, "a Toolset takes a list of tools, and a function that loads them as load=; not")
        sources = _sources_of([item if isinstance(item, Toolset) else made(item) for item in items], name)
        if load is not None:
            sources.append(Loaded(name, Hook(load, "the load function", takes=0)))
        self.sources = tuple(sources)
        self.name = name
        check_certain(sources)

    def _with(self, sources: Iterable[Source]) -> Toolset:
        twin = copy(self)
        twin.sources = tuple(sources)
        check_certain(twin.sources)
        return twin

    @property
    def known(self) -> list[Tool]:
        """All tools that it may offer, as far as they are known without a run: not those that are loaded."""
        return [tool for source in self.sources for tool in source.known]

    @property
    def static(self) -> list[Tool] | None:
        """The tools that it offers, if that is known without a run, else None."""
        if not all(source.is_static for source in self.sources):
            return None
        return [tool for source in self.sources for tool in source.certain]

    def offer(self, context: Context[Any]) -> Offering:
        """The tools to offer just now: a generator of the functions to run for it, which returns them.

        Raises UsageError if two of them have the same name.
        """
        return offered([self], context)

    def filtered(self, keep: Callable[..., Any]) -> Toolset:
        """Only the tools that `keep` is true of: a function of the Tool, or of the context and the Tool; sync or async.

        A sync function of the Tool alone is asked at once of the tools that are known, any other before each request.
        """
        step = Keep(Hook(keep, "the filter", takes=1))
        return self._with([source.changed(step) for source in self.sources])

    def renamed(self, names: Mapping[str, str]) -> Toolset:
        """The tools under other names: `{"old": "new"}`. Raises UsageError if a name is unknown, or cannot be one."""
        check_known(self.sources, names, "renamed()")

        def change(tool: Tool) -> Tool:
            return tool.renamed(names[tool.name]) if tool.name in names else tool

        return self._with([source.changed(change) for source in self.sources])

    def prefixed(self, prefix: str) -> Toolset:
        """The tools under names with this in front: `prefixed("math_")`. Raises UsageError if one cannot be a name."""

        def change(tool: Tool) -> Tool:
            return tool.renamed(prefix + tool.name)

        change(made(ToolSpec("x")))  # a prefix that no name can have is told now, also where the tools are loaded later
        return self._with([source.changed(change) for source in self.sources])

    def with_options(self, **options: Unpack[ToolOptions]) -> Toolset:
        """The tools with these options in place of their own; guards come before their own. Raises UsageError."""
        known = ToolOptions.__annotations__
        if unknown := options.keys() - known.keys():
            raise UsageError(f"with_options() takes no {min(unknown)!r}; it takes {', '.join(known)}")
        given: dict[str, Any] = {**options}
        if isinstance(errors := given.get("retry_on"), type):
            given["retry_on"] = (errors,)
        model = Tool.of(ToolSpec("with_options"), _nothing, **given)

        def change(tool: Tool) -> Tool:
            return _with_options(tool, model, given.keys())

        return self._with([source.changed(change) for source in self.sources])

    def when(self, condition: Callable[..., Any]) -> Toolset:
        """The same tools, offered while `condition` is true: a function of the context or of nothing, sync or async."""
        return self._with([Conditional(self.sources, Hook(condition, "the condition", takes=0))])

    def __add__(self, other: object) -> Toolset:
        return Toolset([self, other]) if isinstance(other, Toolset) else NotImplemented

    def __repr__(self) -> str:
        label = "" if self.name is None else f"{self.name!r}: "
        names = [tool.name for tool in self.known]
        if not all(source.is_complete for source in self.sources):
            names.append("what is loaded")
        return f"{type(self).__name__}({label}{', '.join(names)})"


class Searchable(Toolset):
    """Many tools offered through one: `search_tools(query)`, which finds those that fit, to be called from then on.

    What was found is read off the conversation, so it stays in later runs on it, and in other processes. It is offered
    after all other tools, in the order in which it was found, so that what stood before stays as it was for an
    endpoint's prompt cache. `renamed`, `prefixed` and the like change the tools, not the search.

    Args:
        tools: A Toolset, or what one is made of.
        name: What the model calls the search by. An agent that has two of them needs two names.
        top: How many tools a search finds at most.
        always: The names of tools that are offered without a search.
        description: What the model is told of the search, in place of the usual words.
    """

    def __init__(
        self,
        tools: Toolset | Iterable[object],
        *,
        name: str = "search_tools",
        top: int = 5,
        always: Iterable[str] = (),
        description: str | None = None,
    ) -> None:
        super().__init__([tools] if isinstance(tools, Toolset) else tools)
        if top < 1:
            raise UsageError(f"Searchable: top={top} must be 1 or more")
        names = tuple(always)
        check_known(self.sources, names, "always=")
        search = Tool(Search((), top), name=name, description=description, read_only=True)
        self.sources = (Searched(self.sources, search, top, names),)
        check_certain(self.sources)


def offered(items: Iterable[Tool | Toolset], context: Context[Any]) -> Offering:
    """The tools to offer just now out of Tools and Toolsets: a generator of the functions to run for it.

    Those that a search has found come last. Raises UsageError if two have the same name.
    """
    found: list[tuple[Place, str, Tool]] = []
    for source in _sources_of(items, None):
        new = yield from source.offer(context)
        found += [(place, source.label, tool) for place, tool in new]
    found.sort(key=lambda each: each[0])
    check_names((label, tool) for _, label, tool in found)
    return [tool for _, _, tool in found]


def _sources_of(items: Iterable[Tool | Toolset], name: str | None) -> list[Source]:
    sources: list[Source] = []
    for alone, group in groupby(items, lambda item: isinstance(item, Tool)):
        if alone:
            sources.append(Direct(name, cast("list[Tool]", list(group))))
        else:
            sources += [source for toolset in group for source in cast("Toolset", toolset).sources]
    return sources


def _nothing(context: Context[Any], arguments: dict[str, Any]) -> None:
    """The function of a Tool that carries options alone."""


def _with_options(tool: Tool, model: Tool, names: Collection[str]) -> Tool:
    twin = copy(tool)
    for name in names:
        setattr(twin, name, (*model.guards, *tool.guards) if name == "guards" else getattr(model, name))
    usual = "retry" if tool.read_only else "ask"
    if "on_unknown" not in names and tool.on_unknown == usual:
        twin.on_unknown = "retry" if twin.read_only else "ask"
    return twin
