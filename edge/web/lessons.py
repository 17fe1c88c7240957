"""What the page offers beside looking: cases, teaching. Its addresses, and what runs for them."""

from __future__ import annotations

from edge.web.case_files import CaseFiles
from edge.web.cases import Cases
from edge.web.guard import Activity
from edge.web.place import Place
from edge.web.routes import Route
from edge.web.teaching import Teaching
from edge.web.work import Work


class Lessons:
    """Everything of it, put together."""

    def __init__(self, place: Place, activity: Activity) -> None:
        self._work = work = Work()
        self._teaching = Teaching(place, work, activity)
        self._parts = (Cases(place, work), CaseFiles(place, work), self._teaching)

    def routes(self) -> list[Route]:
        """Return the addresses."""
        return [route for part in self._parts for route in part.routes()]

    def close(self) -> None:
        """End what runs."""
        self._teaching.close()
        self._work.close()
