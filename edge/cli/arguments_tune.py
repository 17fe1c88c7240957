"""The arguments of `edge tune`. Imports nothing heavy."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from edge.cli import values

MINUTES_MOST: Final = 30.0
MINUTES: Final = 3.0
FPS_LEAST, FPS_MOST = 1.0, 240.0


def add(tune: argparse.ArgumentParser) -> None:
    """Add the arguments of `edge tune`."""
    tune.add_argument(
        "--config", metavar="FILE", type=Path, help="edge.toml (default: the service's, if present)"
    )
    tune.add_argument(
        "--fps", type=_fps, help="frames a second to measure at (default: the config's)"
    )
    tune.add_argument(
        "--latency-ms",
        type=values.duration,
        help="target: p99 of the pipeline (default: the time from frame to frame)",
    )
    tune.add_argument("--cpu", type=_share, help="target: share of all cores, 0 to 1")
    tune.add_argument("--celsius", type=_celsius, help="target: temperature at the end")
    tune.add_argument(
        "--minutes", type=_minutes, default=MINUTES, help=f"time it may take (default: {MINUTES:g})"
    )
    tune.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    tune.add_argument("--out", metavar="FILE", type=Path, help="write the lines into this file")


def _fps(text: str) -> float:
    return _within(text, FPS_LEAST, FPS_MOST)


def _share(text: str) -> float:
    return _within(text, 0.0, 1.0, above=True)


def _celsius(text: str) -> float:
    return _within(text, 1.0, 120.0)


def _minutes(text: str) -> float:
    return _within(text, 0.0, MINUTES_MOST, above=True)


def _within(text: str, least: float, most: float, *, above: bool = False) -> float:
    """Return a number from ``least`` to ``most``. above: more than ``least``."""
    number = values.duration(text)
    if not least <= number <= most:
        words = f"above {least:g}, at most {most:g}" if above else f"{least:g} to {most:g}"
        raise argparse.ArgumentTypeError(f"expected {words}, got {text!r}")
    return number
