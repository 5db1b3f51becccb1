"""The pytest plugin, in a pytest run of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentkit._http import load
from agentkit.endpoint import gate
from agentkit.testing import FakeEndpoint

# Here: pytester takes back what is imported while it is there, and a library twice in one process does not work.
load()

pytest_plugins = ["pytester"]
ROOT = Path(__file__).parents[2]

TESTS = """
import pytest
from agentkit import ChatModel

model = ChatModel("m", base_url="{url}", api_key="sk-0123456789")

@pytest.mark.agentkit_cassette
def test_marked():
    assert model.reply_sync("marked").text == "As you say."

def test_fixture(cassette):
    assert model.reply_sync("fixture").text == "As you say."
    assert cassette.exchanges

@pytest.mark.agentkit_cassette("named.json")
@pytest.mark.parametrize("way", ["a/b"])
def test_named(way):
    assert model.reply_sync(way).text == "As you say."

class TestOfClass:
    @pytest.mark.agentkit_cassette
    async def test_async(self, anyio_backend):
        assert (await model.reply("async")).text == "As you say."

@pytest.fixture
def anyio_backend():
    return "asyncio"
"""


@pytest.fixture
def inner(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.Pytester]:
    """A folder of tests that knows of this plugin alone."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    pytester.makeini("[pytest]\nanyio_mode = auto\n")
    yield pytester
    assert gate.tape is None
    assert not gate.closed


def run(inner: pytest.Pytester, *args: str) -> pytest.RunResult:
    return inner.runpytest_inprocess("-p", "no:cacheprovider", "-p", "agentkit_pytest", "-p", "anyio", *args)


@pytest.fixture
def written(inner: pytest.Pytester) -> Iterator[FakeEndpoint]:
    with FakeEndpoint(lambda _: "As you say.", api_key=None) as fake:
        inner.makepyfile(test_some=TESTS.format(url=fake.base_url))
        yield fake


def test_it_records_and_replays(inner: pytest.Pytester, written: FakeEndpoint) -> None:
    run(inner, "--agentkit-record=new").assert_outcomes(passed=4)
    folder = inner.path / "cassettes" / "test_some"
    assert {path.name for path in folder.iterdir()} == {
        "test_marked.json",
        "test_fixture.json",
        "TestOfClass.test_async.json",
    }
    assert (inner.path / "named.json").exists()
    assert len(written.requests) == 4
    run(inner).assert_outcomes(passed=4)
    run(inner, "--agentkit-record=new").assert_outcomes(passed=4)
    assert len(written.requests) == 4
    run(inner, "--agentkit-record=all", "-k", "marked").assert_outcomes(passed=1, deselected=3)
    assert len(written.requests) == 5


def test_without_a_cassette_it_says_how_to_record_one(inner: pytest.Pytester, written: FakeEndpoint) -> None:
    result = run(inner, "-k", "marked")
    result.assert_outcomes(errors=1, deselected=3)
    result.stdout.fnmatch_lines(["*there is no cassette *test_marked.json: *--agentkit-record=new*"])
    assert not written.requests


def test_a_mismatch_fails_the_test_once(inner: pytest.Pytester, written: FakeEndpoint) -> None:
    run(inner, "--agentkit-record=new", "-k", "marked")
    path = inner.path / "test_some.py"
    path.write_text(path.read_text("utf-8").replace('"marked"', '"changed"'), "utf-8")
    result = run(inner, "-k", "marked")
    result.assert_outcomes(failed=1, deselected=3)
    result.stdout.fnmatch_lines(['*-   "content": "marked",*', '*+   "content": "changed",*'])


def test_what_a_failing_test_records_is_not_kept(inner: pytest.Pytester, written: FakeEndpoint) -> None:
    run(inner, "--agentkit-record=new", "-k", "marked")
    kept = (inner.path / "cassettes/test_some/test_marked.json").read_text("utf-8")
    written.play(lambda _: "No.")
    run(inner, "--agentkit-record=all", "-k", "marked").assert_outcomes(failed=1, deselected=3)
    assert (inner.path / "cassettes/test_some/test_marked.json").read_text("utf-8") == kept
    assert json.loads(kept)["exchanges"]


def test_the_folder_may_be_another(inner: pytest.Pytester, written: FakeEndpoint) -> None:
    inner.makeini("[pytest]\nanyio_mode = auto\nagentkit_cassettes = tapes\n")
    run(inner, "--agentkit-record=new", "-k", "marked").assert_outcomes(passed=1, deselected=3)
    assert (inner.path / "tapes/test_some/test_marked.json").exists()


LOCKED = """
import pytest
from agentkit import ChatModel
from agentkit.errors import ConnectionFailed, UsageError

def ask():
    ChatModel("m", base_url="http://nowhere.invalid/v1", retries=0).reply_sync("x")

def test_locked({fixture}):
    with pytest.raises(UsageError, match="forbidden in this test run"):
        ask()
"""


@pytest.mark.parametrize("everywhere", [False, True])
def test_no_request_leaves_this_machine(inner: pytest.Pytester, everywhere: bool) -> None:
    if everywhere:
        inner.makeini("[pytest]\nagentkit_no_real_requests = true\n")
    inner.makepyfile(test_some=LOCKED.format(fixture="" if everywhere else "no_real_requests"))
    run(inner).assert_outcomes(passed=1, warnings=0)


def test_locked_tests_replay_and_record(inner: pytest.Pytester, written: FakeEndpoint) -> None:
    inner.makeini("[pytest]\nanyio_mode = auto\nagentkit_no_real_requests = true\n")
    run(inner, "--agentkit-record=new").assert_outcomes(passed=4)
    run(inner).assert_outcomes(passed=4)


def test_pytests_start_imports_nothing_of_agentkit() -> None:
    code = (
        "import sys, pytest\n"
        "class Probe:\n"
        "    def pytest_sessionfinish(self):\n"
        "        assert 'agentkit_pytest' in sys.modules\n"
        "        assert 'agentkit' not in sys.modules and 'pydantic' not in sys.modules\n"
        "        print('light')\n"
        "pytest.main(['-q', '--collect-only', '-p', 'agentkit_pytest', '-c', '/dev/null', '--rootdir', sys.argv[1], "
        "sys.argv[1]], plugins=[Probe()])\n"
    )
    folder = str(ROOT / "tests" / "typing")
    ran = subprocess.run(
        [sys.executable, "-c", code, folder],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "light" in ran.stdout, ran.stdout + ran.stderr
