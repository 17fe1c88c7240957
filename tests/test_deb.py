"""The Debian package: its content, its errors, and that it has the same bytes twice.

Tests of a built package need two wheels in build/dist, and say LEFT OUT without them: `make runtime
ARCH=amd64` and `make opencv ARCH=amd64` make them.
"""

from __future__ import annotations

import inspect
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.opencv import recipe
from deploy.package import build, carried, manual, opencv
from deploy.runtime.pins import ARCHES, VERSION, BuildError, sha256, sources
from edge import __version__, errors
from edge.cli import arguments
from tests.conftest import ROOT, tracked

DEBIAN = ROOT / "deploy" / "debian"
UNIT = "/usr/lib/systemd/system/edge-camera.service"
HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"
SUITE = next((suite for suite, (its, _) in build.SUITES.items() if its == HERE), "bookworm")
"""This machine's, whose Python can then run what was packed."""
PYTHON, END = build.SUITES[SUITE]


def make(*arguments: str, folder: Path = ROOT, **more: str) -> subprocess.CompletedProcess[str]:
    """Run the recipe's program as make does, on Debian's own Python."""
    return subprocess.run(
        ["/usr/bin/python3", "-m", "deploy.package.build", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, **more},
    )


def needs() -> list[Path]:
    """Return the wheels for this machine; skip where a package cannot be made."""
    try:
        wheels = [carried.runtime("amd64", PYTHON, build.DIST)]
        wheels += filter(None, [opencv.wheel("", "amd64", PYTHON, build.DIST, build.DIST)])
    except BuildError as exc:
        pytest.skip(f"LEFT OUT: {exc}")
    if lacking := build.missing("amd64"):
        pytest.skip(f"LEFT OUT: apt-get install {' '.join(lacking.values())}")
    return wheels


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--arch", "riscv64"), "unsupported ARCH: expected arm64 or armhf or amd64, got riscv64"),
        (("--suite", "sid"), "unsupported SUITE: expected bookworm or trixie, got sid"),
    ],
)
def test_unsupported_arguments_are_one_line(arguments: tuple[str, ...], said: str) -> None:
    """With the exit status of wrong arguments."""
    done = make(*arguments)
    assert (done.returncode, done.stderr) == (64, f"package: {said}\n")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("none.whl", "no such wheel"),
        (
            "tflite_runtime-2.14.0-cp313-cp313-manylinux_2_34_x86_64.whl",
            "a wheel for another Python: expected cp311, got cp313",
        ),
        (
            "ai_edge_litert-2.3.0-cp311-cp311-manylinux_2_27_aarch64.whl",
            "a wheel for another architecture: expected x86_64, got manylinux_2_27_aarch64",
        ),
        ("numpy-2.3.0-cp311-cp311-manylinux_2_27_x86_64.whl", "not a wheel of TensorFlow Lite"),
        ("cut-short.whl", "not a wheel of TensorFlow Lite"),
    ],
)
def test_a_wheel_that_does_not_fit_is_one_line(name: str, said: str, tmp_path: Path) -> None:
    """Before a tool is missed or anything is fetched."""
    wheel = tmp_path / name
    if name == "cut-short.whl":
        wheel.write_bytes(b"PK\3\4")
    elif name != "none.whl":
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr("x", b"")
    done = make("--arch=amd64", "--suite=bookworm", f"--runtime={wheel}", PATH="/nowhere")
    assert done.returncode == 65
    assert done.stderr.startswith(f"package: {wheel}: {said}")
    assert done.stderr.count("\n") == 1


def test_pypi_has_no_runtime_for_32_bits() -> None:
    """The line says where one comes from."""
    done = make("--arch=armhf", "--suite=trixie", "--runtime=pypi", PATH="/nowhere")
    assert done.returncode == 69
    assert done.stderr.startswith(
        "package: PyPI has no TensorFlow Lite for armhf; on Debian 12: `make runtime ARCH=armhf"
    )


