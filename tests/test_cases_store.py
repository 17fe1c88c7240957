"""The folder of cases: whole or not at all, within every cap, whoever else writes into it."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import stat
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from edge.cases import index as indexes
from edge.cases import names
from edge.cases import sidecar as sidecars
from edge.cases.index import Alike, Caps, Index
from edge.cases.listing import Filter, cases
from edge.cases.store import Store
from edge.cases.tidy import tidy
from edge.errors import EdgeError
from tests.case_files import fill, jpeg, raw_fill, sidecar, snapshot
from tests.loops import remount, tmpfs

ROOMY = Caps(10**9, 0)
NONE = Alike(0, 0)


def keep(index: Index, number: int, alike: Alike = NONE, size: int = 0, **changes: object) -> str:
    """Keep a case through the daemon's index; its picture may have any size."""
    picture = b"x" * size if size else jpeg(number)
    return index.add(f"c{number:06d}", picture, sidecar(number, **changes), alike)


def unsorted(folder: Path) -> list[str]:
    """Return the names of the unsorted cases."""
    with Store(folder) as store:
        return store.names("")


def test_a_case_is_a_picture_and_its_side_car_for_its_owner_alone(tmp_path: Path) -> None:
    """Whatever the umask is."""
    before = os.umask(0)
    try:
        (name,) = fill(tmp_path / "cases", 1)
        with Store(tmp_path / "cases", lock=True) as store:
            store.sort([name], "", "open")
    finally:
        os.umask(before)
    there = sorted(tmp_path.rglob("*"))
    modes = {str(p.relative_to(tmp_path)): stat.S_IMODE(p.stat().st_mode) for p in there}
    assert modes == {
        "cases": 0o700,
        "cases/sorted": 0o700,
        "cases/sorted/open": 0o700,
        f"cases/sorted/open/{name}.jpg": 0o600,
        f"cases/sorted/open/{name}.json": 0o600,
    }


def test_no_command_follows_a_symbolic_link(tmp_path: Path) -> None:
    """Others may have put it there."""
    folder, elsewhere = tmp_path / "cases", tmp_path / "elsewhere"
    elsewhere.mkdir()
    secret = elsewhere / "secret"
    secret.write_bytes(b"secret")
    name, other = fill(folder, 2)
    (folder / "sorted").symlink_to(elsewhere)
    with Store(folder, lock=True) as store, pytest.raises(OSError, match="Not a directory"):
        store.sort([name], "", "open")
    (folder / "sorted").unlink()
    (folder / "sorted").mkdir()
    (folder / "sorted" / "open").symlink_to(elsewhere)
    with Store(folder, lock=True) as store, pytest.raises(OSError, match="Not a directory"):
        store.sort([name], "", "open")
    (folder / "linked.jpg").symlink_to(secret)
    (folder / f"{other}.json").unlink()
    (folder / f"{other}.json").symlink_to(secret)
    with Store(folder, lock=True) as store:
        assert store.where("linked") is None
        assert store.sidecar(other, "") is None
        store.sort([other], "", "shut")
        tidy(store)
    assert snapshot(elsewhere) == {"secret": b"secret"}
    (tmp_path / "link").symlink_to(folder)
    with pytest.raises(OSError, match="Not a directory"):
        Store(tmp_path / "link")


@pytest.mark.parametrize(
    "label", ["", ".", "..", ".x", "a/b", "a\nb", "\x1b[31m", "a ", "\udc80", "é" * 65, "x" * 65]
)
def test_a_class_is_one_plain_folder(label: str) -> None:
    """Nothing else gets into a path."""
    assert not names.is_label(label)
    with pytest.raises(EdgeError, match="not a class"):
        names.check_label(label)


def test_sorting_and_its_undo_move_picture_and_side_car(tmp_path: Path) -> None:
    """And an empty class is forgotten; all of several, or none."""
    first, second = fill(tmp_path, 2)
    whole = snapshot(tmp_path)
    with Store(tmp_path, lock=True) as store:
        with pytest.raises(EdgeError, match="no such case"):
            store.sort_all([first, "nothing"], "open")
        assert snapshot(tmp_path) == whole
        store.sort_all([first, second], "tabby, tabby cat")
        assert store.names("") == []
        assert store.where(first) == "tabby, tabby cat"
        store.sort_all([first], "open")
        store.sort_all([first, second], "")
        assert store.labels() == []
    assert snapshot(tmp_path) == whole


