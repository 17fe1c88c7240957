"""docs/performance.svg: bars of what was measured, readable on light and on dark pages."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Final

from deploy.peers.record import Record

WIDTH: Final = 760
LABELS: Final = 300
"""Where the bars begin, in pixels; left of it are their names."""
BARS: Final = 340
LINE: Final = 20
HEAD: Final = 34
LONG: Final = 3.0
"""A bar so many times as long as the next is cut."""
STYLE: Final = """\
text { font: 13px sans-serif; fill: #24292f }
.head { font-weight: bold }
.bar { fill: #8c959f }
.ours { fill: #0969da }
.cut { stroke: #ffffff; stroke-width: 3 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .bar { fill: #6e7681 }
  .ours { fill: #4493f8 }
  .cut { stroke: #0d1117 }
}
"""
LOOPS: Final = {
    "invoke": "invoke alone",
    "ours": "this pipeline",
    "naive": "naive loop",
    "picamera2": "picamera2's example",
    "label_image": "TFLite's label_image",
}
RUNTIMES: Final = {
    ("ours", "int8"): "ours, int8",
    ("ai_edge_litert", "int8"): "ai-edge-litert, int8",
    ("tflite_runtime", "int8"): "PyPI tflite-runtime, int8",
    ("onnxruntime", "int8, ONNX"): "onnxruntime, int8",
    ("onnxruntime", "float, ONNX"): "onnxruntime, float",
    ("opencv", "float, ONNX"): "OpenCV's DNN, float",
}
PROGRAMS: Final = {
    ("moving", "edge", "ours"): "edge run",
    ("moving", "edge", "PyPI's"): "edge run, PyPI's wheels",
    ("moving", "small", "PyPI's"): "ffmpeg scales, lean loop",
    ("moving", "naive", "PyPI's"): "ffmpeg, naive loop",
    ("still", "edge", "ours"): "still film: edge run",
    ("still", "gate", "ours"): "still film: edge run, motion gate",
    ("still", "small", "PyPI's"): "still film: ffmpeg, lean loop",
}
Names = dict[tuple[str, ...], str]


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar. name: of what; value: its length; text: the value in words."""

    name: str
    value: float
    text: str
    ours: bool


def panels(record: Record) -> list[tuple[str, list[Bar]]]:
    """Return the headings and their bars; a row without figures has no bar."""
    found = {
        (table, *row.key): row.figures for table, rows in record.tables.items() for row in rows
    }

    def bars(names: Names, figure: str, factor: float, unit: str) -> list[Bar]:
        made = []
        for key, name in names.items():
            if (value := found.get(key, {}).get(figure)) is not None:
                shown = value * factor
                digits = {"ms": 2, "MB": 0}.get(unit, 1)
                ours = key[1] == "ours" or "edge" in key or "gate" in key
                made.append(Bar(name, shown, f"{shown:.{digits}f} {unit}", ours))
        return made

    loops: Names = {("loops", key, "memory", "1"): name for key, name in LOOPS.items()}
    films: Names = {("loops", key, "film", "1"): name for key, name in LOOPS.items()}
    runtimes: Names = {("runtimes", *key, "1"): name for key, name in RUNTIMES.items()}
    programs: Names = {("programs", *key): name for key, name in PROGRAMS.items()}
    counted: Names = {("emulated", key): name for key, name in LOOPS.items()}
    return [
        ("CPU time of a frame in memory, one thread", bars(loops, "cpu_ms", 1, "ms")),
        ("The same, read from a film", bars(films, "cpu_ms", 1, "ms")),
        ("CPU time of one invoke, one thread", bars(runtimes, "cpu_ms", 1, "ms")),
        ("Whole programs at 15 frames a second: CPU, of one core",
         bars(programs, "cpu_share", 100, "%")),
        ("The same: resident memory of all their processes", bars(programs, "rss_mb", 1, "MB")),
        ("Emulated arm64: instructions a frame, one thread",
         bars(counted, "instructions", 1e-6, "M")),
    ]  # fmt: skip


def scale(bars: list[Bar]) -> float:
    """Return the value of a bar of full length; longer ones are cut."""
    values = sorted(bar.value for bar in bars)
    if len(values) > 1 and values[-1] > LONG * values[-2]:
        return 1.25 * values[-2]
    return values[-1]


def draw(record: Record) -> str:
    """Return the picture."""
    shapes: list[str] = []
    top = 0
    for title, bars in panels(record):
        if not bars:
            continue
        shapes.append(f'<text class="head" x="8" y="{top + HEAD - 10}">{escape(title)}</text>')
        top += HEAD
        full = scale(bars)
        for bar in bars:
            shapes += _bar(bar, full, top)
            top += LINE
    height = top + 10
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}"'
        f' width="{WIDTH}" height="{height}" role="img">\n'
        "<title>CPU time, memory and instructions side by side; docs/performance.md has them as"
        f" tables</title>\n<style>\n{STYLE}</style>\n" + "\n".join(shapes) + "\n</svg>\n"
    )


def _bar(bar: Bar, full: float, top: int) -> list[str]:
    length = max(1.0, BARS * min(1.0, bar.value / full))
    kind = "bar ours" if bar.ours else "bar"
    base = top + LINE - 6
    shapes = [
        f'<text x="{LABELS - 8}" y="{base}" text-anchor="end">{escape(bar.name)}</text>',
        f'<rect class="{kind}" x="{LABELS}" y="{top + 3}" width="{length:.1f}" height="14"/>',
        f'<text x="{LABELS + length + 6:.1f}" y="{base}">{escape(bar.text)}</text>',
    ]
    if bar.value > full:
        middle = LABELS + BARS * 0.9
        shapes.append(f'<path class="cut" d="M{middle - 4} {top + 19}l8 -18"/>')
    return shapes
