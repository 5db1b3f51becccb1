from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit.chat.faults import MAX_MESSAGE_CHARS, MAX_WAIT_S, fault, fault_in_reply, retry_after
from agentkit.chat.wording import STATUSES
from agentkit.errors import (
    AuthenticationError,
    BadRequestError,
    ContentFilterError,
    ContextLengthError,
    EndpointError,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    ProtocolError,
    QuotaError,
    RateLimitError,
    ServerError,
    TimedOut,
)

NOW = 1_800_000_000.0
DATE = "Fri, 15 Jan 2027 08:00:00 GMT"  # the same moment


def failed(status: int, body: object = "", headers: dict[str, str] | None = None) -> EndpointError:
    text = body if isinstance(body, str) else json.dumps(body)
    return fault(status, headers or {}, text.encode(), now=NOW)


def said(message: str, **more: object) -> dict[str, object]:
    return {"error": {"message": message, **more}}


# Answers of real endpoints: status, body, what it is, whether it may be retried, what the message must hold.
ANSWERS = {
    "error list": (
        400,
        [{"error": {"code": 400, "message": "API key not valid. Pass a valid one.", "status": "INVALID_ARGUMENT"}}],
        AuthenticationError,
        False,
        "API key not valid",
    ),
    "groq": (400, said("Failed to call a function.", code="tool_use_failed"), BadRequestError, False, "Failed to call"),
    "message only": (400, {"message": "Bad request: tools unsupported"}, BadRequestError, False, "tools unsupported"),
    "not a success": (400, {"success": False, "error": {"message": "nope"}}, BadRequestError, False, "nope"),
    "404 html": (
        404,
        "<html><head><title>404 Not Found</title></head>",
        NotFoundError,
        False,
        "HTTP 404: 404 Not Found",
    ),
    "404 model": (404, said("The model `x` does not exist", type="invalid_request_error"), NotFoundError, False, "`x`"),
    "409": (409, said("Conflict: lock timeout", type="conflict"), OverloadedError, True, "lock timeout"),
    "429 scaleway": (
        429,
        {
            "status": 429,
            "error": "INSUFFICIENT QUOTA",
            "message": "You exceeded your current limit of concurrent requests.",
        },
        RateLimitError,
        True,
        "concurrent",
    ),
    "500 detail": (500, {"detail": "Internal Server Error"}, ServerError, True, "Internal Server Error"),
    "500 plain": (500, "Internal Server Error", ServerError, True, "HTTP 500: Internal Server Error"),
    "503": (503, said("Loading model", code=503, type="unavailable_error"), OverloadedError, True, "Loading model"),
    "520 cloudflare": (520, "error code: 520", ServerError, True, "error code: 520"),
    "524 cloudflare": (524, "error code: 524", TimedOut, True, "error code: 524"),
    "nothing": (502, "", ServerError, True, "HTTP 502: the endpoint gave no reason"),
    "null": (400, "null", BadRequestError, False, "gave no reason"),
    "a number": (400, "17", BadRequestError, False, "HTTP 400: 17"),
    "a JSON string": (400, '"no such thing"', BadRequestError, False, "HTTP 400: no such thing"),
    "unknown object": (400, {"oops": 1}, BadRequestError, False, '{"oops": 1}'),
    "byte order mark": (400, '\ufeff{"error":{"message":"boom"}}', BadRequestError, False, "HTTP 400: boom"),
    "JSON in a message": (429, {"message": '{"error": {"message": "slow"}}'}, RateLimitError, True, "HTTP 429: slow"),
    "error as text": (400, {"code": "invalid argument", "error": "bad tool"}, BadRequestError, False, "bad tool"),
    "fastapi": (
        422,
        {"detail": [{"loc": ["body", "n"], "msg": "too big", "type": "value_error"}]},
        BadRequestError,
        False,
        "HTTP 422: body.n: too big",
    ),
    "mistral": (
        422,
        {
            "object": "error",
            "message": {
                "detail": [
                    {"type": "extra_forbidden", "loc": ["body", "user"], "msg": "Extra inputs are not permitted"}
                ]
            },
        },
        BadRequestError,
        False,
        "body.user: Extra inputs are not permitted",
    ),
    "llama.cpp: tools": (
        500,
        said("Failed to parse tools: Missing tool function: {}", code=500, type="server_error"),
        BadRequestError,
        False,
        "Failed to parse tools",
    ),
    "llama.cpp: context": (
        500,
        said("Context size has been exceeded.", code=500, type="server_error"),
        ContextLengthError,
        False,
        "exceeded",
    ),
    "template": (500, "jinja: undefined variable", BadRequestError, False, "jinja"),
    "501": (
        501,
        said("no embeddings here", code=501, type="not_supported_error"),
        BadRequestError,
        False,
        "embeddings",
    ),
    "server's fault as 400": (400, said("x", type="server_error"), ServerError, True, "x"),
    "overload as 400": (400, {"error": "no healthy upstream"}, OverloadedError, True, "no healthy upstream"),
    "said so": (400, said("'out of memory'", type="invalid_request_error"), BadRequestError, False, "out of memory"),
    "client's fault as 500": (
        500,
        said("n is too small", type="invalid_request_error"),
        BadRequestError,
        False,
        "n is",
    ),
    "rate as 503": (503, said("Too Many Requests", code="throttling"), RateLimitError, True, "Too Many"),
    "groq: never fits": (
        413,
        said(
            "Request too large for model `m` on tokens per minute (TPM): Limit 6000, Requested 7000",
            code="rate_limit_exceeded",
        ),
        RateLimitError,
        False,
        "Requested 7000",
    ),
    "forbidden": (403, {"message": "Forbidden"}, PermissionDeniedError, False, "Forbidden"),
    "403 that is a rate": (403, said("x", code="rate_limit_exceeded"), RateLimitError, True, "x"),
    "401 whatever it says": (401, "Service Unavailable", AuthenticationError, False, "HTTP 401"),
    "azure filter": (
        400,
        said("filtered", code="x", innererror={"code": "ResponsibleAIPolicyViolation"}),
        ContentFilterError,
        False,
        "filtered",
    ),
    "openrouter": (
        429,
        said("Provider returned error", code=429, metadata={"raw": "slow down, friend", "provider_name": "X"}),
        RateLimitError,
        True,
        "Provider returned error (slow down, friend)",
    ),
    "openrouter raw json": (
        400,
        said("Provider returned error", code=400, metadata={"raw": '{"error":{"code":"context_length_exceeded"}}'}),
        ContextLengthError,
        False,
        "Provider returned error",
    ),
    "gemini per day": (
        429,
        [
            {
                "error": {
                    "code": 429,
                    "message": "You exceeded your current quota. Please retry in 51.2s.",
                    "status": "RESOURCE_EXHAUSTED",
                    "details": [{"violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]}],
                }
            }
        ],
        QuotaError,
        False,
        "current quota",
    ),
    "gemini per minute": (
        429,
        said("You exceeded your current quota, please check your plan and billing. Please retry in 51.2s.", code=429),
        RateLimitError,
        True,
        "51.2s",
    ),
    "tags": (500, "<style>p{}</style><script>'<p>'</script><p>A&amp;B</p> up", ServerError, True, "HTTP 500: A&B up"),
    "xml": (403, "<Error><Code>AccessDenied</Code></Error>", PermissionDeniedError, False, "HTTP 403: AccessDenied"),
}


@pytest.mark.parametrize(("status", "body", "kind", "retryable", "text"), ANSWERS.values(), ids=ANSWERS)
def test_an_answer_becomes_its_error(status, body, kind, retryable, text):
    error = failed(status, body)
    assert type(error) is kind
    assert error.retryable is retryable
    assert text in str(error)
    assert error.status == status


@pytest.mark.parametrize("status", range(400, 600))
def test_each_status_has_an_error_and_a_rule(status):
    error = failed(status)
    assert type(error) is STATUSES.get(status, BadRequestError if status < 500 else ServerError)
    again = {408, 409, 423, 424, 425, 429, 499} | (set(range(500, 600)) - {501, 505})
    assert error.retryable is (status in again)


@pytest.mark.parametrize(
    ("status", "should", "retryable"),
    [
        (400, "true", True),
        (400, "false", False),
        (500, "false", False),
        (503, "TRUE ", True),
        (500, "maybe", True),
        (401, "true", False),
        (402, "true", False),
        (403, "true", False),
    ],
)
def test_x_should_retry_is_heeded_but_for_keys_and_quota(status, should, retryable):
    assert failed(status, said("m"), {"x-should-retry": should}).retryable is retryable


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        ("https://other.example/v1/chat", "https://other.example/v1/chat"),
        ("https://me:secret@other.example/v1?key=secret#secret", "https://other.example/v1"),
        ("", "nowhere"),
    ],
)
def test_a_redirect_names_where_it_points_and_no_secret(location, shown):
    error = failed(301, "", {"location": location})
    assert isinstance(error, NotFoundError)
    assert not error.retryable
    assert f"redirects to {shown};" in str(error)
    assert "secret" not in str(error)


