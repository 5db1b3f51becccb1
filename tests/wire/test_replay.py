"""The comparison can fail: what is right for no case, and what the server sends, both checked."""

from __future__ import annotations

import http.client
import json

import pytest

from tests.wire import replay

CASES = replay.load()
EACH = pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])


def test_all_cases_are_there():
    assert len(CASES) == 99


@EACH
def test_a_wrong_outcome_is_told(case):
    wrong = {"text": "no case says this", "streamed_text": "nor this", "tool_calls": []}
    assert replay.compare_client(case, wrong)
    failed = {"error": {"class": "none", "retryable": False, "retry_after": None, "message": ""}}
    assert replay.compare_client(case, failed)


@EACH
def test_a_case_is_served_as_it_stands(case):
    if case.get("end") == "hang_before_headers":
        pytest.skip("nothing comes")
    with replay.Server(case) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        asked = json.dumps({"model": "m", "messages": [], "stream": replay.wants_stream(case)})
        try:
            connection.request("POST", "/v1/chat/completions", asked, {"content-type": "application/json"})
            response = connection.getresponse()
            assert (response.status, response.read()) == (case["status"], replay.body_bytes(case))
        except (http.client.RemoteDisconnected, ConnectionResetError):
            assert case["end"] == "reset_before_headers"
        finally:
            connection.close()
        assert [path for path, _, _ in server.requests] == ["/v1/chat/completions"]
