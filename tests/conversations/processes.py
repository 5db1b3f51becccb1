"""Workers: processes that use a store as a test tells them to."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager

import pytest

from tests.forking import Child, forked

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork and no SIGSTOP")


def worker(url: str, name: str, what: str, *, lease_s: float = 30) -> AbstractContextManager[Child]:
    """A process that does `what` of worker.py."""
    return forked("tests.conversations.worker:work", what, url, name, lease_s)
