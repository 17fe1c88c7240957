"""The parts never import each other, and each library has the one importer it should have."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LEAVES = {
    *("types", "modelcard", "messages", "errors", "toml", "payloads", "geometry"),
    *("files", "text"),
}
"""Shared by all; know nobody else."""

PARTS = {
    "types": {"numpy"},
    "modelcard": {"msgspec", "numpy"},
    "messages": set(),
    "errors": set(),
    "toml": {"msgspec"},
    "geometry": {"cv2", "numpy"},
    "files": set(),
    "text": set(),
    "recovery": set(),
    "config": {"msgspec"},
    "requests": {"msgspec"},
    "discovery": {"msgspec"},
    "snapshot": {"cv2", "numpy"},
    "card": set(),
    "camera": {"cv2", "numpy", "picamera2", "libcamera"},
    "preprocess": {"cv2", "numpy"},
    "classifier": {"numpy"},
    "smoothing": {"numpy"},
    "pipeline": {"numpy"},
    "telemetry": {"numpy"},
    "payloads": {"msgspec"},
    "wire": {"msgspec"},
    "mqtt": {"paho"},
    "spool": set(),
    "stderr": set(),
    "systemd": {"systemd"},
    "statusline": set(),
    "signals": set(),
    "proof": set(),
    "trial": set(),
}
"""Part -> third-party packages it may import; of ours, the leaves only."""

COMPOSERS = {
    "eventlog": {"recovery"},
    "attest": {"card", "classifier", "preprocess", "msgspec", "numpy"},
    "attempt": {"card", "classifier", "config", "proof", "trial", "edge", "msgspec"},
    "startup": {
        *("attempt", "attest", "camera", "card", "classifier", "config", "pipeline"),
        *("preprocess", "recovery", "smoothing"),
        *("msgspec", "numpy"),
    },
    "trial_child": {"startup", "config"},
    "reload": {"attempt", "config", "recovery", "startup", "msgspec"},
    "settings": {"config", "msgspec"},
    "reporter": {
        *("wire", "config", "mqtt", "systemd", "spool", "telemetry", "discovery", "snapshot"),
        *("recovery", "statusline", "eventlog", "edge"),
    },
    "control": {"reporter", "requests", "settings", "wire", "config", "mqtt", "edge", "msgspec"},
    "service": {
        *("startup", "wire", "config", "mqtt", "pipeline", "smoothing", "systemd", "attempt"),
        *("spool", "telemetry", "reporter", "control", "recovery", "reload", "signals", "msgspec"),
    },
    "bench": {
        *("startup", "wire", "config", "pipeline", "smoothing", "telemetry"),
        *("cv2", "msgspec", "numpy"),
    },
    "bench_source": {"startup", "config", "numpy"},
    "view": {"rich", "edge"},
    "watch": {"mqtt", "view", "rich", "edge"},
    "purge": {"mqtt", "discovery", "edge"},
    "doctor": {
        *("camera", "config", "mqtt", "recovery", "settings", "startup", "telemetry", "edge"),
        *("msgspec", "rich"),
    },
    "cli": {"edge"},
    "commands": {
        *(
            "cli",
            "config",
            "startup",
            "service",
            "bench",
            "bench_source",
            "watch",
            "purge",
            "doctor",
            "settings",
            "mqtt",
        ),
        *("numpy", "rich"),
    },
    "logs": {"stderr", "systemd"},
    "__main__": {"cli", "commands", "logs", "signals"},
    "__init__": set(),
}
"""What may know parts, and which; only these."""

MODULES = sorted((ROOT / "edge").rglob("*.py"))


def room(path: Path) -> str:
    """Return the part a file belongs to."""
    parts = path.relative_to(ROOT / "edge").parts
    return parts[0] if len(parts) > 1 else path.stem


def imports(path: Path) -> set[str]:
    """Return what a file imports: our parts by their name, others by their package."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "edge":
            for alias in node.names:
                own = any((ROOT / "edge" / n).exists() for n in (f"{alias.name}.py", alias.name))
                names.append(f"edge.{alias.name}" if own else "edge")
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [node.module or ""]
        for name in names:
            top, _, rest = name.partition(".")
            found.add(rest.split(".")[0] if top == "edge" and rest else top)
    return {name for name in found if name not in sys.stdlib_module_names}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_are_as_the_table_says(path: Path) -> None:
    """A new arrow between parts must be argued for here."""
    name = room(path)
    allowed = LEAVES | (PARTS[name] if name in PARTS else COMPOSERS[name]) | {name}
    assert imports(path) <= allowed, f"{name} imports {imports(path) - allowed}"


def test_the_table_names_what_there_is() -> None:
    """Neither a missing nor a forgotten row."""
    assert {room(path) for path in MODULES} == set(PARTS) | set(COMPOSERS)


def test_only_the_classifier_names_a_tflite_package() -> None:
    """It imports them by name, which the table above cannot see."""
    naming = {
        room(path)
        for path in MODULES
        if re.search(r"[\"'](tflite_runtime|ai_edge_litert|tensorflow)", path.read_text())
    }
    assert naming == {"classifier"}


def test_starting_a_command_imports_nothing_heavy() -> None:
    """--help and schema must not wait for OpenCV, numpy or TFLite."""
    code = "import sys, edge.cli, edge.commands, edge.logs; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    ).stdout.split()
    assert not {"cv2", "numpy", "rich", "paho", "ai_edge_litert", "tflite_runtime"} & set(loaded)


@pytest.mark.parametrize("folder", ["edge", "models", "deploy"])
def test_no_file_holds_two_ideas(folder: str) -> None:
    """About 200 lines a file; well above that it is two."""
    long = {
        str(path): len(path.read_text().splitlines())
        for path in (ROOT / folder).rglob("*.py")
        if len(path.read_text().splitlines()) > 260
    }
    assert not long