def test_what_is_nested_too_deeply_is_not_read():
    body = said("m")
    for _ in range(30):
        body = {"error": body}
    error = failed(500, body)
    assert type(error) is ServerError
    assert error.code is None
    assert str(error).startswith('HTTP 500: {"error": {"error":')


@pytest.mark.parametrize("body", ["", "[]", "{}", "<p>hello</p>", "hello"])
def test_a_body_of_status_200_without_an_error_is_no_reply(body):
    assert type(failed(200, body)) is ProtocolError


@pytest.mark.parametrize(
    ("error", "kind", "retryable", "status"),
    [
        (
            {"message": "Provider returned error", "code": 429, "metadata": {"raw": "Too Many"}},
            RateLimitError,
            True,
            429,
        ),
        ({"message": "Upstream error", "code": 502}, ServerError, True, 502),
        ({"code": "502", "message": "x"}, ServerError, True, 502),
        (
            {"code": 502, "message": "Provider disconnected", "metadata": {"error_type": "provider_unavailable"}},
            OverloadedError,
            True,
            502,
        ),
        ({"message": "Worker died", "code": 500}, ServerError, True, 500),
        ({"code": 400, "message": "prompt is too long: 1284668 tokens"}, ContextLengthError, False, 400),
        ({"code": 400, "message": "no"}, BadRequestError, False, 400),
        ({"message": "boom", "type": "server_error", "code": 500}, ServerError, True, 500),
        ({"message": "x", "type": "exceed_context_size_error"}, ContextLengthError, False, 200),
        ({"message": "x", "type": "invalid_request_error"}, BadRequestError, False, 200),
        ({"message": "model not found", "type": "invalid_request_error"}, NotFoundError, False, 200),
        ("boom", ServerError, True, 200),
        ("Rate limit exceeded", RateLimitError, True, 200),
        ({"error": {"code": 401, "message": "x"}}, AuthenticationError, False, 401),
        ({"error": "INSUFFICIENT QUOTA", "message": "too many concurrent requests"}, RateLimitError, True, 200),
        ({}, ServerError, True, 200),
        (None, ServerError, True, 200),
        (True, ServerError, True, 200),
        ([{"message": "x", "code": True}], ServerError, True, 200),
    ],
)
def test_an_error_in_a_reply(error, kind, retryable, status):
    found = fault_in_reply(error)
    assert type(found) is kind
    assert found.retryable is retryable
    assert found.status == status


