"""The runtime's recipe: pins, fetching, tags, wheel, bill of materials; and the wheels built.

Tests of built wheels look in build/dist and say LEFT OUT where there is none: `make runtime` makes
them, `make test-runtime` tests more of them.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import uuid
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from deploy.runtime import build, elf, kernels, sbom, wheel
from deploy.runtime.fetch import fetch, mirror
from deploy.runtime.pins import ARCHES, PYTHONS, VERSION, BuildError, Source, sources
from deploy.runtime.unpack import texts, unpack
from tests.conftest import ROOT

DIST = ROOT / "build" / "dist"
RECIPE = ROOT / "deploy" / "runtime"


def pinned(name: str, content: bytes, **more: Any) -> Source:
    """Return a source whose file holds ``content``."""
    digest = hashlib.sha256(content).hexdigest()
    return Source(name, "1.0", f"x/{name}_1.0.orig.tar.gz", digest, "MIT", ("LICENSE",), **more)


def make(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the recipe's program as make does."""
    return subprocess.run(
        [sys.executable, "-m", "deploy.runtime.build", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, **environment},
    )


def test_every_source_is_pinned_once_for_each_architecture() -> None:
    """By sha256 and below pool/main; licences of all, texts of what is linked in."""
    for arch in ARCHES:
        pinned_sources = sources(arch)
        assert len({source.name for source in pinned_sources}) == len(pinned_sources)
        for source in pinned_sources:
            assert re.fullmatch(r"[0-9a-f]{64}", source.sha256)
            assert re.fullmatch(r"[0-9a-z]+/[a-z0-9.-]+/\S+\.(deb|tar\.\w+)", source.path)
            assert source.license
            assert source.texts or source.name.startswith("python")
        assert {f"python{python}" for python in PYTHONS} < {
            source.name for source in pinned_sources
        }


def test_no_host_is_named_in_the_recipe() -> None:
    """The mirror is what apt is configured with."""
    for path in RECIPE.rglob("*"):
        if path.is_file() and path.suffix not in {".pyc"}:
            assert not re.search(r"\w+://[\w.]*\.\w", path.read_text()), path


@pytest.mark.parametrize(
    ("targets", "site"),
    [
        ("http://a.example/debian Debian Debian\n", "http://a.example/debian"),
        (
            "http://s.example/security Debian Debian-Security\n"
            "http://m.example/mirror/ Debian Debian\n",
            "http://m.example/mirror",
        ),
    ],
)
def test_the_mirror_is_apts(targets: str, site: str) -> None:
    """The first Debian archive proper; its security archive has no pool of sources."""
    assert mirror(targets) == site


def test_without_a_mirror_the_error_says_what_to_do() -> None:
    """Another distribution, or lists that were never fetched."""
    with pytest.raises(BuildError, match=r"apt-get update.*SOURCES=DIR") as error:
        mirror("http://u.example/ubuntu Ubuntu Ubuntu\n")
    assert error.value.status == 69


def test_a_given_folder_is_used_instead_of_the_network(tmp_path: Path) -> None:
    """What is right is copied; what is right already stays as it is."""
    given, folder = tmp_path / "given", tmp_path / "folder"
    given.mkdir()
    source = pinned("good", b"content")
    (given / source.file).write_bytes(b"content")
    fetch([source], folder, given)
    assert (folder / source.file).read_bytes() == b"content"
    (given / source.file).unlink()
    fetch([source], folder, given)


def test_another_file_than_the_pinned_one_is_refused(tmp_path: Path) -> None:
    """Expected and got are named, and nothing is kept."""
    given, folder = tmp_path / "given", tmp_path / "folder"
    given.mkdir()
    source = pinned("bad", b"content")
    (given / source.file).write_bytes(b"changed")
    with pytest.raises(BuildError) as error:
        fetch([source], folder, given)
    assert error.value.status == 65
    got = hashlib.sha256(b"changed").hexdigest()
    assert f"expected sha256 {source.sha256}, got {got}" in str(error.value)
    assert not list(folder.glob("*.gz"))


