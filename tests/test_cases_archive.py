"""Archives of cases: ours come back as they were, and a hostile one changes nothing."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge.cases import archive, intake
from edge.cases import sidecar as sidecars
from edge.cases.store import Store
from edge.errors import EdgeError
from tests import loops
from tests.case_files import fill, jpeg, member, sidecar, snapshot, tar
from tests.loops import tmpfs

CAP = 10_000_000


def take(folder: Path, file: Path, cap: int = CAP) -> tuple[int, int]:
    """Take an archive into ``folder``."""
    with file.open("rb") as opened, Store(folder, create=True) as store:
        return intake.take(store, opened, str(file), cap)


def test_an_archive_comes_back_as_it_was(tmp_path: Path) -> None:
    """And the second time changes nothing; the archive is its owner's alone."""
    fill(tmp_path / "a", 3, "open")
    fill(tmp_path / "a", 2, "tabby, tabby cat", first=3)
    fill(tmp_path / "a", 1, first=9)
    file = tmp_path / "a.tar"
    with Store(tmp_path / "a") as store:
        counts = archive.export(store, file, store.labels())
    assert counts == {"open": 3, "tabby, tabby cat": 2}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert take(tmp_path / "b", file) == (5, 0)
    mine = {path: content for path, content in snapshot(tmp_path / "a").items() if "sorted" in path}
    assert snapshot(tmp_path / "b") == mine
    assert take(tmp_path / "b", file) == (0, 5)
    assert snapshot(tmp_path / "b") == mine


def test_an_archive_unpacks_to_a_folder_for_each_class(tmp_path: Path) -> None:
    """By any tar, ready to be taught; the same cases give the same bytes."""
    fill(tmp_path / "cases", 2, "open")
    for name in ("a.tar", "b.tar"):
        with Store(tmp_path / "cases") as store:
            archive.export(store, tmp_path / name, ["open"])
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    (tmp_path / "out").mkdir()
    subprocess.run(["tar", "-xf", tmp_path / "a.tar", "-C", tmp_path / "out"], check=True)
    assert snapshot(tmp_path / "out").keys() == {
        f"open/c{number:06d}.{ending}" for number in (0, 1) for ending in ("jpg", "json")
    }


@pytest.mark.skipif(os.geteuid() != 0, reason="LEFT OUT: only root can give files away")
def test_an_archive_that_root_writes_belongs_to_who_is_at_home_there(tmp_path: Path) -> None:
    """`sudo edge cases export` at home, and then `tar -xf` without sudo."""
    fill(tmp_path / "cases", 1, "open")
    (tmp_path / "home").mkdir()
    os.chown(tmp_path / "home", 4242, 4343)
    with Store(tmp_path / "cases") as store:
        archive.export(store, tmp_path / "home" / "gate.tar", ["open"])
    status = (tmp_path / "home" / "gate.tar").stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (4242, 4343, 0o600)


def test_a_tar_made_by_hand_is_taken_too(tmp_path: Path) -> None:
    """`tar -C DIR -cf FILE .`, with pictures that have no side-car."""
    (tmp_path / "mine" / "open").mkdir(parents=True)
    (tmp_path / "mine" / "open" / "IMG_1.jpg").write_bytes(jpeg())
    subprocess.run(["tar", "-C", tmp_path / "mine", "-cf", tmp_path / "a.tar", "."], check=True)
    assert take(tmp_path / "cases", tmp_path / "a.tar") == (1, 0)
    with Store(tmp_path / "cases") as store:
        assert store.where("IMG_1") == "open"
        assert store.sidecar("IMG_1", "open") is None


def good(name: str = "a", label: str = "open") -> list[tuple[tarfile.TarInfo, bytes]]:
    """Return the members of a good case."""
    content = sidecars.encode(sidecar())
    return [member(f"{label}/{name}.jpg", jpeg()), member(f"{label}/{name}.json", content)]


