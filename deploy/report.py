"""The report of a rollout: what each device was, is, and why. Pure, but for its two files."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Final

from deploy import gates
from deploy.facts import Facts, typed
from deploy.ledger import Entry, Ledger, replace

Say = Callable[[str], None]
"""Prints a line."""
WORDS: Final = {"back": "taken back", "stuck": "NOT taken back", "changing": "unknown"}
HEAD: Final = (
    *("wave", "host", "outcome", "version", "model", "frames/s", "p99 ms", "labels alike"),
    *("restarts", "camera", "why"),
)


def outcome(entry: Entry) -> str:
    """Return the outcome in a word or two."""
    return WORDS.get(entry.state, entry.state)


def line(entry: Entry) -> str:
    """Return one device's outcome on one line, with its figures before and after."""
    before, after = typed(entry.before or {}), typed(entry.after or {})
    text = f"{entry.host}: {outcome(entry)}"
    if entry.why:
        return f"{text}: {entry.why}"
    figures = [
        f"{name} {old:.1f} -> {new:.1f}"
        for name, old, new in (
            ("frames/s", before.fps, after.fps),
            ("p99 ms", before.p99_ms, after.p99_ms),
        )
        if old is not None and new is not None
    ]
    if (share := alike(before, after)) is not None:
        figures.append(f"labels {share:.0%} alike")
    return f"{text}: {', '.join(figures)}" if figures else text


def alike(before: Facts, after: Facts) -> float | None:
    """Return the agreement of a shadow, or the share of labels that stayed."""
    return after.agreement if after.agreement is not None else gates.shared(before, after)


def write(ledger: Ledger, why: str, left: list[str], limits: gates.Limits, log: list[str]) -> Path:
    """Write the report beside the state, as Markdown and JSON; return the Markdown's path.

    why   why the rollout stopped; empty where it did not
    left  hosts that are in no wave
    log   what the devices printed meanwhile
    """
    rows = sorted(ledger.entries.values(), key=lambda entry: (entry.wave, entry.host))
    page = ledger.path.with_suffix(".md")
    replace(page, markdown(ledger.what, rows, why, left, limits))
    content = {
        "what": ledger.what,
        "identity": ledger.identity,
        "stopped": why,
        "left_out": left,
        "limits": asdict(limits),
        "counts": dict(Counter(entry.state for entry in rows)),
        "hosts": [asdict(entry) for entry in rows],
        "log": log,
    }
    replace(ledger.path.with_suffix(".report.json"), json.dumps(content, indent=1) + "\n")
    return page


def markdown(what: str, rows: list[Entry], why: str, left: list[str], limits: gates.Limits) -> str:
    """Return the report for people."""
    counts = Counter(outcome(entry) for entry in rows)
    lines = [
        f"# Rollout of {cell(what)}",
        "",
        f"{time.strftime('%Y-%m-%d %H:%M:%S %z')}: "
        + ", ".join(f"{number} {name}" for name, number in counts.most_common()),
        "",
        f"Stopped: {cell(why)}" if why else "Not stopped.",
        "",
        "Limits: " + ", ".join(f"{name} {value:g}" for name, value in asdict(limits).items()),
        "",
    ]
    if left:
        lines += [f"In no wave, not touched: {', '.join(map(cell, left))}", ""]
    lines += [_row(*HEAD), _row(*["---"] * len(HEAD)), *map(_of, rows), ""]
    unknown = {e.host: e.unknown for e in rows if e.unknown}
    if unknown:
        lines += ["Not compared, because a device did not say it:", ""]
        lines += [
            f"- {cell(host)}: {', '.join(map(cell, names))}" for host, names in unknown.items()
        ]
        lines += [""]
    return "\n".join(lines)


def _of(entry: Entry) -> str:
    before, after = typed(entry.before or {}), typed(entry.after or {})
    share = alike(before, after) if entry.after else None
    return _row(
        str(entry.wave),
        entry.host,
        outcome(entry),
        _change(before.version or before.installed, after.version or after.installed),
        _change(before.model, after.model),
        _change(before.fps, after.fps),
        _change(before.p99_ms, after.p99_ms),
        "" if share is None else f"{share:.0%}",
        "" if after.restarts is None else str(after.restarts),
        _change(before.camera, after.camera),
        entry.why,
    )


def _change(before: object, after: object) -> str:
    """Return `before -> after`; a figure with one place, and once where nothing has changed."""
    words = [
        f"{one:.1f}" if isinstance(one, float) else str(one)
        for one in (before, after)
        if one not in (None, "")
    ]
    return " -> ".join(dict.fromkeys(words))


def _row(*cells: str) -> str:
    return f"| {' | '.join(map(cell, cells))} |"


def cell(text: str) -> str:
    """Return a text that cannot end a table's cell or become a link or HTML."""
    for mark in "\\|<[]`":
        text = text.replace(mark, f"\\{mark}")
    return text
