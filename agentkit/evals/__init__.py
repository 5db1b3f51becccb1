"""Evaluations: cases tried with agents and models, scored by functions or by a judge, compared with the last time."""

from __future__ import annotations

from agentkit.evals.cases import Case, Outcome, Score
from agentkit.evals.command import main
from agentkit.evals.evaluation import Evaluation
from agentkit.evals.judge import Judge, Verdict
from agentkit.evals.report import Change, Report, Summary
from agentkit.evals.watching import progress
from agentkit.evals.webpage import page

__all__ = [
    "Case",
    "Change",
    "Evaluation",
    "Judge",
    "Outcome",
    "Report",
    "Score",
    "Summary",
    "Verdict",
    "main",
    "page",
    "progress",
]
