"""Draws an answer for people, on stderr: a row for each candidate, then what it comes to."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from edge.cli.tune.answer import Answer, describe
from edge.cli.tune.records import Measurement
from edge.text import escaped

COLUMNS = ("p50 ms", "p99 ms", "CPU %", "skipped", "MB", "°C")


def draw(answer: Answer) -> None:
    """Print the table, what was chosen, and everything that makes it doubtful."""
    console = Console(stderr=True)
    table = Table("", *COLUMNS, title=Text(escaped(f"{answer.model}, {answer.fps:g} fps")))
    part = ""
    for row in answer.measurements:
        if row.part != part:
            table.add_section()
            table.add_row(Text(row.part, "bold"))
            part = row.part
        table.add_row(Text(escaped(row.text)), *_cells(row))
    console.print(table)
    for line in _lines(answer):
        console.print(Text(escaped(line)), soft_wrap=True)


def _cells(row: Measurement) -> list[str]:
    if not row.runs:
        return [""] * len(COLUMNS)
    frames = sum(run.frames for run in row.runs)
    return [
        _number(row.median(lambda run: run.p50_ms), 2),
        _number(row.median(lambda run: run.p99_ms), 2),
        _number(row.median(lambda run: 100 * run.cpu_share), 2),
        f"{sum(run.skipped for run in row.runs) / max(1, frames):.0%}",
        _number(row.median(lambda run: None if run.pss_bytes is None else run.pss_bytes / 1e6), 0),
        _number(row.median(lambda run: run.celsius), 0),
    ]


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _lines(answer: Answer) -> list[str]:
    lines = [f"warning: {line}" for line in answer.warnings]
    lines += [f"note: {line}" for line in answer.notes]
    for row in answer.measurements:
        lines += [f"failed: {row.part}, {row.text}: {fault}" for fault in row.faults]
    noise = ", ".join(f"{name} {share:.0%}" for name, share in answer.noise.items())
    lines.append(f"noise between repeats: {noise}; what differs by less stays as configured")
    if not answer.complete:
        lines.append("interrupted: this is what was known by then")
    elif answer.misses:
        chosen = answer.chosen.text("chosen")
        lines.append(f"no candidate meets the target ({describe(answer.target)})")
        lines += [f"nearest is {chosen}: {miss}" for miss in answer.misses]
    else:
        lines.append(f"chosen: {answer.chosen.text('chosen')}; meets {describe(answer.target)}")
    return lines
