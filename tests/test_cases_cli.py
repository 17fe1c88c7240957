"""`edge cases`: what a person types, what it prints, and what it says of faults."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import pytest

from edge.cases import sidecar as sidecars
from edge.cases.store import Store
from tests.case_files import fill, jpeg, sidecar, snapshot
from tests.conftest import ROOT, edge


def run(folder: Path, action: str, *arguments: str | Path, status: int = 0) -> list[str]:
    """Run an action; return the lines on stdout, or on stderr where it fails."""
    done = edge("cases", action, "--folder", folder, *arguments)
    assert done.returncode == status, done
    assert not (done.stderr if status == 0 else done.stdout)
    output = done.stderr.removeprefix("edge: ") if status else done.stdout
    return output.splitlines()


def test_a_list_is_a_row_for_each_case(tmp_path: Path) -> None:
    """Oldest first, filtered, as a table or as JSON."""
    fill(tmp_path, 3)
    with Store(tmp_path, lock=True) as store:
        more = sidecar(9, reason="drift", label=None, scores={})
        store.add("c000009", jpeg(9), sidecars.encode(more))
        store.sort(["c000001"], "", "open")
    (tmp_path / "mine.jpg").write_bytes(jpeg())
    rows = run(tmp_path, "list")
    assert [row.split()[0] for row in rows] == ["c000000", "c000001", "c000002", "c000009", "mine"]
    assert rows[1].split()[3:] == ["margin", "open", "open", "0.60", "open"]
    assert rows[3].split()[3:] == ["drift", "uncertain", "-", "unsorted"]
    assert rows[4].split() == ["mine", *"----", "unsorted"]
    objects = [json.loads(line) for line in run(tmp_path, "list", "--json")]
    assert objects[1]["sorted"] == "open"
    assert objects[1]["picture"] == str(tmp_path / "sorted" / "open" / "c000001.jpg")
    assert objects[1]["scores"] == {"open": 0.6, "closed": 0.4}
    assert objects[4] == {"name": "mine", "sorted": None, "picture": str(tmp_path / "mine.jpg")}
    for options, names in (
        (("--reason", "drift"), ["c000009"]),
        (("--label", "open"), ["c000001"]),
        (("--label", "unsorted", "--predicted", "open"), ["c000000", "c000002"]),
        (("--label", "nothing"), []),
        (("--since", "2027-01-15T08:00:02+00:00"), ["c000002", "c000009"]),
        (("--until", "2027-01-15T08:00:01Z"), ["c000000"]),
        (("--since", "2027-02-01"), []),
    ):
        assert [row.split()[0] for row in run(tmp_path, "list", *options)] == names


def test_a_case_is_shown_with_its_picture(tmp_path: Path) -> None:
    """By its name, or by the path of one of its files."""
    fill(tmp_path, 1)
    (shown,) = run(tmp_path, "show", "c000000", "--json")
    assert json.loads(shown)["fingerprint"] == "0" * 16
    lines = run(tmp_path, "show", f"{tmp_path}/c000000.jpg")
    assert [line.split()[0] for line in lines][:4] == ["name", "sorted", "picture", "schema"]
    assert f"picture      {tmp_path}/c000000.jpg" in lines
    (line,) = run(tmp_path, "show", "../c000000", status=0)[:1]
    assert line == "name         c000000"
    (line,) = run(tmp_path, "show", "c1", status=1)
    assert line.endswith("no such case: got c1")


def test_cases_are_sorted_and_taken_out_again(tmp_path: Path) -> None:
    """Several at once, by name or path; all of them, or none."""
    names = fill(tmp_path, 3)
    whole = snapshot(tmp_path)
    paths = [tmp_path / f"{name}.jpg" for name in names]
    assert run(tmp_path, "sort", *paths, "open") == ["3 cases now open"]
    assert run(tmp_path, "sort", names[0], names[0], "not open") == ["1 case now not open"]
    assert run(tmp_path, "sort", "--undo", names[0], names[1]) == ["2 cases now unsorted"]
    assert run(tmp_path, "sort", names[2], "unsorted") == ["1 case now unsorted"]
    assert snapshot(tmp_path) == whole
    for arguments, text in (
        ((names[0], "x", "open"), "no such case: got x; `edge cases list` shows them"),
        ((names[0], "../open"), "not a class: expected one folder's name"),
        ((names[0],), "no class: expected NAME... LABEL, or --undo NAME..."),
    ):
        (line,) = run(tmp_path, "sort", *arguments, status=1)
        assert text in line
    assert snapshot(tmp_path) == whole


def test_an_export_is_taken_in_elsewhere(tmp_path: Path) -> None:
    """All classes, or those that are named; unpacked, it is a folder for each class."""
    fill(tmp_path / "a", 2, "open")
    fill(tmp_path / "a", 1, "shut", first=2)
    assert run(tmp_path / "a", "export", tmp_path / "a.tar") == ["open: 2 cases", "shut: 1 case"]
    with tarfile.open(tmp_path / "a.tar") as archive:
        assert {name.partition("/")[0] for name in archive.getnames()} == {"open", "shut"}
    assert run(tmp_path / "a", "export", tmp_path / "b.tar", "--label", "open") == ["open: 2 cases"]
    assert run(tmp_path / "b", "import", tmp_path / "b.tar") == [
        "2 cases imported, 0 were there already"
    ]
    assert run(tmp_path / "b", "import", tmp_path / "a.tar") == [
        "1 case imported, 2 were there already"
    ]
    assert snapshot(tmp_path / "b") == snapshot(tmp_path / "a")


def test_purge_needs_a_flag_and_asks_nothing(tmp_path: Path) -> None:
    """The unsorted ones, or all; rubbish goes too."""
    fill(tmp_path, 2)
    fill(tmp_path, 1, "open", first=2)
    (tmp_path / ".c.jpg.part").write_bytes(b"x")
    done = edge("cases", "purge", "--folder", tmp_path)
    assert done.returncode == 2
    assert "one of the arguments --unsorted --all is required" in done.stderr
    assert run(tmp_path, "purge", "--unsorted") == ["2 cases removed"]
    assert run(tmp_path, "list")[0].startswith("c000002")
    assert run(tmp_path, "purge", "--all") == ["1 case removed"]
    assert snapshot(tmp_path) == {}


def test_every_fault_is_one_line(tmp_path: Path) -> None:
    """Where, what, and a hint."""
    nothing = tmp_path / "nothing"
    for arguments in (("list",), ("show", "x"), ("sort", "x", "y"), ("purge", "--all")):
        (line,) = run(nothing, *arguments, status=1)
        assert line == f"{nothing}: not there; no frame was kept in it yet"
    fill(tmp_path / "cases", 1)
    (line,) = run(tmp_path / "cases", "export", tmp_path / "a.tar", status=1)
    assert line == f"{tmp_path}/cases: nothing is sorted; see `edge cases sort`"
    run(tmp_path / "cases", "sort", "c000000", "open")
    (line,) = run(tmp_path / "cases", "export", tmp_path / "a.tar", "--label", "x", status=1)
    assert line == f"{tmp_path}/cases: no such class: expected open, got x"
    (line,) = run(tmp_path / "cases", "export", nothing / "a.tar", status=1)
    assert line == f"{nothing}/a.tar: not there; no such folder"
    for file, text in ((nothing, "not there"), (tmp_path, "is a folder: expected a regular file")):
        (line,) = run(tmp_path / "new", "import", file, status=1)
        assert line == f"{file}: {text}"
    os.mkfifo(tmp_path / "pipe")
    (line,) = run(tmp_path / "cases", "import", tmp_path / "pipe", status=1)
    assert "is a named pipe" in line
    done = edge("cases", "list", "--folder", tmp_path, "--since", "yesterday")
    assert done.returncode == 2
    assert "expected a date" in done.stderr


def test_no_terminal_obeys_a_side_car(tmp_path: Path) -> None:
    """Whoever can write into the folder, or sends an archive, writes what he likes."""
    evil = sidecar(reason="\x1b[2J", label="\u202eopen\n", scores={"\x07": 0.5}, model="\x9b0m")
    with Store(tmp_path, create=True, lock=True) as store:
        store.add("c000000", jpeg(), sidecars.encode(evil))
    for arguments in (("list",), ("show", "c000000"), ("list", "--json")):
        lines = run(tmp_path, *arguments)
        assert all(line.isprintable() for line in lines)
    assert r"\x1b[2J" in run(tmp_path, "list")[0]


def test_the_folder_is_that_of_the_config_or_of_the_service(tmp_path: Path) -> None:
    """As the daemon finds it."""
    fill(tmp_path / "state" / "cases", 1)
    fill(tmp_path / "mine", 2)
    (tmp_path / "edge.toml").write_text(f'[cases]\npath = "{tmp_path}/mine"\n')
    env = {**os.environ, "STATE_DIRECTORY": str(tmp_path / "state")}
    done = edge("cases", "list", "--config", tmp_path / "edge.toml")
    assert len(done.stdout.splitlines()) == 2
    (tmp_path / "edge.toml").write_text("")
    done = edge("cases", "list", "--config", tmp_path / "edge.toml", env=env)
    assert len(done.stdout.splitlines()) == 1
    (tmp_path / "edge.toml").write_text("[cases]\nmargins = 1\n")
    done = edge("cases", "list", "--config", tmp_path / "edge.toml", env=env)
    assert done.returncode == 78
    assert "did you mean `margin`" in done.stderr


def test_a_reader_that_goes_away_is_no_fault(tmp_path: Path) -> None:
    """As with `| head`."""
    fill(tmp_path, 300)
    command = [sys.executable, "-m", "edge", "cases", "list", "--json", "--folder", str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as one:
        assert one.stdout
        assert one.stderr
        one.stdout.readline()
        one.stdout.close()
        assert one.stderr.read() == b""
        assert one.wait() == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="LEFT OUT: only root can become another user")
def test_another_user_sees_nothing_and_the_owner_everything(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """The service's user sorts what root has imported; anybody else gets one line."""
    reachable = tempfile.TemporaryDirectory()  # pytest's own folders are root's alone
    request.addfinalizer(reachable.cleanup)
    state = Path(reachable.name)
    state.chmod(0o755)
    os.chown(state, 4242, 4242)
    fill(tmp_path / "a", 2, "open")
    run(tmp_path / "a", "export", tmp_path / "a.tar")
    folder = state / "cases"
    run(folder, "import", tmp_path / "a.tar")
    script = (
        "import os, runpy, sys; os.setgid({0}); os.setuid({0}); sys.argv = {1!r};"
        "runpy.run_module('edge', run_name='__main__')"
    )

    def become(user: int, *arguments: str) -> subprocess.CompletedProcess[str]:
        argv = ["edge", "cases", arguments[0], "--folder", str(folder), *arguments[1:]]
        command = [sys.executable, "-c", script.format(user, argv)]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    refused = become(4343, "list")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert (
        refused.stderr
        == f"edge: {folder}: Permission denied; use sudo: it belongs to the service\n"
    )
    sorted_ = become(4242, "sort", "c000000", "shut")
    assert (sorted_.returncode, sorted_.stdout) == (0, "1 case now shut\n"), sorted_.stderr
    assert become(4242, "purge", "--all").stdout == "2 cases removed\n"
