"""What every test may use: both event loops, hypothesis' two profiles, and an environment without keys."""

from __future__ import annotations

import gc
import logging
import os
import signal
from collections.abc import Generator, Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests import tiers
from tests.postgres import postgres, postgres_url

__all__ = ["postgres", "postgres_url"]

# `ci` tries the same few examples every time; `deep` looks for new ones (scripts/deep).
settings.register_profile("ci", max_examples=60, derandomize=True, deadline=None)
settings.register_profile(
    "deep", max_examples=2_000, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

# A shell lets what a script starts in the background ignore interrupts, and with it every process that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves a sample of each large table."""
    items[:], left_out = tiers.split(items, config.args)
    if left_out:
        config.hook.pytest_deselected(items=left_out)


def pytest_collection_finish() -> None:
    """Spares the collector what stays to the end, the tests themselves above all: many of them call it."""
    _spare_the_collector()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None, bool, bool]:
    """The same of what a file's tests have left, such as their reports."""
    done = yield
    if nextitem is not None and nextitem.path != item.path:
        _spare_the_collector()
    return done


def _spare_the_collector() -> None:
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Runs each async test twice."""
    return request.param


@pytest.fixture(autouse=True)
def _no_keys_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees, or spends, a key of whoever runs it."""
    for name in os.environ:
        if name.endswith(("_API_KEY", "_BASE_URL")):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """What one test has agentkit tell is not heard in the next."""
    log = logging.getLogger("agentkit")
    level, handlers = log.level, [*log.handlers]
    yield
    log.setLevel(level)
    log.handlers[:] = handlers


@pytest.fixture
def one_at_a_time(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Waits for other workers' tests that ask for this: a model that computes leaves no room for another."""
    import fcntl

    # The workers of one run have their folders side by side.
    with (tmp_path_factory.getbasetemp().parent / "one_at_a_time").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.fixture
def scripted_endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The base URL of an endpoint on this machine that answers any prompt; OPENAI_BASE_URL and its key lead there."""
    # Here, so that a test of one module does not load the server.
    from agentkit.testing.endpoint import FakeEndpoint

    with FakeEndpoint(lambda _: "As you say.", api_key=None) as endpoint:
        monkeypatch.setenv("OPENAI_BASE_URL", endpoint.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "key-for-tests")
        yield endpoint.base_url
