"""Output of `edge doctor`: a coloured table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import socket
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from edge import __version__
from edge.doctor.checks import Check, Verdict
from edge.text import escaped

COLOURS: Final[dict[Verdict, str]] = {
    "ok": "green",
    "warning": "yellow",
    "fault": "bold red",
    "unknown": "dim",
}
NAME_WIDTH: Final = max(map(len, ("published", "service")))
VERDICT_WIDTH: Final = max(map(len, COLOURS))
WARNING, ERROR = 4, 3


def draw(checks: list[Check], status: int) -> None:
    """Print every check, its hint below it, and the events at the end."""
    console = Console(highlight=False)
    faults, unknown = (
        ", ".join(check.name for check in checks if check.verdict == verdict)
        for verdict in ("fault", "unknown")
    )
    title = Text(escaped(f"edge {__version__} on {socket.gethostname()}: "))
    title.append("not healthy" if status else "healthy", "bold red" if status else "bold green")
    title.append(f": {faults}" if faults else "")
    title.append(f"; unknown: {unknown}" if unknown else "")
    if console.is_terminal:
        console.print(title)
        console.print(_table(checks))
    else:
        for line in (title.plain, *_lines(checks)):
            print(escaped(line))


def _table(checks: list[Check]) -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_column(no_wrap=True, min_width=NAME_WIDTH)
    table.add_column(no_wrap=True, min_width=VERDICT_WIDTH)
    table.add_column(overflow="fold")
    for check in checks:
        what = Text(check.line)
        if check.hint:
            what.append(f"\n-> {check.hint}", "cyan")
        table.add_row(check.name, Text(check.verdict, COLOURS[check.verdict]), what)
        for event in check.facts.get("events", ()):
            priority = event["priority"]
            colour = "red" if priority <= ERROR else "yellow" if priority <= WARNING else ""
            table.add_row("", Text(event["time"][5:16], "dim"), Text(event["message"], colour))
    return table


def _lines(checks: list[Check]) -> list[str]:
    lines = []
    for check in checks:
        lines.append(f"{check.name:<{NAME_WIDTH}} {check.verdict:<{VERDICT_WIDTH}} {check.line}")
        indent = " " * (NAME_WIDTH + VERDICT_WIDTH + 2)
        if check.hint:
            lines.append(f"{indent}-> {check.hint}")
        lines += [f"{indent}{e['time']}  {e['message']}" for e in check.facts.get("events", ())]
    return lines
