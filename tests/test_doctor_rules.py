"""The small rules of `edge doctor`, each by itself: what it finds, and what it passes over."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edge.config import SpoolConfig
from edge.doctor import disk, machine, service
from edge.doctor.checks import Finding, Findings
from edge.doctor.machine import Memory
from edge.doctor.service import RESTART, Unit

ENABLE = "systemctl enable edge-camera"


def unit(**shown: str) -> Unit:
    """Return an installed unit with these properties."""
    return Unit({"LoadState": "loaded", "UnitFileState": "enabled", **shown})


RUNNING = unit(ActiveState="active", SubState="running")
STOPPED = unit(ActiveState="inactive", SubState="dead")


@pytest.mark.parametrize(
    ("active", "sub", "phase"),
    [
        ("active", "running", "running"),
        ("reloading", "reload", "running"),
        ("inactive", "dead", "stopped"),
        ("activating", "start", "starting"),
        ("activating", "start-pre", "starting"),
        ("activating", "auto-restart", "restarting"),
        ("deactivating", "stop-sigterm", "stopping"),
        ("failed", "failed", "failed"),
    ],
)
def test_systemds_states_are_phases(active: str, sub: str, phase: str) -> None:
    """ActiveState decides; SubState where a unit is being activated."""
    assert unit(ActiveState=active, SubState=sub).phase == phase


@pytest.mark.parametrize(
    ("shown", "verdict", "text", "hint"),
    [
        ({"ActiveState": "active"}, "ok", "active for 1 min", ""),
        ({"ActiveState": "inactive"}, "fault", "stopped for 1 min", RESTART),
        (
            {"ActiveState": "inactive", "UnitFileState": "disabled"},
            *("fault", "stopped for 1 min", "systemctl enable --now edge-camera"),
        ),
        (
            {"ActiveState": "activating", "SubState": "start"},
            *("warning", "starting for 1 min", "run it again in a moment"),
        ),
        (
            {"ActiveState": "deactivating"},
            *("warning", "stopping for 1 min", "run it again in a moment"),
        ),
        (
            {"ActiveState": "failed", "ExecMainCode": "1", "ExecMainStatus": "74"},
            *("fault", "failed for 1 min: exit status 74, no camera", "see `camera` below"),
        ),
        (
            {"ActiveState": "failed", "ExecMainCode": "2", "ExecMainStatus": "11"},
            *("fault", "failed for 1 min: ended by SIGSEGV", "journalctl -u edge-camera -e"),
        ),
        (
            {"ActiveState": "failed", "ExecMainStatus": "", "Result": "resources"},
            *("fault", "failed for 1 min: result resources", "journalctl -u edge-camera -e"),
        ),
        (
            {"ActiveState": "activating", "SubState": "auto-restart", "NRestarts": "2"}
            | {"Result": "oom-kill"},
            "fault",
            "restarting, 2 times so far, for 1 min: out of memory: the kernel ended it",
            "see `memory` below",
        ),
    ],
)
def test_the_state_of_the_service(
    shown: dict[str, str], verdict: str, text: str, hint: str
) -> None:
    """One line for each phase; a hint wherever it is not running."""
    finding = service.state(unit(**shown), 61.0)
    assert (finding.verdict, finding.text, finding.hint) == (verdict, text, hint)


def test_the_status_line_of_a_running_daemon_is_repeated() -> None:
    """One of a stopped daemon is out of date."""
    text = {"StatusText": "dog 0.97"}
    assert service.status_text(unit(ActiveState="active", **text), None) == Finding(
        "ok", "dog 0.97"
    )
    assert service.status_text(unit(ActiveState="failed", **text), None) is None
    assert service.status_text(RUNNING, None) is None


@pytest.mark.parametrize(
    ("restarts", "age_s", "verdict"),
    [("0", 60.0, None), ("2", 60.0, "warning"), ("3", 60.0, "fault"), ("3", 601.0, "warning")],
)
def test_restarts_are_a_fault_while_they_go_on(
    restarts: str, age_s: float, verdict: str | None
) -> None:
    """Few of them, or none lately, are a warning."""
    finding = service.restarted(unit(ActiveState="active", NRestarts=restarts), age_s)
    assert (finding.verdict if finding else None) == verdict


def test_restarts_of_a_service_that_does_not_run_are_in_its_state() -> None:
    """They are not reported twice."""
    assert service.restarted(unit(ActiveState="failed", NRestarts="9"), 1.0) is None


def test_a_service_must_start_at_boot() -> None:
    """Unless it is stopped: the hint for that enables it too."""
    disabled = {"UnitFileState": "disabled"}
    assert service.boot(RUNNING, None) is None
    assert service.boot(unit(ActiveState="inactive", **disabled), None) is None
    finding = service.boot(unit(ActiveState="active", **disabled), None)
    assert finding == Finding("warning", "does not start at boot", ENABLE)


def test_a_unit_file_that_has_changed_is_a_warning() -> None:
    """systemd runs the old one until it is reloaded."""
    assert service.unit_file(RUNNING, None) is None
    finding = service.unit_file(unit(NeedDaemonReload="yes"), None)
    assert finding is not None
    assert finding.hint == f"systemctl daemon-reload && {RESTART}"


def test_memory_of_the_service_is_a_fact() -> None:
    """systemd says `[not set]` where it does not count."""
    assert service.memory(unit(MemoryCurrent="61000000"), None) == Finding("ok", "memory 61 MB")
    assert service.memory(unit(MemoryCurrent="[not set]"), None) is None


@pytest.mark.parametrize(
    ("unit", "verdict", "hint"),
    [
        (Unit(why="no systemd here"), "unknown", ""),
        (Unit(why="systemd does not answer within 5 s", late=True), "fault", ""),
        (Unit({"LoadState": "not-found"}), "unknown", "install the package edge-camera"),
    ],
)
def test_a_unit_of_which_nothing_is_known(unit: Unit, verdict: str, hint: str) -> None:
    """Only a systemd that hangs is a fault."""
    finding = service.absent(unit)
    assert (finding.verdict, finding.hint) == (verdict, hint)


def test_a_reload_does_not_make_a_service_younger() -> None:
    """ActiveEnter counts while it runs, StateChange else; zero is never."""
    times = {
        "ActiveEnterTimestampMonotonic": "10000000",
        "StateChangeTimestampMonotonic": "90000000",
    }
    assert unit(ActiveState="reloading", **times).age_s(100.0) == 90.0
    assert unit(ActiveState="failed", **times).age_s(100.0) == 10.0
    assert unit(ActiveState="failed", StateChangeTimestampMonotonic="0").age_s(100.0) is None


@pytest.mark.parametrize(
    ("celsius", "verdict"),
    [(None, "ok"), (74.9, "ok"), (75.0, "warning"), (84.9, "warning"), (85.0, "fault")],
)
def test_temperatures(celsius: float | None, verdict: str) -> None:
    """A machine without a thermometer is no fault."""
    assert machine.temperature(celsius).verdict == verdict


@pytest.mark.parametrize(
    ("available", "total", "verdict"),
    [
        (1_000_000_000, 4_000_000_000, "ok"),
        (399_000_000, 4_000_000_000, "warning"),
        (49_000_000, 400_000_000, "warning"),
        (51_000_000, 400_000_000, "ok"),
    ],
)
def test_available_memory(available: int, total: int, verdict: str) -> None:
    """A tenth of the machine, and 50 MB, must be left."""
    assert machine.available(available, total).verdict == verdict


def test_swap_is_a_fact_where_there_is_any() -> None:
    """None is usual on a Pi with a read-only root."""
    assert machine.swap(Memory()) is None
    used = Memory(swap_bytes=100_000_000, swap_used_bytes=1_000_000)
    assert machine.swap(used) == Finding("ok", "swap 1.0 MB of 100 MB")


@pytest.mark.parametrize(
    ("usage", "running", "expected"),
    [
        (Memory(), False, None),
        (Memory(), True, Finding("ok", "only root can read the daemon's memory")),
        (Memory(daemon_pss_bytes=60_000_000), True, Finding("ok", "daemon 60 MB")),
        (
            Memory(daemon_cgroup_bytes=70_000_000, daemon_limit_bytes=100_000_000),
            *(True, Finding("ok", "daemon 70 MB of 100 MB")),
        ),
    ],
)
def test_the_daemons_memory(usage: Memory, running: bool, expected: Finding | None) -> None:
    """PSS before the unit's own count, the limit where there is one."""
    assert machine.daemon(usage, running=running) == expected