def test_a_name_that_is_taken_is_never_overwritten(tmp_path: Path) -> None:
    """Neither by a new case, nor by sorting."""
    index = Index(tmp_path, ROOMY)
    index.start()
    assert [keep(index, 1), keep(index, 1)] == ["c000001", "c000001-1"]
    with Store(tmp_path, lock=True) as store:
        store.sort(["c000001"], "", "open")
    assert keep(index, 1) == "c000001-2"
    (tmp_path / "c000001.jpg").write_bytes(b"another")
    with Store(tmp_path, lock=True) as store, pytest.raises(OSError, match="has a c000001 already"):
        store.sort(["c000001"], "", "open")


def test_beyond_the_bytes_the_oldest_unsorted_is_dropped_and_never_a_sorted_one(
    tmp_path: Path,
) -> None:
    """Sorted ones count; when they alone fill the cap, nothing more is kept."""
    index = Index(tmp_path, Caps(100_000, 0))
    index.start()
    for number in range(4):
        keep(index, number, size=20_000)
    with Store(tmp_path, lock=True) as store:
        store.sort_all(["c000000", "c000001"], "open")
    index = Index(tmp_path, Caps(100_000, 0))
    index.start()
    assert (index.totals.unsorted, index.totals.sorted) == (2, 2)
    for number in range(4, 10):
        keep(index, number, size=20_000)
        held = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
        assert held == index.totals.bytes <= 100_000
    assert unsorted(tmp_path) == ["c000008", "c000009"]
    assert index.totals.dropped == 6
    with Store(tmp_path, lock=True) as store:
        store.sort_all(["c000008", "c000009"], "open")
        assert len(store.names("open")) == 4
    index = Index(tmp_path, Caps(100_000, 0))
    index.start()
    with pytest.raises(OSError, match="sorted cases take") as caught:
        keep(index, 10, size=20_000)
    assert caught.value.errno == errno.EDQUOT
    with Store(tmp_path) as store:
        assert len(store.names("open")) == 4


def test_the_disks_free_space_is_left_to_others(tmp_path: Path) -> None:
    """The oldest unsorted case makes room; if others have filled the disk, none is dropped."""
    with tmpfs(tmp_path / "disk", "1m") as disk:
        index = Index(disk / "cases", Caps(10**9, 600_000))
        index.start()
        for number in range(8):
            keep(index, number, size=100_000)
        assert unsorted(disk / "cases") == [f"c{number:06d}" for number in range(4, 8)]
        stats = os.statvfs(disk)
        assert stats.f_bavail * stats.f_frsize >= 600_000
        remaining = unsorted(disk / "cases")
        (disk / "other").write_bytes(b"x" * 600_000)
        with pytest.raises(OSError, match="of the disk are free") as caught:
            keep(index, 9, size=100_000)
        assert caught.value.errno == errno.ENOSPC
        assert unsorted(disk / "cases") == remaining


def test_a_full_disk_costs_old_cases_and_a_read_only_one_nothing(tmp_path: Path) -> None:
    """Nothing half-written remains, and what was there is whole."""
    with tmpfs(tmp_path / "disk", "400k") as disk:
        index = Index(disk / "cases", Caps(10**9, 0))
        index.start()
        for number in range(9):
            keep(index, number, size=80_000)
            assert not [p for p in (disk / "cases").rglob("*") if p.name.endswith(".part")]
        last = unsorted(disk / "cases")
        assert last[-1] == "c000008"
        assert index.totals.dropped == 9 - len(last)
        remount(disk, "ro")
        whole = snapshot(disk)
        with pytest.raises(OSError, match="Read-only"):
            keep(index, 10)
        assert snapshot(disk) == whole
        remount(disk, "rw")
        assert keep(index, 10) == "c000010"


