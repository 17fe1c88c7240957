"""The table [local]: the socket for programs on the device itself."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Final

from msgspec import Meta

from edge.config.table import Table
from edge.errors import ConfigError

NAME: Final = "edge.sock"
SERVICE_SOCKET: Final = Path("/run/edge-camera") / NAME
"""The service's."""
PATH_MAX: Final = 107
"""Bytes of a Unix socket's path. Source: unix(7), sun_path."""


class LocalConfig(Table, frozen=True):
    """The local socket: messages, requests and pictures without a broker.

    path     of the socket; auto: edge.sock in systemd's runtime directory, without one: off
    clients  at the same time
    """

    enabled: bool = True
    path: Annotated[str, Meta(min_length=1)] = "auto"
    clients: Annotated[int, Meta(ge=1, le=64)] = 8

    def check(self, where: str) -> None:
        """Raise ConfigError for a path that no socket can have."""
        if not self.path.isprintable() or len(os.fsencode(self.path)) > PATH_MAX:
            raise ConfigError(
                "not a socket's path",
                where=f"{where}.path",
                expected=f"at most {PATH_MAX} printable bytes",
                got=self.path,
            )


def local_path(config: LocalConfig) -> Path | None:
    """Return where the daemon's socket is; None where there is none."""
    if not config.enabled:
        return None
    if config.path != "auto":
        return Path(config.path)
    folder = os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]  # systemd's list
    return Path(folder) / NAME if folder else None