def test_an_error_in_a_body_of_status_200():
    error = failed(200, '{"choices": null, "error": {"message": "Upstream error", "code": 502}}')
    assert type(error) is ServerError
    assert error.status == 502
    assert str(error) == "error 502 in the reply: Upstream error"
    assert str(fault_in_reply("boom")) == "error in the reply: boom"
    assert type(failed(200, {"object": "error", "message": "boom"})) is ServerError


def test_the_message_is_one_line_and_capped():
    message = str(failed(400, said("a\r\nb\x00\u2028c \ud800" + "x" * 100_000)))
    assert message.startswith("HTTP 400: a b c xxx")
    assert len(message) == MAX_MESSAGE_CHARS
    assert message.isprintable()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ({"code": "rate_limit_exceeded", "type": "requests"}, "rate_limit_exceeded"),
        ({"code": 400, "type": "exceed_context_size_error"}, "exceed_context_size_error"),
        ({"code": None, "type": "conflict"}, "conflict"),
        ({"code": 503}, "503"),
        ({"code": "", "type": "error"}, None),
        ({"code": 429, "status": "RESOURCE_EXHAUSTED"}, "RESOURCE_EXHAUSTED"),
    ],
)
def test_the_code_is_the_endpoint_s_own_word(error, code):
    assert failed(400, {"error": {"message": "m", **error}}).code == code


