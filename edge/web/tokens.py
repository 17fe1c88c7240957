"""Bearer tokens of the API: named, stored as SHA-256, shown once.

A token has 256 random bits, so that a fast hash without a salt is enough.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from edge.errors import ConfigError
from edge.web.vault import UNREAD, Mark, Vault

FILE: Final = "web-tokens.json"
PREFIX: Final = "edge_"
MOST: Final = 32
LONGEST: Final = 128
"""Characters of what is looked at as a token."""
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z")


class Token(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A token that cannot be read back. created_s: Unix time."""

    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    created_s: int


class Tokens:
    """The tokens in force; follows their file while the process runs."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._mark: Mark | None = None
        self._tokens: tuple[Token, ...] = ()

    def name(self, text: str) -> str | None:
        """Return the name of the token ``text``; None where it is none. Raises ConfigError."""
        self._refresh()
        digest = hashlib.sha256(text[:LONGEST].encode("utf-8", "replace")).hexdigest()
        names = [one.name for one in self._tokens if hmac.compare_digest(one.sha256, digest)]
        return names[0] if names else None

    def names(self) -> tuple[str, ...]:
        """Return the names of all tokens. Raises ConfigError."""
        self._refresh()
        return tuple(one.name for one in self._tokens)

    def add(self, name: str) -> str:
        """Store a new token; return it, for the only time. Raises ConfigError."""
        if not _NAME.match(name):
            expected = "letters, digits, . _ -, 64 at most"
            raise ConfigError("not a name of a token", expected=expected, got=name[:100])
        if name in self.names():
            hint = f"remove it first: `edge web --remove-token {name}`"
            raise ConfigError("there is a token of this name", where=name, hint=hint)
        if len(self._tokens) >= MOST:
            raise ConfigError("too many tokens", expected=f"at most {MOST}", hint="remove one")
        text = PREFIX + secrets.token_urlsafe(32)
        digest = hashlib.sha256(text.encode()).hexdigest()
        self._write((*self._tokens, Token(name, digest, int(time.time()))))
        return text

    def remove(self, name: str) -> None:
        """Remove the token ``name``. Raises ConfigError."""
        if name not in self.names():
            known = ", ".join(self.names()) or "none"
            raise ConfigError("no such token", where=name[:100], expected=f"one of: {known}")
        self._write(tuple(one for one in self._tokens if one.name != name))

    def _write(self, tokens: tuple[Token, ...]) -> None:
        self._vault.write(FILE, msgspec.json.format(msgspec.json.encode(tokens)) + b"\n")
        self._tokens = tokens

    def _refresh(self) -> None:
        mark = self._vault.mark(FILE)
        if mark == self._mark:
            return
        self._tokens, self._mark = (), UNREAD  # none counts while the file cannot be read
        content = self._vault.read(FILE)
        try:
            if content is not None:
                self._tokens = msgspec.json.decode(content, type=tuple[Token, ...])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            hint = "remove the file, and make new tokens"
            where = self._vault.where(FILE)
            raise ConfigError("not a list of tokens", where=where, hint=hint) from exc
        self._mark = mark
