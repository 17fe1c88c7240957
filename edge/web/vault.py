"""The files of passwords and tokens: in the state directory, readable by its owner alone.

Rule: no link is followed; root has become the owner of the folder before, see owner.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from edge import config as configs
from edge.cases.folder import Folder
from edge.errors import ConfigError

FILE_MAX_BYTES: Final = 65_536
Mark = tuple[int, int, int]
"""What changes when a file is written again: inode, time in ns, bytes."""
UNREAD: Final[Mark] = (-1, -1, -1)
"""Of no file."""


def home() -> Path:
    """Return systemd's state directory; else the service's, for root; else the user's own.

    The service's also before its first start, at which systemd gives the folder to its user.
    """
    state = configs.state_folder()
    if state is not None:
        return state
    if os.access(configs.SERVICE_STATE, os.R_OK | os.W_OK | os.X_OK):
        return configs.SERVICE_STATE
    if os.geteuid() == 0 and configs.SERVICE_CONFIG.exists():
        return configs.SERVICE_STATE
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "edge-camera"


class Vault:
    """One folder with files of secrets. Every method raises ConfigError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def where(self, name: str) -> str:
        """Return the path of a file, for an error."""
        return str(self._folder / name)

    def mark(self, name: str) -> Mark | None:
        """Return what tells a file from its next version; None where there is none."""
        try:
            status = os.stat(self._folder / name, follow_symlinks=False)
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise self._fault(name, "cannot be read", exc) from exc
        return status.st_ino, status.st_mtime_ns, status.st_size

    def read(self, name: str) -> bytes | None:
        """Return the content of a file; None where there is none."""
        try:
            folder = Folder.open(self._folder.resolve())
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise self._fault(name, "cannot be read", exc) from exc
        try:
            return folder.read(name, FILE_MAX_BYTES)
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise self._fault(name, "cannot be read", exc) from exc
        finally:
            folder.close()

    def write(self, name: str, content: bytes) -> None:
        """Write a file, mode 0600, whole or not at all."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder = Folder.open(self._folder.resolve())
            try:
                folder.write(name, content)
                folder.sync()
            finally:
                folder.close()
        except OSError as exc:
            raise self._fault(name, "cannot be written", exc) from exc

    def _fault(self, name: str, what: str, exc: OSError) -> ConfigError:
        hint = "use sudo" if isinstance(exc, PermissionError) else ""
        return ConfigError(f"{what}: {exc.strerror or exc}", where=self.where(name), hint=hint)
