"""Every error that agentkit raises, and whose fault each is.

```
AgentKitError
├── UsageError              the caller's: an argument, a name, a setting
├── EndpointError           the endpoint's, or the line's
│   ├── AuthenticationError     401: the key is missing, wrong or expired
│   ├── PermissionDeniedError   403: the key may not do this
│   ├── NotFoundError           404: no such model or path
│   ├── BadRequestError         any other 4xx that no repetition mends
│   │   ├── ContextLengthError      the conversation is longer than the model's window
│   │   └── ContentFilterError      the endpoint's filter stopped the prompt or the answer
│   ├── RateLimitError          429: too many requests or tokens just now
│   │   └── QuotaError              the account has none left; waiting does not help
│   ├── ServerError             5xx
│   │   └── OverloadedError         503, 529: busy, try later
│   ├── ConnectionFailed        refused, reset, cut, or no such host
│   ├── TimedOut                no answer in the time allowed
│   └── ProtocolError           an answer that is no Chat Completions reply
├── ModelError              the model's: refused, cut off, empty, or wrong after all corrections
├── ToolFailed              a tool's: its function raised
│   └── BadArguments            what the model sent does not fit the parameters; the body did not run
├── Blocked                 a guard's: it refused what was asked, or the answer
├── LimitReached            one of the run's own limits
└── Cancelled               the run was cancelled by its caller
```

An error that ends a run carries the run's transcript, with the result of every call that finished.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agentkit.chat.exchange import Exchange
    from agentkit.transcript import Transcript


class AgentKitError(Exception):
    """Base of all errors raised by agentkit.

    `transcript` is the run's state when the error ended a run, else None. `run` goes on from it.
    """

    def __init__(self, message: str = "", *, transcript: Transcript | None = None) -> None:
        super().__init__(message)
        self.transcript = transcript


class UsageError(AgentKitError):
    """agentkit was called in a way that cannot work; the message says what to change."""


class EndpointError(AgentKitError):
    """The endpoint, or the line to it, failed.

    `status` is the HTTP status, or None where there was no answer. `code` is the endpoint's own word for the error.
    `retryable` says whether the same request may succeed later, `retry_after_s` how long the endpoint asks to wait.
    `partial_text` is what had been streamed before the failure. `exchange` is what went over the wire; a pickled error
    has it without the bodies.
    """

    def __init__(
        self,
        message: str = "",
        *,
        status: int | None = None,
        code: str | None = None,
        request_id: str | None = None,
        retryable: bool = False,
        retry_after_s: float | None = None,
        partial_text: str = "",
        exchange: Exchange | None = None,
        transcript: Transcript | None = None,
    ) -> None:
        super().__init__(message, transcript=transcript)
        self.status = status
        self.code = code
        self.request_id = request_id
        self.retryable = retryable
        self.retry_after_s = retry_after_s
        self.partial_text = partial_text
        self.exchange = exchange

    def __reduce__(self) -> tuple[Any, ...]:
        # the transcript has the conversation: the bodies would say it once more
        exchange = None if self.exchange is None else self.exchange.without_bodies()
        return (type(self), self.args, {**self.__dict__, "exchange": exchange})


class AuthenticationError(EndpointError):
    """The key is missing, wrong or expired (401)."""


class PermissionDeniedError(EndpointError):
    """The key may not use this model or path (403)."""


class NotFoundError(EndpointError):
    """There is no such model or path (404)."""


class BadRequestError(EndpointError):
    """The endpoint refuses the request as it is (400, 413, 422 and the like)."""


class ContextLengthError(BadRequestError):
    """The conversation is longer than the model's context window."""


class ContentFilterError(BadRequestError):
    """The endpoint's content filter stopped the prompt or the answer."""


class RateLimitError(EndpointError):
    """Too many requests or tokens for now (429)."""


class QuotaError(RateLimitError):
    """The account's quota or credit is used up; waiting does not help."""


class ServerError(EndpointError):
    """The endpoint failed (5xx)."""


class OverloadedError(ServerError):
    """The endpoint is busy or still loading (503, 529)."""


class ConnectionFailed(EndpointError):
    """No connection, or it broke before the answer was whole."""


class TimedOut(EndpointError):
    """No answer within the time allowed."""


class ProtocolError(EndpointError):
    """The answer is not a Chat Completions reply."""


class ModelError(AgentKitError):
    """The model's answer cannot be used: refused, cut off, empty, or wrong after all corrections.

    `text` is the last text that the model gave.
    """

    def __init__(self, message: str = "", *, text: str = "", transcript: Transcript | None = None) -> None:
        super().__init__(message, transcript=transcript)
        self.text = text


class ToolFailed(AgentKitError):
    """A tool's function raised; the original is `__cause__`. `tool` is the tool's name."""

    def __init__(
        self, message: str = "", *, tool: str = "", call_id: str | None = None, transcript: Transcript | None = None
    ) -> None:
        super().__init__(message, transcript=transcript)
        self.tool = tool
        self.call_id = call_id


class BadArguments(ToolFailed):
    """The arguments do not fit the tool's parameters; its function was not called.

    `problems` has one line for each argument that is wrong: which, what is wrong, what is expected.
    """

    def __init__(
        self,
        message: str = "",
        *,
        problems: tuple[str, ...] = (),
        tool: str = "",
        call_id: str | None = None,
        transcript: Transcript | None = None,
    ) -> None:
        super().__init__(message, tool=tool, call_id=call_id, transcript=transcript)
        self.problems = problems


class Blocked(AgentKitError):
    """A guard refused the prompt or the answer; `guard` is its name, `reason` what it says."""

    def __init__(
        self, message: str = "", *, guard: str = "", reason: str = "", transcript: Transcript | None = None
    ) -> None:
        super().__init__(message, transcript=transcript)
        self.guard = guard
        self.reason = reason


class LimitReached(AgentKitError):
    """A limit of the run was reached before the next thing that would have cost something.

    `limit` is the name of the field of Limits, `value` what it was set to.
    """

    def __init__(
        self, message: str = "", *, limit: str = "", value: Any = None, transcript: Transcript | None = None
    ) -> None:
        super().__init__(message, transcript=transcript)
        self.limit = limit
        self.value = value


class Cancelled(AgentKitError):
    """The run was cancelled by its caller."""
