"""What `module:name` on the command line means: an agent, a tool or a value in the user's own code."""

from __future__ import annotations

import inspect
import sys
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentkit.agent import Agent
from agentkit.chat.settings import nearest
from agentkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType


def load_agent(spec: str) -> Agent[Any]:
    """The agent that `module:name` or `file.py:name` names; without a name the module's only agent.

    A function without parameters that returns one will do. Raises UsageError, which names what was found.
    """
    module, name = _module_of(spec)
    agents: dict[str, Agent[Any]] = {name: value for name, value in vars(module).items() if isinstance(value, Agent)}
    if not name:
        if len(agents) == 1:
            return next(iter(agents.values()))
        raise UsageError(f"{spec!r} does not say which agent: {_found(module, agents, 'agent')}")
    value = _named(module, name, agents, "agent")
    if inspect.isfunction(value):
        value = _made(value, spec)
    if not isinstance(value, Agent):
        raise UsageError(f"{spec!r} is {_described(value)}, no Agent: {_found(module, agents, 'agent')}")
    return value  # pyright: ignore[reportUnknownVariableType]  # its types are the module's own business


def load_tool(spec: str) -> object:
    """The function, or Tool, that `module:name` names. Raises UsageError, which names what was found."""
    module, name = _module_of(spec)
    functions = {key: value for key, value in vars(module).items() if _is_own_function(value, module)}
    if not name:
        raise UsageError(f"{spec!r} does not say which function: {_found(module, functions, 'function')}")
    value = _named(module, name, functions, "function")
    if not callable(value):
        raise UsageError(f"{spec!r} is {_described(value)}, no function: {_found(module, functions, 'function')}")
    return value


def load_deps(spec: str) -> Any:
    """The value that `module:name` names, or what it returns if it is a function without parameters."""
    module, name = _module_of(spec)
    value = _named(module, name, vars(module), "value")
    return _made(value, spec) if inspect.isfunction(value) or isinstance(value, type) else value


def _module_of(spec: str) -> tuple[ModuleType, str]:
    """The module, imported from the current folder too, and the name in it."""
    origin, _, name = spec.rpartition(":") if ":" in spec else (spec, "", "")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    if origin.endswith(".py"):
        return _from_file(Path(origin)), name
    try:
        return import_module(origin), name
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if missing and f"{origin}.".startswith(f"{missing}."):
            raise UsageError(_no_module(origin, missing)) from None
        raise UsageError(_failed(origin, error)) from error
    except Exception as error:
        if not origin or origin.startswith("."):
            raise UsageError(f"{spec!r} names no module: write module:name, as in mybot:agent") from None
        raise UsageError(_failed(origin, error)) from error


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise UsageError(f"there is no file {str(path)!r}; python files here: {_python_files(path.parent)}")
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)  # so that it may import its neighbours
    known = sys.modules.get(path.stem)
    if known is not None and getattr(known, "__file__", None) == str(path.resolve()):
        return known
    spec = spec_from_file_location(path.stem, path.resolve())
    assert spec is not None  # it is a .py file
    assert spec.loader is not None
    module = sys.modules[path.stem] = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[path.stem]
        raise UsageError(_failed(str(path), error)) from error
    return module


def _failed(origin: str, error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError):
        return f"{origin} cannot be imported: it needs {error.name!r}, which is not installed"
    return f"{origin} cannot be imported: {type(error).__name__}: {error} (--debug shows where)"


def _no_module(origin: str, missing: str) -> str:
    files = [path.stem for path in Path.cwd().glob("*.py")]
    near = nearest(origin, files)
    hint = f"did you mean {near!r}? " if near else ""
    return f"there is no module {missing!r}: {hint}python files here: {_python_files(Path.cwd())}"


def _python_files(folder: Path) -> str:
    names = sorted(path.name for path in folder.glob("*.py"))
    return ", ".join(names[:10]) + (" …" if len(names) > 10 else "") if names else "none"


def _named(module: ModuleType, name: str, known: dict[str, Any], kind: str) -> Any:
    value: Any = module
    for part in name.split("."):
        try:
            value = getattr(value, part)
        except AttributeError:
            near = nearest(name, list(known))
            hint = f"did you mean {near!r}? " if near else ""
            what = f"{module.__name__} has no {name!r}"
            raise UsageError(f"{what}: {hint}{_found(module, known, kind)}") from None
    return value


def _found(module: ModuleType, known: dict[str, Any], kind: str) -> str:
    names = sorted(name for name in known if not name.startswith("_"))
    listed = ", ".join(names[:20]) + (" …" if len(names) > 20 else "")
    if not names:
        return f"{module.__name__} has no {kind} at its top level"
    return f"{module.__name__} has the {kind}{'' if len(names) == 1 else 's'} {listed}"


def _described(value: object) -> str:
    kind = type(value).__name__
    return f"{'an' if kind[:1].lower() in 'aeiou' else 'a'} {kind}"


def _is_own_function(value: object, module: ModuleType) -> bool:
    return callable(value) and not isinstance(value, type) and getattr(value, "__module__", None) == module.__name__


def _made(function: Callable[..., Any], spec: str) -> Any:
    try:
        inspect.signature(function).bind()
    except (TypeError, ValueError) as error:
        raise UsageError(f"{spec!r} is a function that cannot be called without arguments: {error}") from None
    value = function()
    if inspect.iscoroutine(value):
        value.close()
        raise UsageError(f"{spec!r} is an async function: give one that returns its value at once")
    return value
