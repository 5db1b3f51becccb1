"""The public API, name by name with its signature, is the checked-in list: a change of it is a diff to read.

After a wanted change: `python tests/test_public_api.py` writes the list anew.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import importlib.util
import inspect
import re
import sys
import textwrap
import types
import typing
from collections.abc import Callable, Iterator
from pathlib import Path

LIST = Path(__file__).with_name("public_api.txt")
REGENERATE = "python tests/test_public_api.py"

# What users import from. Their other modules are reached through these.
WHOLE_MODULES = (
    "agentkit agentkit.conversations agentkit.errors agentkit.evals agentkit.events agentkit.flow agentkit.serve "
    "agentkit.testing"
).split()
# Of these only some names are for users; the others are for the package's own modules.
CHOSEN = {
    "agentkit.approval": "Answer Approve Decision Deny",
    "agentkit.args": "AgentArgs RunArgs",
    "agentkit.budget": "Budget Reservation",
    "agentkit.chat.dialects": "DIALECTS Dialect",
    "agentkit.context": "Context Retry",
    "agentkit.guards": "InputGuard Refuse ToolGuard",
    "agentkit.handoffs": "Handoff",
    "agentkit.history": "ClearResults Compaction History KeepTurns",
    "agentkit.instructions": "Instruction Instructions",
    "agentkit.messages": (
        "Audio Choice Content File Image Message Part Reply ResultStatus Role ToolCall ToolResult ToolSpec Usage "
        "assistant developer system tool user"
    ),
    "agentkit.output": "Mode Output",
    "agentkit.pending": "Decisions PendingCall pending_calls",
    "agentkit.policy": "Limits Retries Timeouts",
    "agentkit.prices": "Price price_of unpriced",
    "agentkit.printing": "Printer print_events print_events_async",
    "agentkit.result": "Result",
    "agentkit.streams": "ReplyStream ReplyStreamSync RunStream RunStreamSync",
    "agentkit.toolcheck": "ToolReport check_tools",
    "agentkit.tools": "OnUnknown Tool as_tool tool",
    "agentkit.toolsets": "Searchable Toolset",
    "agentkit.transcript": "CallRecord Entry Pending Transcript VERSION",
}
MODULES = [*WHOLE_MODULES, *CHOSEN]
# What public classes have for the package's own modules. All else that they have is promised, documented and shown.
FOR_THE_PACKAGE = {
    "Agent": "persona plan",
    "Budget": "check_process has_room hold refuse remedy",
    "Cassette": "dialect discard end find http http_sync mode pace",
    "ChatModel": "endpoint",
    "Compaction": "asking by covered is_able room",
    "Context": "cancel",
    "Dialect": "echoes find_base_url find_key key_headers takes_format",
    "FakeEndpoint": "answer closed keeps_alive opened",
    "FixedClock": "chance monotonic new_id new_key now wait wait_sync",
    "FallbackModel": "models",
    "Handoff": "is_later",
    "InputGuard": "hook",
    "Instruction": "hook",
    "Kept": "lost offset record",
    "Output": (
        "function growing handles label of partial read_call read_text specs specs_for strict_schema title to_json "
        "tools"
    ),
    "Price": "at most",
    "Printer": "end_line",
    "Reservation": "amount budget",
    "RunStream": "begin is_begun pace run tell typed_output",
    "RunStreamSync": "begin is_begun run typed_output",
    "ReplyStream": "pace tell",
    "Settings": "body forced merged",
    "Tool": "bind delegate external guards handoff is_async kind may_overtake needs_thread schema spec wants_context",
    "ToolGuard": "after before",
    "Toolset": "offer sources static",
    "Transcript": (
        "adopt append changed decide delegate dump_entry hold keep key land offset record replace restart spliced start"
    ),
}
MOST_TOP_LEVEL_NAMES = 40


def public_names(module: types.ModuleType) -> list[str]:
    """What is chosen, `__all__`, or else what is written in the module itself."""
    if module.__name__ in CHOSEN:
        return sorted(CHOSEN[module.__name__].split())
    listed = getattr(module, "__all__", None)
    if listed is None:
        listed = [] if module.__file__ is None else _written_names(Path(module.__file__))
    return sorted(listed)


def _written_names(path: Path) -> Iterator[str]:
    """What a module defines or assigns at its top level, aliases included, type variables not."""
    for node in ast.parse(path.read_text("utf-8")).body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                found = name
            case ast.AnnAssign(target=ast.Name(id=name)):
                found = name
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if "TypeVar" not in ast.dump(value):
                found = name
            case _:
                continue
        if not found.startswith("_"):
            yield found


class _Plain(str):
    """An annotation that is shown without quotes."""

    __slots__ = ()
    __repr__ = str.__str__


def _signature(function: Callable[..., object], *, returns: bool = True) -> str:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return "(…)"
    parameters = [
        parameter.replace(annotation=_Plain(parameter.annotation)) if _is_text(parameter.annotation) else parameter
        for parameter in signature.parameters.values()
    ]
    result = signature.return_annotation if returns else inspect.Signature.empty
    shown = signature.replace(parameters=parameters, return_annotation=_Plain(result) if _is_text(result) else result)
    # A set has another order each time.
    ordered = re.sub(r"(?<=\(\{)[^{}]+(?=\}\))", lambda items: ", ".join(sorted(items[0].split(", "))), str(shown))
    return re.sub(r" at 0x[0-9a-f]+", "", ordered)


def _is_text(annotation: object) -> bool:
    return isinstance(annotation, str)


def _describe(name: str, value: object) -> Iterator[str]:
    if typing.is_typeddict(value):
        yield f"class {name}(TypedDict)"
        for key, annotation in value.__annotations__.items():
            yield f"    {key}: {getattr(annotation, '__forward_arg__', annotation)}"
    elif inspect.isclass(value):
        bases = ", ".join(base.__qualname__ for base in value.__bases__ if base is not object)
        yield f"class {name}({bases})" if bases else f"class {name}"
        if "__init__" in vars(value) and not getattr(value, "_is_protocol", False):
            yield f"    {_signature(value, returns=False)}"
        inner = {member for owner in value.__mro__ for member in FOR_THE_PACKAGE.get(owner.__name__, "").split()}
        members = sorted({*dir(value), *_assigned(value)} - inner)
        yield from (f"    .{line}" for member in members for line in _member(value, member))
    elif inspect.isroutine(value):
        kind = "async def" if inspect.iscoroutinefunction(value) else "def"
        yield f"{kind} {name}{_signature(value)}"
    else:
        yield f"{name}: {_kind(value)}"


def _kind(value: object) -> str:
    """An alias by its kind, a constant by its type."""
    if typing.get_origin(value) is not None or isinstance(value, types.UnionType):
        return "TypeAlias"
    return type(value).__qualname__


def _assigned(owner: type) -> Iterator[str]:
    """The attributes that its instances get in `__init__`, but for those of an argument's name."""
    if "__init__" not in vars(owner) or dataclasses.is_dataclass(owner) or getattr(owner, "_is_protocol", False):
        return
    given = inspect.signature(owner).parameters
    for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(vars(owner)["__init__"])))):
        for target in node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]:
            if isinstance(target, ast.Attribute) and ast.unparse(target.value) == "self" and target.attr not in given:
                yield target.attr


