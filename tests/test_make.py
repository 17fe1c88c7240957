"""Variables of make reach the programs unchanged, whatever characters they hold."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

NASTY = 'it\'s "x" `touch pwned` $(touch pwned) ; touch pwned & # \\ %d \u00e9\ntwo'
RECORDER = f"""#!{sys.executable}
import json, os, sys
with open("{{record}}", "a") as file:
    print(json.dumps(sys.argv[1:]), file=file)
"""
VERBS = {
    "run": ("SOURCE", "MODEL", "BROKER", "CONFIG"),
    "flash": ("DEVICE", "IMAGE", "YES", "FORCE", "SERIAL", "CSV", "AGAIN", "COUNT"),
    "credentials": ("CSV", "CONFIG", "AUTH", "CA", "REPLACE", "REVOKE"),
    "deploy": ("HOST", "DEB", "SSH", "TIMEOUT"),
    "install": ("WHEEL", "OPENCV"),
    "runtime": ("ARCH", "PY", "SOURCES"),
    "runtime-tools": ("ARCH", "SOURCES"),
    "opencv": ("ARCH", "SOURCES"),
    "deb": ("ARCH", "SUITE", "WHEEL", "OPENCV"),
    "image": ("SUITE", "CONFIG", "DEB"),
    "provision": ("BASE", "CONFIG", "DEB"),
    "onnx": ("MODEL", "OUT"),
    "model": ("DATA", "EXTRA", "WEIGHTS", "TEACHER"),
    "test-system": ("SUITES", "ARCHS"),
}
"""Verb -> the variables that are one word of its program's."""
BARE = ("install", "test-system")
"""Verbs whose program takes them without an option's name."""
PROGRAMS = (
    *(".venv/bin/python", ".venv-train/bin/python", "python3"),
    *("deploy/install.sh", "tests/system/run.sh"),
)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with the Makefile, in which every program only records its arguments."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in PROGRAMS:
        program = tmp_path / name
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(RECORDER.replace("{record}", str(tmp_path / "record")))
        program.chmod(0o755)
    (tmp_path / "deploy" / "setup.sh").write_text("#!/bin/sh\n")
    (tmp_path / "deploy" / "setup.sh").chmod(0o755)
    return tmp_path


def make(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run make, without the variables of a make that runs these tests."""
    environment = {name: value for name, value in os.environ.items() if "MAKE" not in name}
    return subprocess.run(
        ["make", *words], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def recorded(place: Path) -> list[list[str]]:
    """Return the arguments of each program, in the order they ran."""
    return [json.loads(line) for line in (place / "record").read_text().splitlines()]


@pytest.mark.parametrize("verb", VERBS)
def test_each_variable_is_one_unchanged_word(verb: str, place: Path) -> None:
    """Quotes, backticks, dollars, semicolons, newlines: the shell executes none of it."""
    given = [f"{name}={NASTY.replace('$', '$$')}" for name in VERBS[verb]]
    done = make(place, verb, f"PYTHON={place}/python3", *given)
    assert done.returncode == 0, done.stderr
    program = recorded(place)[-1]
    values = [word if verb in BARE else word.partition("=")[2] for word in program]
    assert values.count(NASTY) == len(VERBS[verb]), program
    assert not list(place.glob("**/pwned"))


@pytest.mark.parametrize("verb", VERBS)
def test_an_unset_variable_is_no_word(verb: str, place: Path) -> None:
    """Nor an empty option that a program would read as a value."""
    done = make(place, verb, f"PYTHON={place}/python3", *(["DEB=x"] if verb == "image" else []))
    assert done.returncode == 0, done.stderr
    empty = [word for word in recorded(place)[-1] if word.endswith("=")]
    kept = {"run": 4, "flash": 5, "deploy": 2, "provision": 1, "credentials": 1}
    assert len(empty) == kept.get(verb, 0)


def test_a_suite_is_not_executed(place: Path) -> None:
    """Even where make itself branches on it."""
    done = make(place, "image", f"PYTHON={place}/python3", "SUITE=trixie; touch pwned")
    assert done.returncode == 0, done.stderr
    assert recorded(place) == [["-m", "deploy.image.build", "--suite=trixie; touch pwned"]]
    assert not list(place.glob("**/pwned"))


def test_the_real_programs_print_it_unchanged(place: Path) -> None:
    """The real `make flash`, and `make run` with a set-up that does nothing."""
    done = make(ROOT, "flash", "DEVICE=it's $$HOME")
    assert "flash: it's $HOME: No such file" in done.stderr
    (place / ".venv" / "bin" / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (place / "deploy" / "run.py").symlink_to(ROOT / "deploy" / "run.py")
    done = make(place, "run", "SOURCE=it's `no` such.mp4")
    assert "edge: it's `no` such.mp4: no such source" in done.stderr
