"""What every table of ``edge.toml`` has in common, and the number types that they share.

A capability declares its table in a light module beside this one, and ``tables.Config`` names it
with one field; what can change it at run time, and whether its keys fit each other, it says itself.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta

Interval = Annotated[float, Meta(ge=0.001, le=86_400)]
Rate = Annotated[float, Meta(ge=0.001, le=240)]
"""Per second: at least one in a quarter of an hour; V4L2 counts in thousandths."""
Share = Annotated[float, Meta(ge=0, le=1)]
Pixels = Annotated[int, Meta(ge=16, le=8192)]


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of the file: an unknown key in it is an error."""

    changed_by: ClassVar[Literal["restart", "reload", "set"]] = "restart"
    """What can change it: a restart alone, a reload too, or a ``set`` request as well."""
    not_by_set: ClassVar[frozenset[str]] = frozenset()
    """Keys that a ``set`` request cannot change, although it can change the table."""
    file_alone: ClassVar[bool] = False
    """Nothing but the file, and the command line, says what is in it: no setting of the page."""

    def check(self, where: str) -> None:
        """Raise ConfigError where the keys do not fit each other. ``where``: file and table."""
