"""Transcripts in files, and where the command keeps what the user typed."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import IO, cast

from agentkit._json import is_object, loads
from agentkit.errors import UsageError
from agentkit.transcript import Transcript


def load_transcript(path: Path, *, only_to_look: bool = False) -> Transcript:
    """The transcript in a file: a dump, or a plain list of messages.

    A plain list is not trusted, unless it is only looked at. Raises UsageError.
    """
    try:
        data = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except OSError as error:
        raise UsageError(f"{str(path)!r} cannot be read: {error.strerror or error}") from None
    try:
        if only_to_look:
            return Transcript.load(_messages_in(data), trusted=True)
        return Transcript.load(data, allow_system=True)
    except UsageError as error:
        raise UsageError(f"{str(path)!r}: {error}") from None


def _messages_in(data: bytes) -> bytes | list[dict[str, object]]:
    """The messages of a request's body; anything else as it is."""
    with suppress(ValueError):
        value = loads(data)
        if is_object(value) and "agentkit" not in value and isinstance(value.get("messages"), list):
            return cast("list[dict[str, object]]", value["messages"])
    return data


def save_transcript(path: Path, transcript: Transcript) -> None:
    """Write a transcript's dump; a crash leaves the old file or the new one. Raises UsageError."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with _own_file(part) as file:
            file.write(transcript.dump().encode())
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        raise UsageError(f"the transcript cannot be saved to {str(path)!r}: {error.strerror or error}") from None


def _own_file(path: Path) -> IO[bytes]:
    # a conversation is nobody else's business
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")


def history_file() -> Path | None:
    """The file of what was typed in chats, made if it is not there; None where none can be kept."""
    named = os.environ.get("AGENTKIT_HISTORY")
    if named == "":
        return None
    path = Path(named).expanduser() if named else _state_folder() / "chat_history"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
    except OSError:
        return None
    return path


def data_folder() -> Path:
    """Where a user's data lies that the command keeps; it need not be there yet."""
    return _own_folder("XDG_DATA_HOME", ".local/share")


def _state_folder() -> Path:
    return _own_folder("XDG_STATE_HOME", ".local/state")


def _own_folder(variable: str, usual: str) -> Path:
    if sys.platform == "win32":
        root = os.environ.get("LOCALAPPDATA")
        return (Path(root) if root else Path.home() / "AppData" / "Local") / "agentkit"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "agentkit"
    root = os.environ.get(variable)
    return (Path(root) if root and Path(root).is_absolute() else Path.home() / usual) / "agentkit"
