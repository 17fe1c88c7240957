"""Rooms know only what lies below them, and each library has the one importer it should have.

Leaves know leaves. Parts know leaves, never each other. Composers know parts and leaves.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

LEAVES = {
    "errors": set(),
    "frames": {"numpy"},
    "messages": set(),
    "files": set(),
    "folders": set(),
    "fingerprint": {"cv2", "numpy"},
    "text": set(),
    "toml": {"msgspec"},
    "geometry": {"cv2", "numpy"},
    "background": set(),
    "baseline": {"cv2", "numpy"},
    "lean": set(),
    "fence": set(),
    "owner": set(),
    "local": {"msgspec"},
    "cases": {"msgspec", "numpy"},
    "pictures": {"cv2", "numpy"},
    "config": {"msgspec"},
    "contract": {"msgspec"},
}
"""Records, Protocols and pure functions that every room may use -> third-party packages."""

PARTS = {
    "camera": {"cv2", "msgspec", "numpy", "picamera2", "libcamera"},
    "model": {"cv2", "msgspec", "numpy"},
    "pipeline": {"cv2", "numpy"},
    "gates": {"cv2", "numpy"},
    "observers": {"cv2", "numpy"},
    "mqtt": {"paho"},
    "telemetry": {"numpy"},
    "learn": {"numpy"},
}
"""Each does one thing; they never import each other -> third-party packages."""

WEB = ("fastapi", "starlette", "uvicorn", "prometheus_client")
COMPOSERS = {
    "daemon": ({*PARTS}, {"msgspec", "systemd"}),
    "doctor": ({"camera", "model", "mqtt", "telemetry"}, {"msgspec", "rich"}),
    "web": (
        {"learn", "model"},
        {"cv2", "fastapi", "starlette", "uvicorn", "prometheus_client", "msgspec", "numpy"},
    ),
    "cli": ({*PARTS, "daemon", "doctor", "web"}, {"cv2", "msgspec", "numpy", "rich"}),
    "__main__": ({"daemon", "cli"}, set()),
    "__init__": (set(), set()),
}
"""What puts parts together -> (rooms below it, third-party packages)."""

SOLE = {"paho": {"mqtt"}, "picamera2": {"camera"}, "libcamera": {"camera"}, "systemd": {"daemon"}}
SOLE |= {package: {"web"} for package in WEB}
"""Third-party package -> the one room that imports it."""

MODULES = sorted((ROOT / "edge").rglob("*.py"))


def room(path: Path) -> str:
    """Return the room a file belongs to, or the name of a file at the top."""
    parts = path.relative_to(ROOT / "edge").parts
    return parts[0] if len(parts) > 1 else path.stem


def imports(path: Path) -> set[str]:
    """Return what a file imports: our rooms by their name, others by their package."""
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


def allowed(name: str) -> set[str]:
    """Return what a file of the room ``name`` may import; ``edge`` alone is its version."""
    rooms, packages = COMPOSERS.get(name) or (set(), LEAVES.get(name) or PARTS.get(name) or set())
    return {*LEAVES, *rooms, *packages, name, "edge"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_room_knows_only_what_lies_below_it(path: Path) -> None:
    """A new arrow between rooms must be argued for here."""
    name = room(path)
    assert imports(path) <= allowed(name), f"{name} imports {imports(path) - allowed(name)}"


def test_every_room_has_one_layer() -> None:
    """Neither a missing nor a forgotten row."""
    rows = [*LEAVES, *PARTS, *COMPOSERS]
    assert sorted(rows) == sorted({room(path) for path in MODULES})


@pytest.mark.parametrize(("package", "rooms"), SOLE.items())
def test_a_library_has_one_importer(package: str, rooms: set[str]) -> None:
    """What it raises is translated there, and nowhere else."""
    assert {room(path) for path in MODULES if package in imports(path)} <= rooms


def test_only_the_model_room_names_a_tflite_package() -> None:
    """It imports them by name, which the table above cannot see."""
    naming = {
        str(path.relative_to(ROOT / "edge"))
        for path in MODULES
        if re.search(r"[\"'](tflite_runtime|ai_edge_litert|tensorflow)", path.read_text())
    }
    assert naming == {"model/runtime.py"}


def test_starting_a_command_imports_nothing_heavy() -> None:
    """--help and schema must not wait for OpenCV, numpy or TFLite."""
    code = (
        "import sys, edge.cli.arguments, edge.cli.commands, edge.daemon.logs, edge.config;"
        "print(*sys.modules)"
    )
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
