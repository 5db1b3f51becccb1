"""The pytest plugin of agentkit: cassettes, and a locked door.

It stands outside of the package, so that pytest's start does not import agentkit: that comes in with the first test
that uses one of the fixtures.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator

    from agentkit.testing import Cassette

_FAILED = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options and settings."""
    parser.getgroup("agentkit").addoption(
        "--agentkit-record",
        choices=("none", "new", "all"),
        default="none",
        help="cassettes: none, answer from them alone; new, send and add what they lack; all, record them anew",
    )
    parser.addini("agentkit_cassettes", "folder of the cassettes, from each test file's own on", default="cassettes")
    parser.addini("agentkit_no_real_requests", "let no test send a request over the network", "bool", default=False)


def pytest_configure(config: pytest.Config) -> None:
    """The marker; and the lock, if it was asked for."""
    config.addinivalue_line(
        "markers",
        "agentkit_cassette(path=None, *, pace=0, check=True, normalize=None): answer the test's requests to models "
        "from a cassette, or record one with --agentkit-record",
    )
    if config.getini("agentkit_no_real_requests"):
        config.pluginmanager.register(_Locked(), "agentkit-locked")


def pytest_itemcollected(item: pytest.Item) -> None:
    """A marked test has the fixture."""
    names = getattr(item, "fixturenames", None)
    if names is not None and "cassette" not in names and item.get_closest_marker("agentkit_cassette"):
        names.insert(0, "cassette")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What a test that fails has recorded is not kept."""
    report = yield
    if call.when == "call" and report.failed:
        item.stash[_FAILED] = True
    return report


@pytest.fixture
def cassette(request: pytest.FixtureRequest) -> Generator[Cassette]:
    """Answers the test's requests from `cassettes/<test file>/<test>.json`, or records them with --agentkit-record."""
    from agentkit.testing import forbid_real_requests, record, replay

    marker = request.node.get_closest_marker("agentkit_cassette")
    args: dict[str, Any] = dict(marker.kwargs) if marker else {}
    given = args.pop("path", marker.args[0] if marker and marker.args else None)
    path = _path(request) if given is None else request.path.parent / given
    mode = request.config.getoption("--agentkit-record")
    if mode == "none":
        with replay(path, **args) as tape:
            yield tape
            if request.node.stash.get(_FAILED, False):
                tape.discard()
        return
    normalize = args.get("normalize")
    with forbid_real_requests(False), record(path, only_new=mode == "new", normalize=normalize) as tape:  # noqa: FBT003
        yield tape
        if request.node.stash.get(_FAILED, False):
            tape.discard()


def _path(request: pytest.FixtureRequest) -> Path:
    name = ".".join(request.node.nodeid.split("::")[1:])
    folder = Path(request.config.getini("agentkit_cassettes"))
    return request.path.parent / folder / request.path.stem / (re.sub(r"[^\w.\-\[\]]+", "_", name) + ".json")


@pytest.fixture
def no_real_requests() -> Generator[None]:
    """Lets no request leave this machine during the test, in any thread."""
    from agentkit.testing import forbid_real_requests

    with forbid_real_requests():
        yield


class _Locked:
    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self) -> Generator[None, object, object]:
        from agentkit.testing import forbid_real_requests

        with forbid_real_requests():
            return (yield)
