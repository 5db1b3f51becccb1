"""How fast requests may follow each other to one endpoint: the decision alone, with the time as an argument.

Requests stand in one line and begin in the order in which they came, each as soon as no limit forbids it. A limit a
minute holds for every span of sixty seconds, not for the minutes of a clock.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Final

from agentkit.chat.faults import seconds_until
from agentkit.chat.settings import check_number

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SPAN_S: Final = 60.0
BYTES_A_TOKEN: Final = 4
"""What a request is taken to need before its usage is known: so many bytes of its body are a token."""


@dataclass(slots=True, kw_only=True)
class Pacing:
    """How much may go to an endpoint: requests at once, and requests and tokens in a minute. None is no limit.

    It holds for all models, runs, threads and event loops of the process that share the endpoint. What the endpoint
    says in x-ratelimit headers is heeded besides.

    Raises:
        UsageError: a limit is no integer of at least 1.
    """

    concurrent: int | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None:
                check_number(f"Pacing.{field.name}", value, low=1, whole=True)


class Turn:
    """One request in the line. `wake` is called when there is something new for whoever waits."""

    __slots__ = ("began", "counts", "over", "tokens", "wake")

    def __init__(self, tokens: int, wake: Callable[[], None]) -> None:
        self.tokens = tokens
        self.wake = wake
        self.began: float | None = None
        self.counts = False  # it began within the last minute
        self.over = False


class _Left:
    """What the endpoint said is left of one of its limits, until then."""

    __slots__ = ("count", "until")

    def __init__(self) -> None:
        self.count, self.until = 0.0, 0.0


class Line:
    """The requests to one endpoint that wait, are under way, or still count. For one thread at a time."""

    __slots__ = ("_left", "_recent", "_running", "_spent", "_until", "_waiting", "pacing")

    def __init__(self, pacing: Pacing) -> None:
        self.pacing = pacing
        self._waiting: deque[Turn] = deque()
        self._running = 0
        self._recent: deque[Turn] = deque()  # those that began within the last minute
        self._spent = 0  # their tokens
        self._until = 0.0  # the endpoint has asked for silence until then
        self._left = {"requests": _Left(), "tokens": _Left(), "": _Left()}

    def ask(self, tokens: int, wake: Callable[[], None]) -> Turn:
        """Join the end of the line with a request that takes about so many tokens."""
        turn = Turn(tokens, wake)
        self._waiting.append(turn)
        return turn

    def begin(self, now: float) -> list[Turn]:
        """Those that begin now: from the head of the line, as many as may."""
        begun: list[Turn] = []
        while self._waiting and self.wait_s(now) == 0:
            turn = self._waiting.popleft()
            turn.began, turn.counts = now, True
            self._running += 1
            self._recent.append(turn)
            self._spent += turn.tokens
            for what, left in self._left.items():
                left.count -= turn.tokens if what == "tokens" else 1
            begun.append(turn)
        return begun

    @property
    def head(self) -> Turn | None:
        """Whoever is first in the line."""
        return self._waiting[0] if self._waiting else None

    def wait_s(self, now: float) -> float | None:
        """Seconds until the head of the line may begin: 0 for now, None until another request is over."""
        pacing = self.pacing
        if pacing.concurrent is not None and self._running >= pacing.concurrent:
            return None
        self._forget(now)
        free_at = self._until
        recent, requests, tokens = self._recent, pacing.requests_per_minute, pacing.tokens_per_minute
        if requests is not None and len(recent) >= requests:
            free_at = max(free_at, _end(recent[len(recent) - requests]))
        if tokens is not None and self._waiting and recent:
            # one that is larger than the limit goes alone: it would never go otherwise
            room, spent = max(tokens - self._waiting[0].tokens, 0), self._spent
            for turn in recent:
                if spent <= room:
                    break
                spent -= turn.tokens
                free_at = max(free_at, _end(turn))
        for what, left in self._left.items():
            needed = self._waiting[0].tokens if what == "tokens" and self._waiting else 1
            if left.until > now and left.count < needed:
                free_at = max(free_at, left.until)
        return max(0.0, free_at - now)

    def end(self, turn: Turn, tokens: int | None = None) -> None:
        """A request is over, or not wanted any more. `tokens` is what it took, where that is known."""
        if turn.over:
            return
        turn.over = True
        if turn.began is None:
            self._waiting.remove(turn)
            return
        self._running -= 1
        if tokens is not None:
            if turn.counts:
                self._spent += tokens - turn.tokens
            turn.tokens = tokens

    def heed(self, headers: Mapping[str, str], now: float, *, unix: float) -> None:
        """Take in what the headers of an answer say is left. `unix` is the time that dates in them are counted from."""
        for what, left in self._left.items():
            told = _told(headers, what, unix)
            if told is not None:
                # what is told of a day must not stall a run for hours: the 429 that comes will say so
                left.count, left.until = told[0], now + min(told[1], SPAN_S)

    def pause(self, until: float) -> None:
        """Let nothing begin before then."""
        self._until = max(self._until, until)

    def _forget(self, now: float) -> None:
        while self._recent and _end(self._recent[0]) <= now:
            turn = self._recent.popleft()
            turn.counts = False
            self._spent -= turn.tokens


def _end(turn: Turn) -> float:
    """When a request that has begun stops to count."""
    assert turn.began is not None  # it is one of the recent
    return turn.began + SPAN_S


def _told(headers: Mapping[str, str], what: str, unix: float) -> tuple[float, float] | None:
    """What is left of a limit, and for how many seconds that holds; None if it is not told, or not in numbers."""
    dash = f"-{what}" if what else ""
    for names in (
        (f"x-ratelimit-remaining{dash}", f"x-ratelimit-reset{dash}"),
        (f"ratelimit-remaining{dash}", f"ratelimit-reset{dash}"),
        (f"anthropic-ratelimit{dash}-remaining", f"anthropic-ratelimit{dash}-reset"),
    ):
        remaining, reset = headers.get(names[0], ""), headers.get(names[1], "")
        if remaining.strip().removesuffix(".0").isdecimal() and (seconds := seconds_until(reset, unix)) is not None:
            return float(remaining), seconds
    return None