def pax(**headers: str) -> Callable[[Path], Path]:
    """Return what writes an archive whose second member has these extended headers."""

    def write(path: Path) -> Path:
        with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as out:
            for info, content in [*good(), member("open/b.jpg", jpeg(1))]:
                if info.name == "open/b.jpg":
                    info.pax_headers = headers
                out.addfile(info, io.BytesIO(content))
        return path

    return write


def cut(at: float) -> Callable[[Path], Path]:
    """Return what writes an archive of which a share is left."""

    def write(path: Path) -> Path:
        tar(path, [*good(), *good("b")])
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content.rstrip(b"\0")) * at)])
        return path

    return write


def damaged(path: Path) -> Path:
    """Write an archive whose third header is garbage."""
    tar(path, [*good(), *good("b")])
    content = path.read_bytes()
    at = content.index(b"open/b.jpg")
    path.write_bytes(content[:at] + b"\xff" * 300 + content[at + 300 :])
    return path


def sparse_header(path: Path) -> Path:
    """Write an archive with an extended header of gigabytes, which its sparse file has."""
    tar(path, good())
    info = tarfile.TarInfo("././@PaxHeader")
    info.type, info.size = tarfile.XHDTYPE, 4 << 30
    end = path.stat().st_size
    with path.open("r+b") as out:
        out.truncate(len(path.read_bytes().rstrip(b"\0")) // 512 * 512 + 512)
        out.seek(0, os.SEEK_END)
        out.write(info.tobuf())
        out.truncate(out.tell() + (4 << 30))
    assert path.stat().st_blocks * 512 < end + 1_000_000
    return path


def members(*more: tuple[tarfile.TarInfo, bytes]) -> Callable[[Path], Path]:
    """Return what writes an archive of a good case and ``more``."""
    return lambda path: tar(path, [*good(), *more])


def kind(type: bytes, name: str = "open/b.jpg", **changes: Any) -> Callable[[Path], Path]:
    """Return what writes an archive with a member of another kind."""
    return members(member(name, type=type, **changes))


def garbage(content: bytes) -> Callable[[Path], Path]:
    """Return what writes these bytes."""

    def write(path: Path) -> Path:
        path.write_bytes(content)
        return path

    return write


CLASSES = [member(f"l{number}/", type=tarfile.DIRTYPE) for number in range(100)]
HOSTILE: dict[str, tuple[Callable[[Path], Path], str]] = {
    "up": (members(member("../up.jpg", jpeg())), "a folder that cannot be a class"),
    "up inside": (members(member("open/../../up.jpg", jpeg())), "no LABEL/NAME.jpg"),
    "absolute": (members(member("/etc/up.jpg", jpeg())), "no LABEL/NAME.jpg"),
    "absolute folder": (kind(tarfile.DIRTYPE, "/etc"), "cannot be a class"),
    "dots": (kind(tarfile.DIRTYPE, ".."), "cannot be a class"),
    "hidden": (members(member(".ssh/a.jpg", jpeg())), "cannot be a class"),
    "hidden case": (members(member("open/.a.jpg", jpeg())), "no LABEL/NAME.jpg"),
    "the unsorted": (members(member("unsorted/a.jpg", jpeg())), "cannot be a class"),
    "deep": (members(member("open/more/a.jpg", jpeg())), "no LABEL/NAME.jpg"),
    "bare": (members(member("a.jpg", jpeg())), "no LABEL/NAME.jpg"),
    "another file": (members(member("open/a.sh", b"#!")), "no LABEL/NAME.jpg"),
    "escape": (members(member("o\x1b[2Jp/a.jpg", jpeg())), "cannot be a class"),
    "newline": (members(member("open/a\nb.jpg", jpeg())), "no LABEL/NAME.jpg"),
    "not UTF-8": (members(member("o\udcffpen/a.jpg", jpeg())), "cannot be a class"),
    "long": (members(member(f"open/{'a' * 300}.jpg", jpeg())), "no LABEL/NAME.jpg"),
    "symlink": (kind(tarfile.SYMTYPE, linkname="/etc/passwd"), "a link, a device"),
    "folder link": (kind(tarfile.SYMTYPE, "shut", linkname="/etc"), "a link, a device"),
    "hard link": (kind(tarfile.LNKTYPE, linkname="open/a.jpg"), "a link, a device"),
    "device": (kind(tarfile.CHRTYPE, devmajor=1, devminor=3), "a link, a device"),
    "pipe": (kind(tarfile.FIFOTYPE), "a link, a device"),
    "sparse": (pax(**{"GNU.sparse.map": "0,1", "GNU.sparse.size": "99999999999"}), "a link, a"),
    "of no size": (members(member("open/b.jpg")), "expected 1 to"),
    "too large": (members(member("open/b.jpg", bytes(8_000_001))), "expected 1 to 8000000"),
    "negative": (pax(size="-512"), "archive"),
    "a size of words": (pax(size="many"), "archive"),
    "circle": (pax(size="-2560"), "archive"),
    "header bomb": (sparse_header, "expected at most"),
    "no picture": (members(member("open/b.jpg", b"x" * 99)), "no JPEG"),
    "a PNG": (members(member("open/b.jpg", b"\x89PNG\r\n\x1a\n" + b"x" * 99)), "no JPEG"),
    "no side-car": (members(good("b")[0], member("open/b.json", b"[")), "no side-car"),
    "alone": (members(good("b")[1]), "a side-car without its picture"),
    "twice": (members(good()[0]), "in it twice"),
    "in two classes": (members(*good("a", "shut")), "in it twice"),
    "many classes": (members(*CLASSES), "more than 100 classes"),
    "empty": (garbage(b""), "archive"),
    "zeros": (garbage(bytes(10_240)), "no cases in it"),
    "noise": (garbage(bytes(range(256)) * 40), "archive"),
    "compressed": (garbage(b"\x1f\x8b\x08" + bytes(999)), "archive"),
    "damaged": (damaged, "truncated or damaged"),
    **{f"cut at {at}": (cut(at), "archive|truncated") for at in (0.1, 0.3, 0.6, 0.76, 0.9, 1.0)},
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_archive_is_one_line_and_changes_nothing(kind: str, tmp_path: Path) -> None:
    """Neither in the folder nor beside it; memory stays small."""
    write, text = HOSTILE[kind]
    file = write(tmp_path / "hostile.tar")
    fill(tmp_path / "cases", 1, "kept", first=7)
    before = snapshot(tmp_path / "cases")
    tracemalloc.start()
    with pytest.raises(EdgeError, match=text) as caught:
        take(tmp_path / "cases", file)
    assert tracemalloc.get_traced_memory()[1] < 30_000_000
    tracemalloc.stop()
    line = str(caught.value)
    assert line.isprintable()
    assert line.startswith(f"{file}: ")
    assert snapshot(tmp_path / "cases") == before
    assert {path.name for path in tmp_path.iterdir()} == {"cases", "hostile.tar"}
    assert {path.name for path in (tmp_path / "cases").iterdir()} == {"sorted"}


def test_a_header_that_asks_for_gigabytes_gets_none(tmp_path: Path) -> None:
    """Where the cap would let so large an archive pass."""
    file = sparse_header(tmp_path / "a.tar")
    with pytest.raises(EdgeError, match=r"429496\d+ bytes more of a header"):
        take(tmp_path / "cases", file, 10**10)


def endless_map(path: Path) -> Path:
    """Write an archive with a sparse file whose map is megabytes of numbers."""
    content = b"9" * 9 + b"\n" + b"0\n" * 4_000_000
    headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "9"}
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as out:
        info, _ = member("open/a.jpg", content, pax_headers=headers)
        out.addfile(info, io.BytesIO(content))
    return path


def endless_extension(path: Path) -> Path:
    """Write an archive with a sparse file in GNU's old format, its map of a hundred megabytes."""
    info = tarfile.TarInfo("open/a.jpg")
    info.type = tarfile.GNUTYPE_SPARSE
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[482] = 1  # extended
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    entry = (b"00000000001\0" * 2) * 21
    with path.open("wb") as out:
        out.write(header)
        for _ in range(20_000):
            out.write(entry + b"\1" + bytes(7))
    return path


@pytest.mark.parametrize("write", [endless_map, endless_extension])
def test_a_map_of_holes_is_not_held(write: Callable[[Path], Path], tmp_path: Path) -> None:
    """The library would read it whole before anybody could refuse the member."""
    file = write(tmp_path / "a.tar")
    tracemalloc.start()
    with pytest.raises(EdgeError, match="bytes more of a header: too long"):
        take(tmp_path / "cases", file, 10**9)
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


def test_an_archive_of_many_members_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before its end is read."""
    monkeypatch.setattr(intake, "MEMBERS_MAX", 5)
    tar(tmp_path / "a.tar", [pair for number in range(3) for pair in good(f"a{number}")])
    with pytest.raises(EdgeError, match="more than 5 members"):
        take(tmp_path / "cases", tmp_path / "a.tar")


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    """By itself, or beside what is sorted; unsorted cases make room later."""
    fill(tmp_path / "full", 3, "shut", first=5)
    fill(tmp_path / "full", 3, first=50)
    tar(tmp_path / "a.tar", [*good(), *good("b")])
    size = 2 * sum(len(content) for _, content in good())
    with pytest.raises(EdgeError, match="does not fit: expected at most"):
        take(tmp_path / "cases", tmp_path / "a.tar", size - 1)
    before = snapshot(tmp_path / "full")
    with pytest.raises(EdgeError, match="does not fit beside what is sorted"):
        take(tmp_path / "full", tmp_path / "a.tar", size + 100)
    assert snapshot(tmp_path / "full") == before
    assert take(tmp_path / "cases", tmp_path / "a.tar", size) == (2, 0)
    held = sum(len(v) for k, v in before.items() if "sorted" in k)
    assert take(tmp_path / "full", tmp_path / "a.tar", size + held) == (2, 0)


def test_an_import_into_a_full_disk_changes_nothing(tmp_path: Path) -> None:
    """One line; the staged files are gone."""
    tar(tmp_path / "a.tar", [pair for number in range(60) for pair in good(f"a{number}")])
    with tmpfs(tmp_path / "disk", "128k") as disk:
        fill(disk / "cases", 1)
        before = snapshot(disk)
        with pytest.raises(EdgeError, match="cannot be unpacked: No space left"):
            take(disk / "cases", tmp_path / "a.tar")
        assert snapshot(disk) == before
        fill(disk / "cases", 2, "open", first=1)
        with Store(disk / "cases") as store:
            loops.fill(disk)
            with pytest.raises(OSError, match="No space left"):
                archive.export(store, disk / "out.tar", ["open"])
        assert not list(disk.glob("out*"))


def test_an_export_of_many_cases_takes_little_memory(tmp_path: Path) -> None:
    """They are read one after the other."""
    folder = tmp_path / "sorted" / "open"
    folder.mkdir(parents=True)
    for number in range(2_000):
        (folder / f"c{number}.jpg").write_bytes(jpeg())
    tracemalloc.start()
    with Store(tmp_path) as store:
        assert archive.export(store, tmp_path / "a.tar", ["open"]) == {"open": 2_000}
    assert tracemalloc.get_traced_memory()[1] < 3_000_000
    assert take(tmp_path / "b", tmp_path / "a.tar", 10**8) == (2_000, 0)
    assert tracemalloc.get_traced_memory()[1] < 6_000_000
    tracemalloc.stop()
