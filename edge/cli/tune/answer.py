"""The answer: whether the target is met, the lines for edge.toml, and what may be worth more.

What changes answers, or when they come, is never switched on here: it is a comment with its reason.
"""

from __future__ import annotations

import json
from typing import Final, Literal

import msgspec

from edge import __version__
from edge.cli.tune.records import Candidate, Figures, Measurement, Target
from edge.cli.tune.search import DROPPED_MOST, FIGURES, Plan, Search
from edge.config.adaptive import LOWEST_CELSIUS
from edge.text import escaped

MARK: Final = "# Written by edge tune"
"""The beginning of a file of our own."""
RATE_OFF: Final = 0.1
"""Relative difference from the frame rate that is said."""
WORTH: Final = 0.1
"""Share of the CPU time that the motion gate must save to be recommended."""


class Advice(msgspec.Struct, frozen=True):
    """A setting that changes answers, or how many there are: for a person to decide."""

    table: str
    key: str
    value: bool | float | str
    reason: str


class Before(msgspec.Struct, frozen=True):
    """The config as it is: medians."""

    p99_ms: float | None
    cpu_share: float | None


class Answer(msgspec.Struct, frozen=True):
    """What `edge tune --json` prints.

    schema    of this record
    complete  false where it was interrupted
    meets     whether the chosen settings meet the target; null where they were not judged
    misses    by how much they do not, a line for each limit
    noise     relative, of a figure between repeats: what differs by less is the same
    lines     for edge.toml
    """

    schema: int
    complete: bool
    meets: bool | None
    misses: list[str]
    target: Target
    fps: float
    model: str
    runtime: str
    cores_total: int
    scene: Literal["source", "moving", "still"]
    warnings: list[str]
    notes: list[str]
    chosen: Candidate
    figures: Figures | None
    before: Before
    noise: dict[str, float]
    advice: list[Advice]
    lines: str
    measurements: list[Measurement]


def answer(
    search: Search, plan: Plan, warnings: list[str], notes: list[str], complete: bool
) -> Answer:
    """Return what is known, also in the middle of a search."""
    rows = [row for row in search.measurements if row.runs or row.faults]
    long = {row.candidate: row for row in rows if row.part == "chosen"}
    last = long.get(search.best)
    figures = last.runs[-1] if last and last.runs else None
    misses = _misses(last, plan.target)
    meets = None if last is None else not misses
    own = [row for row in rows if row.candidate == search.base]
    base = long.get(search.base) or max(own, key=lambda row: len(row.runs), default=None)
    p99, cpu = (base.median(one) if base else None for one in FIGURES.values())
    before = Before(p99, cpu)
    advice = [*_motion(rows, plan), *_second(rows, search, plan)] if complete else []
    advice += _limits(misses, plan.target)
    facts, notes = search.facts, [*notes, *search.notes]
    if figures is not None and abs(figures.frames / figures.seconds / plan.fps - 1) > RATE_OFF:
        rate = figures.frames / figures.seconds
        notes.append(f"{rate:.1f} frames a second came, not {plan.fps:g}")
    return Answer(
        schema=1,
        complete=complete,
        meets=meets,
        misses=misses,
        target=plan.target,
        fps=plan.fps,
        model=facts.model if facts else "",
        runtime=facts.runtime if facts else "",
        cores_total=len(plan.cores),
        scene=plan.scene,
        warnings=warnings,
        notes=notes,
        chosen=search.best,
        figures=figures,
        before=before,
        noise={name: round(search.noise(name), 3) for name in FIGURES},
        advice=advice,
        lines=_lines(search, plan, figures, before, advice, misses, complete),
        measurements=rows,
    )


def _misses(row: Measurement | None, target: Target) -> list[str]:
    """Return by how much each limit is exceeded."""
    if row is None:
        return []
    if not row.runs:
        return [f"cannot be measured: {fault}" for fault in row.faults]
    run, found = row.runs[-1], []
    limits = (
        ("p99", run.p99_ms, target.latency_ms, "ms", 1.0),
        ("CPU", run.cpu_share, target.cpu_share, "% of all cores", 100.0),
        ("temperature", run.celsius, target.celsius, "degrees Celsius", 1.0),
    )
    for name, value, limit, unit, factor in limits:
        if value is not None and limit is not None and value > limit:
            more = f"{value / limit - 1:.0%} above {factor * limit:.4g}"
            found.append(f"{name} {factor * value:.4g} {unit}, {more}")
    if run.dropped_share > DROPPED_MOST:
        found.append(f"{run.dropped_share:.0%} of the frames came while another one was at work")
    return found


