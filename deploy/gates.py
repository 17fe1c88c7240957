"""Health gates: whether a device is as well after a change as it was before. Pure.

Rule 1: what a device does not say, before or after, is not compared, and the report says so.
Rule 2: a scene may change while it is looked at: how labels are shared out is judged by the median
        of a wave, unless too few of it say enough. A shadow sees the same frames as the model at
        work: it is judged by device.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Final

from deploy.errors import DeployError
from deploy.facts import Facts

FRAMES_LEAST: Final = 20
"""Frames on either side that say anything about labels."""
WAVE_LEAST: Final = 3
"""Devices with so many frames, and half of the wave, that say anything about a wave."""
FPS_LEAST: Final = 0.5
"""Frames a second before; a slower camera says too little in the time."""
P99_SLACK_MS: Final = 10.0
"""A p99 of a few ms may double because another program ran."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The thresholds of the gates; GATES='fps=0.8 p99=1.5' changes some of them.

    fps        least frames a second, as a share of those before
    p99        most milliseconds of the slowest frame in a hundred, as a multiple of before
    restarts   most restarts of the service by itself since the change
    invalid    most frames without scores, as a share
    agreement  least share of labels that stayed, the wave's median; with a shadow: of frames with
               the same label, of each device; 0 compares nothing
    """

    fps: float = 0.8
    p99: float = 1.5
    restarts: float = 0.0
    invalid: float = 0.02
    agreement: float = 0.5


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a device must have after the change; empty is not compared."""

    version: str = ""
    model: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is wrong with one device, and what could not be compared, in words."""

    wrong: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


def limits(text: str) -> Limits:
    """Return the limits with those of GATES. Raises DeployError."""
    found = Limits()
    names = [one.name for one in fields(Limits)]
    for word in text.split():
        name, _, value = word.partition("=")
        try:
            number = float(value)
        except ValueError:
            number = -1.0
        if name not in names or not 0 <= number <= 1e6:
            wanted = f"NAME=NUMBER, with a name of {', '.join(names)}"
            raise DeployError(64, "GATES cannot be used", expected=wanted, got=word)
        found = replace(found, **{name: number})
    return found


def shared(before: Facts, after: Facts) -> float | None:
    """Return the share of frames whose labels are as before, 0 to 1; None from too few frames.

    1 less the total variation distance of the two distributions of labels.
    """
    was, now = sum(before.labels.values()), sum(after.labels.values())
    if min(was, now) < FRAMES_LEAST:
        return None
    common = before.labels.keys() & after.labels.keys()
    return sum(min(before.labels[k] / was, after.labels[k] / now) for k in common)


def judge(before: Facts, after: Facts, wanted: Wanted, limits: Limits) -> Verdict:
    """Return what is wrong with one device after a change."""
    unknown, wrong = [], [*_states(before, after, wanted)]
    wrong += _restarted(before, after, wanted, limits)
    for name, fault in (("fps", _fps), ("p99_ms", _p99)):
        if getattr(before, name) is None or getattr(after, name) is None:
            unknown.append(name)
        elif line := fault(before, after, limits):
            wrong.append(line)
    if after.invalid is not None and after.invalid > limits.invalid:
        wrong.append(
            f"{after.invalid:.0%} of the frames have no scores; limit {limits.invalid:.0%}"
        )
    if after.agreement is None and shared(before, after) is None:
        unknown.append("agreement")
    return Verdict(tuple(wrong), tuple(unknown))


def _states(before: Facts, after: Facts, wanted: Wanted) -> Iterator[str]:
    """Yield what is wrong with a device without any figure."""
    if after.state != "active":
        yield f"the service is {after.state or 'unknown'}, not READY"
    if wanted.version and after.version != wanted.version:
        yield f"version {after.version or 'unknown'} runs, not {wanted.version}"
    if wanted.model and after.model != wanted.model:
        why = f": {after.went_back}" if after.went_back not in ("", before.went_back) else ""
        yield f"model {after.model or 'unknown'} is in use, not {wanted.model}{why}"
    if before.online and after.online is False:
        yield "offline at the broker; it was online before"
    if before.camera == "online" and after.camera not in ("online", None):
        yield f"its camera is {after.camera}; it was online before"
    if after.drift and not before.drift:
        yield f"drifts: {after.drift}"
    if new := [name for name in after.faults if name not in before.faults]:
        yield f"edge doctor: {', '.join(new)} at fault; not so before"


def disagrees(agreement: float | None, frames: int, limits: Limits) -> str:
    """Return what is wrong with a shadow, empty if nothing is."""
    if not limits.agreement:
        return ""
    if agreement is None or frames < FRAMES_LEAST:
        return f"its shadow has compared {frames} frames: too few to judge; limit {FRAMES_LEAST}"
    if agreement >= limits.agreement:
        return ""
    least = f"limit {limits.agreement:.0%}"
    return f"as a shadow it agrees with the model at work on {agreement:.0%} of {frames}; {least}"


def of_wave(pairs: Sequence[tuple[Facts, Facts]], limits: Limits) -> str | None:
    """Return what is wrong with a wave as a whole, empty if nothing is.

    None where too few of its devices say enough: then each is judged alone, by ``unlike``.
    """
    if not limits.agreement:
        return ""
    known = [share for pair in pairs if (share := shared(*pair)) is not None]
    if len(known) < max(WAVE_LEAST, len(pairs) / 2):
        return None
    middle = statistics.median(known)
    if middle >= limits.agreement:
        return ""
    least = f"limit {limits.agreement:.0%}"
    return f"{middle:.0%} of the labels are as before, the wave's median; {least}"


def unlike(before: Facts, after: Facts, limits: Limits) -> str:
    """Return what is wrong with the labels of one device, empty if nothing is known to be."""
    share = shared(before, after)
    if share is None or share >= limits.agreement:
        return ""
    return f"{share:.0%} of the labels are as before; limit {limits.agreement:.0%}"


def _fps(before: Facts, after: Facts, limits: Limits) -> str:
    assert before.fps is not None
    assert after.fps is not None
    least = limits.fps * before.fps
    if before.fps < FPS_LEAST or after.fps >= least:
        return ""
    return f"{after.fps:.1f} frames a second, {before.fps:.1f} before; limit {least:.1f}"


def _p99(before: Facts, after: Facts, limits: Limits) -> str:
    assert before.p99_ms is not None
    assert after.p99_ms is not None
    most = limits.p99 * before.p99_ms + P99_SLACK_MS
    if after.p99_ms <= most:
        return ""
    return f"p99 {after.p99_ms:.1f} ms, {before.p99_ms:.1f} before; limit {most:.1f}"


def _restarted(before: Facts, after: Facts, wanted: Wanted, limits: Limits) -> list[str]:
    """Judge restarts by itself; systemd counts from 0 again where a package was installed."""
    if after.restarts is None:
        return []
    count = after.restarts - (0 if wanted.version else before.restarts or 0)
    return [f"restarted by itself {count} times"] if count > limits.restarts else []
