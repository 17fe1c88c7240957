"""The network that all are measured with, and an interpreter of it from any TFLite package.

Knows only the standard library and the runtime: a script that uses it has no more memory for it.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[2]
FOLDER: Final = ROOT / "models" / "catdog"
MODEL: Final = FOLDER / "model.tflite"


def interpreter(package: str, threads: int) -> Any:
    """Return an interpreter of the shipped model; threads 0: one for each core."""
    module = importlib.import_module(f"{package}.interpreter")
    threads = threads or len(os.sched_getaffinity(0))
    made = module.Interpreter(model_path=str(MODEL), num_threads=threads)
    made.allocate_tensors()
    return made


def labels() -> list[str]:
    """Return the labels, from the text file beside the model."""
    return (FOLDER / "labels.txt").read_text().split()