def test_a_changed_file_is_fetched_again(tmp_path: Path) -> None:
    """An interrupted copy, say."""
    given, folder = tmp_path / "given", tmp_path / "folder"
    given.mkdir()
    folder.mkdir()
    source = pinned("cut", b"content")
    (given / source.file).write_bytes(b"content")
    (folder / source.file).write_bytes(b"cont")
    fetch([source], folder, given)
    assert (folder / source.file).read_bytes() == b"content"


def test_a_given_folder_must_have_every_file(tmp_path: Path) -> None:
    """The file that is missing is named."""
    with pytest.raises(
        BuildError, match=r"a source is missing.*a file none_1.0.orig.tar.gz"
    ) as error:
        fetch([pinned("none", b"")], tmp_path / "folder", tmp_path)
    assert error.value.status == 69


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--arch", "mips"), "unsupported ARCH: expected arm64 or armhf or amd64, got mips"),
        (("--python", "3.12"), "unsupported PY: expected 3.11 or 3.13, got 3.12"),
    ],
)
def test_what_is_not_supported_is_one_line(arguments: tuple[str, ...], line: str) -> None:
    """And status 64, before anything is fetched."""
    done = make(*arguments)
    assert (done.returncode, done.stdout) == (64, "")
    assert done.stderr == f"runtime: {line}\n"