def test_a_file_that_cannot_grow_leaves_nothing_behind(tmp_path: Path) -> None:
    """Where a quota ends a write in the middle."""
    index = Index(tmp_path, ROOMY)
    index.start()
    keep(index, 0)
    whole = snapshot(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            keep(index, 1, size=20_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert snapshot(tmp_path) == whole


def test_a_duplicate_is_not_kept_again(tmp_path: Path) -> None:
    """One with another best label is, and one of another day; also after a restart."""
    index = Index(tmp_path, ROOMY)
    index.start()
    day = Alike(3, 86_400)
    code = "00000000ffff0000"
    assert keep(index, 1, day, fingerprint=code)
    index = Index(tmp_path, ROOMY)
    assert index.start() == [1.8e9 + 1]
    assert keep(index, 2, day, fingerprint="00000000ffff0007") == ""
    assert keep(index, 3, day, fingerprint="00000000ffff000f")
    assert keep(index, 4, day, fingerprint=code, scores={"closed": 0.6, "open": 0.4})
    assert keep(index, 5, day, fingerprint=code, time=1.8e9 + 90_000)
    assert keep(index, 6, NONE, fingerprint=code)


def test_hashes_that_are_remembered_are_bounded(tmp_path: Path) -> None:
    """Beyond the newest, a picture may be kept again."""
    raw_fill(tmp_path, indexes.HASHES_MAX + 1)
    index = Index(tmp_path, ROOMY)
    assert len(index.start()) == indexes.HASHES_MAX
    day = Alike(0, 86_400)
    known, forgotten = sidecar(1).fingerprint, sidecar(0).fingerprint
    assert keep(index, 90_001, day, fingerprint=known, time=1.8e9) == ""
    assert keep(index, 90_002, day, fingerprint=forgotten, time=1.8e9) == "c090002"


def test_another_process_may_sort_purge_or_remove_the_folder_meanwhile(tmp_path: Path) -> None:
    """What it does counts as soon as the folder is read again."""
    now = [0.0]
    folder = tmp_path / "cases"
    index = Index(folder, ROOMY, lambda: now[0])
    index.start()
    keep(index, 0), keep(index, 1)
    with Store(folder, lock=True) as store:
        store.sort(["c000000"], "", "open")
    keep(index, 2)
    assert (index.totals.unsorted, index.totals.sorted) == (3, 0)
    now[0] += indexes.AGAIN_S
    keep(index, 3)
    assert (index.totals.unsorted, index.totals.sorted) == (3, 1)
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.rmdir()
    assert keep(index, 4, Alike(64, 1e9)) == "c000004"  # nothing is left that it could be like
    assert (index.totals.unsorted, index.totals.sorted) == (1, 0)


def test_one_process_at_a_time_changes_the_folder(tmp_path: Path) -> None:
    """Another gets one line, after its wait."""
    fill(tmp_path, 1)
    other = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    with pytest.raises(TimeoutError, match="another process is changing it"):
        Store(tmp_path, lock=True, lock_s=0.05)
    os.close(other)
    with Store(tmp_path, lock=True, lock_s=0.0) as store:
        assert store.names("") == ["c000000"]


def test_tidy_removes_rubbish_and_nothing_else(tmp_path: Path) -> None:
    """Own pictures that a person has put there stay; so do folders that are none of ours."""
    fill(tmp_path, 1)
    fill(tmp_path, 1, "open", first=1)
    (tmp_path / "sorted" / "open" / "mine.jpg").write_bytes(jpeg(7))
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "sorted" / ".hidden").mkdir()
    whole = snapshot(tmp_path)
    for rubbish in (
        "alone.json",
        ".x.jpg.part",
        "sorted/open/alone.json",
        "sorted/open/.y.json.part",
    ):
        (tmp_path / rubbish).write_bytes(b"{}")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / ".import-1" / "open").mkdir(parents=True)
    (tmp_path / ".import-1" / "open" / "a.jpg").write_bytes(b"x")
    with Store(tmp_path, lock=True) as store:
        assert tidy(store) == 6
    assert snapshot(tmp_path) == whole
    assert not (tmp_path / ".import-1").exists()


def test_purge_removes_cases_and_nothing_else(tmp_path: Path) -> None:
    """Sorted ones only where they are asked for."""
    fill(tmp_path, 3)
    fill(tmp_path, 2, "open", first=3)
    (tmp_path / "notes.txt").write_text("x")
    with Store(tmp_path, lock=True) as store:
        assert store.purge("") == 3
        assert store.names("open") == ["c000003", "c000004"]
        assert store.purge("open") == 2
    assert snapshot(tmp_path) == {"notes.txt": b"x"}