def _member(owner: type, name: str) -> Iterator[str]:
    if not hasattr(owner, name):
        if not name.startswith("_"):
            yield name
        return
    home = next((base for base in owner.__mro__ if name in vars(base)), None)
    if name.startswith("_") or home is None or not home.__module__.startswith("agentkit"):
        return
    value = inspect.getattr_static(owner, name)
    is_attribute = not isinstance(value, property | classmethod | staticmethod) and not inspect.isroutine(value)
    if is_attribute and name in inspect.signature(owner).parameters:
        return  # it stands in the signature
    if isinstance(value, property):
        yield f"{name} (property){_returns(value.fget)}"
    elif isinstance(value, classmethod | staticmethod):
        yield f"{name}{_signature(getattr(owner, name))} ({type(value).__name__})"
    elif inspect.isroutine(value):
        yield f"{name}{_signature(value)}{' (async)' if inspect.iscoroutinefunction(value) else ''}"
    else:
        yield name


def _returns(function: object) -> str:
    annotation = getattr(function, "__annotations__", {}).get("return")
    return f" -> {annotation}" if annotation else ""


def public_api() -> str:
    """The list as it should be."""
    lines = []
    for module_name in MODULES:
        if importlib.util.find_spec(module_name) is None:
            continue
        module = importlib.import_module(module_name)
        lines += ["", f"# {module_name}"]
        for name in public_names(module):
            value = getattr(module, name)
            home = getattr(value, "__module__", module_name)
            if home in MODULES and home != module_name and not _is_alias(value):
                lines.append(f"{name}: from {home}")
            else:
                lines += _describe(name, value)
    return "\n".join(lines).strip() + "\n"


def _is_alias(value: object) -> bool:
    return not (inspect.isclass(value) or inspect.isroutine(value))


def test_the_api_is_the_one_that_was_agreed():
    expected, found = LIST.read_text("utf-8").splitlines(), public_api().splitlines()
    difference = difflib.unified_diff(expected, found, "tests/public_api.txt", "the code", lineterm="", n=1)
    assert expected == found, "\n".join([f"if this is wanted: {REGENERATE}", *difference])


def test_the_top_level_is_complete_and_small():
    agentkit = importlib.import_module("agentkit")
    found = {name for name, value in vars(agentkit).items() if not name.startswith("_") and not inspect.ismodule(value)}
    listed = getattr(agentkit, "__all__", [])
    assert set(listed) == found - {"annotations"}
    assert len(listed) == len(set(listed)) <= MOST_TOP_LEVEL_NAMES


def test_every_public_name_says_what_it_does():
    silent = [
        f"{module_name}.{name}"
        for module_name in MODULES
        if importlib.util.find_spec(module_name) is not None
        for module in [importlib.import_module(module_name)]
        for name in public_names(module)
        if not _is_alias(value := getattr(module, name)) and not _own_docstring(value)
    ]
    assert silent == []


def _own_docstring(value: object) -> str:
    """Not the one that a dataclass makes of its signature."""
    text = vars(value).get("__doc__") if inspect.isclass(value) else value.__doc__
    return "" if not text or text.startswith(f"{getattr(value, '__name__', '')}(") else text


if __name__ == "__main__":
    sys.path[0] = str(LIST.parent.parent)
    LIST.write_text(public_api(), "utf-8")
