"""Where this device's config, state and cases are, as the web process finds them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge import config as configs
from edge.config import Config, persisted


@dataclass(frozen=True, slots=True)
class Place:
    """One device.

    config  its file, None for the defaults
    state   its state directory
    tables  of the file, as root has read them: for a user who may not
    """

    config: Path | None
    state: Path
    tables: dict[str, Any] | None = None

    def load(self) -> Config:
        """Return the config with what requests have persisted over it. Raises ConfigError.

        Read again each time: 1.3 ms on the development machine.
        """
        settings = persisted.read()
        if self.config and self.tables is not None and not os.access(self.config, os.R_OK):
            return configs.layered(self.config, self.tables, settings=settings)
        return configs.load(self.config, settings=settings)

    def cases(self) -> Path:
        """Return the folder of the cases. Raises ConfigError."""
        return configs.cases_path(self.load().cases, self.state)
