"""What is tried, and what comes of it."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

from agentkit._json import is_object
from agentkit.errors import UsageError
from agentkit.messages import content_data, text_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agentkit.messages import Content

_NAME_CHARS: Final = 60


@dataclass(slots=True)
class Case:
    """One thing to try: a prompt, what is expected of the answer, and whatever else the scorers want to know.

    `name` is by default the prompt's beginning. `args` are further arguments of an agent's run: `deps`, `transcript`.
    """

    prompt: Content
    expected: Any = None
    name: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    args: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        if not self.name:
            text = " ".join(self.text.split())
            self.name = text if len(text) <= _NAME_CHARS else text[: _NAME_CHARS - 1] + "…"

    @property
    def text(self) -> str:
        """The prompt's text."""
        return text_of(content_data(self.prompt))


@dataclass(slots=True)
class Score:
    """How good an answer is by one measure, from 0 to 1, and why."""

    value: float
    reason: str = ""


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What came of one case with one target, the `repeat`-th time (from 1).

    `answer` is the text of the output, `transcript` the conversation as text. `error` is what ended the run, or the
    scorer that failed. `passed` says that nothing did, and that each score is good enough.
    """

    target: str
    case: str
    repeat: int = 1
    prompt: str = ""
    expected: str = ""
    answer: str = ""
    scores: dict[str, Score] = field(default_factory=dict[str, Score])
    passed: bool = False
    error: str | None = None
    seconds: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float | None = None
    transcript: str = ""
    metadata: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def score(self) -> float:
        """The mean of its scores; 0 for an error."""
        if self.error is not None or not self.scores:
            return float(self.passed)
        return sum(score.value for score in self.scores.values()) / len(self.scores)

    @property
    def data(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Outcome:
        """From JSON."""
        fields: Any = {**data, "scores": {name: Score(**score) for name, score in data["scores"].items()}}
        return cls(**fields)


def scores_of(name: str, given: Any) -> dict[str, Score]:
    """What a scorer gave, as scores by their names. None is no score. Raises UsageError."""
    if given is None:
        return {}
    if isinstance(given, Score):
        return {name: given}
    if is_object(given):
        return {each: score for key, value in given.items() for each, score in scores_of(str(key), value).items()}
    if not isinstance(given, bool | int | float) or not math.isfinite(given):
        raise UsageError(
            f"the scorer {name} gave {given!r}; it gives a bool, a number, a Score, a dict of these, or None"
        )
    return {name: Score(float(given))}


def shown(value: Any) -> str:
    """A value as text: what was expected, or answered."""
    if value is None or isinstance(value, str):
        return value or ""
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        return str(value)