@pytest.mark.parametrize("name", ["x-request-id", "request-id", "apim-request-id", "cf-ray"])
def test_the_request_id_comes_from_the_headers(name):
    assert failed(500, "", {name: "r1"}).request_id == "r1"


def test_the_request_id_comes_from_the_body_where_no_header_has_it():
    body = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}, "request_id": "req_1"}
    assert failed(529, body).request_id == "req_1"
    assert failed(529, body, {"x-request-id": "r1"}).request_id == "r1"


# Header or headers, and the seconds that they mean at NOW.
WAITS = [
    ({}, None),
    ({"retry-after": "2"}, 2.0),
    ({"retry-after": " 0.5 "}, 0.5),
    ({"retry-after": "0"}, 0.0),
    ({"retry-after": "86400"}, 86400.0),
    ({"retry-after": "soon"}, None),
    ({"retry-after": "-5"}, None),
    ({"retry-after": "nan"}, None),
    ({"retry-after": "inf"}, None),
    ({"retry-after": "1e400"}, None),
    ({"retry-after": "1_000"}, None),
    ({"retry-after": "٣"}, None),
    ({"retry-after": ""}, None),
    ({"retry-after": "999999999"}, MAX_WAIT_S),
    ({"retry-after": "Fri, 15 Jan 2027 08:00:07 GMT"}, 7.0),
    ({"retry-after": "Friday, 15-Jan-27 08:00:07 GMT"}, 7.0),
    ({"retry-after": "Fri Jan 15 08:00:07 2027"}, 7.0),
    ({"retry-after": "Thu, 14 Jan 2027 08:00:00 GMT"}, 0.0),
    ({"retry-after": "Fri, 15 Jan 9999 08:00:00 GMT"}, MAX_WAIT_S),
    ({"retry-after": "Fri, 15 Foo 2027 08:00:07 GMT"}, None),
    ({"retry-after": "Fri, 15 Jan 99999999999 08:00:07 GMT"}, None),
    ({"retry-after": "30s"}, 30.0),
    ({"retry-after": "1800000009"}, 9.0),
    ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
    ({"retry-after-ms": "junk", "retry-after": "9"}, 9.0),
    ({"retry-after-ms": "9" * 20}, MAX_WAIT_S),
    ({"x-ratelimit-reset": "9"}, 9.0),
    ({"x-ratelimit-reset": "1800000009"}, 9.0),
    ({"x-ratelimit-reset": "1800000009000"}, 9.0),
    ({"x-ratelimit-reset": "1799999999"}, 0.0),
    ({"x-ratelimit-reset-requests": "120ms"}, 0.12),
    ({"x-ratelimit-reset-requests": "1m30s"}, 90.0),
    ({"x-ratelimit-reset-requests": "2m59.56s"}, 179.56),
    ({"x-ratelimit-reset-tokens": "1h2m3s"}, 3723.0),
    ({"x-ratelimit-reset-tokens": "1d"}, 86400.0),
    ({"x-ratelimit-reset-tokens": "9999999d"}, MAX_WAIT_S),
    ({"x-ratelimit-reset-tokens": "3 parsecs"}, None),
    ({"x-ratelimit-reset-requests": "1s", "x-ratelimit-reset-tokens": "6s"}, 6.0),
    (
        {
            "x-ratelimit-remaining-requests": "0",
            "x-ratelimit-reset-requests": "1s",
            "x-ratelimit-remaining-tokens": "100",
            "x-ratelimit-reset-tokens": "6s",
        },
        1.0,
    ),
    ({"x-ratelimit-remaining-tokens": "100", "x-ratelimit-reset-tokens": "6s"}, None),
    ({"ratelimit-reset": "5"}, 5.0),
    ({"anthropic-ratelimit-tokens-reset": "2027-01-15T08:00:09Z", "anthropic-ratelimit-tokens-remaining": "0"}, 9.0),
    ({"x-ratelimit-reset": "2027-01-15T08:00:09"}, 9.0),
    ({"x-ratelimit-reset": "2027-01-15T09:00:09+01:00"}, 9.0),
    ({"x-ratelimit-reset": "6s", "retry-after": "1"}, 1.0),
]


