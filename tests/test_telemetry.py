"""Rings, percentiles, and a machine's health read from a tree of files."""

from __future__ import annotations

import mmap
import shutil
from pathlib import Path

import msgspec
import numpy as np

from edge.frames import FrameTimes
from edge.telemetry import HealthReader, LatencyRing, Stages, process_age_s

PI = Path(__file__).parent / "machines" / "pi4"


def test_percentiles_are_of_the_newest_only() -> None:
    """A full ring has forgotten the oldest; percentiles are durations that happened."""
    ring = LatencyRing(100)
    for value in range(1000):
        ring.add(value)
    assert ring.percentiles_ns() == (950, 990, 999, 999)
    ring.clear()
    ring.add(7)
    assert ring.percentiles_ns() == (7, 7, 7, 7)


def test_stages_add_up() -> None:
    """Pipeline is preprocess to publish; overhead is that less invoke."""
    stages = Stages()
    assert stages.percentiles_ms() == {}
    stages.add(9_000_000, FrameTimes(1_000_000, 5_000_000, 200_000), 300_000, 8_000_000)
    p50 = {name: times.p50 for name, times in stages.percentiles_ms().items()}
    assert p50 == {
        "capture_wait": 9.0,
        "preprocess": 1.0,
        "invoke": 5.0,
        "smooth": 0.2,
        "publish": 0.3,
        "pipeline": 6.5,
        "overhead": 1.5,
        "latency": 8.0,
    }


def test_a_pi_tells_everything() -> None:
    """Every figure comes from the file it should."""
    health = HealthReader(proc=PI / "proc", sys=PI / "sys").read()
    assert health.rss_bytes == 71_204 * 1024
    assert health.pss_bytes == 58_112 * 1024
    assert health.temperature_celsius == 61.835
    assert health.cpu_clock_hz == 1_500_000_000
    assert health.throttled_bits == 0x50005
    assert health.load_1m == 1.25
    assert health.cpu_share is None


def test_cpu_share_is_since_the_last_reading(tmp_path: Path) -> None:
    """Ticks used between two readings, over the time between them."""
    shutil.copytree(PI / "proc", tmp_path / "proc")
    reader = HealthReader(proc=tmp_path / "proc", sys=PI / "sys")
    reader.read()
    stat = tmp_path / "proc" / "self" / "stat"
    stat.write_text(stat.read_text().replace(" 4000 500 ", " 9000 500 "))
    share = reader.read().cpu_share
    assert share is not None
    assert share > 1.0


def test_what_a_machine_lacks_is_none(tmp_path: Path) -> None:
    """Never 0: nobody must believe that it is freezing."""
    health = HealthReader(proc=tmp_path, sys=tmp_path).read()
    assert set(msgspec.structs.astuple(health)) == {None}


def test_this_process_is_measured() -> None:
    """On the real machine: memory is plausible, and memory used is memory seen."""
    reader = HealthReader()
    before = reader.read().rss_bytes
    held = mmap.mmap(-1, 32 * 1024 * 1024)  # not malloc's, which may have as much to spare
    np.frombuffer(held, np.uint8)[:] = 1
    after = reader.read().rss_bytes
    assert before is not None
    assert after is not None
    assert after - before > 24 * 1024 * 1024
    assert held[-1] == 1
    assert 0 < process_age_s() < 86_400
