"""The libraries underneath, brought in where nothing waits for them: that takes 80 ms, too long for an event loop."""

from __future__ import annotations


class _Loaded:
    value = False


def is_loaded() -> bool:
    """Whether a request finds all that it needs."""
    return _Loaded.value


def load() -> None:
    """Import what a request needs; in a thread beside the event loop, or before there is one."""
    import anyio.streams.tls
    import h11
    import httpx

    # the names are looked up, for these packages import what is behind them at first use
    _Loaded.value = all((httpx.URL, h11.Connection, anyio.streams.tls.TLSStream, anyio.connect_tcp))
