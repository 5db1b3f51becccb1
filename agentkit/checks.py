"""What an agent is given, made what it works with, and checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from agentkit.errors import UsageError
from agentkit.tools import Tool, as_tool, tools_by_name
from agentkit.toolsets import Toolset

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentkit.chat.settings import Settings
    from agentkit.output import Output


def as_tools(items: Iterable[object]) -> list[Tool | Toolset]:
    """What may be given as tools: functions and Tools as Tools, Toolsets as they are. Raises UsageError."""
    given = (items,) if isinstance(items, Toolset) else listed("tools", items)
    return [item if isinstance(item, Toolset) else as_tool(item) for item in given]


def tools_and_groups(items: Iterable[object]) -> tuple[dict[str, Tool], tuple[Toolset, ...]]:
    """The tools that are known without a run, and the toolsets that have to be asked."""
    tools: list[Tool] = []
    groups: list[Toolset] = []
    for item in as_tools(items):
        if not isinstance(item, Toolset):
            tools.append(item)
        elif item.static is not None:
            tools += item.static
        else:
            groups.append(item)
    return tools_by_name([made for made in tools if made.enabled is not False]), tuple(groups)


def check_choice(
    settings: Settings, tools: Mapping[str, Any], groups: Sequence[Toolset], output: Output[Any] | None
) -> None:
    """Raise UsageError if the settings force a call that cannot be made, or ask for several answers."""
    forced = settings.forced
    names = [*tools, *(spec.name for spec in output.specs)] if output is not None else [*tools]
    if forced is not None and not groups and (not names or (forced and forced not in names)):
        raise UsageError(
            f"tool_choice={settings.tool_choice!r} forces a call, but the tools are: {', '.join(names) or 'none'}"
        )
    if (settings.n or 1) > 1:
        raise UsageError("n > 1 gives several answers, and an agent goes on from one: ask a ChatModel for them")


def _wanted(made: Tool) -> Any:
    """The type of deps that a tool's Context has, None if it does not say."""
    wanted = getattr(made.schema.context_type, "__args__", (None,))[0]
    return None if wanted in (Any, None, type(None)) or isinstance(wanted, TypeVar) else wanted


def check_contexts(tools: Iterable[Tool]) -> None:
    """Raise UsageError if two tools cannot have the same deps."""
    first: tuple[str, type] | None = None
    for made in tools:
        wanted = _wanted(made)
        if not isinstance(wanted, type) or getattr(wanted, "_is_protocol", False):
            continue
        if first is not None and not issubclass(wanted, first[1]) and not issubclass(first[1], wanted):
            raise UsageError(
                f"the tools {first[0]} and {made.name} want different deps: Context[{first[1].__name__}] and "
                f"Context[{wanted.__name__}]; a run has one value for both"
            )
        first = first or (made.name, wanted)


def check_kind(name: str, value: object, kind: type | tuple[type, ...], example: str) -> None:
    """Raise UsageError if an argument is of another kind than it has to be, or None."""
    if value is not None and not isinstance(value, kind):
        raise UsageError(f"{name}= is {example}, not {value!r}")


def listed(name: str, values: object) -> tuple[Any, ...]:
    """Several values as they were given. Raises UsageError for one alone, which would be taken apart."""
    if isinstance(values, Iterable) and not isinstance(values, str | bytes | Mapping):
        return tuple(values)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]  # whatever it is
    raise UsageError(f"{name}= is a list, also of one: {name}=[{values!r}]")
