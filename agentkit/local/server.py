"""llama.cpp's own server, run in this process: a local model is an endpoint like any other."""

from __future__ import annotations

import atexit
import ctypes
import importlib
import os
import secrets
import socket
import stat
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Final

from agentkit._json import is_object, loads
from agentkit.chat.dialects import DIALECTS
from agentkit.endpoint import Endpoint, Started
from agentkit.errors import UsageError
from agentkit.local.fetching import DEFAULT, PATH_VARIABLE, model_file

MAX_CONTEXT: Final = 8192
CPU_QUOTA: Final = Path("/sys/fs/cgroup/cpu.max")


@dataclass
class LocalServer:
    """A running llama.cpp server: a Chat Completions endpoint at `base_url`, open to whoever has `api_key`.

    `native_tools` says whether the model's chat template shows tools to the model; one that doesn't drops them in
    silence, so that they must be told in the instructions.
    """

    base_url: str
    api_key: str
    native_tools: bool

    def close(self) -> None:
        """End the server and free the model; requests under way lose their connection. At exit it ends by itself."""
        with _starting:
            for path, running in list(_running.items()):
                if running.server is self:
                    del _running[path]
                    _end(running.handle, running.port)


@dataclass
class _Running:
    server: LocalServer
    port: int
    handle: list[Any]
    """The one reference to the binding's object, whose destructor stops the server."""


_running: dict[Path, _Running] = {}
_starting = threading.Lock()
_inherited = False


def serve(path: str | None = None) -> LocalServer:
    """The server of the model file that `model_file(path)` finds, ready for requests.

    A process has one for each file: it is started at the first call and ends with the process. A forked child starts
    its own. While a file is being loaded, llama.cpp's binding lets no other Python thread run.

    Raises:
        UsageError: xllamacpp is not installed, or the file cannot be had or loaded.
    """
    library = _library()
    model = model_file(path).resolve()
    with _starting:
        found = _running.get(model)
        if found is None:
            if not _running:
                atexit.unregister(_close_all)
                atexit.register(_close_all)
            found = _running[model] = _start(library, model)
    return found.server


_endpoints: dict[str | None, Endpoint] = {}


def local_endpoint(path: str | None = None) -> Endpoint:
    """The endpoint of a local model. Its file is looked for, or fetched, and loaded at the first request."""
    chosen = path or os.environ.get(PATH_VARIABLE) or None
    with _starting:
        if chosen not in _endpoints:
            _endpoints[chosen] = Endpoint(None, DIALECTS["llamacpp"], start=partial(_started, chosen))
        return _endpoints[chosen]


def _started(path: str | None) -> Started:
    server = serve(path)
    dialect = replace(
        DIALECTS["llamacpp"],
        tools="native" if server.native_tools else "json",
        quoted=path is None and not server.native_tools,
    )
    return Started(server.base_url, server.api_key, dialect)


def _library() -> Any:
    try:
        return importlib.import_module("xllamacpp")
    except ModuleNotFoundError as error:
        if error.name != "xllamacpp":
            raise
        raise UsageError("a local model needs llama.cpp: pip install 'agentkit[local]'") from error
    except ImportError as error:
        raise UsageError(f"llama.cpp cannot be loaded on this machine: {error}") from error


def _start(library: Any, model: Path) -> _Running:
    key = secrets.token_urlsafe(24)
    params = library.CommonParams()
    params.model.path = str(model)
    params.model_alias = {model.stem}
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [key]
    params.verbosity = -1
    params.ui = False
    # llama.cpp lowers it to the context that the model was trained for.
    params.n_ctx = MAX_CONTEXT
    # One slot: answers at temperature 0 don't depend on what else is asked meanwhile; further requests wait.
    params.n_parallel = 1
    # A batch cannot be interrupted, and the interpreter's exit waits for it.
    params.n_batch = params.n_ubatch = 256
    params.cache_ram_mib = 512
    if model.name == DEFAULT.file:
        # What a request leaves open. So small a model does best at its likeliest word, and may not come to an end.
        params.sampling.temp = 0.0
        params.n_predict = 1024
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = thread_count()
    try:
        handle = [library.Server(params)]
    except RuntimeError as error:
        raise UsageError(
            f"llama.cpp cannot load {str(model)!r}: is the file whole, and its architecture one that "
            f"xllamacpp {library.__version__} knows?"
        ) from error
    address: str = handle[0].listening_address
    port = int(address.rpartition(":")[2])
    try:
        _wait_until_ready(port, key)
        return _Running(LocalServer(f"{address}/v1", key, _shows_tools(port, key)), port, handle)
    except BaseException:
        _leak(handle)  # its destructor would never return if the server's loop did not run yet
        raise


def thread_count() -> int:
    """How many threads llama.cpp gets: one less than the cores it may use, since its threads spin as they wait."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):
        quota, period = CPU_QUOTA.read_text("ascii").split()
        if quota != "max":
            cores = min(cores, int(quota) // int(period))
    return max(1, cores - 1)


def _get(port: int, path: str, key: str) -> tuple[int, bytes]:
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {key}"})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def _wait_until_ready(port: int, key: str) -> None:
    # /health answers before the loop over requests runs, and a server that is ended before that never ends: so ask
    # for something that goes through the loop.
    deadline = time.monotonic() + 60
    for path in ("/health", "/slots"):
        while (status := _get(port, path, key)[0]) != 200:
            if time.monotonic() > deadline:
                raise UsageError(f"llama.cpp's server does not become ready: {path} still says {status}")
            time.sleep(0.05)


def _shows_tools(port: int, key: str) -> bool:
    status, body = _get(port, "/props", key)
    properties = loads(body) if status == 200 else None
    capable = properties.get("chat_template_caps") if is_object(properties) else None
    return is_object(capable) and capable.get("supports_tools") is True


def _end(handle: list[Any], port: int) -> None:
    """Drop the reference, so that the destructor stops the server's threads, while it holds the GIL."""
    # It waits for every handler, and a handler for its client: a request under way in another thread, which needs the
    # GIL to go on, would be waited for without end.
    if _inherited or not _disconnect(port):
        _leak(handle)
    handle.clear()


def _disconnect(port: int) -> bool:
    """Shut the sockets of this process that are bound to the port: listener and accepted ones. False if it can't."""
    try:
        numbers = [int(entry.name) for entry in Path("/dev/fd").iterdir()]
    except OSError:
        return False
    for number in numbers:
        with suppress(OSError):
            if not stat.S_ISSOCK(os.fstat(number).st_mode):
                continue
            with socket.socket(fileno=os.dup(number)) as end:
                if end.family == socket.AF_INET and end.getsockname() == ("127.0.0.1", port):
                    end.shutdown(socket.SHUT_RDWR)
    return True


def _leak(handle: list[Any]) -> None:
    for binding in handle:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(binding))


def _close_all() -> None:
    for running in list(_running.values()):
        running.server.close()


def _after_fork() -> None:
    """Let go of the parent's servers, whose threads the child does not have: their destructors would never return."""
    global _inherited, _starting  # noqa: PLW0603 - a child has locks and facts of its own
    _starting = threading.Lock()
    if not _running:
        return
    for running in _running.values():
        _leak(running.handle)
    _running.clear()
    if not _inherited:
        _inherited = True
        # Nor would those of llama.cpp's static objects, at exit. glibc calls this before them; others have no on_exit.
        with suppress(AttributeError, OSError):
            process = ctypes.CDLL(None)
            process.on_exit(process["_exit"], None)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
