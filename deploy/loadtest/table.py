"""The figures of `make load` as a table, in Markdown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from deploy.loadtest.engine import Broken, Figures

ROWS: Final[dict[str, Callable[[Figures], str]]] = {
    "devices, all connected after": lambda run: f"{run.devices}, {run.connected_s:.1f} s",
    "messages a second, faults included": lambda run: f"{run.messages_per_s:,.0f}",
    "events sent / lost / twice": lambda run: (
        f"{run.whole.sent:,} / {run.whole.lost} / {run.whole.twice}"
    ),
    "copies that differ / events out of order": lambda run: (
        f"{run.whole.changed} / {run.whole.disorder}"
    ),
    "telemetry (QoS 0) dropped": lambda run: str(run.unsent),
    "broker without a fault, share of one core": lambda run: f"{run.cpu_share:.3f}",
    "broker without a fault, memory (PSS)": lambda run: f"{run.memory_bytes / 1e6:.0f} MB",
    "the devices, share of one core": lambda run: f"{run.devices_cpu_share:.2f}",
}


def table(runs: dict[str, Figures]) -> str:
    """Return the table. ``runs``: column -> figures."""
    lines = [_line("", list(runs)), "|---|" + "---|" * len(runs)]
    for label, cell in ROWS.items():
        lines.append(_line(label, [cell(run) for run in runs.values()]))
    names = dict.fromkeys(broken.name for run in runs.values() for broken in run.broken)
    for name in names:
        cells = [
            "; ".join(_fault(broken) for broken in run.broken if broken.name == name)
            for run in runs.values()
        ]
        lines.append(_line(f"{name}: events late for", cells))
    return "\n".join(lines)


def _fault(broken: Broken) -> str:
    text = f"{broken.recovery_s:.1f} s; {broken.reconnects} reconnects"
    if broken.reconnects:
        text += f" in {broken.spread_s:.1f} s, at most {broken.busiest} in a second"
    return text


def _line(label: str, cells: list[str]) -> str:
    return f"| {label} | {' | '.join(cells)} |"
