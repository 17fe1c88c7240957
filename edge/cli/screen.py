"""The screen of `edge watch`: takes every device's messages, renders them. Pure.

Rule 1: whatever a broker sends, nothing here raises, and no terminal obeys any text in it.
Rule 2: what is held is bounded: in devices, and per message in items and characters.

Knows the daemon only by its public topics. Few devices are shown in full, more as a table.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from edge import contract
from edge.text import escaped

TOPICS: Final = ("availability", *contract.PAYLOADS)
WHOLE: Final = 3
"""Most devices shown in full; more are a table."""
DEVICES_MAX: Final = 1000
"""Most devices held; messages of further ones are counted."""
MESSAGE_MAX: Final = 262_144
ITEMS_MAX: Final = 64
TEXT_MAX: Final = 200
"""Limits of a message: bytes, items per table, characters per text."""


@dataclass(slots=True)
class Device:
    """One device: the newest message of each topic, and its last events."""

    newest: dict[str, Any] = field(default_factory=dict)
    events: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=8))


class Screen:
    """Takes messages; renders the newest of every device."""

    def __init__(self, base: str = "edge") -> None:
        self._begins = f"{base}/"
        self.devices: dict[str, Device] = {}
        self.unreadable_total = self.beyond_total = 0
        self.dropped_total = 0
        """Messages dropped before they were read."""
        self.connection = ""
        """The fault of the connection; empty if there is none."""

    def take(self, topic: str, payload: bytes) -> str | None:
        """Take one message; return it as a plain line, None if there is nothing to show."""
        name, _, kind = topic.removeprefix(self._begins).partition("/")
        if not topic.startswith(self._begins) or kind not in TOPICS:
            return None
        name = escaped(name, TEXT_MAX)
        if name not in self.devices and len(self.devices) >= DEVICES_MAX:
            self.beyond_total += 1
            return self._beyond() if self.beyond_total == 1 else None
        try:
            body = _read(kind, payload)
        except (ValueError, RecursionError):  # another program's, or another version's
            self.unreadable_total += 1
            return None
        device = self.devices.setdefault(name, Device())
        device.newest[kind] = body
        if kind == "event":
            device.events.append(body)
        return f"{time.strftime('%H:%M:%S')} {name} {line(kind, body)}"

    def _beyond(self) -> str:
        return f"more than {DEVICES_MAX} devices: {self.beyond_total} messages not shown"

    def render(self) -> RenderableType:
        """Return the whole screen."""
        devices = sorted(self.devices.items())
        if len(devices) > WHOLE:
            parts: list[RenderableType] = [_table(devices, time.time())]
        else:
            parts = [_device(name, device) for name, device in devices]
        if not parts:
            parts = [Text("waiting for a device ...", style="dim")]
        if self.beyond_total:
            parts.append(Text(self._beyond(), style="bold red"))
        if self.dropped_total:
            text = f"{self.dropped_total} messages dropped: they came too fast"
            parts.append(Text(text, style="bold red"))
        if self.connection:
            parts.append(Text(self.connection, style="bold red"))
        return Group(*parts)


def line(kind: str, body: Any) -> str:
    """Return one message as one readable line."""
    match kind:
        case "state" | "result":
            label = body.get("label") or "uncertain"
            extra = f" latency {body['latency_ms']:.1f} ms" if "latency_ms" in body else ""
            partial = " (window not full)" if body.get("partial") else ""
            return f"{kind} {label} {body.get('score', 0):.2f}{partial}{extra}"
        case "event":
            change = f" {body.get('before') or '-'} -> {body.get('after') or '-'}"
            return f"event {body.get('type')}{change if body.get('after') else ''}"
        case "telemetry":
            pipeline = body.get("stages_ms", {}).get("pipeline", {})
            return (
                f"telemetry {body.get('fps', 0):.1f} fps, pipeline p50 {pipeline.get('p50', 0):.2f}"
                f" p99 {pipeline.get('p99', 0):.2f} ms, dropped {body.get('dropped_total')},"
                f" {_megabytes(body.get('pss_bytes'))} PSS"
            )
        case "info":
            model = body.get("model", {})
            return f"info {model.get('name')} on {model.get('runtime')}, edge {body.get('version')}"
        case _:
            return f"{kind} {body}"


def _table(devices: list[tuple[str, Device]], now_s: float) -> RenderableType:
    """Return a row for each device. ``now_s``: wall clock; ages are as exact as the clocks."""
    online_total = sum(device.newest.get("availability") == "online" for _, device in devices)
    table = Table(box=None, padding=(0, 2), title=f"{online_total} of {len(devices)} online")
    for column in ("device", "label", "score", "fps", "p99 ms", "°C", "age s"):
        table.add_column(column, justify="left" if column in ("device", "label") else "right")
    for name, device in devices:
        state = device.newest.get("state", {})
        telemetry = device.newest.get("telemetry", {})
        online = device.newest.get("availability") == "online"
        latency = telemetry.get("stages_ms", {}).get("latency", {}).get("p99")
        newest = max((m["ts"] for m in device.newest.values() if isinstance(m, dict)), default=None)
        label = "paused" if state.get("paused") else state.get("label") or "-"
        table.add_row(
            Text(name, style="" if online else "red"),
            Text(label if online else "offline"),
            _number(state.get("score"), 2),
            _number(telemetry.get("fps"), 1),
            _number(latency, 1),
            _number(telemetry.get("temperature_celsius"), 0),
            _number(None if newest is None else max(0.0, now_s - newest), 0),
        )
    return table


def _number(value: float | None, decimals: int) -> str:
    return "-" if value is None else f"{value:.{decimals}f}"


def _device(name: str, device: Device) -> RenderableType:
    newest = device.newest
    availability = newest.get("availability", "unknown")
    info, telemetry = newest.get("info", {}), newest.get("telemetry", {})
    prediction: dict[str, Any] = max(
        (newest[kind] for kind in ("state", "result") if kind in newest),
        key=lambda body: body.get("ts", 0),
        default={},
    )
    camera = info.get("camera", {})
    camera_state = camera.get("state", "online")
    head = Text.assemble(
        (f" {name} ", "bold reverse"), " ",
        (availability, "bold green" if availability == "online" else "bold red"),
        f"  {info.get('model', {}).get('name', '')} on {info.get('model', {}).get('runtime', '')}"
        f"  {camera.get('source', '')}",
        ("" if camera_state == "online"
         else f"  camera {camera_state}: {camera.get('error', '')}", "bold red"),
    )  # fmt: skip
    background = info.get("model", {}).get("background", ())
    scores = Table.grid(padding=(0, 1))
    for label, score in prediction.get("scores", {}).items():
        current = label == prediction.get("label")
        colour = "" if label in background else "green"
        bar = "█" * round(score * 40)
        scores.add_row(
            Text(f"  {label}", style=f"bold {colour}" if current else ""),
            Text(f"{score:.2f}"),
            Text(bar.ljust(40, "·"), style=colour if current else "dim"),
        )
    body: list[RenderableType] = [head, scores]
    if telemetry:
        body.append(_telemetry(telemetry))
    body += [
        Text(f"  {time.strftime('%H:%M:%S', time.localtime(event.get('ts', 0)))}  "
             f"{line('event', event)}  {event.get('evidence', {})}", style="dim")
        for event in device.events
    ]  # fmt: skip
    return Group(*body, Text(""))


def _telemetry(telemetry: dict[str, Any]) -> RenderableType:
    table = Table(box=None, padding=(0, 2), title_justify="left", header_style="dim")
    table.add_column("ms")
    for percentile in ("p50", "p90", "p99", "max"):
        table.add_column(percentile, justify="right")
    for stage, times in telemetry.get("stages_ms", {}).items():
        table.add_row(Text(stage), *(f"{times[p]:.2f}" for p in ("p50", "p90", "p99", "max")))
    celsius = telemetry.get("temperature_celsius")
    summary = (
        f"  {telemetry.get('fps', 0):.1f} fps   frames {telemetry.get('frames_total')}"
        f"   dropped {telemetry.get('dropped_total')}   corrupt {telemetry.get('corrupt_total')}"
        f"   no scores {telemetry.get('invalid_scores_total', 0)}"
        f"   memory {_megabytes(telemetry.get('pss_bytes'))} PSS"
        f" {_megabytes(telemetry.get('rss_bytes'))} RSS"
        f"   CPU {100 * (telemetry.get('cpu_share') or 0):.0f} %"
        + (f"   {celsius:.0f} °C" if celsius is not None else "")
    )
    return Group(table, Text(summary))


def _read(kind: str, payload: bytes) -> Any:
    """Return the part of a payload that is shown. Raises ValueError, RecursionError."""
    if len(payload) > MESSAGE_MAX:
        raise ValueError("too large")
    body = contract.decode(kind, payload)
    if isinstance(body, dict):
        body.pop("config", None)
        if len(scores := body.get("scores", {})) > ITEMS_MAX:
            best = sorted(scores, key=scores.__getitem__, reverse=True)[:ITEMS_MAX]
            body["scores"] = {label: scores[label] for label in best}
    return _bounded(body)


def _bounded(body: Any) -> Any:
    """Return ``body`` bounded, without anything that a terminal obeys."""
    match body:
        case str():
            return escaped(body, TEXT_MAX)
        case dict():
            items = islice(body.items(), ITEMS_MAX)
            return {escaped(key, TEXT_MAX): _bounded(value) for key, value in items}
        case list() | tuple():
            return [_bounded(value) for value in islice(body, ITEMS_MAX)]
        case int() if abs(body) >= 2**63:  # too large for format or division
            raise ValueError("out of range")
        case _:
            return body


def _megabytes(size: int | None) -> str:
    return "-" if size is None else f"{size / 1e6:.0f} MB"
