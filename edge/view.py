"""Messages of every device in, something to look at out. Pure.

Knows the daemon only by its public topics. Few devices are shown whole, more of them as a table.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from edge import payloads

TOPICS: Final = ("availability", *payloads.PAYLOADS)
DEVICES_MAX: Final = 1000
"""Devices that are remembered; the one that was silent longest is forgotten for a new one."""
BYTES_MAX: Final = 4_194_304
"""The same, of all payloads together; decoded they take about ten times as much."""
EVENTS: Final = 8
LINE_MAX: Final = 1000
"""Characters of a message as a line."""
WHOLE: Final = 3
"""Devices that are shown whole; more are a table."""


@dataclass(slots=True)
class Device:
    """The newest message of each topic of one device, and its last events."""

    newest: dict[str, Any] = field(default_factory=dict)
    events: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=EVENTS))
    sizes: dict[str, deque[int]] = field(default_factory=dict)
    """Bytes of the payloads that are kept, by topic."""

    def keep(self, kind: str, body: Any, size: int) -> None:
        """Take a message of ``size`` bytes."""
        self.newest[kind] = body
        if kind == "event":
            self.events.append(body)
        kept = EVENTS if kind == "event" else 1
        self.sizes.setdefault(kind, deque(maxlen=kept)).append(size)

    @property
    def bytes(self) -> int:
        """How long all payloads together were that are kept."""
        return sum(sum(sizes) for sizes in self.sizes.values())


class View:
    """Messages in, something to look at out; pure."""

    def __init__(self, base: str = "edge") -> None:
        self._begins = f"{base}/"
        self.devices: dict[str, Device] = {}
        self._bytes = 0
        self.forgotten_total = 0
        """Devices that others have taken the place of."""
        self.dropped_total = 0
        """Messages that came too fast to be shown."""
        self.unreadable_total = 0
        self.connection = ""
        """What is wrong with the connection; empty where nothing is."""

    def take(self, topic: str, payload: bytes) -> str | None:
        """Take one message; return it as a plain line, or None where it is not ours."""
        name, _, kind = topic.removeprefix(self._begins).partition("/")
        if not topic.startswith(self._begins) or kind not in TOPICS:
            return None
        name = _printable(name)
        try:
            body = _printable(payloads.decode(kind, payload))
        except (ValueError, RecursionError):  # somebody else's, or another version's
            self.unreadable_total += 1
            return None
        if kind == "availability" and body not in ("online", "offline"):
            self.unreadable_total += 1
            return None
        self._keep(name, kind, body, len(payload))
        return f"{time.strftime('%H:%M:%S')} {name} {line(kind, body)}"[:LINE_MAX]

    def _keep(self, name: str, kind: str, body: Any, size: int) -> None:
        device = self.devices.pop(name, Device())
        self._bytes -= device.bytes
        device.keep(kind, body, size)
        self.devices[name] = device  # the last, for it is the newest
        self._bytes += device.bytes
        while len(self.devices) > DEVICES_MAX or self._bytes > BYTES_MAX:
            self._bytes -= self.devices.pop(next(iter(self.devices))).bytes
            self.forgotten_total += 1

    def render(self) -> RenderableType:
        """Return the whole screen."""
        found = sorted(self.devices.items())
        if len(found) > WHOLE:
            shown: list[RenderableType] = [_table(found, time.time())]
        else:
            shown = [_device(name, device) for name, device in found]
        if not shown:
            shown = [Text("waiting for a device ...", style="dim")]
        for count, what in (
            (self.forgotten_total, "devices are too many to be shown"),
            (self.dropped_total, "messages came too fast to be shown"),
        ):
            if count:
                shown.append(Text(f"{count} {what}", style="bold red"))
        if self.connection:
            shown.append(Text(self.connection, style="bold red"))
        return Group(*shown)


def line(kind: str, body: Any) -> str:
    """Return one message as one line for people."""
    match kind:
        case "state" | "result":
            label = body.get("label") or "nothing certain"
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
    """Return a row for every device. ``now_s``: wall clock; ages are as good as the clocks."""
    up = sum(device.newest.get("availability") == "online" for _, device in devices)
    table = Table(box=None, padding=(0, 2), title=f"{up} of {len(devices)} online")
    for column in ("device", "label", "score", "fps", "p99 ms", "°C", "age s"):
        table.add_column(column, justify="left" if column in ("device", "label") else "right")
    for name, device in devices:
        state, told = device.newest.get("state", {}), device.newest.get("telemetry", {})
        online = device.newest.get("availability") == "online"
        latency = told.get("stages_ms", {}).get("latency", {}).get("p99")
        newest = max((m["ts"] for m in device.newest.values() if isinstance(m, dict)), default=None)
        label = "paused" if state.get("paused") else state.get("label") or "-"
        table.add_row(
            Text(name, style="" if online else "red"),
            Text(label if online else "offline"),
            _number(state.get("score"), 2),
            _number(told.get("fps"), 1),
            _number(latency, 1),
            _number(told.get("temperature_celsius"), 0),
            _number(None if newest is None else max(0.0, now_s - newest), 0),
        )
    return table


def _number(value: float | None, decimals: int) -> str:
    return "-" if value is None else f"{value:.{decimals}f}"


def _device(name: str, device: Device) -> RenderableType:
    newest = device.newest
    there = newest.get("availability", "unknown")
    info, telemetry = newest.get("info", {}), newest.get("telemetry", {})
    shown: dict[str, Any] = max(
        (newest[kind] for kind in ("state", "result") if kind in newest),
        key=lambda body: body.get("ts", 0),
        default={},
    )
    camera = info.get("camera", {})
    at = camera.get("state", "online")
    head = Text.assemble(
        (f" {name} ", "bold reverse"), " ",
        (there, "bold green" if there == "online" else "bold red"),
        f"  {info.get('model', {}).get('name', '')} on {info.get('model', {}).get('runtime', '')}"
        f"  {camera.get('source', '')}",
        ("" if at == "online" else f"  camera {at}: {camera.get('error', '')}", "bold red"),
    )  # fmt: skip
    scores = Table.grid(padding=(0, 1))
    for label, score in shown.get("scores", {}).items():
        here = label == shown.get("label")
        bar = "█" * round(score * 40)
        scores.add_row(
            Text(f"  {label}", style="bold green" if here else ""),
            Text(f"{score:.2f}"),
            Text(bar.ljust(40, "·"), style="green" if here else "dim"),
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
        f"   memory {_megabytes(telemetry.get('pss_bytes'))} PSS"
        f" {_megabytes(telemetry.get('rss_bytes'))} RSS"
        f"   CPU {100 * (telemetry.get('cpu_share') or 0):.0f} %"
        + (f"   {celsius:.0f} °C" if celsius is not None else "")
    )
    return Group(table, Text(summary))


def _printable(body: Any) -> Any:
    """Return ``body`` with nothing in it that a terminal obeys."""
    match body:
        case str():
            return "".join(c if c.isprintable() else "\ufffd" for c in body)
        case dict():
            return {_printable(key): _printable(value) for key, value in body.items()}
        case list() | tuple():
            return [_printable(value) for value in body]
        case _:
            return body


def _megabytes(size: int | None) -> str:
    return "-" if size is None else f"{size / 1e6:.0f} MB"
