"""What endpoints call their errors: codes, wordings and statuses, and the error that each means.

The tables are data, all in lower case. A wording's pieces, written with "…" between them, must all occur.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from agentkit.errors import (
    AuthenticationError,
    BadRequestError,
    ContentFilterError,
    ContextLengthError,
    EndpointError,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    QuotaError,
    RateLimitError,
    ServerError,
    TimedOut,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

Kind: TypeAlias = type[EndpointError]
Wording: TypeAlias = tuple[tuple[str, ...], ...]


def occurs(wording: Wording, text: str) -> bool:
    """Whether one of the wordings is in the text, which is in lower case."""
    return any(all(piece in text for piece in pieces) for pieces in wording)


def _codes(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _wording(text: str) -> Wording:
    return tuple(tuple(line.strip().split(" … ")) for line in text.strip().splitlines())


# The most telling kind comes first: a 400 is often of type invalid_request_error and says only in code what is wrong.
CODES: Final[Mapping[Kind, frozenset[str]]] = {
    ContextLengthError: _codes(
        """context_length_exceeded exceed_context_size_error model_context_window_exceeded string_above_max_length"""
    ),
    ContentFilterError: _codes(
        """content_filter responsibleaipolicyviolation content_policy_violation data_inspection_failed
        prohibited_content moderation_blocked content_filtered"""
    ),
    QuotaError: _codes(
        """insufficient_quota billing_hard_limit_reached billing_not_active insufficient_credits arrearage
        insufficient_balance insufficient_user_quota exceeded_current_quota_error payment_required
        pre_consume_token_quota_failed"""
    ),
    AuthenticationError: _codes(
        """invalid_api_key api_key_invalid authentication_error invalid_authentication_error unauthenticated
        unauthorized account_deactivated token_expired"""
    ),
    RateLimitError: _codes(
        """rate_limit_exceeded rate_limit_error ratelimiterror rate_limited too_many_requests toomanyrequests
        resource_exhausted throttling throttlingexception"""
    ),
    NotFoundError: _codes(
        """model_not_found not_found_error notfounderror not_found deploymentnotfound unknown_model invalid_model"""
    ),
    OverloadedError: _codes(
        """overloaded_error overloaded engine_overloaded engine_overloaded_error server_overloaded slow_down
        unavailable_error unavailable service_unavailable serviceunavailable model_overloaded provider_overloaded
        provider_unavailable"""
    ),
    TimedOut: _codes("""timeout timeout_error request_timeout deadline_exceeded gateway_timeout"""),
    PermissionDeniedError: _codes("""permission_denied permission_error forbidden access_denied"""),
    ServerError: _codes(
        """server_error internal_server_error internalservererror internal_error internal upstream_error
        bad_gateway bad_response_status_code"""
    ),
    BadRequestError: _codes(
        """invalid_request_error badrequesterror bad_request invalid_argument validation_error unsupported_value
        invalid_function_call tool_use_failed json_validate_failed output_parse_failed unknown_parameter
        not_supported_error unsupported_parameter failed_precondition"""
    ),
}

# Read off the endpoints' error pages, and their answers quoted in bug reports; whose each is stands at its test.
WORDS: Final[Mapping[Kind, Wording]] = {
    ContextLengthError: _wording("""
        maximum context length
        exceeds the context window
        exceed context limit
        reduce the length of the messages
        exceeds the available context size
        context size has been exceeded
        too large for model with
        prompt is too long
        prompt too long
        input is too long for requested model
        maximum prompt length is
        maximum allowed input length
        greater than the context length
        context window exceeds limit
        exceeded model token limit
        range of input length should be
        context length exceeded
        longer than the maximum model length
        max_tokens must be at least 1, got -
        input token count … exceeds the maximum
        longer than the model … context length
        prompt token count … exceeds the limit
        tokens + `max_new_tokens` must be
        too many tokens … in the prompt"""),
    ContentFilterError: _wording("""
        content management policy
        content policy
        content filter
        violates usage guidelines
        violates our usage polic
        flagged as
        was flagged
        safety system
        inappropriate content
        content exists risk
        prohibited content
        敏感内容"""),
    QuotaError: _wording("""
        exceeded your current quota
        insufficient balance
        insufficient credits
        insufficient funds
        credit balance is too low
        requires more credits
        out of credits
        used all available credits
        billing hard limit
        spending limit
        check your plan and billing
        key limit exceeded
        quota has been exhausted
        余额不足"""),
    AuthenticationError: _wording("""
        api key not valid
        invalid api key
        incorrect api key
        invalid subscription key
        no api key
        missing api key
        missing authentication"""),
    RateLimitError: _wording("""
        rate limit reached
        rate limit exceeded
        rate limited
        too many requests
        too many tokens, please wait
        throttl"""),
    NotFoundError: _wording("""
        model … does not exist
        model not exist
        model not found
        invalid model:
        no such model"""),
    OverloadedError: _wording("""
        overloaded
        at capacity
        loading model
        currently loading
        service unavailable
        temporarily unavailable
        no healthy upstream
        server is busy"""),
    TimedOut: _wording("""
        upstream request timeout
        request timed out
        gateway time-out
        deadline exceeded"""),
    ServerError: _wording("""
        internal server error
        server had an error
        upstream error
        bad gateway
        connection reset by peer
        upstream connect error
        cuda error
        out of memory"""),
    # Told as a 500, although the request is at fault (llama.cpp, and template errors of others).
    BadRequestError: _wording("""
        failed to parse tools
        failed to parse messages
        not supported
        unsupported
        extra inputs are not permitted
        tool call id was … but must be
        invalid tool
        jinja"""),
}

# A limit on a rate, whatever else the text says of quotas (Scaleway: "INSUFFICIENT QUOTA" for concurrent requests).
TRANSIENT: Final[Wording] = _wording("""
    concurrent
    per minute
    per min
    per second
    rate limit
    too many requests
    retry in
    retry after
    try again in""")

STATUSES: Final[dict[int, Kind]] = {
    **dict.fromkeys((408, 504, 522, 524, 598), TimedOut),
    **dict.fromkeys((409, 423, 425, 503, 529), OverloadedError),
    **dict.fromkeys((404, 410), NotFoundError),
    **dict.fromkeys((403, 407), PermissionDeniedError),
    **dict.fromkeys((424, 499), ServerError),
    **dict.fromkeys((501, 505), BadRequestError),
    401: AuthenticationError,
    402: QuotaError,
    429: RateLimitError,
}

# Where the status is right, and only a more telling code or wording is listened to.
FIRM: Final = frozenset({401, 402, 403, 408, 409, 425, 429})
