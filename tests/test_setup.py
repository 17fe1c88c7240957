"""Set-up: what each verb installs, and an environment that is made, extended and repaired."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tomllib
import zipfile
from pathlib import Path

import pytest

from deploy.lock import weigh
from tests.conftest import ROOT

LOCK = ROOT / "deploy" / "lock"
PYTHON = {"python3", "python3-pip-whl", "python3-systemd", ".venv:run"}
RUN = PYTHON | {"mosquitto", "mosquitto-clients"}
SDCARD = {"python3", "bmap-tools", "zstd", "xz-utils", "gzip", "util-linux", "e2fsprogs"}
SDCARD |= {"openssh-client"}
TRAIN = {"python3", "python3-pip-whl", "libegl1", "libgles2", ".venv-train:train"}
VERBS = {
    "bench": PYTHON,
    "run": RUN | {".venv:web"},
    "load": RUN,
    "bench-peers": RUN
    | {".venv:dev", "build/peers:peers", "ffmpeg", "qemu-user", "llvm", "gcc", "libc6-dev"}
    | {"libjpeg62-turbo", "libwebp7", "libwebpmux3", "libwebpdemux2"},
    "lock": PYTHON | {".venv:dev"},
    "lint": PYTHON | {".venv:dev", "shellcheck"},
    "flash": SDCARD,
    "deploy": SDCARD,
    "credentials": PYTHON | {"openssl"},
    "model": TRAIN,
    "onnx": TRAIN,
}
"""Verb -> everything that it installs."""
LISTING = f"""#!/bin/sh
exec '{ROOT}/deploy/setup.sh' --list "$@" >> '{{record}}'
"""


def shell(*words: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run a program without the variables of a make or a pip that runs these tests."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))
    }
    environment |= {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull}
    return subprocess.run(
        words, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_installs_what_it_needs_and_no_more(verb: str, tmp_path: Path) -> None:
    """Debian's packages and locks, as the real set-up lists them."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "deploy").mkdir()
    setup = tmp_path / "deploy" / "setup.sh"
    setup.write_text(LISTING.replace("{record}", str(tmp_path / "record")))
    setup.chmod(0o755)
    shell("make", verb, cwd=tmp_path)  # which then fails: nothing else is there
    assert set((tmp_path / "record").read_text().split()) == VERBS[verb]


def test_make_test_installs_what_make_run_does() -> None:
    """One environment serves both, so tests run with what a user runs with."""
    done = shell("deploy/setup.sh", "--list", "test", "train", "runtime")
    assert set(done.stdout.split()) >= VERBS["run"] | VERBS["lint"] | SDCARD


def test_make_run_without_the_page_installs_nothing_for_it(tmp_path: Path) -> None:
    """WEB=0."""
    done = shell("make", "-n", "run", "WEB=0")
    assert "deploy/setup.sh run\n" in done.stdout.replace("run \n", "run\n")
    assert "--web" not in done.stdout


def test_an_unknown_set_is_refused() -> None:
    """With those that there are."""
    done = shell("deploy/setup.sh", "all")
    assert done.returncode == 64
    assert done.stderr.startswith("setup: unknown set 'all'; expected one of python run cluster")
    names = done.stderr.split("one of ")[1].split()
    assert shell("deploy/setup.sh", "--list", *names).returncode == 0
    assert len(names) == (ROOT / "deploy" / "sets.sh").read_text().count(";;\n") - 1


def pins(lock: str) -> dict[str, str]:
    """Return each requirement of a lock with its checksums."""
    text = (LOCK / f"{lock}.txt").read_text()
    found = re.findall(r"^([\w.-]+==[^\s;]+)[^\\]*((?:\\\n +--hash=\S+ *)+)", text, re.MULTILINE)
    return {requirement: "".join(sorted(hashes.split())) for requirement, hashes in found}


def test_the_run_time_is_a_part_of_what_is_tested() -> None:
    """The same versions with the same checksums: tests are added to it, and replace nothing."""
    assert pins("run").items() < pins("dev").items()


def test_the_page_adds_to_the_run_time_and_replaces_nothing() -> None:
    """Where both locks have a package, it is the same version."""
    run, web = pins("run"), pins("web")
    names = {requirement.partition("==")[0] for requirement in run}
    assert {one for one in web if one.partition("==")[0] in names} <= run.keys()


