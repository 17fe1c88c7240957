"""The table [homeassistant]: how Home Assistant finds the device, and its page."""

from __future__ import annotations

import ipaddress
import re
from typing import ClassVar, Final
from urllib.parse import urlsplit

from edge.config.patterns import Topic
from edge.config.table import Table
from edge.errors import ConfigError

PAGE_MAX: Final = 200


class HomeAssistantConfig(Table, frozen=True):
    """Discovery by Home Assistant.

    prefix  of its discovery topics
    page    address of the page on the network, to which its entry of the device leads; empty: none
    """

    changed_by: ClassVar = "reload"

    discovery: bool = True
    prefix: Topic = "homeassistant"
    page: str = ""

    def check(self, where: str) -> None:
        """Raise ConfigError where ``page`` leads nowhere, or says more than it should."""
        if self.page and not is_page(self.page):
            plain = re.fullmatch(r"[^@?#]*", self.page)
            raise ConfigError(
                "not the address of a page on the network",
                where=f"{where}.page",
                expected="http:// or https://, a name or address that others reach, no login,"
                " no query",
                got=self.page if plain else "one with @, ? or #",
                hint='such as "http://porch.local:8080/"; "" for none',
            )


def is_page(text: str) -> bool:
    """Return whether somebody may be led there."""
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname or "", parts.port
        if len(text) > PAGE_MAX or not re.fullmatch(
            r"https?://[\w.:\[\]-]+(/[\w./~%+-]*)?", text, re.ASCII
        ):
            return False
        if parts.netloc.startswith("[") or re.fullmatch(r"[\d.]+", host):
            address = ipaddress.ip_address(host)
            address = getattr(address, "ipv4_mapped", None) or address
            return not (address.is_loopback or address.is_unspecified)
    except ValueError:
        return False
    names = re.fullmatch(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?", host)
    return bool(names) and host.rstrip(".").rpartition(".")[2] != "localhost"
