"""Testing what is built with agentkit: scripted models, a real fake endpoint, cassettes, assertions, fixed time."""

from agentkit.testing.asserting import assert_called, assert_not_called, assert_order
from agentkit.testing.endpoint import FakeEndpoint
from agentkit.testing.model import ScriptedModel
from agentkit.testing.rerun import Difference, Differences, replay_run
from agentkit.testing.script import (
    call,
    calls,
    cut,
    delayed,
    drip,
    error_event,
    garbled,
    hang,
    raw,
    reply,
    reset,
    say,
    stall,
    status,
)
from agentkit.testing.snapshot import snapshot_of
from agentkit.testing.tape import Cassette, CassetteMismatch, record, replay
from agentkit.testing.world import FixedClock, fixed_clock, forbid_real_requests, override

__all__ = [
    "Cassette",
    "CassetteMismatch",
    "Difference",
    "Differences",
    "FakeEndpoint",
    "FixedClock",
    "ScriptedModel",
    "assert_called",
    "assert_not_called",
    "assert_order",
    "call",
    "calls",
    "cut",
    "delayed",
    "drip",
    "error_event",
    "fixed_clock",
    "forbid_real_requests",
    "garbled",
    "hang",
    "override",
    "raw",
    "record",
    "replay",
    "replay_run",
    "reply",
    "reset",
    "say",
    "snapshot_of",
    "stall",
    "status",
]
