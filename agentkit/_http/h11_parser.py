"""h11, which is written in Python and knows HTTP/1.1 well, as what judges answers."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from agentkit._http.reader import MAX_HEAD_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable


class H11Parser:
    """The parser of one answer; see `reader.Parser`."""

    __slots__ = ("_connection", "fault", "headers", "keeps_alive", "over", "status")

    headers: Iterable[tuple[bytes, bytes]]

    def __init__(self, method: str) -> None:
        import h11  # with the first request

        self._connection: Any = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)
        for event in _asked(method):
            self._connection.send(event)
        self.status = 0
        self.headers = ()
        self.keeps_alive = self.over = False
        self.fault: str | None = None

    def feed(self, data: bytes) -> bytes:
        """What the next bytes say of the body; b"" for the end of the connection."""
        import h11

        connection = self._connection
        pieces: list[bytes] = []
        try:
            connection.receive_data(data)
            while not self.over:
                event: Any = connection.next_event()
                if isinstance(event, h11.Data):
                    pieces.append(bytes(event.data))
                elif isinstance(event, h11.Response):
                    self._begin(event)
                elif isinstance(event, h11.EndOfMessage):
                    self.over = True
                    self.keeps_alive = self.keeps_alive and not connection.trailing_data[0]
                elif not isinstance(event, h11.InformationalResponse):
                    break
        except h11.RemoteProtocolError as error:
            self.fault = str(error)
        return b"".join(pieces)

    def _begin(self, event: Any) -> None:
        self.status, self.headers = event.status_code, event.headers
        closes = any(
            name == b"connection" and b"close" in [option.strip() for option in value.lower().split(b",")]
            for name, value in event.headers
        )
        self.keeps_alive = event.http_version == b"1.1" and not closes


@cache
def _asked(method: str) -> tuple[Any, ...]:
    """The request as h11 is told of it: the answer is to nothing of it but the method."""
    import h11

    return h11.Request(method=method, target="/", headers=[("host", "h")]), h11.EndOfMessage()