def test_the_run_time_has_what_the_project_declares() -> None:
    """And no development tool."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {requirement.partition("==")[0] for requirement in pins("run")}
    declared = {re.split(r"[<>=;]", text)[0] for text in project["dependencies"]}
    tools = {re.split(r"[<>=;]", text)[0] for text in project["optional-dependencies"]["dev"]}
    assert declared <= names
    assert not tools & names


def test_sizes_are_those_of_the_locks() -> None:
    """A lock that changed is weighed again: make lock."""
    rows = [line.split() for line in weigh.SIZES.read_text().splitlines() if line[0] != "#"]
    assert {(row[0], row[2]) for row in rows} >= {
        (lock, machine) for lock in ("run", "dev", "web", "fleet") for machine in weigh.MACHINES
    }
    for lock, start, *_ in rows:
        assert hashlib.sha256((LOCK / f"{lock}.txt").read_bytes()).hexdigest().startswith(start)


def test_a_wheel_is_weighed_in_blocks(tmp_path: Path) -> None:
    """One byte takes a block of 4 KiB, one more than a block two; an empty file none."""
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as archive:
        for name, size in (("one", 1), ("two", 4097), ("none", 0)):
            archive.writestr(name, b"x" * size)
    assert weigh.unpacked(tmp_path / "a.whl") == 3 * 4096


def wheel(folder: Path, name: str) -> str:
    """Build a wheel of one module; return the line that pins it."""
    path = folder / f"{name}-1-py3-none-any.whl"
    about = f"{name}-1.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.py", "")
        archive.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", "")
    return f"{name}==1 --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


class Clone:
    """A folder with the real set-up, and locks that pin wheels made here."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lock = folder / "deploy" / "lock"
        self.lock.mkdir(parents=True)
        for name in ("setup.sh", "sets.sh"):
            shutil.copy(ROOT / "deploy" / name, folder / "deploy")
        shutil.copytree(
            ROOT / "edge", folder / "edge", ignore=shutil.ignore_patterns("__pycache__")
        )
        shutil.copy(weigh.SIZES, self.lock)
        run = f"--find-links .\n{wheel(self.lock, 'at_run_time')}"
        (self.lock / "run.txt").write_text(run)
        (self.lock / "dev.txt").write_text(run + wheel(self.lock, "a_tool"))

    def setup(self, which: str) -> str:
        """Set up; return what it printed about it."""
        done = shell("deploy/setup.sh", which, cwd=self.folder)
        assert done.returncode == 0, done.stderr
        return done.stderr

    def modules(self) -> set[str]:
        """Return the modules that can be imported in the environment."""
        code = "import importlib.util as u; print(*(n for n in {} if u.find_spec(n)))"
        names = ("at_run_time", "a_tool", "edge", "systemd.daemon", "pip")
        done = shell(self.folder / ".venv/bin/python", "-c", code.format(names), cwd=Path("/"))
        return set(done.stdout.split())


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    """A clone on a machine that has Debian's packages: nothing is installed by these tests."""
    packages = sorted(PYTHON - {".venv:run"})
    done = shell("dpkg-query", "-W", "-f", "${db:Status-Status}\n", *packages)
    assert set(done.stdout.split()) == {"installed"}, "hint: make setup"
    return Clone(tmp_path / "it's here")


def test_an_environment_is_made_and_extended_and_repaired(clone: Clone) -> None:
    """Once; the tools are added to it; what was interrupted or is out of date is made again."""
    run_time = {"at_run_time", "edge", "systemd.daemon"}
    assert "setup: adding Python's deploy/lock/run.txt to .venv (15 packages, " in clone.setup(
        "python"
    )
    assert clone.modules() == run_time
    assert clone.setup("python") == ""

    marker = clone.folder / ".venv" / "marker"
    marker.touch()
    assert "lock/run.txt" not in clone.setup("dev")
    assert clone.modules() == run_time | {"a_tool"}
    assert marker.exists()
    assert clone.setup("dev") == clone.setup("python") == ""

    (clone.folder / ".venv" / ".complete").unlink()  # as while pip is at work
    clone.setup("python")
    assert clone.modules() == run_time
    assert not marker.exists()

    marker.touch()
    with (clone.lock / "dev.txt").open("a") as lock:
        lock.write("# not installed here\n")
    assert clone.setup("python") == ""
    with (clone.lock / "run.txt").open("a") as lock:
        lock.write("# changed\n")
    assert "lock/run.txt" in clone.setup("python")
    assert not marker.exists()


def test_an_environment_behind_a_link_is_left_alone(clone: Clone, tmp_path: Path) -> None:
    """It may be another clone's; one line says so, and nothing in it changes."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "file").write_text("kept")
    (clone.folder / ".venv").symlink_to(other)
    done = shell("deploy/setup.sh", "python", cwd=clone.folder)
    assert done.returncode == 73
    assert done.stderr.startswith("setup: .venv is a link, left as it is")
    assert [file.name for file in other.iterdir()] == ["file"]


def test_the_command_of_an_environment_works(clone: Clone) -> None:
    """From anywhere; the name of its folder has a quote and a space."""
    clone.setup("python")
    done = shell(clone.folder / ".venv/bin/edge", "--version", cwd=Path("/"))
    assert f'File "{clone.folder}/edge/__main__.py"' in done.stderr  # msgspec is missing there
    assert "No module named" in done.stderr