def test_a_daemon_near_its_limit_is_a_warning() -> None:
    """With the setting that raises it."""
    usage = Memory(daemon_pss_bytes=86_000_000, daemon_limit_bytes=100_000_000)
    finding = machine.daemon(usage, running=True)
    assert finding is not None
    assert (finding.verdict, finding.text) == ("warning", "the daemon has 86 MB of 100 MB")
    assert "MemoryMax=" in finding.hint


def test_oom_kills_are_a_warning() -> None:
    """Counted since boot; a kernel that does not count them says nothing."""
    assert machine.oom_kills(Memory(), 60.0) is None
    assert machine.oom_kills(Memory(oom_kills=0), 60.0) is None
    finding = machine.oom_kills(Memory(oom_kills=2), 7200.0)
    assert finding is not None
    assert (finding.verdict, finding.text) == ("warning", "2 OOM kills in 2 h 0 min since boot")


def stats(
    *, blocks: int = 10**6, free: int = 500_000, inodes: int = 500_000, flags: int = 0
) -> os.statvfs_result:
    """Return statvfs of a file system with blocks of 4096 bytes and a million inodes."""
    return os.statvfs_result((4096, 4096, blocks, free, free, 10**6, inodes, inodes, flags, 255))


@pytest.mark.parametrize(
    ("free", "verdict"), [(500_000, "ok"), (24_000, "warning"), (2_000, "fault"), (0, "fault")]
)
def test_room_on_a_disk(free: int, verdict: str) -> None:
    """Of 4 GB: below 100 MB and below 10 MB."""
    assert disk.room(Path("/"), stats(free=free)).verdict == verdict


