"""The table [web]: the page and the HTTP API, which are a process of their own."""

from __future__ import annotations

from typing import ClassVar

from edge.config.table import Table


class WebConfig(Table, frozen=True):
    """What the page keeps. Read by `edge web` alone, at its start.

    history  do not end when idle, so that there are no gaps in the history
    """

    changed_by: ClassVar = "reload"

    history: bool = False
