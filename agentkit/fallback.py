"""Several models, one after another: the next is asked where one fails."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agentkit.circuit import Circuit
from agentkit.errors import EndpointError, UsageError
from agentkit.flow import Instead, Now, Steps
from agentkit.model import ChatModel, Model, model_of

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from agentkit.chat.request import Request
    from agentkit.flow import FlowEffect
    from agentkit.messages import Reply


class FallbackModel(Model):
    """The first of several models that answers.

    A model's own retries come first; then the next is asked, with the same conversation, written as its endpoint wants
    it. Once something of a stream was told, no other model is asked (unless the run has `resume_stream`). A model that
    failed three times in a row is left out for 30 seconds; if all are, all are asked.

    Args:
        first: The model to ask first, or its name.
        others: The models to ask where it fails, in order.
        on: The errors that make the next be asked; without it, those that are worth a retry (an endpoint that is busy,
            broken, out of reach, too slow, or limits the rate).

    Raises:
        UsageError: a name has no known prefix, or `on` has something that is no EndpointError.
    """

    def __init__(
        self,
        first: str | Model,
        *others: str | Model,
        on: type[EndpointError] | Iterable[type[EndpointError]] | None = None,
    ) -> None:
        self.models = tuple([model_of(model) for model in (first, *others)])
        self.name = " / ".join(model.name or type(model).__name__ for model in self.models)
        self.on = None if on is None else (on,) if isinstance(on, type) else tuple(on)
        kinds: list[Any] = list(self.on or ())
        for kind in kinds:
            if not (isinstance(kind, type) and issubclass(kind, EndpointError)):
                raise UsageError(f"on= names errors of agentkit.errors below EndpointError, not {kind!r}")
        self._circuits = [_circuit_of(model) for model in self.models]

    def flow(self, request: Request) -> Steps[Reply]:
        """Ask one model after another."""
        now = yield from _now()
        every = range(len(self.models))
        *first, last = [index for index in every if not self._circuits[index].is_open(now)] or every
        for index in first:
            try:
                return (yield from self._ask(index, request, now))
            except EndpointError as error:
                if not self._passes(error):
                    raise
                failure = error
            yield Instead(failure)
        return (yield from self._ask(last, request, now))

    def _ask(self, index: int, request: Request, now: float) -> Steps[Reply]:
        """The reply of one model; its circuit hears what became of it."""
        circuit = self._circuits[index]
        circuit.tried(now)
        try:
            reply = yield from self.models[index].flow(request)
        except EndpointError as error:
            failure = error
        else:
            circuit.answered()
            return reply
        if self._passes(failure):
            circuit.failed((yield from _now()))
        raise failure

    def _passes(self, error: EndpointError) -> bool:
        return error.retryable if self.on is None else isinstance(error, self.on)

    def __repr__(self) -> str:
        return f"FallbackModel({', '.join(map(repr, self.models))})"


def _circuit_of(model: Model) -> Circuit:
    """That of the model at its endpoint, which all who ask it share; another kind of model has one of its own here."""
    return model.endpoint.circuit(model.name) if isinstance(model, ChatModel) else Circuit()


def _now() -> Generator[FlowEffect, float, float]:
    now = yield Now()
    return now
