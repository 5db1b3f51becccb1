"""HTTP as agentkit needs it: one POST, its answer piece by piece, and every failure under agentkit's own names.

The only part that imports httpx, httpcore and h11, at first use. Connections are our own, one by one on a stack without
a pool over them, whose work grows with the square of how many there are; h11 judges what comes. Proxies are httpx's.
"""

from __future__ import annotations

from agentkit._http.abort import Aborter
from agentkit._http.allowance import TimeoutSettings
from agentkit._http.asynchronous import AsyncHttp, AsyncResponse, MakeParser
from agentkit._http.body import MAX_BODY_BYTES
from agentkit._http.loading import is_loaded, load
from agentkit._http.request import HttpRequest, RawHeaders, parse_url, raw_headers
from agentkit._http.sync import Response, SyncHttp

__all__ = [
    "MAX_BODY_BYTES",
    "Aborter",
    "AsyncHttp",
    "AsyncResponse",
    "HttpRequest",
    "MakeParser",
    "RawHeaders",
    "Response",
    "SyncHttp",
    "TimeoutSettings",
    "is_loaded",
    "load",
    "parse_url",
    "raw_headers",
]
