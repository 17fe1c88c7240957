"""What a shadow gets from elsewhere: its candidate, what is in force, who keeps frames."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from edge.config import ShadowConfig, SmoothingConfig
from edge.frames import Classified
from edge.observers.shadow_worker import Candidate, Configure


class Loaded(NamedTuple):
    """A candidate, ready for frames.

    name          with its version
    labels        in score order
    memory_bytes  by which it has made the process grow, about
    """

    name: str
    labels: tuple[str, ...]
    candidate: Candidate
    configure: Configure
    memory_bytes: int


class Loading(Protocol):
    """A candidate that is proven and loaded elsewhere."""

    def poll(self) -> Loaded | None:
        """Return it once it is there, None before. Raises EdgeError where it is refused."""

    def close(self) -> None:
        """Stop that; nobody wants it any more."""


class Settings(Protocol):
    """What is in force."""

    @property
    def shadow(self) -> ShadowConfig:
        """Its own table."""

    @property
    def smoothing(self) -> SmoothingConfig:
        """Of both windows; each model's card may recommend thresholds of its own."""


class Keep(Protocol):
    """Keeps a frame for people to look at."""

    def __call__(self, reason: str, seen: Classified, /) -> None:
        """Copy what is kept of ``seen``; never wait."""
