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
import types
import typing
from collections.abc import Callable, Iterator
from pathlib import Path

LIST = Path(__file__).with_name("public_api.txt")
REGENERATE = "python tests/test_public_api.py"

# What users import from. Their other modules are reached through these.
WHOLE_MODULES = (
    "agentkit agentkit.errors agentkit.events agentkit.messages agentkit.transcript agentkit.tools agentkit.output "
    "agentkit.evals agentkit.flow agentkit.policy agentkit.printing agentkit.testing"
).split()
# Of these only some names are for users; the others are for the package's own modules.
CHOSEN = {
    "agentkit.approval": "Answer Approve Decision Deny",
    "agentkit.args": "AgentArgs RunArgs",
    "agentkit.budget": "Budget Reservation",
    "agentkit.context": "Context Retry",
    "agentkit.guards": "InputGuard Refuse ToolGuard",
    "agentkit.handoffs": "Handoff",
    "agentkit.history": "ClearResults Compaction History KeepTurns",
    "agentkit.instructions": "Instruction Instructions",
    "agentkit.pending": "Decisions PendingCall pending_calls",
    "agentkit.prices": "Price price_of unpriced",
    "agentkit.result": "Result",
    "agentkit.toolcheck": "ToolReport check_tools",
    "agentkit.toolsets": "Searchable Toolset",
}
MODULES = [*WHOLE_MODULES, *CHOSEN]
MOST_TOP_LEVEL_NAMES = 40


def _public_names(module: types.ModuleType) -> list[str]:
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
    return re.sub(r" at 0x[0-9a-f]+", "", str(shown))


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
        yield from (f"    .{line}" for member in sorted(dir(value)) for line in _member(value, member))
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


def _member(owner: type, name: str) -> Iterator[str]:
    home = next((base for base in owner.__mro__ if name in vars(base)), None)
    if name.startswith("_") or home is None or not home.__module__.startswith("agentkit"):
        return
    if dataclasses.is_dataclass(owner) and name in {field.name for field in dataclasses.fields(owner)}:
        return  # it stands in the signature
    value = inspect.getattr_static(owner, name)
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
        for name in _public_names(module):
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
        for name in _public_names(module)
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
