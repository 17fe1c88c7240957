"""What the page offers beside looking: cases. Its addresses, and what runs behind them."""

from __future__ import annotations

from edge.web.case_files import CaseFiles
from edge.web.cases import Cases
from edge.web.place import Place
from edge.web.routes import Route
from edge.web.work import Work


class Lessons:
    """Everything of it, put together."""

    def __init__(self, place: Place) -> None:
        self._work = Work()
        self._parts = (Cases(place, self._work), CaseFiles(place, self._work))

    def routes(self) -> list[Route]:
        """Return the addresses."""
        return [route for part in self._parts for route in part.routes()]

    def close(self) -> None:
        """End what runs."""
        self._work.close()