def test_deb_takes_no_wheel_by_itself() -> None:
    """Only one that WHEEL= names."""
    command = ["make", "--dry-run", "deb", "ARCH=arm64"]
    plain = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    given = subprocess.run(
        [*command, "WHEEL=a.whl"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert "--runtime" not in plain
    assert '"--runtime=$WHEEL"' in given


def test_a_missing_runtime_names_the_verb_that_makes_it(tmp_path: Path) -> None:
    """`make deb` itself never starts that long build."""
    with pytest.raises(BuildError, match=r"run `make runtime ARCH=armhf PY=3\.13` first") as caught:
        carried.runtime("armhf", "3.13", tmp_path)
    assert caught.value.status == 69


def test_pypi_out_of_reach_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing is left behind."""
    for name, value in (
        ("INDEX_URL", "http://127.0.0.1:9/"),
        ("EXTRA_INDEX_URL", ""),
        ("RETRIES", "1"),
    ):
        monkeypatch.setenv(f"PIP_{name}", value)
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    with pytest.raises(BuildError, match="PyPI cannot be reached; is the network up") as one:
        carried.from_pypi("arm64", "3.13", tmp_path)
    assert one.value.status == 69
    assert not list(tmp_path.rglob("*.whl"))


def test_missing_tools_are_named_with_their_packages() -> None:
    """32 bits need a compiler too."""
    nothing: Callable[[str], str | None] = lambda _: None  # noqa: E731
    assert (
        build.missing("arm64", nothing)["aarch64-linux-gnu-strip"] == "binutils-aarch64-linux-gnu"
    )
    assert "aarch64-linux-gnu-gcc" not in build.missing("arm64", nothing)
    assert build.missing("armhf", nothing)["arm-linux-gnueabihf-gcc"] == "gcc-arm-linux-gnueabihf"
    assert make(PATH="/nowhere").stderr.startswith("package: a tool is missing: got aarch64-linux")


def test_setup_installs_every_tool() -> None:
    """For every architecture, and for `make install` those of this one."""

    def packages(kind: str) -> set[str]:
        command = [str(ROOT / "deploy" / "setup.sh"), "--list", kind]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return set(done.stdout.split())

    for arch in ARCHES:
        assert set(build.missing(arch, lambda _: None).values()) <= packages("package")
    own = build.missing("amd64", lambda _: None, lint=False).values()
    assert set(own) - {"binutils-x86-64-linux-gnu"} <= packages("install")  # of binutils there


def test_the_manual_has_every_command_option_and_exit_status() -> None:
    """And every key of the config, for the file is in it as it stands."""
    pages = manual.pages(0)
    page = pages["edge.1"].replace("\\-", "-")
    for name, parser in manual.subparsers(arguments.parser()).items():
        section = page.split(f".SS edge {name}\n")[1].split(".S")[0]
        for action in parser._actions:
            assert action.dest == "help" or all(o in section for o in action.option_strings)
        assert arguments.EXAMPLES[name] in section
    kinds = [one for _, one in inspect.getmembers(errors, inspect.isclass)]
    statuses = {one.exit_status for one in kinds if issubclass(one, errors.EdgeError)}
    section = page.split(".SH EXIT STATUS")[1].split(".SH")[0]
    assert {str(status) for status in statuses | {0, 2}} <= set(
        re.findall(r"^\.B (\d+)$", section, re.M)
    )
    keys = re.findall(r"^(\w+) = ", (ROOT / "deploy" / "edge.toml").read_text(), re.M)
    assert set(keys) <= set(re.findall(r"^(\w+) = ", pages["edge.toml.5"], re.M))


def test_man_finds_nothing_wrong(tmp_path: Path) -> None:
    """man itself renders both pages without a warning."""
    for name, text in manual.pages(0).items():
        (tmp_path / name).write_text(text)
        command = ["man", "--warnings", "-l", str(tmp_path / name)]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            env={"MANWIDTH": "80", "PATH": os.environ["PATH"]},
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert "NAME" in done.stdout


COMPLETE = """
source "$1"; shift
words=("$@")
function=$(complete -p edge | sed 's/.*-F \\([^ ]*\\) .*/\\1/')
COMP_WORDS=("${words[@]}"); COMP_CWORD=$((${#words[@]} - 1))
"$function" edge "${words[-1]}" "${words[-2]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("ru",), {"run"}),
        (("run", "--so"), {"--source"}),
        (("bench", "--na"), {"--naive"}),
        (("run", "--config", "pyproj"), {"pyproject.toml"}),
    ],
)
def test_bash_completes(words: tuple[str, ...], offered: set[str], tmp_path: Path) -> None:
    """Commands, options and files, in a bash of its own."""
    script = tmp_path / "edge"
    made = subprocess.run(
        ["/usr/bin/python3", "-m", "deploy.package.completion", "bash"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    script.write_text(made.stdout)
    done = subprocess.run(
        ["bash", "-c", COMPLETE, "bash", str(script), "edge", *words],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert set(done.stdout.split()) == offered


def test_every_included_package_has_its_licence() -> None:
    """Every source of the runtime by its name, every package of the lock; every licence's words."""
    text = (DEBIAN / "copyright").read_text()
    recipes = (sources(arch) for arch in ARCHES)
    more = (sources(arch, recipe.HERE / "sources.toml") for arch in ARCHES)
    linked = {one.name for pinned in (*recipes, *more) for one in pinned if one.texts}
    locked = set(re.findall(r"^([a-z-]+)==", carried.LOCK.read_text(), re.M))
    for name in linked | locked:
        assert re.search(rf"\b{name}\b", text), name
    alone = re.findall(r"^License: (\S+)\n ", text, re.M)
    for named in re.findall(r"^License: (.+)$", text, re.M):
        assert set(re.split(r" and | or ", named)) <= set(alone)


def test_the_package_pins_what_is_tested() -> None:
    """The versions that it carries are those of the development environment."""
    pins = re.findall(r"^\S+==\S+", carried.LOCK.read_text(), re.M)
    tested = re.findall(r"^\S+==\S+", (ROOT / "deploy" / "lock" / "dev.txt").read_text(), re.M)
    assert pins
    assert set(pins) <= set(tested)


def clone(folder: Path, wheels: list[Path]) -> Path:
    """Copy what git knows of this repository, the wheels and what PyPI gave into ``folder``."""
    shipped = ("deploy/", "docs/", "edge/", "models/", "README.md", "CHANGELOG.md", "LICENSE")
    for name in tracked():
        if name.startswith(shipped) and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    (folder / "build" / "dist").mkdir(parents=True)
    for wheel in wheels:
        shutil.copy(wheel, folder / "build" / "dist")
    fetched = carried.from_pypi("amd64", PYTHON, ROOT / "build" / "package")[0].parent
    shutil.copytree(fetched, folder / "build" / "package" / fetched.name)
    return folder


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The same sources packed twice: in folders of different depth, under different umasks."""
    wheels = needs()
    made: list[Path] = []
    for name, umask in (("a", 0o022), ("b/deeper/down", 0o077)):
        folder = clone(tmp_path_factory.mktemp("made") / name, wheels)
        before = os.umask(umask)
        try:
            done = make(
                "--arch", "amd64", "--suite", SUITE, folder=folder, SOURCE_DATE_EPOCH="1700000000"
            )
        finally:
            os.umask(before)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "E:" not in done.stdout
        made += (folder / "build" / "dist").glob("edge-camera_*.deb")
    return made


def test_the_same_sources_give_the_same_bytes(packages: list[Path]) -> None:
    """Wherever, whenever and under whatever umask."""
    first, second = packages
    assert first.name == f"edge-camera_{__version__}~{END}_amd64.deb"
    assert sha256(first) == sha256(second)


def listing(package: Path) -> dict[str, str]:
    """Return every file of the package, and who may do what with it."""
    command = ["dpkg-deb", "--contents", str(package)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    fields = [line.split(maxsplit=5) for line in lines]
    return {one[5].removeprefix("."): f"{one[0]} {one[1]}" for one in fields}


def test_every_file_lies_in_a_place_of_its_own(packages: list[Path]) -> None:
    """The system's Python is not changed; everything is owned by root and writable by root only."""
    files = listing(packages[0])
    outside = {
        name
        for name in files
        if not name.endswith("/")
        and not name.startswith(("/usr/lib/edge-camera/", "/usr/share/doc/edge-camera/", UNIT))
    }
    assert outside == {
        "/etc/edge-camera/edge.toml",
        "/usr/bin/edge",
        "/usr/share/bash-completion/completions/edge",
        "/usr/share/lintian/overrides/edge-camera",
        "/usr/share/man/man1/edge.1.gz",
        "/usr/share/man/man5/edge.toml.5.gz",
        "/usr/lib/systemd/catalog/edge-camera.catalog",
        "/usr/lib/sysusers.d/edge-camera.conf",
        "/usr/share/python3/runtime.d/edge-camera.rtupdate",
        "/usr/share/zsh/vendor-completions/_edge",
    }
    assert UNIT in files
    private = {name.split("/")[4] for name in files if name.startswith("/usr/lib/edge-camera/")}
    assert {"edge", "msgspec", "paho", "tflite_runtime", recipe.MODULE, recipe.PLUGIN} <= private
    models = {name.split("/")[5] for name in files if name.endswith("/model.toml")}
    assert models == {model.name for model in build.models()}
    assert not [name for name in files if "__pycache__" in name]
    for mode in files.values():
        assert re.fullmatch(r"[-d]rw[-x]r-[-x]r-[-x] root/root", mode)


def test_config_and_scripts(packages: list[Path]) -> None:
    """The config is kept, files are compiled, the service is restarted once, after the upgrade."""

    def control(name: str) -> str:
        command = ["dpkg-deb", "--info", str(packages[0]), name]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert control("conffiles") == "/etc/edge-camera/edge.toml\n"
    installing, leaving = control("postinst"), control("prerm")
    assert "py3compile" in installing
    assert installing.index("systemd-sysusers") < installing.index("deb-systemd-invoke")
    assert installing.index("py3compile") < installing.index("_dh_action=restart")
    assert "_dh_action=restart" in installing
    assert leaving.count("deb-systemd-invoke stop") == 1
    assert '[ "$1" = remove ]' in leaving.split("deb-systemd-invoke stop")[0]
    assert "/etc/edge-camera" in control("postrm")


def test_the_launcher_finds_the_private_folder_alone(packages: list[Path], tmp_path: Path) -> None:
    """Not PYTHONPATH, the user's site or /usr/local; versions are found too."""
    if PYTHON != HERE:
        pytest.skip(f"LEFT OUT: packed for Python {PYTHON}, this is {HERE}")
    subprocess.run(["dpkg-deb", "--extract", str(packages[0]), str(tmp_path)], check=True)
    private = tmp_path / "usr" / "lib" / "edge-camera"
    launcher = (tmp_path / "usr" / "bin" / "edge").read_text()
    assert launcher.startswith("#!/usr/bin/python3 -IB\n")
    way = launcher.replace('"/usr/lib/edge-camera"', repr(str(private))).split("from edge")[0]
    query = """
import importlib.metadata, importlib.util, edge.contract, msgspec, paho.mqtt.client
print(importlib.util.find_spec("cv2").origin)
for module in (edge, msgspec, paho.mqtt):
    print(module.__path__[0])
print(*(importlib.metadata.version(name) for name in ("msgspec", "paho-mqtt", "tflite-runtime")))
print([path for path in sys.path if path.startswith("/usr/local/")])
"""
    done = subprocess.run(
        ["/usr/bin/python3", "-IB", "-c", way + query],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
    )
    assert (done.returncode, done.stderr) == (0, "")
    seeing, *where, versions, local = done.stdout.splitlines()
    assert seeing == str(private / recipe.MODULE)
    assert where == [str(private / name) for name in ("edge", "msgspec", "paho/mqtt")]
    assert VERSION in versions.split()
    assert local == "[]"


def test_the_package_depends_on_what_its_opencv_binds(packages: list[Path]) -> None:
    """Libraries by this suite's names, and not on Debian's OpenCV, which brings 400."""
    command = ["dpkg-deb", "--field", str(packages[0]), "Depends"]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    depends = {one.split()[0] for one in output.split(",")}
    assert {"libjpeg62-turbo", "libwebp7", "libwebpmux3", "libwebpdemux2", "zlib1g"} <= depends
    assert ("libssl3" if SUITE == "bookworm" else "libssl3t64") in depends
    assert "python3-opencv" not in depends
