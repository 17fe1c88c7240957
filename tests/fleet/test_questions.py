"""Each question of questions.sql, on made-up events with a known answer."""

from __future__ import annotations

import json
from typing import Final

import pytest

from tests.conftest import ROOT
from tests.fleet.conftest import Postgres

FOLDER: Final = ROOT / "deploy" / "fleet"
NOON: Final = "2026-06-01 12:00+00"
"""When all of it is asked."""


class Made:
    """Adds events at minutes before noon."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres, self._number = postgres, 0
        self._rows: list[str] = []

    def event(
        self, device: str, type: str, ago_min: float, after: str | None = None, **evidence: object
    ) -> None:
        """Add one, stored when it was made."""
        self._number += 1
        at = f"timestamptz '{NOON}' - interval '{ago_min} min'"
        label = "NULL" if after is None else f"'{after}'"
        values = f"'{device}', '{self._number}', '{type}', {label}, '{json.dumps(evidence)}'"
        self._rows.append(f"({values}, {self._number}, {at}, {at})")

    def availability(self, device: str, online: bool, ago_min: float) -> None:
        """Add a device's availability."""
        since = f"timestamptz '{NOON}' - interval '{ago_min} min'"
        self._postgres.psql(
            "-c", f"INSERT INTO availability VALUES ('{device}', {online}, {since})"
        )

    def ask(self, query: str) -> list[list[str]]:
        """Store what was added, and return the answer of a query; UNTIL in it is noon."""
        columns = "device, id, type, after, evidence, seq, at, stored"
        if self._rows:
            values = ", ".join(self._rows)
            self._postgres.psql("-c", f"INSERT INTO event ({columns}) VALUES {values}")
            self._rows.clear()
        query = query.replace("UNTIL", f"until => '{NOON}'")
        return self._postgres.psql("-q", "-c", "SET timezone = 'UTC'", "-c", query)


@pytest.fixture
def made(postgres: Postgres) -> Made:
    """A store without events, with the questions; twice, as they are replaced."""
    for _ in range(2):
        postgres.psql("-q", "-f", FOLDER / "questions.sql")
    return Made(postgres)


def test_which_devices_are_quiet(made: Made) -> None:
    """Offline, or never heard to be online; one that is online and sees nothing happen is not."""
    for device, online, since_min, event_min in (
        ("asleep", False, 3000, 3001),
        ("back", False, 60, 3000),
        ("bored", True, 3000, 3000),
        ("busy", True, 3000, 1),
    ):
        made.availability(device, online, since_min)
        made.event(device, "paused", event_min)
    made.event("never-heard", "paused", 2000)
    asked = "SELECT device, online, silent FROM quiet(UNTIL)"
    assert made.ask(asked) == [
        ["asleep", "f", "2 days 02:00:00"],
        ["never-heard", "", "1 day 09:20:00"],
    ]
    assert made.ask("SELECT device FROM quiet('40 hours', UNTIL)") == [["asleep"]]
    assert made.ask("SELECT device FROM quiet('1 hour', UNTIL)") == [
        ["asleep"], ["never-heard"], ["back"],
    ]  # fmt: skip


def test_which_devices_drift(made: Made) -> None:
    """Those whose newest word is that it began, with its reason."""
    made.event("a", "drift_began", 90, reason="darker", psi=0.5)
    made.event("a", "drift_ended", 80, reason="darker", psi=0.1)
    made.event("b", "drift_began", 90, reason="darker", psi=0.5)
    made.event("b", "drift_ended", 80, reason="darker", psi=0.1)
    made.event("b", "drift_began", 70, reason="out of focus", psi=2.66)
    row = ["b", "2026-06-01 10:50:00+00", "out of focus", "2.66"]
    assert made.ask("SELECT * FROM drifting(UNTIL)") == [row]
    assert made.ask("SELECT device, drifting FROM device ORDER BY 1") == [["a", "f"], ["b", "t"]]


