"""What a client keeps for the server and cannot read, change or use elsewhere.

Each text is encrypted with AES-256-GCM under a key of its own, derived from the secret and a random salt, so that no
nonce is used twice however many there are. What it is bound to is authenticated with it and not sent.
"""

from __future__ import annotations

import os
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from agentkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

_VERSION: Final = b"\x01"
_SALT: Final = 16
_BLOCK: Final = 256
_INFO: Final = b"agentkit.serve state 1"
MIN_SECRET: Final = 16


class Sealer:
    """Seals and opens texts. With several secrets the first seals, and all open: so a secret is changed."""

    def __init__(self, secrets: str | bytes | Iterable[str | bytes] | None = None) -> None:
        """Without a secret one is made, which ends with the process. Raises UsageError for one that is too short."""
        if secrets is None:
            secrets = [os.urandom(32)]
        listed = [secrets] if isinstance(secrets, str | bytes) else list(secrets)
        self._secrets = [secret.encode() if isinstance(secret, str) else secret for secret in listed]
        if not self._secrets or any(len(secret) < MIN_SECRET for secret in self._secrets):
            raise UsageError(
                f"secret= is shorter than {MIN_SECRET} bytes; make one with "
                "`python -c 'import secrets; print(secrets.token_urlsafe(32))'`"
            )

    def seal(self, text: bytes, bound_to: bytes) -> str:
        """The text in letters that a header or a message can hold."""
        salt = os.urandom(_SALT)
        # its length would tell how long a tool's answer was, to the byte
        padded = len(text).to_bytes(4, "big") + text
        padded += bytes(-len(padded) % _BLOCK)
        key, nonce = _derive(self._secrets[0], salt)
        return urlsafe_b64encode(_VERSION + salt + AESGCM(key).encrypt(nonce, padded, bound_to)).decode()

    def open(self, sealed: str, bound_to: bytes) -> bytes | None:
        """The text that was sealed so; None if it was not, or is bound to something else."""
        try:
            data = urlsafe_b64decode(sealed.encode("ascii"))
        except (ValueError, Base64Error):
            return None
        if data[:1] != _VERSION or len(data) < 1 + _SALT + 16:
            return None
        salt, encrypted = data[1 : 1 + _SALT], data[1 + _SALT :]
        for secret in self._secrets:
            key, nonce = _derive(secret, salt)
            try:
                padded = AESGCM(key).decrypt(nonce, encrypted, bound_to)
            except InvalidTag:
                continue
            return padded[4 : 4 + int.from_bytes(padded[:4], "big")]
        return None


def _derive(secret: bytes, salt: bytes) -> tuple[bytes, bytes]:
    made = HKDF(algorithm=SHA256(), length=32 + 12, salt=salt, info=_INFO).derive(secret)
    return made[:32], made[32:]
