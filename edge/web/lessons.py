"""What the page offers beside looking, put together: addresses, and what runs for them."""

from __future__ import annotations

from pathlib import Path

from edge.web.case_files import CaseFiles
from edge.web.cases import Cases
from edge.web.device import Device
from edge.web.fleet import Others
from edge.web.guard import Activity
from edge.web.health import Health
from edge.web.history import History
from edge.web.past import PastApi
from edge.web.place import Place
from edge.web.routes import Route
from edge.web.settings import SettingsApi
from edge.web.teaching import Teaching
from edge.web.why import Watch
from edge.web.work import Work


class Lessons:
    """Cases, teaching, the past, why, settings, health, others. socket: the daemon's."""

    def __init__(self, place: Place, device: Device, socket: Path, activity: Activity) -> None:
        self._work = work = Work()
        self._history = History(place.state)
        device.takers.append(self._history.take)
        self._history.start()
        self._teaching = Teaching(place, work, activity)
        self._watch, self._health = Watch(socket, device.newest), Health(place)
        self._parts = (
            Cases(place, work),
            CaseFiles(place, work),
            self._teaching,
            PastApi(self._history, work),
            self._watch,
            SettingsApi(place, device, work),
            self._health,
            Others(device),
        )

    def routes(self) -> list[Route]:
        """Return the addresses."""
        return [route for part in self._parts for route in part.routes()]

    def close(self) -> None:
        """End what runs; write what waits."""
        self._teaching.close()
        self._watch.close()
        self._health.close()
        self._history.close()
        self._work.close()