@pytest.mark.parametrize(("headers", "seconds"), WAITS, ids=[str(headers) for headers, _ in WAITS])
def test_retry_after(headers, seconds):
    assert retry_after(headers, now=NOW) == (None if seconds is None else pytest.approx(seconds))
    error = failed(429, said("m"), headers)
    assert error.retry_after_s == (None if seconds is None else pytest.approx(seconds))


def test_a_date_is_counted_from_the_answer_s_own_without_a_clock():
    later = {"retry-after": "Fri, 15 Jan 2027 08:00:07 GMT"}
    assert retry_after(later, now=None) is None
    assert retry_after({**later, "date": DATE}, now=None) == 7.0
    assert retry_after({**later, "date": "junk"}, now=None) is None


def test_a_date_without_a_zone_is_in_gmt(monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert retry_after({"retry-after": "Fri Jan 15 08:00:07 2027"}, now=NOW) == 7.0
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_reset_says_nothing_of_other_errors():
    assert failed(500, "", {"x-ratelimit-reset-requests": "6s"}).retry_after_s is None


@pytest.mark.parametrize(
    ("body", "seconds"),
    [
        (said("Rate limit reached. Please try again in 1m2.5s. Visit the docs."), 62.5),
        (said("Please retry after 6 seconds."), 6.0),
        (said("Please try again in 20ms."), 0.02),
        (said("try again in a while"), None),
        (said("retry in 3 fortnights"), None),
        (said("m", details=[{"@type": "RetryInfo", "retryDelay": "51s"}]), 51.0),
        ({"error": "loading", "estimated_time": 20.5}, 20.5),
        (said("m", metadata={"headers": {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1800000009000"}}), 9.0),
    ],
)
def test_the_body_may_say_how_long(body, seconds):
    assert failed(429, body).retry_after_s == seconds
    assert failed(429, body, {"retry-after": "4"}).retry_after_s == 4.0


NAMES = st.sampled_from("error errors message detail code type status metadata raw details headers quotaId loc".split())
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["{", "[1", '"', "<p", "502"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
HEADERS = st.dictionaries(
    st.sampled_from("retry-after retry-after-ms x-ratelimit-reset x-ratelimit-remaining date location".split()),
    st.text(),
)


@given(st.integers(100, 999), HEADERS, st.binary() | VALUES.map(lambda value: json.dumps(value).encode()))
def test_any_answer_has_an_error(status, headers, body):
    error = fault(status, headers, body, now=NOW)
    assert len(str(error)) <= MAX_MESSAGE_CHARS + 200
    assert str(error).isprintable()
    assert error.retry_after_s is None or 0 <= error.retry_after_s <= MAX_WAIT_S
    assert not (error.retryable and isinstance(error, QuotaError | AuthenticationError | PermissionDeniedError))


@given(VALUES)
def test_any_error_in_a_reply_has_an_error(value):
    assert str(fault_in_reply(value)).isprintable()


@given(st.text() | st.from_regex(r"[0-9]{1,25}(\.[0-9]*)?[a-zµ]{0,3}", fullmatch=True) | st.datetimes().map(str))
def test_any_header_is_a_wait_or_none(text):
    for now in (NOW, None):
        wait = retry_after({"retry-after": text, "x-ratelimit-reset": text}, now=now)
        assert wait is None or 0 <= wait <= MAX_WAIT_S
