"""`make opencv`: its recipe, its wheel, and that it decodes and resizes as PyPI's OpenCV does.

Tests of the built one need it in build/opencv, and say LEFT OUT without it: `make opencv
ARCH=amd64` makes it.
"""

from __future__ import annotations

import ast
import json
import os
import platform
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from deploy.opencv import build, pack, recipe
from deploy.package import opencv
from deploy.runtime import elf, fetch, wheel
from deploy.runtime.pins import ARCHES, BuildError, Source, sources
from tests.conftest import ROOT

ARCH = {machine: arch for arch, machine in ARCHES.items()}.get(platform.machine(), "")
BUILT = ROOT / "build" / "opencv" / ARCH
WORK = recipe.Folders(Path(), BUILT.parent / "work" / ARCH / "root", Path())
FILMS = sorted((ROOT / "tests" / "cases" / "media").iterdir())
TINY = "deploy/opencv/patches/opencv-few-functions.patch"
FOR_PEOPLE = {"getBuildInformation", "getNumThreads", "imread", "imwrite"}
"""Functions that are bound, though the daemon calls none of them: for support, for tests."""


def make(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run the recipe's program as make does, on Debian's own Python."""
    return subprocess.run(
        ["/usr/bin/python3", "-m", "deploy.opencv.build", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, **more},
    )


def test_unsupported_arguments_are_one_line() -> None:
    """With the exit status of wrong arguments, before anything is fetched."""
    done = make("--arch", "riscv64")
    assert (done.returncode, done.stdout) == (64, "")
    assert done.stderr == (
        "opencv: unsupported ARCH: expected arm64 or armhf or amd64, got riscv64\n"
    )


def test_missing_tools_are_named_with_their_packages() -> None:
    """The assembler only where FFmpeg has code for it; set-up installs them all."""
    done = make("--arch", "amd64", PATH="/nowhere")
    assert done.returncode == 69
    assert done.stderr.startswith("opencv: a tool is missing: got bzip2, cmake, ")
    assert "nasm" in done.stderr
    assert "nasm" not in make("--arch", "arm64", PATH="/nowhere").stderr
    command = [str(ROOT / "deploy" / "setup.sh"), "--list", "opencv"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    for arch in ("amd64", "arm64"):
        lacking = re.search(r"apt-get install (.+)", make("--arch", arch, PATH="/nowhere").stderr)
        assert lacking is not None
        assert set(lacking[1].split()) - {"dpkg", "tar"} <= set(listed)


def test_everything_that_the_daemon_calls_is_bound() -> None:
    """The names in the patch are those in edge/, and a few for people."""
    patch = (ROOT / TINY).read_text()
    names = re.search(r'\+KEPT = set\("""\n(.+?)""".split', patch, re.S)
    assert names is not None
    kept = set(names[1].replace("+", " ").split())
    called = set()
    for path in (ROOT / "edge").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                called |= {node.attr} if node.value.id == "cv2" else set()
    functions = {
        name for name in called if not re.fullmatch(r"[A-Z]+_\w+|error|VideoCapture|__\w+__", name)
    }
    functions -= {name for name in functions if re.fullmatch(r"CV_\w+", name)}
    assert functions <= kept
    assert kept - functions == FOR_PEOPLE


def test_every_architecture_has_every_source() -> None:
    """The same packages, each with a checksum; headers come from the runtime's list."""
    names = {arch: [source.name for source in build.pinned(arch)] for arch in ARCHES}
    assert names["arm64"] == names["armhf"] == names["amd64"]
    assert {"opencv", "ffmpeg", "libjpeg62-turbo-dev", "python3.11", "numpy"} <= set(names["arm64"])
    for arch in ARCHES:
        for source in build.pinned(arch):
            assert re.fullmatch(r"[0-9a-f]{64}", source.sha256)
            assert not source.is_package or source.file.endswith(("_all.deb", f"_{arch}.deb"))


def test_a_source_on_pypi_comes_from_a_folder_too(tmp_path: Path) -> None:
    """As any other, with SOURCES=DIR: then the network is not used."""
    source = Source("x", "1", "pypi/x-1.tar.gz", "0" * 64, "MIT", ())
    assert source.is_on_pypi
    with pytest.raises(BuildError, match=r"a source is missing: expected a file x-1\.tar\.gz"):
        fetch.fetch([source], tmp_path / "a", tmp_path)
    (tmp_path / "x-1.tar.gz").write_bytes(b"other")
    with pytest.raises(BuildError, match="not the pinned file"):
        fetch.fetch([source], tmp_path / "a", tmp_path)
    assert list((tmp_path / "a").iterdir()) == []


def test_pypi_out_of_reach_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing is left behind."""
    closed = "http://127.0.0.1:9/"
    for name, value in {"INDEX_URL": closed, "EXTRA_INDEX_URL": "", "RETRIES": "0"}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    source = Source("x", "1", "pypi/x-1.tar.gz", "0" * 64, "MIT", ())
    with pytest.raises(BuildError, match="PyPI lacks a pinned file, or cannot be reached") as one:
        fetch.fetch([source], tmp_path)
    assert one.value.status == 69
    assert str(one.value).count("\n") == 0
    assert list(tmp_path.iterdir()) == []


def needs(monkeypatch: pytest.MonkeyPatch, **changes: object) -> None:
    """Have both objects need this."""
    usual = {"libraries": ("libc.so.6", "libjpeg.so.62"), "versions": frozenset({"GLIBC_2.36"})}
    found = elf.Needs(**{**usual, "undefined": frozenset({"PyList_New"}), **changes})  # type: ignore[arg-type]
    monkeypatch.setattr(elf, "needs", lambda _: found)


def test_what_debian_12_has_may_be_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is raised."""
    needs(monkeypatch)
    pack.check(Path("x"), Path("y"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"libraries": ("libtiff.so.6",)}, "needs foreign libraries: got libtiff.so.6"),
        ({"undefined": frozenset({"_ZTIN2cv1XE"})}, "lacks symbols: got _ZTIN2cv1XE"),
        ({"versions": frozenset({"GLIBC_2.38"})}, "needs a newer glibc than Debian 12's"),
    ],
)
def test_what_debian_12_lacks_is_refused(
    changes: dict[str, object], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before it is packed: on the device it would not load."""
    needs(monkeypatch, **changes)
    with pytest.raises(BuildError, match=said):
        pack.check(Path("x"), Path("y"))


def test_each_suite_has_its_names_of_libraries() -> None:
    """Debian 13 renamed those whose times grew; what glibc and GCC have is not ours to name."""
    bound = ("libc.so.6", "libpng16.so.16", "libjpeg.so.62")
    assert pack.depends(bound, "bookworm") == ["libjpeg62-turbo", "libpng16-16", "libssl3"]
    assert pack.depends(bound, "trixie") == ["libjpeg62-turbo", "libpng16-16t64", "libssl3t64"]
    assert pack.depends(("libc.so.6",), "trixie") == []


def test_the_wheel_has_licences_and_materials(tmp_path: Path) -> None:
    """Its content is the same twice; OpenCV is PyPI's archive, FFmpeg Debian's."""
    for name in (recipe.MODULE, recipe.PLUGIN, "LICENSE.md"):
        (tmp_path / name).write_bytes(name.encode())
    pinned = build.pinned("arm64")
    licences = {one.name: [tmp_path / "LICENSE.md"] for one in pinned if one.texts}
    written = []
    for folder in ("a", "b"):
        files = pack.files(tmp_path, pinned, licences, "arm64", 10**9)
        path = tmp_path / folder / pack.file_name("arm64")
        written.append(wheel.archive(path, files, 10**9).read_bytes())
    assert written[0] == written[1]
    assert pack.file_name("arm64").endswith("-cp311-abi3-linux_aarch64.whl")
    with zipfile.ZipFile(tmp_path / "a" / pack.file_name("arm64")) as archive:
        names = archive.namelist()
        info = f"{pack.NAME}-{pack.VERSION}.dist-info"
        bill = json.loads(archive.read(f"{info}/sboms/{pack.NAME}.cdx.json"))
    assert {recipe.MODULE, recipe.PLUGIN} <= set(names)
    assert f"{info}/licenses/ffmpeg/LICENSE.md" in names
    materials = {one["purl"]: one["scope"] for one in bill["components"]}
    assert materials["pkg:pypi/opencv-python-headless@4.14.0.94"] == "required"
    assert materials["pkg:deb/debian/ffmpeg@5.1.9?arch=source"] == "required"
    assert materials["pkg:deb/debian/libssl-dev@3.0.20-1~deb12u2?arch=arm64"] == "excluded"


@pytest.mark.parametrize(
    ("choice", "arch", "said"),
    [
        ("pypi", "armhf", "PyPI has no OpenCV for armhf; run `make opencv ARCH=armhf`"),
        ("/none.whl", "arm64", "no such OpenCV: expected debian, pypi or a wheel edge_opencv-"),
        (__file__, "arm64", "not this version's OpenCV: expected edge_opencv-"),
    ],
)
def test_an_opencv_that_does_not_fit_is_one_line(choice: str, arch: str, said: str) -> None:
    """Before anything is fetched or packed."""
    with pytest.raises(BuildError, match=re.escape(said)):
        opencv.check(choice, arch)


def test_a_missing_opencv_names_the_verb_that_makes_it(tmp_path: Path) -> None:
    """And what takes its place at once; with Debian's, the package carries none."""
    with pytest.raises(BuildError, match=r"run `make opencv ARCH=armhf` first.*OPENCV=debian"):
        opencv.wheel("", "armhf", "3.11", tmp_path, tmp_path)
    with pytest.raises(BuildError, match="OPENCV=pypi or OPENCV=debian"):
        opencv.wheel("", "arm64", "3.11", tmp_path, tmp_path)
    assert opencv.wheel("debian", "arm64", "3.11", tmp_path, tmp_path) is None
    opencv.check("debian", "armhf")


def checksums(folder: str) -> dict[str, str]:
    """Return what ``pixels.py`` says with the OpenCV in ``folder``, or with PyPI's."""
    done = subprocess.run(
        [
            *(sys.executable, "-I", str(ROOT / "tests" / "pixels.py")),
            *(str(ROOT / "tests" / "corpus" / "pictures"), str(ROOT / "deploy/demo/clip.mp4")),
            *map(str, FILMS),
        ],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "CV2": folder},
    )
    return dict(json.loads(done.stdout))


