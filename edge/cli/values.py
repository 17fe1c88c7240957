"""Values on the command line, read and checked. Raises argparse.ArgumentTypeError."""

from __future__ import annotations

import argparse
from typing import Final

DIGITS: Final = 18
"""Most of a whole number."""
FRAMES_MAX: Final = 1_000_000
"""Frames of a benchmark, whose times are all kept: 64 MB."""


def positive(text: str) -> int:
    """Return a whole number above 0."""
    number = int(text) if text.isdecimal() and len(text) <= DIGITS else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, got {text!r}")
    return number


def count(text: str) -> int:
    """Return a whole number, 0 or more."""
    return 0 if text == "0" else positive(text)


def port(text: str) -> int:
    """Return a TCP port; 0: any that is free."""
    if (number := count(text)) > 65_535:
        raise argparse.ArgumentTypeError(f"expected 0 to 65535, got {text!r}")
    return number


def frames(text: str) -> int:
    """Return how many frames to measure."""
    if (number := positive(text)) > FRAMES_MAX:
        raise argparse.ArgumentTypeError(f"expected at most {FRAMES_MAX}, got {text!r}")
    return number


def duration(text: str) -> float:
    """Return a number of seconds above 0."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")
    return number


def device(text: str) -> str:
    """Return a device id, or ``+`` for all."""
    if text != "+" and (not text or set(text) & set("+#/") or not text.isprintable()):
        raise argparse.ArgumentTypeError(f"expected a device id, got {text!r}")
    return text


def one_device(text: str) -> str:
    """Return the id of one device."""
    if text == "+":
        raise argparse.ArgumentTypeError("expected the id of one device")
    return device(text)
