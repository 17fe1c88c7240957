"""SIGKILL at every call that changes the folder of cases: each case is whole, or rubbish."""

from __future__ import annotations

import errno
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge.cases import archive, intake
from edge.cases import sidecar as sidecars
from edge.cases.index import Alike, Caps, Index
from edge.cases.names import PICTURE, SIDECAR
from edge.cases.store import Store
from tests.case_files import fill, jpeg, sidecar, snapshot

CALLS = ("open", "write", "fsync", "link", "rename", "unlink", "mkdir", "rmdir", "close")
Deed = Callable[[Path], object]


def keep(folder: Path) -> None:
    """Keep one more, for which the oldest has to go."""
    held = sum(path.stat().st_size for path in folder.rglob("*.j*"))
    first, last = (len(jpeg(n)) + len(sidecars.encode(sidecar(n))) for n in (0, 9))
    index = Index(folder, Caps(held - first + last, 0))
    index.start()
    index.add("c000009", jpeg(9), sidecar(9), Alike(0, 0))


def sort(folder: Path) -> None:
    """Sort one into a class that is not there yet, and take another out of its class."""
    with Store(folder, lock=True) as store:
        store.sort_all(["c000001"], "shut")
        store.sort_all(["c000003"], "")


def purge(folder: Path) -> None:
    """Remove all."""
    with Store(folder, lock=True) as store:
        for label in ("", *store.labels()):
            store.purge(label)


def take(folder: Path) -> None:
    """Take an archive in."""
    with Store(folder) as store, (folder.parent / "in.tar").open("rb") as file:
        intake.take(store, file, "in.tar", 10**8)


def export(folder: Path) -> None:
    """Write one out."""
    with Store(folder) as store:
        archive.export(store, folder / "out.tar", ["open"])


DEEDS: dict[str, Deed] = {one.__name__: one for one in (keep, sort, purge, take, export)}


def killed_at(number: int, deed: Deed, folder: Path) -> bool:
    """Run ``deed`` in a process that is killed at call ``number``; return whether it was."""
    child = os.fork()
    if child == 0:
        left = [number]

        def counted(name: str, plain: Callable[..., Any]) -> Callable[..., Any]:
            def call(*args: Any, **options: Any) -> Any:
                left[0] -= 1
                if left[0] == 0:
                    if name == "write":
                        plain(args[0], args[1][: len(args[1]) // 2])
                    os.kill(os.getpid(), signal.SIGKILL)
                return plain(*args, **options)

            return call

        try:
            for name in CALLS:
                setattr(os, name, counted(name, getattr(os, name)))
            deed(folder)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def whole_cases(folder: Path) -> dict[str, str]:
    """Return the cases, name -> class; fail for one that is not whole, or there twice."""
    found: dict[str, str] = {}
    with Store(folder) as store:
        for label in ("", *store.labels()):
            for name in store.names(label):
                assert name not in found
                found[name] = label
                number = int(name[1:])
                assert store.picture(name, label).read_bytes() == jpeg(number)
                assert store.sidecar(name, label) == sidecar(number)
    return found


@pytest.mark.parametrize("deed", DEEDS)
def test_a_kill_at_any_call_leaves_whole_cases_and_rubbish(deed: str, tmp_path: Path) -> None:
    """The next start removes the rubbish, and the same deed done again succeeds."""
    origin = tmp_path / "origin"
    fill(origin, 3)
    fill(origin, 2, "open", first=3)
    fill(tmp_path / "other", 3, "ajar", first=5)
    with Store(tmp_path / "other") as store:
        archive.export(store, tmp_path / "in.tar", ["ajar"])
    before, after = whole_cases(origin), {}
    number, kills = 0, 0
    while True:
        number += 1
        folder = tmp_path / "cases"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(origin, folder)
        killed = killed_at(number, DEEDS[deed], folder)
        now = whole_cases(folder)
        Index(folder, Caps(10**9, 0)).start()
        assert whole_cases(folder) == now
        files = {path.rpartition("/")[2] for path in snapshot(folder)} - {"out.tar", "out.tar.part"}
        assert files == {name + ending for name in now for ending in (PICTURE, SIDECAR)}
        if deed == "export":
            assert now == before
        elif deed == "purge":
            assert now.items() <= before.items()
        elif deed == "sort":
            assert now.keys() == before.keys()
        elif deed == "take":
            assert before.items() <= now.items()
        else:
            assert before.keys() - now.keys() <= {"c000000"}
        if not killed:
            after = now
            break
        kills += 1
        if deed != "keep":
            if deed == "sort":
                with Store(folder, lock=True) as store:
                    store.sort_all(["c000001", "c000003"], "open")
            DEEDS[deed](folder)
    assert kills > 10
    expected = {
        "keep": {"c000001": "", "c000002": "", "c000003": "open", "c000004": "open", "c000009": ""},
        "sort": before | {"c000001": "shut", "c000003": ""},
        "purge": {},
        "take": before | {f"c{number:06d}": "ajar" for number in (5, 6, 7)},
        "export": before,
    }
    assert after == expected[deed]


@pytest.mark.parametrize("links", [True, False])
def test_many_are_sorted_without_many_waits_for_the_disk(
    links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On an SD card each wait takes some hundredths of a second; the daemon waits for the lock."""
    fill(tmp_path, 50)
    syncs: list[int] = []
    plain = os.fsync

    def counted(descriptor: int) -> None:
        syncs.append(descriptor)
        plain(descriptor)

    def no_links(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "fsync", counted)
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    before = whole_cases(tmp_path)
    with Store(tmp_path, lock=True) as store:
        store.sort_all(sorted(before), "open")
    assert whole_cases(tmp_path) == dict.fromkeys(before, "open")
    assert len(syncs) <= (8 if links else 60)
    assert not list(tmp_path.glob("*.j*"))


def test_content_is_on_the_disk_before_its_name_and_the_picture_comes_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loss of power keeps the order of what was synced, of nothing else."""
    calls: list[str] = []
    opened: dict[int, str] = {}
    plain_open, plain_fsync, plain_rename = os.open, os.fsync, os.rename

    def open_(path: Any, *args: Any, **options: Any) -> int:
        descriptor = plain_open(path, *args, **options)
        opened[descriptor] = str(path)
        return descriptor

    def fsync(descriptor: int) -> None:
        calls.append(f"sync {opened[descriptor].rpartition('/')[2]}")
        plain_fsync(descriptor)

    def rename(old: str, new: str, **options: Any) -> None:
        calls.append(f"name {new}")
        plain_rename(old, new, **options)

    monkeypatch.setattr(os, "open", open_)
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "rename", rename)
    folder = tmp_path / "cases"
    folder.mkdir()
    with Store(folder, lock=True) as store:
        store.add("a", jpeg(), sidecars.encode(sidecar()))
    assert calls == [
        "sync .a.json.part",
        "name a.json",
        "sync .a.jpg.part",
        "name a.jpg",
        "sync cases",
    ]
