"""What each device said last, as metrics with bounded labels. Pure: time is given.

Rule 1: while a device is away or silent its figures are left out, not repeated; ``edge_up`` is 0.
Rule 2: whatever is published, devices, rows and texts are bounded, and what is left out is counted.
Rule 3: a retained message says what was, never that a device lives.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from edge.config.device import NAME
from edge.contract import metrics
from edge.contract.metrics import Family, Rows
from edge.messages import Incoming
from edge.text import escaped

KINDS: Final[dict[str, Callable[[dict[str, Any]], Iterator[Family]]]] = {
    "telemetry": metrics.telemetry,
    "state": metrics.state,
    "info": metrics.info,
}
ROWS_MAX: Final = 64
"""Of one metric of one device, at a time."""
SERIES_MAX: Final = 256
"""Of one metric of one device, all that it ever had: each is a series that Prometheus keeps."""
TEXT_MAX: Final = 64
"""Characters of a label's value."""
SILENCE: Final = 3
SILENCE_S: Final = 60.0, 3600.0
"""Intervals of telemetry without a message after which a device counts as silent; least, most."""
REASONS: Final = ("devices", "labels", "name", "payload")
"""Why something is left out: too many devices, too many or too long labels, no id, malformed."""


@dataclass(slots=True)
class _Device:
    """online: as last published; known_s: newest sign of life, or when it became known."""

    known_s: float
    since_s: float
    heard_at_s: float = 0.0  # by the wall clock; 0: not yet
    online: bool = False
    interval_s: float = 10.0
    said: dict[str, list[Family]] = field(default_factory=dict)
    seen: dict[str, dict[tuple[str, ...], tuple[str, ...]]] = field(default_factory=dict)

    def up(self, now_s: float) -> bool:
        """Whether it is online and speaks."""
        low_s, high_s = SILENCE_S
        longest_s = min(max(SILENCE * self.interval_s, low_s), high_s)
        return self.online and now_s - max(self.known_s, self.since_s) <= longest_s


class Devices:
    """All devices of one broker.

    most      devices; further ones are left out
    forget_s  without a sign of life, after which a device is forgotten
    """

    def __init__(self, most: int, forget_s: float) -> None:
        self._most, self._forget_s = most, forget_s
        self._devices: dict[str, _Device] = {}
        self.messages_total = 0
        self.ignored = Counter(dict.fromkeys(REASONS, 0))

    def __len__(self) -> int:
        """Return how many are known."""
        return len(self._devices)

    def begin(self, now_s: float) -> None:
        """Begin a connection: nothing that was said before it counts any longer."""
        for device in self._devices.values():
            device.online, device.since_s = False, now_s
            device.said.clear()

    def take(self, incoming: Incoming, now_s: float, wall_s: float) -> None:
        """Take a message; its topic is BASE/DEVICE/KIND."""
        self.messages_total += 1
        rest, _, kind = incoming.topic.rpartition("/")
        name = rest.rpartition("/")[2]
        if not NAME.fullmatch(name):
            self.ignored["name"] += 1
            return
        if kind == "availability" and not incoming.payload:  # purged
            self._devices.pop(name, None)
            return
        if (payload := _payload(kind, incoming)) is None:
            self.ignored["payload"] += 1
            return
        if (device := self._devices.get(name)) is None:
            if len(self._devices) >= self._most:
                self.ignored["devices"] += 1
                return
            device = self._devices[name] = _Device(now_s, now_s)
        if not incoming.retained:
            device.known_s, device.heard_at_s = now_s, wall_s
        if kind == "availability":
            device.online = incoming.payload == b"online"
            return
        if kind == "telemetry" and isinstance(interval := payload.get("interval_s"), int | float):
            device.interval_s = interval
        device.said[kind] = [self._bounded(device, family) for family in KINDS[kind](payload)]

    def _forget(self, now_s: float) -> None:
        gone = [n for n, one in self._devices.items() if now_s - one.known_s > self._forget_s]
        for name in gone:
            del self._devices[name]

    def families(self, now_s: float) -> Iterator[Family]:
        """Yield every metric of the devices, with the label ``device``."""
        self._forget(now_s)
        up, heard = "1: the device is online and speaks.", "When the device spoke last."
        rows: Rows = {(name,): float(one.up(now_s)) for name, one in self._devices.items()}
        yield metrics.gauges("edge_up", up, ("device",), rows)
        rows = {(name,): one.heard_at_s for name, one in self._devices.items() if one.heard_at_s}
        yield metrics.gauges("edge_last_message_timestamp_seconds", heard, ("device",), rows)
        merged: dict[str, Family] = {}
        for name, device in self._devices.items():
            for family in _all(device) if device.up(now_s) else ():
                labels = ("device", *family.labels)
                first = family._replace(labels=labels, rows={})
                whole = merged.setdefault(family.name, first).rows
                whole.update(((name, *values), value) for values, value in family.rows.items())
        yield from merged.values()

    def _bounded(self, device: _Device, family: Family) -> Family:
        """Return a family within the limits, and without a device's own word for its name."""
        first = 1 if family.labels[:1] == ("device",) else 0
        seen = device.seen.setdefault(family.name, {})
        rows: Rows = {}
        for values, value in family.rows.items():
            kept = seen.get(values)
            if kept is None:
                if len(seen) >= SERIES_MAX or any(len(text) > TEXT_MAX for text in values):
                    self.ignored["labels"] += 1
                    continue
                kept = seen[values] = tuple(map(escaped, values[first:]))
            if len(rows) >= ROWS_MAX:
                self.ignored["labels"] += 1
                continue
            rows[kept] = value
        return family._replace(labels=family.labels[first:], rows=rows)


def _payload(kind: str, incoming: Incoming) -> dict[str, Any] | None:
    """Return a message decoded, empty for availability; None if it is malformed."""
    if kind == "availability":
        return {} if incoming.payload in (b"online", b"offline") else None
    try:
        payload = None if incoming.cut_bytes else msgspec.json.decode(incoming.payload)
    except (msgspec.DecodeError, ValueError, RecursionError):  # ValueError: bad UTF-8
        return None
    return payload if isinstance(payload, dict) else None


def _all(device: _Device) -> Iterator[Family]:
    for families in device.said.values():
        yield from families
