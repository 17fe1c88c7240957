"""Whether Home Assistant leads to the page: a line for the log where it does not, or wrongly. Pure.

The daemon announces `homeassistant.page`; it does not know where this process listens.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from edge.config import HomeAssistantConfig
from edge.web.access import is_loopback


def hint(address: str, config: HomeAssistantConfig, name: str, behind_proxy: bool) -> str:
    """Return what is to be changed in edge.toml; empty where nothing is.

    address  where the server listens, as a browser has it
    name     of this machine
    """
    parts = urlsplit(address)
    if not config.discovery or parts.hostname is None:
        return ""
    if is_loopback(parts.hostname):
        if not config.page or behind_proxy:
            return ""
        return (
            f"only this machine is served, but homeassistant.page is {config.page}:"
            ' set it to "", or see --host'
        )
    if config.page:
        return ""
    every = ipaddress.ip_address(parts.hostname).is_unspecified
    reached = f"{name}.local:{parts.port}" if every else parts.netloc
    return (
        "Home Assistant does not lead here: set homeassistant.page ="
        f' "{parts.scheme}://{reached}/" in edge.toml'
    )