def test_make_passes_the_line_and_the_choice_on() -> None:
    """`make runtime ARCH=mips` names what is supported."""
    done = subprocess.run(
        ["make", "runtime", "ARCH=mips"], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 2
    assert "runtime: unsupported ARCH: expected arm64 or armhf or amd64, got mips" in done.stderr


def test_a_missing_tool_names_its_package(tmp_path: Path) -> None:
    """With nothing in PATH, every tool is missing, the cross compiler first of all."""
    done = make("--tools", "--arch", "armhf", PATH=str(tmp_path))
    assert done.returncode == 69
    assert done.stderr.count("\n") == 1
    assert "arm-linux-gnueabihf-g++" in done.stderr
    assert "apt-get install binutils bzip2 cmake dpkg g++-arm-linux-gnueabihf" in done.stderr
    assert build.missing("arm64", lambda name: f"/usr/bin/{name}") == {}


def test_a_newer_system_than_debian_12_is_refused() -> None:
    """A wheel binds the glibc that it was compiled against; Debian 12 has 2.36."""
    with pytest.raises(BuildError) as error:
        build.check_glibc("glibc 2.41")
    assert error.value.status == 69
    assert str(error.value) == (
        "this system is too new to build wheels that Debian 12 can load: expected glibc 2.36 or"
        " older, got glibc 2.41; build in a machine, container or chroot with Debian 12"
    )
    for older in ("glibc 2.36", "glibc 2.31"):
        build.check_glibc(older)


def test_this_system_is_checked_before_anything_else() -> None:
    """`--check` builds nothing; `make image` calls it first where build/dist has no wheel."""
    name = os.confstr("CS_GNU_LIBC_VERSION") or ""
    old = tuple(map(int, name.split()[1].split("."))) <= elf.NEWEST_GLIBC
    done = make("--check")
    assert (done.returncode, done.stdout) == (0 if old else 69, "")
    command = ["make", "--no-print-directory", "--dry-run", "image"]
    lines = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout.splitlines()
    assert lines[0].endswith("-m deploy.runtime.build --check")


def test_unpacking_continues_where_it_was(tmp_path: Path) -> None:
    """A folder with its stamp is not changed; one without is unpacked again."""
    tree = tmp_path / "lib-1.0"
    tree.mkdir()
    (tree / "LICENSE").write_text("words")
    archive = shutil.make_archive(str(tmp_path / "lib_1.0.orig"), "gztar", tmp_path, "lib-1.0")
    source = pinned("lib", Path(archive).read_bytes())
    folder, root = tmp_path / "sources", tmp_path / "root"
    (root / "usr/lib/x86_64-linux-gnu/python3-numpy/numpy/_core/include").mkdir(parents=True)
    (root / ".unpacked").write_text(hashlib.sha256(b"").hexdigest())
    for _ in range(2):
        unpack([source], tmp_path, folder, root, "amd64")
        (folder / "lib" / "mine").touch()
    assert (folder / "lib" / "mine").exists()
    (folder / "lib" / ".unpacked").unlink()
    unpack([source], tmp_path, folder, root, "amd64")
    assert not (folder / "lib" / "mine").exists()
    assert texts([source], folder, root)["lib"][0].read_text() == "words"
    (folder / "lib" / "LICENSE").unlink()
    with pytest.raises(BuildError, match="licence file is missing"):
        texts([source], folder, root)


def needs(*versions: str, library: str = "libc.so.6", lacks: tuple[str, ...] = ()) -> elf.Needs:
    """Return what a library might need."""
    return elf.Needs((library,), frozenset(versions), frozenset(lacks))


@pytest.mark.parametrize(
    ("versions", "tag"),
    [
        (("GLIBC_2.17", "GLIBC_2.4"), "manylinux_2_17_aarch64"),
        (("GLIBC_2.34", "GLIBCXX_3.4.9"), "manylinux_2_34_aarch64"),
        (("GLIBC_2.17", "GLIBCXX_3.4.30"), "manylinux_2_35_aarch64"),
        (("GLIBC_2.36", "GLIBCXX_3.4.29"), "manylinux_2_36_aarch64"),
    ],
)
def test_the_tag_follows_from_the_symbols(versions: tuple[str, ...], tag: str) -> None:
    """The newest of glibc's and libstdc++'s versions decides."""
    assert elf.platform_tag(needs(*versions), "arm64") == tag


@pytest.mark.parametrize(
    ("needs", "message"),
    [
        (needs("GLIBC_2.38"), "expected 2.36 or older, got 2.38; build on Debian 12"),
        (needs("GLIBC_2.17", "GLIBCXX_3.4.32"), "libstdc"),
        (needs("GLIBC_2.17", library="libcpuinfo.so.0"), "foreign libraries: got libcpuinfo.so.0"),
        (needs("GLIBC_2.17", lacks=("Py_Initialize", "ruy_pack")), "lacks symbols: got ruy_pack"),
    ],
)
def test_an_extension_that_would_not_run_is_refused(needs: elf.Needs, message: str) -> None:
    """Too new a system, a library that is not linked in, an undefined symbol."""
    with pytest.raises(BuildError, match=re.escape(message)):
        elf.platform_tag(needs, "arm64")


def test_readelf_is_parsed() -> None:
    """Python's own extension modules, which are there in every Python."""
    import _ctypes

    needs = elf.needs(Path(_ctypes.__file__))
    assert "libc.so.6" in needs.libraries
    assert needs.newest("GLIBC") >= (2, 4)
    assert "PyObject_GetAttr" in needs.undefined or "PyErr_SetString" in needs.undefined
    assert needs.newest("GLIBCXX") == ()


LINK_MAP = """
 .text.unused   0x0000000000000000       0x40 liba.a(unused.c.o)
 .text.xnn_qs8_vadd_minmax_ukernel__neon
                0x0000000000001000       0x20 libxnn.a(vadd.c.o)
 .text          0x0000000000001020      0x100 libxnn.a(qs8-qc8w-igemm-4x16-minmax-fp32-asm.S.o)
 .rodata        0x0000000000009000      0x100 libxnn.a(tables.c.o)
"""


def test_the_linkers_map_names_kernels() -> None:
    """C by its function, assembly by its file; what was dropped or is no code is not there."""
    assert kernels.functions(LINK_MAP) == [
        (0x1000, 0x20, "xnn_qs8_vadd_minmax_ukernel__neon"),
        (0x1020, 0x100, "qs8-qc8w-igemm-4x16-minmax-fp32-asm"),
    ]
    names = [name for _, _, name in kernels.functions(LINK_MAP)]
    assert [kernels.layers(name) for name in names] == [
        "sums of two branches",
        "other convolutions",
    ]
    assert [kernels.short(name) for name in names] == [
        "qs8_vadd__neon",
        "qs8-qc8w-igemm-4x16-asm",
    ]


def files_of(path: Path) -> Mapping[str, bytes]:
    """Return what a wheel holds."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def check_wheel(path: Path) -> None:
    """Assert what every wheel must have: RECORD true, licences, tags, bill of materials."""
    files = files_of(path)
    info = f"tflite_runtime-{VERSION}.dist-info"
    rows = list(csv.reader(files[f"{info}/RECORD"].decode().splitlines()))
    assert {row[0] for row in rows} == set(files)
    for name, digest, size in rows:
        if digest:
            assert digest == wheel._digest(files[name])
            assert int(size) == len(files[name])
    assert f"Tag: {path.stem.split('-', 2)[2]}\n" in files[f"{info}/WHEEL"].decode()
    metadata = files[f"{info}/METADATA"].decode()
    assert f"\nVersion: {VERSION}\n" in metadata
    named = set(re.findall(r"^License-File: (.+)$", metadata, re.M))
    there = {name.split("/licenses/")[1] for name in files if "/licenses/" in name}
    assert named == there
    bill = json.loads(files[f"{info}/sboms/tflite_runtime.cdx.json"])
    linked = {one["name"] for one in bill["components"] if one["scope"] == "required"}
    assert linked == {name.split("/")[0] for name in there} - {"LICENSE"}
    (library,) = bill["metadata"]["component"]["components"]
    assert library["hashes"][0]["content"] == hashlib.sha256(files[library["name"]]).hexdigest()


def test_a_wheel_is_whole_and_the_same_every_time(tmp_path: Path) -> None:
    """Two linked sources, one that is only built with; written twice, byte for byte equal."""
    materials = [pinned("one", b"1"), pinned("two", b"2"), pinned("built_with", b"3")]
    licences = {"one": [("LICENSE", b"a")], "two": [("COPYING", b"b")], "built_with": []}
    tag = "manylinux_2_35_aarch64"
    written = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        files = wheel.contents(
            "3.11",
            tag,
            b"\x7fELF",
            {"interpreter.py": b"pass"},
            materials,
            licences,
            "arm64",
            10**9,
        )
        written.append(wheel.write(folder, "3.11", tag, files, 10**9))
    assert written[0].name == f"tflite_runtime-{VERSION}-cp311-cp311-{tag}.whl"
    assert written[0].read_bytes() == written[1].read_bytes()
    check_wheel(written[0])


def test_the_bill_of_materials_names_everything() -> None:
    """Package URLs of tarball and package, checksums, and one serial number for one content."""
    package = Source("ruy", "1", "r/ruy/libruy-dev_1-2_arm64.deb", "ab" * 32, "Apache-2.0", ())
    made = [
        json.loads(
            sbom.cyclonedx(
                "tflite-runtime", "1+e", [(pinned("a", b""), True), (package, used)], {}, "x", 0
            )
        )
        for used in (True, False, True)
    ]
    bill = made[0]
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.5")
    assert [one["purl"] for one in bill["components"]] == [
        "pkg:deb/debian/a@1.0?arch=source",
        "pkg:deb/debian/libruy-dev@1-2?arch=arm64",
    ]
    assert bill["metadata"]["timestamp"] == "1970-01-01T00:00:00Z"
    assert uuid.UUID(bill["serialNumber"].removeprefix("urn:uuid:"))
    assert made[0] == made[2]
    assert made[0]["serialNumber"] != made[1]["serialNumber"]


def test_built_wheels_are_whole(tmp_path: Path) -> None:
    """The tag matches the extension, which contains no path of this machine."""
    paths = sorted(DIST.glob(f"tflite_runtime-{VERSION}-*.whl"))
    if not paths:
        pytest.skip("LEFT OUT: no wheel in build/dist; `make runtime` makes them")
    for path in paths:
        check_wheel(path)
        with zipfile.ZipFile(path) as archive:
            library = Path(archive.extract(f"tflite_runtime/{wheel.EXTENSION}", tmp_path))
        arch = next(arch for arch, name in ARCHES.items() if path.stem.endswith(name))
        assert path.stem.endswith(elf.platform_tag(elf.needs(library), arch))
        assert str(ROOT).encode() not in library.read_bytes()