HOSTILE: dict[str, bytes] = {
    "empty": b"",
    "not JSON": b"\xff\xfe",
    "deep": b'{"more":' + b"[" * 10_000,
    "long": b'{"schema":1,' + b" " * sidecars.MAX_BYTES + b"}",
    "infinite": sidecars.encode(sidecar()).replace(b"0.6", b"1e999"),
    "of the year 10000": sidecars.encode(sidecar()).replace(b"1800000000.0", b"1e12"),
    "another schema": sidecars.encode(sidecar()).replace(b'"schema":1', b'"schema":2'),
    "a path for a hash": sidecars.encode(sidecar()).replace(b"ab" * 32, b"/" * 64),
    "a hash of a newline": sidecars.encode(sidecar()).replace(b"0" * 16, b"0" * 16 + b"\\n"),
    "many scores": sidecars.encode(sidecar(scores={str(n): 0.1 for n in range(101)})),
}


HOSTILE_WHY = {
    "empty": "Input data was truncated",
    "not JSON": "malformed",
    "deep": "nested too deeply|recursion",
    "long": "expected at most 16384 bytes",
    "infinite": "out of range|not finite",
    "of the year 10000": "time",
    "another schema": "schema",
    "a path for a hash": "sha256",
    "a hash of a newline": "fingerprint",
    "many scores": "scores",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_side_car_is_none(kind: str, tmp_path: Path) -> None:
    """Its picture is still a case: listed, sorted and purged."""
    (name,) = fill(tmp_path, 1)
    (tmp_path / f"{name}.json").write_bytes(HOSTILE[kind])
    with pytest.raises(ValueError, match=HOSTILE_WHY[kind]):
        sidecars.decode(HOSTILE[kind])
    assert Index(tmp_path, ROOMY).start() == []
    with Store(tmp_path, lock=True) as store:
        (case,) = cases(store, Filter())
        assert case.sidecar is None
        assert list(cases(store, Filter(reason="margin"))) == []
        store.sort([name], "", "open")
        assert store.names("open") == [name]


def test_ten_thousand_cases_are_read_within_bounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keeping one opens no other file; start opens the newest alone; memory stays small."""
    raw_fill(tmp_path, 10_000)
    opened = [0]
    plain: Callable[..., int] = os.open

    def count(*args: object, **options: object) -> int:
        opened[0] += 1
        return plain(*args, **options)

    monkeypatch.setattr(os, "open", count)
    index = Index(tmp_path, ROOMY)
    tracemalloc.start()
    index.start()
    held, peak = tracemalloc.get_traced_memory()
    assert opened[0] <= indexes.HASHES_MAX + 20
    assert held < 3_000_000
    assert peak < 12_000_000
    opened[0] = 0
    keep(index, 20_000)
    assert opened[0] <= 12
    tracemalloc.reset_peak()
    with Store(tmp_path) as store:
        assert sum(1 for _ in cases(store, Filter())) == 10_001
    assert tracemalloc.get_traced_memory()[1] < held + 12_000_000
    tracemalloc.stop()
    with Store(tmp_path, lock=True) as store:
        assert store.purge("") == 10_001


def test_the_number_of_cases_is_bounded_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However small they are; classes as well, and files that are none of ours."""
    monkeypatch.setattr(indexes, "CASES_MAX", 5)
    index = Index(tmp_path / "a", ROOMY)
    index.start()
    for number in range(8):
        keep(index, number)
    assert unsorted(tmp_path / "a") == [f"c{number:06d}" for number in range(3, 8)]
    (tmp_path / "b" / "sorted").mkdir(parents=True)
    for number in range(names.LABELS_MAX + 1):
        (tmp_path / "b" / "sorted" / f"class{number}").mkdir()
    with pytest.raises(OSError, match="more than 100 classes"):
        Index(tmp_path / "b", ROOMY).start()


def test_names_are_in_order_of_time() -> None:
    """As text, at any time that a clock can have."""
    moments = [0.0, 0.5, 1.8e9, 1.8e9 + 0.001, 4e9]
    made = [names.new(moment, 7) for moment in moments]
    assert made == sorted(made)
    assert all(map(names.is_name, made))
    assert made[2] == time.strftime("%Y%m%dT%H%M%S", time.gmtime(1.8e9)) + "-000-7"