def _motion(rows: list[Measurement], plan: Plan) -> list[Advice]:
    cpu = {
        (row.candidate.scene, row.candidate.motion): row.median(FIGURES["cpu_share"])
        for row in rows
        if row.part == "motion" and row.usable
    }
    off, on = cpu.get(("still", False)), cpu.get(("still", True))
    if plan.config.adaptive.motion or not off or on is None or on > (1 - WORTH) * off:
        return []
    reason = f"CPU on a still scene {on:.2%} instead of {off:.2%} of all cores"
    moving = [cpu.get(("moving", motion)) for motion in (True, False)]
    if moving[0] is not None and moving[1] is not None:
        reason += f", on a moving one {moving[0]:.2%} instead of {moving[1]:.2%}"
    return [Advice("adaptive", "motion", True, f"{reason}; frames of a still scene have no result")]


def _second(rows: list[Measurement], search: Search, plan: Plan) -> list[Advice]:
    always = next((row for row in rows if row.candidate.asked == "always" and row.usable), None)
    if always is None:
        return []
    share, name = search.excess(always)
    p99, cpu = (always.median(figure) or 0.0 for figure in FIGURES.values())
    costs = f"p99 {p99:.4g} ms and {cpu:.2%} of all cores if every frame asked it"
    if share <= 1 and not plan.config.model.second:
        value = always.candidate.second
        return [Advice("model", "second", value, f"asked where the first is unsure; {costs}")]
    if share > 1 and plan.config.model.second:
        limit = "latency" if name == "p99_ms" else "CPU"
        return [Advice("model", "second", "", f"beyond the target's {limit}: {costs}")]
    return []


def _limits(misses: list[str], target: Target) -> list[Advice]:
    """Return the governor's limits where the target is not met: they lower the frame rate."""
    reason, found = "keeps to it by a lower frame rate", []
    missed = {miss.partition(" ")[0] for miss in misses}
    if "CPU" in missed and target.cpu_share:
        found.append(Advice("adaptive", "cpu_share", target.cpu_share, reason))
    if "temperature" in missed and target.celsius and target.celsius >= LOWEST_CELSIUS:
        found.append(Advice("adaptive", "max_celsius", target.celsius, reason))
    return found


def _lines(
    search: Search,
    plan: Plan,
    figures: Figures | None,
    before: Before,
    advice: list[Advice],
    misses: list[str],
    complete: bool,
) -> str:
    """Return TOML that the config accepts, the reasons as comments."""
    best, base = search.best, search.base
    model, runtime = (search.facts.model, search.facts.runtime) if search.facts else ("", "")
    lines = [
        f"{MARK} {__version__}: {model} on {runtime}, {plan.fps:g} frames a second",
        f"# target: {describe(plan.target)}",
    ]
    if not complete:
        lines.append("# interrupted: only what was known by then")
    lines += [f"# not met: {miss}" for miss in misses]
    if figures is not None:
        p99 = "none" if figures.p99_ms is None else f"{figures.p99_ms:.4g} ms"
        lines.append(f"# p99 {p99}, CPU {figures.cpu_share:.2%} of all cores")
    if before.p99_ms is not None and before.cpu_share is not None:
        was = f"p99 {before.p99_ms:.4g} ms, CPU {before.cpu_share:.2%} of all cores"
        lines.append(f"# as configured: {was}")
    was = "" if best.threads == base.threads else f"  # instead of {base.threads}"
    lines += ["[model]", f"threads = {best.threads}{was}"]
    if (best.width, best.height) != (base.width, base.height):
        lines.append("# snapshots and cases get this size too")
    if plan.sizes or plan.fps != plan.config.camera.fps:
        lines.append("[camera]")
    if plan.sizes:
        lines += [f"width = {best.width}", f"height = {best.height}"]
    if plan.fps != plan.config.camera.fps:
        lines.append(f"fps = {plan.fps:g}")
    if best.cores:
        numbers = " ".join(map(str, best.cores))
        lines.append("# cores, for `systemctl edit edge-camera`:")
        lines += ["# [Service]", f"# CPUAffinity={numbers}"]
    for one in advice:
        value = json.dumps(one.value)
        lines.append(f"# your choice, in [{one.table}]: {one.key} = {value}  # {one.reason}")
    return "".join(f"{escaped(line)}\n" for line in lines)


def describe(target: Target) -> str:
    """Return a target in words."""
    text = f"p99 at most {target.latency_ms:.4g} ms"
    if target.cpu_share is not None:
        text += f", CPU at most {target.cpu_share:.4g} of all cores"
    if target.celsius is not None:
        text += f", at most {target.celsius:.4g} degrees Celsius"
    return text
