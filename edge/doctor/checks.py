"""The result of a probe: a verdict, a line of facts for people, and a hint."""

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
    """The result for one part of the device.

    line   what is wrong, then the facts, for a person
    hint   what to do about it; empty where all is well
    facts  the same for a program, as JSON types
    """

    name: str
    verdict: Verdict
    line: str
    hint: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a probe found; ``ok`` for a fact that needs no action."""

    verdict: Verdict
    text: str
    hint: str = ""


class Findings:
    """Collects what one probe finds; the worst of it is the verdict."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._findings: list[Finding] = []
        self.facts: dict[str, Any] = {}

    def add(self, *findings: Finding | None) -> None:
        """Add what rules found; None for a rule that has nothing to say."""
        self._findings += [finding for finding in findings if finding is not None]

    def say(self, text: str) -> None:
        """Add a fact for people."""
        self.add(Finding("ok", text))

    def wrong(self, verdict: Verdict, text: str, hint: str = "") -> None:
        """Add what is not as it should be."""
        self.add(Finding(verdict, text, hint))

    def error(self, exc: EdgeError, hint: str = "") -> None:
        """Add a fault in the words of an error; ``hint`` is for one that has none."""
        line = str(exc).removesuffix(f"; {' '.join(exc.hint.split())}")
        self.wrong("fault", line, exc.hint or hint)

    def check(self) -> Check:
        """Return all of it in one line, the worst first."""
        ranked = sorted(self._findings, key=lambda finding: WORST.index(finding.verdict))
        verdict = ranked[0].verdict if ranked else "ok"
        line = "; ".join(finding.text for finding in ranked)
        hints = dict.fromkeys(finding.hint for finding in ranked if finding.hint)
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
    """Return the text of a small file of the kernel's; empty where it cannot be read."""
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
        return "an impossible time"
    whole = max(0, int(seconds))
    days, hours, minutes = whole // 86_400, whole // 3600 % 24, whole // 60 % 60
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min" if minutes else f"{whole} s"
