"""Logins for RTSP and HTTP servers: Basic and Digest. Pure.

It does not decide where a login may be sent. Sources: RFC 7617; RFC 7616, and RFC 2069, which
older cameras still use.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import unquote

LONGEST: Final = 2048
"""Characters of a challenge."""
_SCHEME: Final = re.compile(r'(?i)"(?:[^"\\]|\\.)*"|(?:^|(?<=[\s,]))(basic|digest)(?=\s|$)')
"""Matches quoted text, too, which may hold anything."""
_PARAMETER: Final = re.compile(r'(\w+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
_HASHES: Final = {"SHA-256": hashlib.sha256, "MD5": hashlib.md5}
"""The best first."""


class Login:
    """User and password, as a URL has them: with %XX."""

    def __init__(self, username: str, password: str) -> None:
        self._user, self._password = unquote(username), unquote(password)
        self._basic = False
        self._digest_fields: dict[str, str] = {}  # of the challenge
        self._count = 0  # uses of a nonce

    def challenge(self, headers: Iterable[str]) -> bool:
        """Take a server's WWW-Authenticate headers; return whether they can be answered."""
        self._basic, self._digest_fields, self._count = False, {}, 0
        if not self._user:
            return False
        known: dict[str, dict[str, str]] = {}
        for header in headers:
            header = " ".join(header[:LONGEST].split())
            marks = [mark for mark in _SCHEME.finditer(header) if mark[1]]
            ends = [mark.start() for mark in marks[1:]] + [len(header)]
            for mark, end in zip(marks, ends, strict=False):  # without marks, there is still an end
                if mark[1].lower() == "basic":
                    self._basic = True
                    continue
                fields = {
                    name.lower(): quoted or bare
                    for name, quoted, bare in _PARAMETER.findall(header[mark.end() : end])
                }
                known[fields.get("algorithm", "MD5").upper()] = fields
        for name in _HASHES:
            for algorithm in (name, f"{name}-SESS"):
                if not self._digest_fields and algorithm in known:
                    self._digest_fields = known[algorithm]
        return self._basic or bool(self._digest_fields)

    def answer(self, method: str, place: str) -> str:
        """Return the Authorization header for a request; empty if no login was requested.

        place  the address in the request line, as written there
        """
        if self._digest_fields:
            return self._digest(method, place)
        if self._basic:
            return "Basic " + base64.b64encode(f"{self._user}:{self._password}".encode()).decode()
        return ""

    def _digest(self, method: str, place: str) -> str:
        challenge, our_nonce = self._digest_fields, os.urandom(8).hex()
        algorithm, realm, nonce = (
            challenge.get(key, "") for key in ("algorithm", "realm", "nonce")
        )
        hash_of = _HASHES[algorithm.upper().removesuffix("-SESS") or "MD5"]

        def hashed(*texts: str) -> str:
            return hash_of(":".join(texts).encode(), usedforsecurity=False).hexdigest()

        self._count += 1
        count = f"{self._count:08x}"
        secret, request = hashed(self._user, realm, self._password), hashed(method, place)
        if algorithm.upper().endswith("-SESS"):
            secret = hashed(secret, nonce, our_nonce)
        fields = {"username": self._user, "realm": realm, "nonce": nonce, "uri": place}
        if "opaque" in challenge:
            fields["opaque"] = challenge["opaque"]
        end = f", algorithm={algorithm}" if algorithm else ""
        if "auth" in re.split(r"[\s,]+", challenge.get("qop", "").lower()):
            fields["response"] = hashed(secret, nonce, count, our_nonce, "auth", request)
            end += f', qop=auth, nc={count}, cnonce="{our_nonce}"'
        else:
            fields["response"] = hashed(secret, nonce, request)
        return "Digest " + ", ".join(f'{key}="{value}"' for key, value in fields.items()) + end
