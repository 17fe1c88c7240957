"""docs/performance.md and its plot: the generated parts, from the record alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from deploy.peers import plot
from deploy.peers.network import ROOT
from deploy.peers.record import Record, Row
from deploy.runtime.measure import megabytes, millions, table
from deploy.runtime.pins import BuildError

PAGE: Final = ROOT / "docs" / "performance.md"
PLOT: Final = ROOT / "docs" / "performance.svg"
LOOPS: Final = {
    "naive": "naive loop",
    "label_image": "TFLite's `label_image`",
    "picamera2": "picamera2's example",
    "ours": "**this pipeline**",
    "invoke": "`invoke` alone",
}
SOURCES: Final = {"memory": "memory", "film": "film, H.264", "pictures": "JPEG files"}
RUNTIMES: Final = {
    "ours": "**ours**",
    "tflite_runtime": "PyPI tflite-runtime",
    "ai_edge_litert": "PyPI ai-edge-litert",
    "onnxruntime": "onnxruntime",
    "opencv": "OpenCV's DNN",
}
PROGRAMS: Final = {
    "edge": "**edge run**",
    "gate": "**edge run**, motion gate on",
    "naive": "ffmpeg, naive loop",
    "small": "ffmpeg scales, lean loop",
}
LONGEST: Final = 160
"""Characters of a reason in a table."""


def sections(record: Record) -> dict[str, str]:
    """Return the generated parts, by the names of their marks."""
    made = {"machine": _machine(record)}
    for name, (titles, keys, figures) in TABLES.items():
        rows = record.tables.get(name, [])
        body = [
            [
                *keys(row, record.machine.cores),
                *([_missing(row)] + [""] * (len(titles) - 1) if row.missing else figures(row)),
            ]
            for row in rows
        ]
        heads = [*HEADS[name], *titles]
        made[name] = table(heads, body)
    made["summary"] = _summary(record)
    return made


def write(record: Record, page: Path = PAGE, picture: Path = PLOT) -> None:
    """Put the generated parts between their marks, and draw the plot. Raises BuildError."""
    page.write_text(filled(page.read_text(), sections(record), str(page)))
    picture.write_text(plot.draw(record))


def filled(text: str, parts: dict[str, str], where: str = "") -> str:
    """Return ``text`` with each part between its marks. Raises BuildError without a mark."""
    for name, part in parts.items():
        marks = [f"<!-- {name}: {end} -->" for end in ("begin", "end")]
        pattern = re.compile(f"({marks[0]}\n).*?({marks[1]})", re.DOTALL)
        text, times = pattern.subn(lambda found, new=part: found[1] + new + found[2], text)  # type: ignore[misc]
        if times != 1:
            raise BuildError(65, "no place for a table", where=where, expected=" ".join(marks))
    return text


def _machine(record: Record) -> str:
    machine = record.machine
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    before, after = machine.load
    return (
        f"{machine.day}, {machine.processor}, {machine.cores} cores, {machine.system}; load of the "
        f"machine {before:g} before\nand {after:g} after; medians of {machine.rounds} rounds.\n"
        f"{versions}.\n"
    )


def _missing(row: Row) -> str:
    reason = row.missing if len(row.missing) <= LONGEST else f"{row.missing[:LONGEST]} ..."
    return "not measured: " + reason.replace("|", "\\|").replace("<", "&lt;")


def _threads(text: str, cores: int) -> str:
    return "1" if text == "1" else f"all {cores}"


def _ms(row: Row, name: str) -> str:
    return f"{row.figures[name]:.2f} ms"


def _cpu(row: Row) -> str:
    low, high = row.figures["cpu_ms_low"], row.figures["cpu_ms_high"]
    return f"{_ms(row, 'cpu_ms')} ({low:.2f} to {high:.2f})"


def _mb(row: Row, *names: str) -> str:
    return ", ".join(f"{row.figures[name]:.0f}" for name in names) + " MB"


def _heap(row: Row) -> str:
    kilobytes = row.figures["heap_kb"]
    return f"{kilobytes:.0f} kB" if kilobytes >= 10 else f"{kilobytes:.1f} kB"


def _share(row: Row) -> str:
    low, middle, high = (100 * row.figures[f"cpu_share{end}"] for end in ("_low", "", "_high"))
    return f"{middle:.1f} % ({low:.1f} to {high:.1f})"


def _loop_keys(row: Row, cores: int) -> list[str]:
    loop, source, threads = row.key
    return [LOOPS[loop], SOURCES[source], _threads(threads, cores)]


def _loop_figures(row: Row) -> list[str]:
    walls = [_ms(row, "p50_ms"), _ms(row, "p99_ms")]
    return [
        _cpu(row),
        *walls,
        _heap(row),
        f"{row.figures['faults']:.0f}",
        _mb(row, "rss_mb", "peak_mb"),
    ]


def _runtime_keys(row: Row, cores: int) -> list[str]:
    runtime, network, threads = row.key
    return [f"{RUNTIMES[runtime]} {row.version}".rstrip(), network, _threads(threads, cores)]


def _runtime_figures(row: Row) -> list[str]:
    return [_cpu(row), _ms(row, "p50_ms"), _ms(row, "p99_ms"), _mb(row, "rss_mb", "peak_mb")]


def _program_keys(row: Row, cores: int) -> list[str]:
    del cores
    film, kind, wheels = row.key
    return [film, PROGRAMS[kind], wheels]


def _program_figures(row: Row) -> list[str]:
    rate = f"{row.figures['messages_per_s']:.1f}"
    count = f"{row.figures['processes']:.0f}"
    return [_share(row), rate, _mb(row, "rss_mb", "peak_mb"), _mb(row, "pss_mb"), count]


def _emulated_keys(row: Row, cores: int) -> list[str]:
    del cores
    return [LOOPS[row.key[0]]]


def _emulated_figures(row: Row) -> list[str]:
    counted = [millions(row.figures[name]) for name in ("instructions", "cycles")]
    return counted + [megabytes(1e6 * row.figures[f"{way}_mb"]) for way in ("loaded", "stored")]


HEADS: Final[dict[str, list[str]]] = {
    "loops": ["loop", "frames from", "threads"],
    "runtimes": ["runtime", "network", "threads"],
    "programs": ["film", "program", "wheels"],
    "emulated": ["loop, `memory`, 1 thread"],
}
_WALL: Final = ["wall p50", "p99"]
TABLES: Final[
    dict[str, tuple[list[str], Callable[[Row, int], list[str]], Callable[[Row], list[str]]]]
] = {
    "loops": (
        ["CPU a frame", *_WALL, "allocated at a time", "page faults", "resident, highest"],
        _loop_keys,
        _loop_figures,
    ),
    "runtimes": (["CPU an invoke", *_WALL, "resident, highest"], _runtime_keys, _runtime_figures),
    "programs": (
        ["CPU, of one core", "messages a second", "resident, highest", "PSS", "processes"],
        _program_keys,
        _program_figures,
    ),
    "emulated": (
        ["instructions", "modelled cycles", "loaded", "stored"],
        _emulated_keys,
        _emulated_figures,
    ),
}
RATIOS: Final = (
    ("loops", "cpu_ms", ("ours", "memory", "1"), ("naive", "memory", "1"),
     "frames in memory, one thread: this pipeline's CPU time against the naive loop's"),
    ("loops", "p99_ms", ("ours", "memory", "1"), ("naive", "memory", "1"),
     "the same, p99 of the wall time"),
    ("loops", "cpu_ms", ("ours", "film", "1"), ("naive", "film", "1"),
     "from a film, decoding included: CPU time against the naive loop's"),
    ("loops", "cpu_ms", ("ours", "pictures", "1"), ("naive", "pictures", "1"),
     "from JPEG files: against the naive loop's"),
    ("loops", "cpu_ms", ("ours", "memory", "1"), ("label_image", "memory", "1"),
     "frames in memory: against `label_image`"),
    ("loops", "cpu_ms", ("ours", "memory", "1"), ("picamera2", "memory", "1"),
     "frames in memory: against picamera2's example"),
    ("loops", "cpu_ms", ("ours", "memory", "1"), ("invoke", "memory", "1"),
     "frames in memory: against `invoke` alone"),
    ("runtimes", "cpu_ms", ("ours", "int8", "1"), ("ai_edge_litert", "int8", "1"),
     "our runtime's CPU time against ai-edge-litert's"),
    ("runtimes", "cpu_ms", ("ours", "int8", "1"), ("onnxruntime", "int8, ONNX", "1"),
     "our runtime's against onnxruntime's, int8"),
    ("programs", "cpu_share", ("moving", "edge", "ours"), ("moving", "naive", "PyPI's"),
     "the daemon's CPU time against ffmpeg and the naive loop"),
    ("programs", "cpu_share", ("moving", "edge", "ours"), ("moving", "small", "PyPI's"),
     "the daemon's CPU time against ffmpeg and the lean loop"),
    ("programs", "rss_mb", ("moving", "edge", "ours"), ("moving", "small", "PyPI's"),
     "the daemon's resident memory against ffmpeg and the lean loop"),
    ("programs", "cpu_share", ("still", "gate", "ours"), ("still", "edge", "ours"),
     "a still film: the daemon's CPU time with the motion gate against without"),
    ("emulated", "instructions", ("ours",), ("naive",),
     "emulated arm64: this pipeline's instructions a frame against the naive loop's"),
    ("emulated", "cycles", ("ours",), ("naive",), "the same in modelled cycles"),
)  # fmt: skip
"""Table, figure, two rows and what their ratio says."""


def _summary(record: Record) -> str:
    rows = {(name, *row.key): row.figures for name, table in record.tables.items() for row in table}
    lines = []
    for name, figure, ours, other, what in RATIOS:
        pair = [rows.get((name, *key), {}).get(figure) for key in (ours, other)]
        if pair[0] is not None and pair[1]:
            lines.append([what, f"{pair[0] / pair[1]:.2f}"])
    return table(["", "ratio"], lines)