def test_a_small_disk_is_judged_by_its_share() -> None:
    """Of 40 MB a twentieth is enough."""
    assert disk.room(Path("/"), stats(blocks=10_000, free=600)).verdict == "ok"


def test_inodes_run_out_before_bytes() -> None:
    """Below one in a hundred; btrfs, which counts none, has enough."""
    assert disk.inodes(Path("/"), stats()) is None
    finding = disk.inodes(Path("/"), stats(inodes=9_999))
    assert finding is not None
    assert finding.verdict == "fault"
    none = os.statvfs_result((4096, 4096, 10**6, 10**6, 10**6, 0, 0, 0, 0, 255))
    assert disk.inodes(Path("/"), none) is None


def test_only_the_root_may_be_read_only() -> None:
    """The state directory is written to."""
    assert disk.writable("state", Path("/var"), stats()) is None
    root = disk.writable("/", Path("/"), stats(flags=os.ST_RDONLY))
    assert root == Finding("ok", "/ is read-only")
    state = disk.writable("state", Path("/var"), stats(flags=os.ST_RDONLY))
    assert state is not None
    assert state.verdict == "fault"


@pytest.mark.parametrize(
    ("used", "spare", "verdict"),
    [(1, 0, "ok"), (9, 1, "ok"), (10, 1, "warning"), (11, 0, "warning"), (1, 2, "warning"),
     (1, 3, "fault")],
)  # fmt: skip
def test_wear(used: int, spare: int, verdict: str) -> None:
    """The reserve of blocks counts as the life does; one nearly used up is a fault."""
    assert disk.worn("mmcblk0 X", used, spare).verdict == verdict


def test_events_that_wait_are_counted_against_both_limits() -> None:
    """Rows and bytes; what was not counted is none."""
    config = SpoolConfig(events=100, bytes=10_000)
    for rows, payload, verdict in ((90, 9_000, "ok"), (91, 0, "warning"), (1, 9_001, "warning")):
        contents = disk.Contents(4096, 0, disk.Waiting(rows, payload))
        assert disk.waiting(contents, config).verdict == verdict
    assert disk.waiting(disk.Contents(0, 0, None), config).text == "0 events wait in 0 bytes"


def test_spools_that_were_set_aside_are_a_warning() -> None:
    """With the files to remove."""
    path = Path("/s/spool.db")
    assert disk.set_aside(disk.Contents(0, 0, None), path) is None
    finding = disk.set_aside(disk.Contents(0, 2, None), path)
    assert finding is not None
    assert finding.hint.endswith("rm /s/spool.db.unreadable-*")


def test_the_worst_finding_is_the_verdict_and_comes_first() -> None:
    """Facts come last, each hint once, and a rule with nothing to say adds nothing."""
    findings = Findings("x")
    findings.add(Finding("ok", "a fact"), None, Finding("warning", "w", "do it"))
    findings.add(Finding("fault", "f", "do it"), Finding("unknown", "u"))
    check = findings.check()
    assert (check.verdict, check.line, check.hint) == ("fault", "f; w; u; a fact", "do it")
    assert Findings("x").check().verdict == "ok"
