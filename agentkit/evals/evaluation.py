"""Evaluation: each case with each target, so often, run side by side and scored."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import anyio

from agentkit.agent import Agent
from agentkit.calling import LoopThread, threads
from agentkit.clock import clock
from agentkit.errors import AgentKitError, UsageError
from agentkit.evals.cases import Case, Outcome, scores_of, shown
from agentkit.evals.judge import answer_of
from agentkit.evals.report import Report
from agentkit.model import Model
from agentkit.result import Result
from agentkit.testing.snapshot import snapshot_of

if TYPE_CHECKING:
    from collections.abc import Iterator

Target: TypeAlias = Agent[Any, Any] | Model | str | Callable[..., Any]
"""What is tried: an agent, a model or its name, or a function of the prompt, sync or async."""

Scorer: TypeAlias = Callable[..., Any]
"""Says how good a result is: a function of the result, or of the result and the case, sync or async. It returns a bool,
a number from 0 to 1, a Score, a dict of these by name, or None where it has nothing to say."""


class Evaluation:
    """Cases that are tried with each target, and scored.

    A target's result is what its scorers are given: of an agent or a model a Result, of a function what it returned.
    What fails, or takes longer than `seconds`, is an outcome like any other. An outcome passes if each of its scores is
    `pass_at` or more. `concurrency` is how many are run at once.

    Raises:
        UsageError: there is no case or no target, or two have the same name.
    """

    def __init__(
        self,
        cases: Iterable[Case | str],
        targets: Target | Iterable[Target] | Mapping[str, Target],
        scorers: Iterable[Scorer] | Scorer = (),
        *,
        repeats: int = 1,
        concurrency: int = 8,
        seconds: float | None = None,
        pass_at: float = 0.5,
        name: str = "evaluation",
    ) -> None:
        if repeats < 1 or concurrency < 1:
            raise UsageError(f"repeats and concurrency are 1 or more, not {repeats} and {concurrency}")
        self.cases = [each if isinstance(each, Case) else Case(each) for each in cases]
        self.targets = _named(targets)
        self.scorers: list[Scorer] = [scorers] if callable(scorers) else list(scorers)
        self.repeats = repeats
        self.concurrency = concurrency
        self.seconds = seconds
        self.pass_at = pass_at
        self.name = name
        _check_names("case", [case.name for case in self.cases])
        _check_names("target", list(self.targets))

    def only(self, *, cases: str = "*", targets: str = "*") -> Evaluation:
        """The same with the cases and targets whose names fit a pattern (`*` and `?`). Raises UsageError."""
        return Evaluation(
            [case for case in self.cases if fnmatchcase(case.name, cases)],
            {name: target for name, target in self.targets.items() if fnmatchcase(name, targets)},
            self.scorers,
            repeats=self.repeats,
            concurrency=self.concurrency,
            seconds=self.seconds,
            pass_at=self.pass_at,
            name=self.name,
        )

    def __len__(self) -> int:
        return len(self.cases) * len(self.targets) * self.repeats

    async def run(self, on_outcome: Callable[[Outcome], None] | None = None) -> Report:
        """Try everything, on asyncio or trio. `on_outcome` is called with each outcome as it comes."""
        waiting = iter(list(self._places()))
        found: dict[tuple[str, str, int], Outcome] = {}

        async def work() -> None:
            for target, case, repeat in waiting:
                outcome = await self._tried(target, case, repeat)
                found[target, case.name, repeat] = outcome
                if on_outcome is not None:
                    on_outcome(outcome)

        began = clock.get().now()
        async with anyio.create_task_group() as group:
            for _ in range(min(self.concurrency, len(self))):
                group.start_soon(work)
        outcomes = [found[target, case.name, repeat] for target, case, repeat in self._places()]
        return Report(self.name, outcomes, at=began)

    def run_sync(self, on_outcome: Callable[[Outcome], None] | None = None) -> Report:
        """The same, waited for: also where an event loop is running."""
        loop = LoopThread()
        try:
            return loop.run(partial(self.run, on_outcome))
        finally:
            loop.close()

    def _places(self) -> Iterator[tuple[str, Case, int]]:
        # repeats outermost, so that an early look has something of every case
        for repeat in range(1, self.repeats + 1):
            for case in self.cases:
                for target in self.targets:
                    yield target, case, repeat

    async def _tried(self, target: str, case: Case, repeat: int) -> Outcome:
        outcome = Outcome(
            target=target,
            case=case.name,
            repeat=repeat,
            prompt=case.text,
            expected=shown(case.expected),
            metadata=dict(case.metadata),
        )
        time = clock.get()
        began = time.monotonic()
        try:
            with anyio.fail_after(self.seconds):
                result = await _asked(self.targets[target], case)
        except TimeoutError as error:
            outcome.error = f"it took longer than {self.seconds:g} s" if self.seconds else _told(error)
        except Exception as error:
            outcome.error = _told(error)
            if isinstance(error, AgentKitError) and error.transcript is not None:
                outcome.transcript = snapshot_of(error.transcript)
        else:
            outcome.seconds = time.monotonic() - began
            _note(outcome, result)
            await self._score(outcome, result, case)
            return outcome
        outcome.seconds = time.monotonic() - began
        return outcome

    async def _score(self, outcome: Outcome, result: Any, case: Case) -> None:
        for scorer in self.scorers:
            name = _name(scorer)
            try:
                given = await _called(scorer, *_taken(scorer, result, case))
                outcome.scores |= scores_of(name, given)
            except Exception as error:
                outcome.error = f"the scorer {name} failed: {_told(error)}"
        enough = all(score.value >= self.pass_at for score in outcome.scores.values())
        outcome.passed = outcome.error is None and enough


async def _asked(target: Target, case: Case) -> Any:
    if isinstance(target, Model | str):
        target = Agent(target)
    if isinstance(target, Agent):
        agent: Agent[Any, Any] = target  # pyright: ignore[reportUnknownVariableType]  # its types are its user's
        return await agent.run(case.prompt, **_args(case))
    return await _called(target, case.prompt)


def _args(case: Case) -> Any:
    return case.args


async def _called(function: Callable[..., Any], *args: Any) -> Any:
    """What a function returns; a sync one runs in a thread."""
    given = function(*args) if _is_async(function) else await threads.run(partial(function, *args))
    return await given if inspect.isawaitable(given) else given


def _note(outcome: Outcome, result: Any) -> None:
    outcome.answer = answer_of(result)
    if isinstance(result, Result):
        outcome.transcript = snapshot_of(result.transcript)
        outcome.cost = result.cost
        outcome.prompt_tokens = result.usage.prompt_tokens
        outcome.completion_tokens = result.usage.completion_tokens


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _is_async(function: Any) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


def _taken(scorer: Scorer, result: Any, case: Case) -> tuple[Any, ...]:
    """What a scorer is called with: the case too, if it has room for it."""
    try:
        inspect.signature(scorer).bind(result, case)
    except TypeError:
        return (result,)
    except ValueError:  # a builtin that does not say
        pass
    return (result, case)


def _name(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Agent):
        return value.name or value.model.name
    name = getattr(value, "name", None) or getattr(value, "__name__", None)
    return str(name or type(value).__name__)


def _named(targets: Target | Iterable[Target] | Mapping[str, Target]) -> dict[str, Target]:
    if isinstance(targets, Mapping):
        return dict(cast("Mapping[str, Target]", targets))
    several: list[Any] = [targets] if isinstance(targets, str | Model | Agent) or callable(targets) else [*targets]
    _check_names("target", [_name(target) for target in several])
    return {_name(target): target for target in several}


def _check_names(what: str, names: list[str]) -> None:
    if not names:
        raise UsageError(f"there is no {what} to try")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        remedy = "give Case(name=…)" if what == "case" else "give the targets as a dict by their names"
        raise UsageError(f"two {what}s are named {twice[0]!r}: {remedy}")
