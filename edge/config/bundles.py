"""The table [bundles]: signed models, and from where a request may fetch one.

An address is compared in its parts, never as text: ``http://site.example`` is no prefix of
``http://site.example.org/``.
"""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Final
from urllib.parse import SplitResult, urlsplit

from msgspec import Meta

from edge.config.table import Table
from edge.errors import ConfigError

URL_MAX: Final = 1024
"""Characters."""
PORTS: Final = {"http": 80, "https": 443}
_PLAIN: Final = re.compile(r"[!-~]{1,1024}\Z")
_UP: Final = re.compile(r"(?:^|/)\.{1,2}(?:[/;]|\Z)|\\|%(?:2[ef5]|5c|00|[89a-f])", re.IGNORECASE)
"""Parts of a path that a server may read as another one."""


class BundlesConfig(Table, frozen=True):
    """Signed models. No request, page or persisted setting changes this table.

    keys         folder of the public keys that are trusted: PEM, Ed25519, one in each ``*.pem``
    signed_only  add no model that is not signed: neither a folder nor what the page has taught
    fetch        a request may fetch from addresses that begin with one of these; empty: from none
    ca_file      authorities of https servers to trust, PEM; empty: the system's
    """

    changed_by: ClassVar = "reload"
    file_alone: ClassVar = True

    keys: Annotated[str, Meta(min_length=1)] = "/etc/edge-camera/trusted-keys"
    signed_only: bool = False
    fetch: Annotated[tuple[Annotated[str, Meta(max_length=URL_MAX)], ...], Meta(max_length=16)] = ()
    ca_file: str = ""

    def check(self, where: str) -> None:
        """Raise ConfigError for a prefix that is no address, or ends inside a name."""
        for prefix in self.fetch:
            parts = split(prefix, f"{where}.fetch")
            if parts.query or not parts.path.endswith("/"):
                raise ConfigError(
                    "not a prefix of addresses",
                    where=f"{where}.fetch",
                    expected="https://HOST/ or https://HOST/PATH/, with the slash at its end",
                    got=prefix,
                )


def split(url: str, where: str) -> SplitResult:
    """Return the parts of an address of http or https. Raises ConfigError for any other."""
    fault, parts = "not an address", SplitResult("", "", "", "", "")
    if _PLAIN.match(url) and "#" not in url:
        try:
            parts = urlsplit(url)
            valid = parts.scheme in PORTS and bool(parts.hostname) and parts.port != 0
        except ValueError:  # a port of 99999, half an IPv6 address
            valid = False
        if valid and "@" in parts.netloc:
            raise ConfigError(
                "a login in an address", where=where, hint="remove it: a bundle needs none"
            )
        if valid and not _UP.search(parts.path):
            return parts
    expected = "http://HOST/PATH or https://HOST/PATH, plain ASCII, no `..`"
    raise ConfigError(fault, where=where, expected=expected, got=url[:200])


def is_below(parts: SplitResult, prefixes: tuple[str, ...]) -> bool:
    """Return whether an address begins with one of ``prefixes``, which the config has checked."""
    return any(
        _server(parts) == _server(prefix) and parts.path.startswith(prefix.path)
        for prefix in map(urlsplit, prefixes)
    )


def _server(parts: SplitResult) -> tuple[str, str, int]:
    return parts.scheme, parts.hostname or "", parts.port or PORTS[parts.scheme]
