"""What a run of `make bench-peers` has measured: docs/performance.json.

Medians over the rounds; of the processor time also the lowest and the highest round.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

import msgspec

from deploy.peers.network import ROOT
from deploy.runtime.pins import BuildError
from edge.text import escaped

FILE: Final = ROOT / "docs" / "performance.json"
DIGITS: Final = 4
SPREAD: Final = ("cpu_ms", "cpu_share")
"""Figures whose lowest and highest round are kept."""


class Row(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One row of a table.

    key      what was measured: see measure.py
    figures  by name, unit included; see clock.py, daemons.py, emulated.py
    version  of the runtime
    missing  why it was not measured; then there are no figures
    """

    key: tuple[str, ...]
    figures: dict[str, float] = {}
    version: str = ""
    missing: str = ""


class Machine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where and when it was measured.

    load  of the machine at the start and at the end: other work makes the figures worse
    """

    day: str
    processor: str
    cores: int
    system: str
    versions: dict[str, str]
    rounds: int
    load: tuple[float, float]


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that the document shows, by table."""

    machine: Machine
    tables: dict[str, list[Row]]


def row(key: tuple[str, ...], rounds: Sequence[Mapping[str, Any]]) -> Row:
    """Return the medians of ``rounds``; missing where any of them was refused."""
    refused = [str(one["refused"]) for one in rounds if "refused" in one]
    if refused or not rounds:
        return Row(key, missing=escaped(refused[-1]) if refused else "no round")
    figures = {}
    for name, value in rounds[0].items():
        if isinstance(value, int | float):
            values = [one[name] for one in rounds]
            figures[name] = _short(median(values))
            if name in SPREAD:
                figures[f"{name}_low"] = _short(min(values))
                figures[f"{name}_high"] = _short(max(values))
    return Row(key, figures, str(rounds[0].get("version", "")))


def _short(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def read(path: Path = FILE) -> Record:
    """Return the record. Raises BuildError where there is none, or it is damaged."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Record)
    except OSError as exc:
        reason = exc.strerror or str(exc)
        raise BuildError(66, reason, where=str(path), hint="measure first") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise BuildError(65, "damaged", where=str(path), got=str(exc)) from None


def write(record: Record, path: Path = FILE) -> None:
    """Write the record, a line for each row, so that its changes can be read."""
    machine = msgspec.json.encode(record.machine).decode()
    tables = ",\n".join(
        f'"{name}": [\n' + ",\n".join(msgspec.json.encode(one).decode() for one in rows) + "\n]"
        for name, rows in record.tables.items()
    )
    path.write_text(f'{{"machine": {machine},\n"tables": {{\n{tables}\n}}}}\n')
