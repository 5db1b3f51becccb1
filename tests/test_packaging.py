"""The packages: what is in them, that the sdist makes the same wheel, and what the wheel does with the base alone.

scripts/package goes on from here: other Pythons, the lowest versions that pyproject.toml allows, the tests there.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from importlib.metadata import Distribution, distribution
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
NOT_WRITTEN = {"__pycache__", ".git", ".hypothesis", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".venv"}

pytest.importorskip("hatchling", reason="needs hatchling, which is not installed")


def build(source: Path, target: Path, kind: str) -> Path:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(target)],
        cwd=source,
        check=True,
        capture_output=True,
    )
    (made,) = target.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return made


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: Any) -> Path:
    return build(ROOT, tmp_path_factory.mktemp("wheel"), "wheel")


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: Any) -> Path:
    """The folder that the sdist unpacks to."""
    folder = tmp_path_factory.mktemp("sdist")
    with tarfile.open(build(ROOT, folder, "sdist")) as opened:
        opened.extractall(folder, filter="data")
    (made,) = (path for path in folder.iterdir() if path.is_dir())
    return made


def test_the_wheel_has_the_package_and_the_plugin_and_no_more(wheel):
    package = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "agentkit").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    found = contents(wheel)
    about = {name for name in found if re.match(r"agentkit-[^/]+\.dist-info/", name)}
    assert set(found) - about == package | {"agentkit_pytest.py"}
    assert {
        "agentkit/py.typed",
        "agentkit/serve/static/index.html",
    } <= set(found)
    assert {name.partition("/")[2] for name in about} == {
        "METADATA",
        "RECORD",
        "WHEEL",
        "entry_points.txt",
        "licenses/LICENSE",
    }


def test_the_sdist_has_what_was_written_and_no_more(unpacked):
    found = {path.relative_to(unpacked).as_posix() for path in unpacked.rglob("*") if path.is_file()}
    assert not [name for name in found if NOT_WRITTEN & set(name.split("/"))]
    for needed in ("tests/conftest.py", "tests/wire/http-409.json", "docs/index.md", "scripts/lint", "AGENTS.md"):
        assert needed in found


def test_the_sdist_makes_the_same_wheel(unpacked, wheel, tmp_path):
    assert contents(build(unpacked, tmp_path, "wheel")) == contents(wheel)


def test_the_tests_run_in_the_sdist(unpacked):
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/wire/test_replay.py"],
        cwd=unpacked,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout


def test_every_dependency_has_a_lower_bound():
    """scripts/package tries with these very versions."""
    bare = [
        line
        for line in [*PROJECT["dependencies"], *(line for extra in EXTRAS.values() for line in extra)]
        if not line.startswith("agentkit[") and not re.search(r">=|==", line)
    ]
    assert bare == []


def needed(name: str, extra: str = "") -> dict[str, Distribution]:
    """The distributions that one needs, itself among them."""
    found: dict[str, Distribution] = {}
    waiting = [Requirement(name)]
    while waiting:
        wanted = waiting.pop()
        if wanted.name in found:
            continue
        found[wanted.name] = dist = distribution(wanted.name)
        lines = map(Requirement, dist.requires or ())
        waiting += [line for line in lines if line.marker is None or line.marker.evaluate({"extra": extra})]
    return found


def test_the_wheel_needs_no_more_than_its_dependencies(wheel, tmp_path):
    """In an environment that has them, as links to this one's."""
    venv.create(tmp_path / "venv", symlinks=True)
    python = tmp_path / "venv/bin/python"
    probe = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    site = Path(subprocess.check_output(probe, text=True).strip())
    for requirement in PROJECT["dependencies"]:
        for dist in needed(Requirement(requirement).name).values():
            for top in {file.parts[0] for file in dist.files or ()} - {"..", "__pycache__"}:
                if not (site / top).exists():
                    (site / top).symlink_to(dist.locate_file(top))
    with zipfile.ZipFile(wheel) as opened:
        opened.extractall(site)
    ran = subprocess.run(
        [python, "-W", "error", ROOT / "tests/bare.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("pip install 'agentkit[") == 6
