"""`make runtime-tools`: the native programs run, here and emulated; in `make test-runtime`."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

from deploy.runtime.emulated import QEMU, make_root
from deploy.runtime.peers import EMULATED
from deploy.runtime.pins import ARCHES
from tests.conftest import MODELS, ROOT

pytestmark = pytest.mark.emulated

SHIPPED = ROOT / "models" / "catdog" / "model.tflite"
COLORS = ("red", "green", "blue")


def run(arch: str, program: str, *arguments: str) -> str:
    """Return what a program says, run for ``arch``: natively, or under qemu-user."""
    path = ROOT / "build" / "dist" / f"tools-{arch}" / program
    if not path.exists():
        pytest.skip(f"LEFT OUT: no {program}; `make runtime-tools ARCH={arch}` makes it")
    command = [str(path), *arguments]
    if arch != "amd64":
        root = make_root(EMULATED, "bookworm", arch).root
        cpu = "cortex-a72" if arch == "arm64" else "max"
        command = [QEMU[arch], "-cpu", cpu, "-L", str(root), *command]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    output = done.stdout + done.stderr
    assert done.returncode == 0, output[-2000:]
    return output


@pytest.mark.parametrize("arch", ARCHES)
def test_the_benchmark_runs_the_shipped_model(arch: str) -> None:
    """With XNNPACK on the whole graph, on two threads; it gives the time of an inference."""
    output = run(
        arch,
        "benchmark_model",
        *(f"--graph={SHIPPED}", "--num_threads=2", "--num_runs=2", "--warmup_runs=1"),
        *("--min_secs=0", "--warmup_min_secs=0", "--use_xnnpack=true"),
    )
    assert "Explicitly applied XNNPACK delegate" in output
    average = re.search(r"Inference \(avg\): (\S+)", output)
    assert average is not None
    assert float(average[1]) > 0


@pytest.mark.parametrize("arch", ARCHES)
def test_label_image_names_colors(arch: str, tmp_path: Path) -> None:
    """A picture of one colour, and the test's own network for colours."""
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(COLORS) + "\n")
    for channel, color in enumerate(COLORS):
        picture = np.zeros((48, 64, 3), np.uint8)
        picture[..., 2 - channel] = 255  # OpenCV writes BGR
        file = tmp_path / f"{color}.bmp"
        assert cv2.imwrite(str(file), picture)
        model = str(MODELS / "uint8.tflite")
        output = run(
            arch, "label_image", "-m", model, "-i", str(file), "-l", str(labels), "-t", "1"
        )
        best = re.search(r"^INFO: ([\d.]+): (\d+) (\w+)", output, re.M)
        assert best is not None, output
        assert best[3] == color
