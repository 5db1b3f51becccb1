"""What agentkit tells of itself: Python's logging under "agentkit", quiet until somebody listens.

One function of the user's own may take out what must not be seen, wherever something of a run is written down.
"""

from __future__ import annotations

import logging
import re
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

log: Final = logging.getLogger("agentkit")


class _Redactor:
    """The user's function, if one was given."""

    function: Callable[[str], str] | None = None


_redactor: Final = _Redactor()


def redact(function: Callable[[str], str] | None) -> None:
    """Have a function of your own take out of a text what must not be seen: names, numbers, secrets.

    It is applied to logs, to exchanges (bodies, headers, `curl()`) and to what notebooks and rich show, as they are
    looked at, in the whole process; what goes to the endpoint, and the transcript, stay as they are. The key is hidden
    without it. None ends it.
    """
    _redactor.function = function


def redacted(text: str) -> str:
    """The text as it may be seen."""
    return text if _redactor.function is None else _redactor.function(text)


def redacted_bytes(data: bytes) -> bytes:
    """The same of JSON as bytes, its letters not escaped; without a redactor, as they are."""
    if _redactor.function is None:
        return data
    text = _ESCAPE.sub(_letter, data.decode("utf-8", "surrogateescape"))
    return redacted(text).encode("utf-8", "surrogateescape")


# A pair of surrogates, any other four digits, or what else is escaped, so that an escaped backslash begins nothing.
_ESCAPE: Final = re.compile(
    r"\\(?:u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|.)", re.DOTALL
)


def _letter(found: re.Match[str]) -> str:
    if found[1]:
        return chr(0x10000 + ((int(found[1], 16) - 0xD800) << 10) + int(found[2], 16) - 0xDC00)
    code = int(found[3], 16) if found[3] else 0
    return chr(code) if code >= 0x80 and not 0xD800 <= code <= 0xDFFF else found[0]


def debug(on: bool = True) -> None:  # it reads as a switch  # noqa: FBT001, FBT002
    """Show in the terminal, on stderr, each exchange with an endpoint, and all else that agentkit logs."""
    log.removeHandler(_terminal)
    log.setLevel(logging.DEBUG if on else logging.NOTSET)
    if on:
        log.addHandler(_terminal)


class _Terminal(logging.Handler):
    """Writes to whatever stderr is at the moment."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(f"{self.format(record)}\n")
        except Exception:  # as logging's own handlers: telling must not break what is told of
            self.handleError(record)


class _Redacting(logging.Filter):
    """Puts the user's redactor before every handler."""

    def filter(self, record: logging.LogRecord) -> bool:
        if _redactor.function is not None:
            record.msg, record.args = redacted(record.getMessage()), None
        return True


_terminal: Final = _Terminal()
_terminal.setFormatter(logging.Formatter("agentkit %(asctime)s %(message)s", "%H:%M:%S"))
log.addHandler(logging.NullHandler())
log.addFilter(_Redacting())
