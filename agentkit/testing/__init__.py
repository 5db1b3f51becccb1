"""Testing what is built with agentkit: scripted models, a real fake endpoint, fixed time, a locked door."""

from agentkit.testing.endpoint import FakeEndpoint
from agentkit.testing.model import ScriptedModel
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
from agentkit.testing.world import FixedClock, fixed_clock, forbid_real_requests, override

__all__ = [
    "FakeEndpoint",
    "FixedClock",
    "ScriptedModel",
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
    "reply",
    "reset",
    "say",
    "stall",
    "status",
]
