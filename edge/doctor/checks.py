"""What a probe finds, in one form: a verdict, a line of facts, and a line of hint."""

from __future__ import annotations

import math
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from edge.errors import EdgeError
from edge.frames import Seconds

Verdict = Literal["ok", "warning", "fault", "unknown"]
WORST: Final[tuple[Verdict, ...]] = ("fault", "warning", "unknown", "ok")


@dataclass(frozen=True, slots=True)
class Check:
    """What was found out about one thing.

    line   what is the matter, then the facts, for a person
    hint   what to do about it; empty where all is well
    facts  the same for a program; of JSON's types
    """

    name: str
    verdict: Verdict
    line: str
    hint: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


class Findings:
    """Collects what one probe finds; the worst of it is the verdict."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._said: list[str] = []
        self._wrong: list[tuple[Verdict, str, str]] = []
        self.facts: dict[str, Any] = {}

    def say(self, text: str) -> None:
        """Add a fact for people."""
        self._said.append(text)

    def wrong(self, verdict: Verdict, text: str, hint: str = "") -> None:
        """Add what is not as it should be."""
        self._wrong.append((verdict, text, hint))

    def error(self, exc: EdgeError, hint: str = "") -> None:
        """Add a fault in the words of an error; ``hint`` is for one that has none."""
        line = str(exc).removesuffix(f"; {' '.join(exc.hint.split())}")
        self.wrong("fault", line, exc.hint or hint)

    def check(self) -> Check:
        """Return all of it, the worst first."""
        wrong = sorted(self._wrong, key=lambda found: WORST.index(found[0]))
        verdict = wrong[0][0] if wrong else "ok"
        line = "; ".join([text for _, text, _ in wrong] + self._said)
        hints = dict.fromkeys(hint for _, _, hint in wrong if hint)
        return Check(self._name, verdict, line, "; ".join(hints), self.facts)


def command(*words: str, timeout_s: Seconds) -> subprocess.CompletedProcess[str]:
    """Run a program to its end. Raises OSError, TimeoutExpired."""
    return subprocess.run(
        words,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout_s,
        check=False,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "LC_ALL": "C.UTF-8", "SYSTEMD_COLORS": "0"},
    )


def text(path: Path) -> str:
    """Return what a small file of the kernel's says; empty where there is none to be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def size(count: float) -> str:
    """Return bytes for a person."""
    for factor, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= factor:
            scaled = count / factor
            return f"{scaled:.1f} {unit}" if scaled < 10 else f"{scaled:.0f} {unit}"
    return f"{count:.0f} bytes"


def lasted(seconds: Seconds) -> str:
    """Return a duration for a person, by its two largest units."""
    if not math.isfinite(seconds):
        return "a time that cannot be"
    whole = max(0, int(seconds))
    days, hours, minutes = whole // 86_400, whole // 3600 % 24, whole // 60 % 60
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min" if minutes else f"{whole} s"
