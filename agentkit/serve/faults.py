"""What a request is answered with when it has no answer: the endpoint's own shape of an error, without a secret in it.

What an agent's model or tools said in their errors may hold instructions, names of tools and keys: a client gets the
words of this table, and the log has the error.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from agentkit import errors
from agentkit.errors import AgentKitError, EndpointError, LimitReached

if TYPE_CHECKING:
    from collections.abc import Mapping

INVALID: Final = "invalid_request_error"
SERVER: Final = "server_error"
RETRY_AFTER_S: Final = 1
_AGAIN: Final = {"x-should-retry": "true", "retry-after": str(RETRY_AFTER_S)}

CHOICES: Final = "agentkit_choices"
"""The field of an error that has what was done, where the server ended in the middle of a whole answer."""


class Refused(Exception):  # it is an answer
    """A request is answered with an error. `headers` go with it, `more` stands in it beside the usual fields."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        kind: str = INVALID,
        headers: Mapping[str, str] | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param
        self.kind = kind
        self.headers: Mapping[str, str] = headers or {}
        self.more: Mapping[str, Any] = more or {}

    @property
    def body(self) -> dict[str, Any]:
        """The error as it is sent."""
        told = {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}
        return {"error": {**told, **self.more}}


class Fault(NamedTuple):
    """How an error of a run is told. `again` says whether the same request may be sent again."""

    status: int
    kind: str
    code: str
    message: str
    again: bool = False


# The first class that an error is one of counts.
FAULTS: Final[Mapping[type[AgentKitError], Fault]] = {
    # some clients know this error by its words alone
    errors.ContextLengthError: Fault(
        400, INVALID, "context_length_exceeded", "The conversation is longer than the model's context length."
    ),
    errors.ContentFilterError: Fault(400, INVALID, "content_filter", "A content filter stopped the conversation."),
    errors.BadRequestError: Fault(400, INVALID, "model_refused_request", "The agent's model refuses this request."),
    errors.QuotaError: Fault(429, "insufficient_quota", "insufficient_quota", "The agent's model has no quota left."),
    errors.RateLimitError: Fault(
        429, "requests", "rate_limit_exceeded", "The agent's model gets too many requests just now.", again=True
    ),
    errors.OverloadedError: Fault(503, SERVER, "overloaded", "The agent's model is busy.", again=True),
    errors.TimedOut: Fault(504, SERVER, "model_timeout", "The agent's model did not answer in time.", again=True),
    errors.ConnectionFailed: Fault(
        502, SERVER, "model_unreachable", "The agent's model could not be reached.", again=True
    ),
    errors.ServerError: Fault(502, SERVER, "model_failed", "The agent's model failed.", again=True),
    errors.EndpointError: Fault(502, SERVER, "model_failed", "The agent's model could not be asked."),
    errors.ModelError: Fault(502, SERVER, "model_error", "The agent's model gave no answer that can be used."),
    errors.ToolFailed: Fault(500, SERVER, "tool_failed", "A tool of the agent failed."),
    errors.Blocked: Fault(400, INVALID, "content_filter", "The agent does not go on with this conversation."),
    errors.LimitReached: Fault(500, SERVER, "limit_reached", "The agent reached a limit of its run."),
    errors.Cancelled: Fault(503, SERVER, "run_cancelled", "The run was cancelled."),
    errors.AgentKitError: Fault(500, SERVER, "internal_error", "The agent could not run."),
}
TOO_LONG: Final = Fault(504, SERVER, "run_timeout", "The agent's run took too long.")
UNKNOWN: Final = Fault(500, SERVER, "internal_error", "The server failed.")


def refused(error: BaseException, *, acted: bool = False) -> Refused:
    """The answer to a request whose run ended with an error.

    `acted` says that a tool ran: a client that sent the request again by itself would run it once more.
    """
    fault = UNKNOWN
    if isinstance(error, LimitReached) and error.limit == "seconds":
        fault = TOO_LONG
    elif isinstance(error, AgentKitError):
        fault = next(fault for kind, fault in FAULTS.items() if isinstance(error, kind))
    again = fault.again and not acted
    headers = {"x-should-retry": "true" if again else "false"}
    if again and fault.status in (429, 503):
        wait = error.retry_after_s if isinstance(error, EndpointError) else None
        headers["retry-after"] = str(max(RETRY_AFTER_S, ceil(wait or 0)))
    problem = Refused(fault.status, fault.message, code=fault.code, kind=fault.kind, headers=headers)
    problem.__cause__ = error
    return problem


def cut_off(*, acted: bool, is_kept: bool, choices: list[dict[str, Any]] | None = None) -> Refused:
    """A run was ended because the server ends. `acted` as above; `is_kept` if the client has what was done, which may
    be in `choices`."""
    remedy = "send the conversation again with the message so far at its end" if is_kept else "send the request again"
    return Refused(
        503,
        f"The server ended before the run was done: {remedy}.",
        code="draining",
        kind=SERVER,
        headers={"x-should-retry": "false"} if acted else _AGAIN,
        more={CHOICES: choices} if choices else None,
    )


def busy(message: str, *, draining: bool = False) -> Refused:
    """No run begins now: too many go on, or the server is about to end."""
    if draining:
        return Refused(503, message, code="draining", kind=SERVER, headers=_AGAIN)
    return Refused(429, message, code="rate_limit_exceeded", kind="requests", headers=_AGAIN)
