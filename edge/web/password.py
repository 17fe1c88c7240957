"""The password of the page: scrypt in a file of the state directory, or a credential of systemd.

Rule 1: a file that cannot be read locks everyone out; it never counts as no password.
Rule 2: right and wrong passwords take the same time.
Source: RFC 7914; OWASP Password Storage Cheat Sheet (N = 2^14, r = 8, p = 5, 16 MiB).
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from edge import files
from edge.config.secrets import credential
from edge.errors import ConfigError
from edge.web.vault import UNREAD, Mark, Vault

NAME: Final = "web-password.json"
CREDENTIAL: Final = "web-password"
LEAST: Final = 8
MOST_BYTES: Final = 1024
"""Characters at least, bytes of UTF-8 at most."""


class Hash(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A password that cannot be read back. The limits bound the memory that checking it takes."""

    salt: Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]
    hash: Annotated[str, Meta(pattern="^[0-9a-f]{128}$")]
    n: Annotated[int, Meta(ge=2**14, le=2**16)] = 2**14
    r: Annotated[int, Meta(ge=8, le=8)] = 8
    p: Annotated[int, Meta(ge=1, le=16)] = 5

    def fits(self, password: str) -> bool:
        """Return whether it is this password; takes 0.15 s and 16 MiB."""
        made = hashlib.scrypt(
            password.encode("utf-8", "surrogatepass"),
            salt=bytes.fromhex(self.salt),
            n=self.n,
            r=self.r,
            p=self.p,
            maxmem=256 * self.n * self.r,
        )
        return hmac.compare_digest(made, bytes.fromhex(self.hash))


def hashed(password: str) -> Hash:
    """Return a password's hash, with a salt of its own. Raises ConfigError."""
    content = password.encode("utf-8", "surrogatepass")
    if len(password) < LEAST or len(content) > MOST_BYTES or not password.isprintable():
        expected = f"{LEAST} to {MOST_BYTES} printable characters"
        raise ConfigError("password not accepted", expected=expected)
    salt = secrets.token_bytes(16)
    made = hashlib.scrypt(content, salt=salt, n=2**14, r=8, p=5, maxmem=2**25)
    return Hash(salt.hex(), made.hex())


class Passwords:
    """The password in force; follows its file while the process runs.

    version  changes with it: what was opened with another one is no longer valid
    """

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._given = _credential()
        self._mark: Mark | None = None
        self._hash: Hash | None = None
        self.version = 0
        self.refresh()

    def refresh(self) -> None:
        """Read the file again if it has changed. Raises ConfigError."""
        if self._given is not None:
            return
        mark = self._vault.mark(NAME)
        if mark != self._mark:
            self._hash, self.version = None, self.version + 1
            self._mark = UNREAD  # until it is read: the file before it may come back
            content = self._vault.read(NAME)
            self._hash = None if content is None else self._decoded(content)
            self._mark = mark

    def current(self) -> Hash | None:
        """Return the hash in force; None: there is no password. Raises ConfigError."""
        self.refresh()
        return self._given or self._hash

    @staticmethod
    def store(vault: Vault, password: str) -> str:
        """Store a password, whatever the file has held; return where. Raises ConfigError."""
        vault.write(NAME, msgspec.json.encode(hashed(password)) + b"\n")
        return vault.where(NAME)

    def _decoded(self, content: bytes) -> Hash:
        try:
            return msgspec.json.decode(content, type=Hash)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            raise ConfigError(
                "not a password's hash",
                where=self._vault.where(NAME),
                hint="set it again with `edge web --set-password`",
            ) from exc


def _credential() -> Hash | None:
    """Return the password in systemd's credential ``web-password``. Raises ConfigError."""
    path = credential(CREDENTIAL)
    if not path:
        return None
    try:
        line = files.read_text(Path(path), MOST_BYTES + 2).partition("\n")[0].removesuffix("\r")
    except OSError as exc:
        raise ConfigError(f"cannot be read: {exc.strerror}", where=CREDENTIAL) from exc
    return hashed(line)
