"""Programs whose output is a device's: bounded in bytes and time, ended with what they began."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from deploy import process
from deploy.errors import DeployError
from deploy.process import OUTPUT_MAX, run
from tests.conftest import WAIT_S, wait_until

KEEPS_ON = "exec 2>&1; while :; do printf x; sleep 0.05; done"


@pytest.mark.parametrize(
    "script",
    [
        "yes",
        "yes >&2",
        "exec cat /dev/zero",
        "exec cat /dev/urandom >&2",
        f"head -c {OUTPUT_MAX + 1} /dev/zero",
    ],
)
def test_too_much_output_ends_it(script: str) -> None:
    """On either stream, with or without lines, of any bytes."""
    with pytest.raises(DeployError) as error:
        run(["sh", "-c", script], "pi", WAIT_S)
    assert error.value.status == 71
    assert str(error.value).startswith("pi: too much output: expected at most 1000000 bytes")


def test_as_much_as_is_allowed_is_read_from_both_streams() -> None:
    """Neither waits for the other: a pipe holds 64 kB."""
    script = f"head -c {OUTPUT_MAX} /dev/zero >&2; head -c {OUTPUT_MAX} /dev/zero; exit 7"
    done = run(["sh", "-c", script], "pi", WAIT_S)
    assert (done.returncode, len(done.stdout), len(done.stderr)) == (7, OUTPUT_MAX, OUTPUT_MAX)


@pytest.mark.parametrize(
    "script",
    ["exec sleep 1000", KEEPS_ON, "exec >/dev/null 2>&1; sleep 1000", f"trap '' TERM; {KEEPS_ON}"],
)
def test_a_program_without_an_end_is_ended(
    script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Silent, a byte at a time, without output, deaf to SIGTERM: itself, and what it has begun."""
    monkeypatch.setattr(process, "GRACE_S", 0.5)
    path = tmp_path / "pids"
    begun = f"sleep 1000 & echo $$ $! >{path}; "
    with pytest.raises(DeployError) as error:
        run(["sh", "-c", begun + script], "pi", 3.0)
    assert error.value.status == 69
    assert str(error.value) == "pi: no end after 3 s; what has begun there may go on"
    pids = [int(word) for word in path.read_text().split()]
    wait_until(lambda: all(map(gone, pids)))


def test_a_child_deaf_to_sigterm_is_ended_too(tmp_path: Path) -> None:
    """Also where the program itself has ended by then."""
    path = tmp_path / "pid"
    deaf = f"(trap '' TERM; echo up >{path}.up; while :; do sleep 1; done) >/dev/null 2>&1 & "
    wait = f"echo $! >{path}; while [ ! -e {path}.up ]; do sleep 0.05; done; "
    with pytest.raises(DeployError):
        run(["sh", "-c", f"{deaf}{wait}exec yes"], "pi", WAIT_S)
    wait_until(lambda: gone(int(path.read_text())))


def test_a_file_that_nobody_takes_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long before the time that its size allows; an empty one says nothing."""
    monkeypatch.setattr(process, "STALL_S", 1.0)
    path = tmp_path / "bundle"
    path.write_bytes(bytes(1_000_000))
    for script in ("exec sleep 1000", "head -c 1000 >/dev/null; exec sleep 1000"):
        with path.open("rb") as given, pytest.raises(DeployError) as error:
            run(["sh", "-c", script], "pi", WAIT_S, given)
        assert error.value.status == 69
        assert str(error.value).startswith("pi: no more of the file was taken for 1 s")
    with Path("/dev/null").open("rb") as nothing:
        assert run(["sh", "-c", "sleep 3; echo well"], "pi", WAIT_S, nothing).stdout == "well\n"


def gone(pid: int) -> bool:
    """Return whether a process has ended."""
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True


def test_lines_are_passed_on_as_they_come(tmp_path: Path) -> None:
    """Any bytes, the last one also without its end; the program waits for the first to be seen."""
    seen = tmp_path / "seen"
    lines: list[str] = []

    def line(text: str) -> None:
        lines.append(text)
        seen.touch()

    script = f"printf 'one\\n'; while [ ! -e {seen} ]; do sleep 0.05; done; printf '\\377\\n\\nend'"
    assert run(["sh", "-c", script], "pi", WAIT_S, line=line).returncode == 0
    assert lines == ["one", "\ufffd", "", "end"]


def test_an_interruption_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """And begins nothing more."""
    monkeypatch.setattr(process, "ENDING", threading.Event())

    def line(text: str) -> None:
        process.ENDING.set()

    for script in ("echo; exec sleep 1000", "exec sleep 1000"):
        with pytest.raises(DeployError, match="interrupted") as error:
            run(["sh", "-c", script], "pi", WAIT_S, line=line)
        assert error.value.status == 69