def test_which_devices_flip(made: Made) -> None:
    """More changes an hour than allowed, in the span alone."""
    for number in range(9):
        made.event("calm", "label_changed", 10 * number + 1, "cat")
    for number in range(30):
        made.event("nervous", "label_changed", 3 * number, "cat")
        made.event("old", "label_changed", 3000 + number, "cat")
    rows = made.ask("SELECT * FROM flipping(10, '2 hours', UNTIL)")
    assert rows == [["nervous", "30", "15"]]
    assert made.ask("SELECT device FROM flipping(4, '2 hours', UNTIL)") == [["nervous"], ["calm"]]


def test_which_devices_disagree_with_their_shadow(made: Made) -> None:
    """The newest finished trial counts; one that failed before a frame says nothing."""
    made.event("a", "shadow_ended", 50, model="gate 2", agreement=0.5, frames=100)
    made.event("a", "shadow_ended", 40, model="gate 3", agreement=0.95, frames=200)
    made.event("b", "shadow_ended", 40, model="gate 3", agreement=0.8125, frames=160)
    made.event("b", "shadow_ended", 30, model="gate 4")
    row = ["b", "gate 3", "0.8125", "160", "2026-06-01 11:20:00+00"]
    assert made.ask("SELECT * FROM disagree_with_shadow()") == [row]
    assert len(made.ask("SELECT * FROM disagree_with_shadow(0.96)")) == 2


def test_label_shares_by_hour(made: Made) -> None:
    """What began before the span counts from its begin; the last label lasts until now."""
    made.event("a", "label_changed", 300, "cat")
    made.event("a", "label_changed", 75, "dog")
    made.event("a", "label_changed", 45, None)
    made.event("a", "label_changed", 30, "cat")
    rows = made.ask("SELECT * FROM label_share_by_hour('2 hours', UNTIL)")
    assert rows == [
        ["2026-06-01 10:00:00+00", "a", "cat", "0.75"],
        ["2026-06-01 10:00:00+00", "a", "dog", "0.25"],
        ["2026-06-01 11:00:00+00", "a", "cat", "0.5"],
        ["2026-06-01 11:00:00+00", "a", "dog", "0.25"],
        ["2026-06-01 11:00:00+00", "a", "", "0.25"],
    ]


def test_which_devices_disagree_with_their_neighbours(made: Made) -> None:
    """Three gates: one sees a dog where two see a cat. Two walls: nobody knows which is wrong."""
    for device, label in (("gate-1", "cat"), ("gate-2", "cat"), ("gate-3", "dog")):
        made.event(device, "label_changed", 2000, label)
    made.event("gate-2", "label_changed", 144, "dog")  # a tenth of the day
    made.event("wall1", "label_changed", 2000, "cat")
    made.event("wall2", "label_changed", 2000, "dog")
    rows = made.ask("SELECT * FROM disagree_with_neighbours(UNTIL)")
    assert rows == [["gate-3", "cat", "0", "0.9"], ["gate-3", "dog", "1", "0.1"]]
    names = "SELECT neighbourhood(unnest(ARRAY['gate-1', 'wall2', 'a.b_07', 'porch', '7']))"
    assert [row[0] for row in made.ask(names)] == ["gate", "wall", "a.b", "porch", ""]


def test_a_row_for_each_device(made: Made) -> None:
    """Its label, whether it is online, and whether its camera is away."""
    made.availability("a", True, 60)
    made.event("a", "label_changed", 30, "cat")
    made.event("a", "camera_lost", 20)
    made.event("b", "camera_failed", 20)
    made.event("b", "camera_recovered", 10)
    made.availability("c", False, 5)
    rows = made.ask("SELECT device, online, label, camera_away FROM device ORDER BY 1")
    assert rows == [["a", "t", "cat", "t"], ["b", "", "", "f"], ["c", "f", "", "f"]]
