"""What the memory of a running daemon is: a table by kind of mapping.

The daemon is the one at the local socket, or the process with a given number; it is not disturbed.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from pathlib import Path
from typing import Any, Final

from edge.errors import LocalError
from edge.telemetry.mappings import Mapping, parse

SMAPS_BYTES: Final = 64_000_000
"""Most that is read: a daemon with Debian's OpenCV has 2 MB."""
SMALL_BYTES: Final = 100_000
"""Private memory of a mapping that gets no line of its own."""
TIMEOUT_S: Final = 5.0
FIGURES: Final = ("pss", "private", "shared", "swap")


def run(process: int, proc: Path = Path("/proc")) -> dict[str, Any]:
    """Return the memory of ``process`` in bytes. Raises LocalError where it cannot be read."""
    folder = proc / str(process)
    try:
        with (folder / "smaps").open(errors="replace") as stream:
            lines = stream.read(SMAPS_BYTES).splitlines()
        program = os.readlink(folder / "exe")
    except OSError as exc:
        hint = "is it the daemon's number?"
        if isinstance(exc, PermissionError):
            hint = "it is another user's: use sudo"
        reason = exc.strerror or str(exc)
        raise LocalError(reason, where=f"process {process}", hint=hint) from exc
    rows = parse(lines, program, is_64=sys.maxsize > 2**32)
    return {
        "process": process,
        **{f"{name}_bytes": sum(getattr(row, name) for row in rows) for name in FIGURES},
        "mappings": [
            {"kind": row.kind, "name": row.name, **{f"{n}_bytes": getattr(row, n) for n in FIGURES}}
            for row in rows
        ],
    }


def listening(path: Path) -> int:
    """Return the number of the process that listens at a Unix socket. Raises LocalError."""
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(TIMEOUT_S)
            client.connect(os.fspath(path))
            record = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    except OSError as exc:
        hint = "is the daemon running? else name its process: --memory NUMBER"
        if isinstance(exc, PermissionError):
            hint = "use sudo, or join the group edge-camera-local"
        raise LocalError(exc.strerror or str(exc), where=str(path), hint=hint) from exc
    return int(struct.unpack("3i", record)[0])


def draw(figures: dict[str, Any]) -> None:
    """Print the table: a line for each mapping that is worth one, the others in sum."""
    from rich.console import Console
    from rich.table import Table

    from edge.text import escaped

    table = Table("", "", "private MB", "shared MB", "PSS MB")
    rest = Mapping("file", "")
    count = 0
    for row in figures["mappings"]:
        if row["kind"] in ("library", "file", "kernel") and row["private_bytes"] < SMALL_BYTES:
            rest.private += row["private_bytes"]
            rest.shared += row["shared_bytes"]
            rest.pss += row["pss_bytes"]
            count += 1
        else:
            cells = (f"{row[f'{name}_bytes'] / 1e6:.2f}" for name in ("private", "shared", "pss"))
            table.add_row(row["kind"], escaped(row["name"]), *cells)
    others = (f"{value / 1e6:.2f}" for value in (rest.private, rest.shared, rest.pss))
    table.add_row("others", f"{count} libraries and files", *others, end_section=True)
    sums = (f"{figures[f'{name}_bytes'] / 1e6:.2f}" for name in ("private", "shared", "pss"))
    table.add_row("all", f"process {figures['process']}", *sums)
    Console().print(table)