def built() -> Path:
    """Return the folder with the built module; skip where there is none."""
    if not (BUILT / recipe.MODULE).is_file():
        pytest.skip(f"LEFT OUT: no {BUILT / recipe.MODULE}; `make opencv ARCH={ARCH}` makes it")
    return BUILT


def test_every_pixel_is_as_with_pypis_opencv() -> None:
    """Films, pictures of every kind, resizes, conversions, codecs: 240 checksums, all the same."""
    ours, theirs = checksums(str(built())), checksums("")
    assert len(theirs) > 200
    assert not theirs["clip.mp4"].startswith("0 ")
    different = {name for name in theirs if ours.get(name) != theirs[name]}
    if ARCH != "amd64":  # PyPI's has KleidiCV's linear resize there, and FFmpeg 8's BGR
        different -= {name for name in theirs if " " not in name or name.endswith("LINEAR")}
    assert different == set()


def test_the_built_objects_need_what_the_package_depends_on() -> None:
    """No other libraries; no folder of the machine that built them is in them."""
    folder = built()
    pack.check(folder, recipe.libraries(ARCH, WORK))
    for name in (recipe.MODULE, recipe.PLUGIN):
        content = (folder / name).read_bytes()
        assert str(ROOT).encode() not in content
    assert not {"libssl.so.3", "libcrypto.so.3"} & set(elf.needs(folder / recipe.PLUGIN).libraries)
    linked = {source.name for source in sources(ARCH, recipe.HERE / "sources.toml") if source.texts}
    assert linked == {"opencv", "ffmpeg"}
