"""Typed answers: what an agent's output may be, how a model is asked for it, and what it says, read and checked."""

from __future__ import annotations

from agentkit.output.answer import Mode, Output, WrongAnswer
from agentkit.output.growing import Growing
from agentkit.output.places import MISSING, Missing

__all__ = ["MISSING", "Growing", "Missing", "Mode", "Output", "WrongAnswer"]
