"""Where this device's config, state and cases are, as the web process finds them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edge import config as configs
from edge.config import Config, persisted


@dataclass(frozen=True, slots=True)
class Place:
    """One device. config: its file, None for the defaults; state: its state directory."""

    config: Path | None
    state: Path

    def load(self) -> Config:
        """Return the config with what requests have persisted over it. Raises ConfigError.

        Read again each time: 1.3 ms on the development machine.
        """
        return configs.load(self.config, settings=persisted.read())

    def cases(self) -> Path:
        """Return the folder of the cases. Raises ConfigError."""
        return configs.cases_path(self.load().cases, self.state)
