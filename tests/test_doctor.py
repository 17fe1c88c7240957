"""Health of a device: probes on recorded machines, and `edge doctor` as users meet it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.broker import PrivateBroker
from edge import config as configs
from edge import doctor
from edge.config import SpoolConfig
from edge.doctor import camera, disk, journal, machine, model, service
from edge.doctor.checks import Check, lasted, size
from edge.doctor.service import Unit
from edge.messages import Message
from edge.mqtt.spool import Spool
from tests.conftest import MODELS, ROOT, Daemon, edge
from tests.signing import new_key

MACHINES = Path(__file__).parent / "machines"
PI = MACHINES / "pi4"
SECRET = "hunter2-very-secret"
NOW_S = 13_100.0
"""A minute after the recordings, as their machine's clock counts."""


def unit(name: str, **changes: str) -> Unit:
    """Return what a real systemd showed of the service."""
    shown = service.parse((MACHINES / "systemd" / name).read_text()).shown
    return Unit({**shown, **changes})


@pytest.mark.parametrize(
    ("name", "verdict", "line"),
    [
        ("running", "warning", "does not start at boot; active for 1 min; dog 0.97 · 28.9 fps"),
        ("config", "fault", "failed for 1 min: exit status 78, config, model or device id"),
        ("watchdog", "fault", "restarting, 0 times so far, for 1 min: it hung and the watchdog"),
        ("killed", "fault", "restarting, 0 times so far, for 1 min: ended by SIGKILL"),
        ("restarted", "warning", "restarts by itself: 1; does not start at boot; active for 1 min"),
        ("stopped", "fault", "stopped"),
        ("absent", "unknown", "systemd has no unit edge-camera"),
    ],
)
def test_what_systemd_shows_is_judged(name: str, verdict: str, line: str) -> None:
    """Recorded from systemd 252, the service in each of these states."""
    found = service.check(unit(name), NOW_S)
    assert (found.verdict, found.line[: len(line)]) == (verdict, line)
    assert found.hint


def test_a_healthy_service_needs_no_hint() -> None:
    """Enabled and running: ok, with the facts of the unit."""
    found = service.check(unit("running", UnitFileState="enabled", MemoryPeak="99000000"), NOW_S)
    assert (found.verdict, found.hint) == ("ok", "")
    assert found.facts["memory_max_bytes"] == 314_572_800
    assert found.facts["memory_peak_bytes"] == 99_000_000
    assert found.facts["memory_bytes"] is None
    assert found.facts["pid"] == 37


def test_a_service_that_ends_again_and_again_is_not_healthy() -> None:
    """It runs now; it did so before each of its ends."""
    often = unit("restarted", NRestarts="9")
    assert service.check(often, NOW_S).verdict == "fault"
    assert service.check(often, NOW_S + 3600).verdict == "warning"


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Return a function that puts a program before all others."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def put(name: str, script: str) -> None:
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)

    return put


def test_a_systemd_that_cannot_be_queried_is_unknown(
    programs: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It hangs, refuses, or is not there."""
    monkeypatch.setattr(service, "TIMEOUT_S", 0.2)
    programs("systemctl", "exec sleep 60")
    assert service.read().why == "systemd does not answer within 0 s"
    assert service.check(service.read(), NOW_S).verdict == "fault"
    programs("systemctl", "echo 'Failed to connect to bus: Host is down' >&2; exit 1")
    assert service.read().why == "Failed to connect to bus: Host is down"
    assert service.check(service.read(), NOW_S).verdict == "unknown"
    monkeypatch.setenv("PATH", "")
    assert service.read().why == "no systemd here"
    assert service.check(service.read(), NOW_S).verdict == "unknown"
    assert (journal.read().verdict, journal.read().line) == ("unknown", "no journal here")


def test_events_are_the_newest_each_once(programs: Callable[[str, str], None]) -> None:
    """Warnings and events, as a real journal gave them; one is both."""
    lines = [line for name in ("journal-warnings", "journal-events")
             for line in (MACHINES / "systemd" / name).read_text().splitlines()]  # fmt: skip
    events = journal.check([*lines, "not JSON", "{}"]).facts["events"]
    assert [(e["priority"], e["event"]) for e in events] == [
        (4, None),
        (4, None),
        (4, "camera_lost"),
        (6, "camera_recovered"),
    ]
    assert events[0]["message"].endswith("status=9/KILL")
    assert [e["time_s"] for e in events] == sorted(e["time_s"] for e in events)
    programs("journalctl", "echo 'No journal files were opened due to insufficient permissions.' "
             ">&2; exit 1")  # fmt: skip
    assert journal.read().verdict == "unknown"
    assert journal.read().hint == "sudo edge doctor"


def test_every_throttle_bit_has_its_words(tmp_path: Path) -> None:
    """A Pi 4B's 0x50005: under-voltage and throttled, now and since boot."""
    found = machine.heat(PI / "proc", PI / "sys")
    assert found.verdict == "fault"
    assert found.facts["throttled"] == [
        "under-voltage now",
        "throttled now",
        "under-voltage since boot",
        "throttled since boot",
    ]
    assert "62 °C" in found.line
    assert found.hint.startswith("use a power supply of 5.1 V")
    firmware = tmp_path / "devices/platform/soc/soc:firmware"
    firmware.mkdir(parents=True)
    zone = tmp_path / "class/thermal/thermal_zone0"
    zone.mkdir(parents=True)
    for bits, celsius, verdict in (("0", 40, "ok"), ("20000", 40, "warning"), ("0", 76, "warning"),
                                   ("0", 90, "fault"), ("8", 40, "warning")):  # fmt: skip
        (firmware / "get_throttled").write_text(bits)
        (zone / "temp").write_text(f"{celsius}000")
        assert machine.heat(PI / "proc", tmp_path).verdict == verdict, bits
    assert machine.heat(tmp_path, tmp_path / "none").verdict == "unknown"


@pytest.mark.parametrize(
    ("kept", "now_s", "verdict"),
    [
        (True, None, "ok"),
        (False, None, "warning"),
        (None, None, "unknown"),
        (True, 86_400.0, "fault"),
        (False, 86_400.0, "fault"),
    ],
)
def test_the_clock(kept: bool | None, now_s: float | None, verdict: str, tmp_path: Path) -> None:
    """Kept by something, or not; 1970 is a fault whatever the kernel says."""
    assert machine.clock(tmp_path, now_s, lambda: kept).verdict == verdict
    (tmp_path / "systemd/timesync").mkdir(parents=True)
    (tmp_path / "systemd/timesync/synchronized").touch()
    assert machine.clock(tmp_path, now_s, lambda: kept).facts["synchronised"] is True


def test_the_kernel_is_really_queried() -> None:
    """adjtimex answers here."""
    assert machine.synchronised() in (True, False)


def test_memory_of_machine_and_daemon(tmp_path: Path) -> None:
    """A Pi 4B's; then one that is nearly out of it, and a daemon near its limit."""
    running = unit("running", MainPID="1234")
    found = machine.memory(running, PI / "proc", PI / "sys")
    assert found.verdict == "ok"
    assert found.line == "3.5 GB of 4.0 GB available; swap 12 MB of 537 MB; daemon 60 MB of 315 MB"
    near = unit("running", MainPID="1234", MemoryMax="65000000")
    assert "the daemon has 60 MB of 65 MB" in machine.memory(near, PI / "proc", PI / "sys").line
    (tmp_path / "meminfo").write_text("MemTotal: 1000000 kB\nMemAvailable: 20000 kB\n")
    (tmp_path / "vmstat").write_text("oom_kill 3\n")
    (tmp_path / "uptime").write_text("7200.00 1.0\n")
    low = machine.memory(running, tmp_path, tmp_path)
    assert (low.verdict, low.facts["oom_kills"]) == ("warning", 3)
    assert low.line.startswith("only 20 MB of 1.0 GB available; 3 OOM kills in 2 h 0 min")
    assert machine.memory(Unit(), tmp_path / "none").verdict == "unknown"


@pytest.fixture
def full(tmp_path: Path) -> Iterator[tuple[Path, Callable[[Path], os.statvfs_result]]]:
    """A folder on a full file system, and a statvfs that says so: real for root, else made up."""
    folder = tmp_path / "full"
    folder.mkdir()
    mounted = not subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "none", folder], capture_output=True, check=False
    ).returncode
    if mounted:
        with pytest.raises(OSError, match="No space"):
            (folder / "filler").write_bytes(bytes(100_000))
        yield folder, os.statvfs
        subprocess.run(["umount", folder], check=True)
        return

    def statvfs(path: Path) -> os.statvfs_result:
        real = list(os.statvfs(path))
        if path == folder:
            real[2:5] = [25, 0, 0]  # another file system than the root's
        return os.statvfs_result(real)

    yield folder, statvfs


def test_a_full_disk_is_a_fault(full: tuple[Path, Callable[[Path], os.statvfs_result]]) -> None:
    """The spool's file system, though the root's has room."""
    folder, statvfs = full
    found = disk.check(SpoolConfig(), folder / "spool.db", folder, PI / "sys", statvfs)
    assert found.verdict == "fault"
    assert found.line.startswith("full: 0 bytes of ")
    assert found.facts["state"]["free_bytes"] == 0


def test_room_inodes_and_a_disk_that_only_reads(tmp_path: Path) -> None:
    """Little room is a warning; no inodes and read-only state are faults."""

    def verdict(position: int, value: int) -> Check:
        fields = list(os.statvfs(tmp_path))
        fields[9 if position == 8 else 0], fields[1] = 255, 4096
        fields[2:9] = [10**6, 500_000, 500_000, 10**6, 10**6, 500_000, 0]
        fields[position] = value
        return disk.check(SpoolConfig(), None, tmp_path, tmp_path,
                          lambda _: os.statvfs_result(fields[:10]))  # fmt: skip

    assert verdict(0, 4096).verdict == "ok"
    assert verdict(4, 20_000).line.startswith("nearly full: 82 MB of 4.1 GB free")
    assert verdict(7, 100).verdict == "fault"
    assert "read-only" in verdict(8, os.ST_RDONLY).line


def test_the_spool_of_a_living_daemon_is_looked_into(tmp_path: Path) -> None:
    """It is locked; what waits is counted all the same, and nothing of it is touched."""
    path = tmp_path / "spool.db"
    held = Spool(path, 10, 100_000)
    for _ in range(3):
        held.add(Message("t", json.dumps({"ts": time.time() - 7300}).encode(), 1, False))
    (tmp_path / "spool.db.unreadable-1").touch()
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    found = disk.check(SpoolConfig(events=10), path, tmp_path, PI / "sys")
    assert found.facts["events_waiting"]["rows"] == 3
    assert "3 events wait" in found.line
    assert "the oldest for 2 h 1 min" in found.line
    assert "1 spools were unreadable" in found.line
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    assert "nearly full" in disk.check(SpoolConfig(events=3), path, tmp_path, PI / "sys").line
    held.close()
    path.write_bytes(b"no database at all, of any kind " * 200)
    broken = disk.check(SpoolConfig(), path, tmp_path, PI / "sys")
    assert "a copy of it cannot be read: file is not a database" in broken.line
    assert (broken.verdict, broken.hint) == ("unknown", "run it again")


@pytest.mark.parametrize("times", [1, 2])
def test_a_copy_that_fails_is_made_once_more(
    times: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Torn by a checkpoint, or no room for it: that says nothing against the spool."""
    path = tmp_path / "spool.db"
    held = Spool(path, 10, 100_000)
    held.add(Message("t", b"{}", 1, False))
    copy, places = shutil.copyfile, []

    def fails(source: Path, target: Path) -> None:
        if target.parent not in places:
            places.append(target.parent)
        copy(source, target)
        if len(places) <= times:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(shutil, "copyfile", fails)
    found = disk.check(SpoolConfig(), path, tmp_path, PI / "sys")
    held.close()
    if times == 1:
        assert found.facts["events_waiting"]["rows"] == 1
        assert "1 events wait" in found.line
    else:
        assert "No space left on device" in found.line
        assert (found.verdict, found.hint) == ("unknown", "run it again")
    assert len(places) == 2


def test_a_worn_sd_card_is_reported(tmp_path: Path) -> None:
    """An eMMC says so; a plain SD card has nothing to say."""
    found = disk.check(None, None, None, MACHINES / "emmc")
    assert "80 % of its reserve used" in found.line
    assert found.facts["wear"]["mmcblk0"]["life_used_share"] == 1.0
    assert disk.check(None, None, None, PI / "sys").facts["wear"]["mmcblk0"] == {"name": "SC32G"}


def test_a_model_is_proven_or_its_fault_reported(rgb: Path) -> None:
    """The facts of the runtime; a file that is not the card's is a fault with its hint."""
    found = model.check(configs.load(None, {"model": {"path": str(rgb)}}))
    assert (found.verdict, found.facts["golden"]) == ("ok", "none")
    (rgb / "uint8io.tflite").write_bytes((MODELS / "uint8io.tflite").read_bytes()[:1000])
    broken = model.check(configs.load(None, {"model": {"path": str(rgb)}}))
    assert broken.verdict == "fault"
    assert str(rgb) in broken.line
    assert broken.hint


def test_a_card_that_contradicts_its_file_is_a_warning(tmp_path: Path) -> None:
    """In the words of the start; such a model works, and names the wrong things."""
    file = ROOT / "tests" / "cases" / "models" / "ei_int8" / "m.tflite"
    card = f'name = "x"\nfile = "{file}"\nlabels = ["a", "b", "c"]\n[preprocessing]\nmean = 127.5\n'
    (tmp_path / "model.toml").write_text(card)
    found = model.check(configs.load(None, {"model": {"path": str(tmp_path)}}))
    assert found.verdict == "warning"
    assert "maps 128 of 256 pixel values onto one value" in found.line
    assert found.hint


def look(source: str) -> Check:
    """Return the camera's check for a source."""
    return camera.check(configs.load(None, {"camera": {"source": source}}), Unit())


def test_sources_that_need_no_hardware(tmp_path: Path) -> None:
    """A file and a folder are there and readable, or not; picamera2 and devices are missing."""
    film = tmp_path / "film.mp4"
    assert look(str(film)).verdict == "fault"
    film.touch()
    assert look(str(film)).verdict == "ok"
    assert look(str(tmp_path)).verdict == "ok"
    assert look("synthetic").verdict == "ok"
    missing = look("/dev/video77")
    assert (missing.verdict, missing.line) == ("fault", "/dev/video77: is not there")
    assert "by-id" in missing.hint
    assert "no camera found" in look("auto").line
    libcamera = look("picamera2")
    assert (libcamera.verdict, libcamera.hint) == ("fault", "apt install python3-picamera2")
    assert look("/dev/null").line == "/dev/null: is not a camera"


def test_nothing_in_the_current_folder_is_run(tmp_path: Path) -> None:
    """Root may ask in any folder, and nobody's picamera2 is imported from there."""
    ran = tmp_path / "ran"
    (tmp_path / "picamera2.py").write_text(f"open({str(ran)!r}, 'w').close()\n")
    config = tmp_path / "edge.toml"
    config.write_text('[camera]\nsource = "picamera2"\n')
    script = (
        "import sys; from pathlib import Path; from edge import config as configs;"
        "from edge.doctor import camera, service;"
        "print(camera.check(configs.load(Path(sys.argv[1])), service.Unit()).line)"
    )
    command = [sys.executable, "-c", script, str(config)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=tmp_path, env=env, capture_output=True, text=True, check=True
    )
    assert not ran.exists()
    assert done.stdout.startswith("picamera2: picamera2 is not installed")


def test_folders_that_the_launcher_removed_are_not_searched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its child sees no folder that it does not see itself."""
    kept = [path for path in sys.path if "site-packages" not in path]
    monkeypatch.setattr(sys, "path", kept)
    shows = camera.LIST.partition("from ")[0] + "print(json.dumps(sys.path))"
    monkeypatch.setattr(camera, "LIST", shows)
    seen, _ = camera.libcamera()
    assert seen
    assert set(map(str, seen)) <= set(kept)


def test_a_stream_is_reached_and_its_login_not_printed(frozen_stream: str) -> None:
    """TCP to its port; nobody there is a fault."""
    found = look(frozen_stream)
    assert found.verdict == "ok"
    assert "secret" not in str(found)
    nobody = look(f"rtsp://me:{SECRET}@127.0.0.1:9/cam")
    assert nobody.verdict == "fault"
    assert "127.0.0.1:9: Connection refused" in nobody.line
    assert SECRET not in str(nobody)


def test_groups_of_the_services_user(tmp_path: Path) -> None:
    """A device of the group `video` is for those in it."""
    device = tmp_path / "video0"
    device.touch()
    device.chmod(0o660)
    group = subprocess.run(["stat", "-c", "%G", device], capture_output=True, text=True, check=True)
    name = group.stdout.strip()
    stranger = unit("running", User="nobody-at-all", SupplementaryGroups="")
    assert f"belongs to the group {name}" in camera.denied(str(device), stranger)
    friend = unit("running", User="nobody-at-all", SupplementaryGroups=name)
    assert camera.denied(str(device), friend) == ""
    device.chmod(0o666)
    assert camera.denied(str(device), stranger) == ""
    assert camera.denied(str(device), Unit()) == ""


def test_who_holds_a_device() -> None:
    """Found by its open files, by name and number."""
    with open("/dev/full", "wb") as device:
        sleeper = subprocess.Popen(["sleep", "60"], stdout=device)
    assert (sleeper.pid, "sleep") in camera.holders("/dev/full", Path("/proc"))
    sleeper.kill()
    sleeper.wait()


def test_a_probe_that_hangs_or_raises_takes_no_other_away() -> None:
    """Each becomes a fault of its own, in its place; what is merely not known here is none."""
    never = threading.Event()

    def hangs() -> Check:
        never.wait()
        return Check("late", "ok", "")

    def raises() -> Check:
        raise ZeroDivisionError("on\npurpose")

    fine = Check("fine", "ok", "all well")
    found = doctor.together(
        {
            "hangs": (hangs, 0.1),
            "raises": (raises, 5),
            "broker": (raises, 5),
            "fine": (lambda: fine, 5),
        }
    )
    never.set()
    assert [(check.name, check.verdict) for check in found] == [
        ("hangs", "fault"),
        ("raises", "fault"),
        ("broker", "fault"),
        ("published", "fault"),
        ("fine", "ok"),
    ]
    assert found[0].line == "no answer in 0.1 s"
    assert found[1].line == "the probe failed: ZeroDivisionError: on purpose"
    for one in found[:2]:
        assert one.hint
        assert doctor.status([one]) == 1
        assert doctor.report([one])["healthy"] is False
    assert doctor.status([Check("heat", "unknown", "no such thing here")]) == 0


@pytest.fixture
def config(tmp_path: Path, rgb: Path, broker: PrivateBroker) -> Path:
    """A config with a secret in every place that may hold one."""
    password = tmp_path / "password"
    password.write_text(f"{SECRET}\n")
    path = tmp_path / "edge.toml"
    path.write_text(
        f'[camera]\nsource = "rtsp://me:{SECRET}@127.0.0.1:9/cam?token={SECRET}"\n'
        f'[model]\npath = "{rgb}"\n[mqtt]\nhost = "{broker.host}"\nport = {broker.port}\n'
        f'username = "me"\npassword_file = "{password}"\n'
    )
    return path


NAMES = ["config", "service", "camera", "model", "broker", "published", "local", "clock", "heat",
         "disk", "memory", "events"]  # fmt: skip


def test_signed_models_without_a_trusted_key_are_a_warning(tmp_path: Path, rgb: Path) -> None:
    """Where the config asks for them, and nowhere else; with a key, its name and id."""
    trusted, path = tmp_path / "trusted", tmp_path / "edge.toml"
    text = f'camera.source = "synthetic"\nmodel.path = "{rgb}"\nbundles.keys = "{trusted}"\n'

    def found(lines: str) -> dict[str, Any] | None:
        path.write_text(text + lines)
        checks = json.loads(edge("doctor", "--json", "--config", path).stdout)["checks"]
        return next((check for check in checks if check["name"] == "bundles"), None)

    assert found("") is None
    for lines in ('bundles.fetch = ["https://models.example/"]\n', "bundles.signed_only = true\n"):
        check = found(lines)
        assert check is not None
        assert check["verdict"] == "warning"
        assert check["line"] == (
            f"{trusted}: no key is trusted on this device: no signed model can be added, or fetched"
            " by request"
        )
        assert check["hint"].startswith("copy your public key there; docs/signing.md")
    new_key(trusted, "fleet")
    check = found('bundles.fetch = ["https://models.example/"]\n')
    assert check is not None
    assert check["verdict"] == "ok"
    assert re.match(r"signed models are trusted by fleet\.pem \([0-9a-f]{16}\); ", check["line"])
    assert check["line"].endswith("a request may fetch from https://models.example/")


def test_the_shape_of_the_json(config: Path) -> None:
    """One object on stdout, every check with the same five keys; status 1 for the camera."""
    done = edge("doctor", "--json", "--config", config)
    report = json.loads(done.stdout)
    assert done.returncode == 1
    assert report.keys() == {"healthy", "version", "checks"}
    assert report["healthy"] is False
    assert [check["name"] for check in report["checks"]] == NAMES
    for check in report["checks"]:
        assert check.keys() == {"name", "verdict", "line", "hint", "facts"}
        assert check["verdict"] in ("ok", "warning", "fault", "unknown")
    faults = {check["name"] for check in report["checks"] if check["verdict"] == "fault"}
    assert "camera" in faults
    assert "broker" not in faults


@pytest.mark.parametrize("shape", [(), ("--json",)])
def test_no_secret_is_printed(
    config: Path, shape: tuple[str, ...], programs: Callable[[str, str], None]
) -> None:
    """Not even one that the service has shown itself: in its status, in the journal."""
    entry = {"__CURSOR": "a", "__REALTIME_TIMESTAMP": "1", "MESSAGE": f"it is {SECRET}\x1b[2J"}
    programs("journalctl", f"echo '{json.dumps(entry)}'")
    programs("systemctl", f"echo LoadState=loaded; echo ActiveState=active; echo 'StatusText=at "
             f"rtsp://me:{SECRET}@cam'")  # fmt: skip
    done = edge("doctor", *shape, "--config", config)
    assert "it is ***" in done.stdout
    assert SECRET not in done.stdout + done.stderr
    assert "\x1b" not in done.stdout


def test_credentials_that_others_may_read_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each with its mode; not those of mode 600, nor encrypted ones."""
    for name, mode in (("mqtt-password", 0o640), ("mqtt-key", 0o604), ("camera-password", 0o600),
                       ("mqtt-password.cred", 0o644)):  # fmt: skip
        (tmp_path / name).write_text("x")
        (tmp_path / name).chmod(mode)
    monkeypatch.setattr(doctor, "STORED", tmp_path)
    monkeypatch.setattr(doctor, "CREDENTIALS", ())
    monkeypatch.setattr(doctor, "STATE", tmp_path / "none")
    monkeypatch.setattr(doctor, "_probes", lambda *_: {})
    (found,) = doctor.examine(None)
    key, word = tmp_path / "mqtt-key", tmp_path / "mqtt-password"
    assert found.verdict == "warning"
    assert found.line.startswith(f"{key} has mode 604; {word} has mode 640; ")
    assert found.hint == f"chmod 600 {key}; chmod 600 {word}"


def test_a_broken_config_is_78_and_the_rest_is_still_reported(tmp_path: Path) -> None:
    """What does not rest on it."""
    path = tmp_path / "edge.toml"
    path.write_text("[smoothing]\nwindw = 3\n")
    done = edge("doctor", "--config", path)
    assert done.returncode == 78
    assert "smoothing.windw: unknown key" in done.stdout
    assert "-> did you mean `window`?" in done.stdout
    assert re.search("^memory    (ok|warning) ", done.stdout, re.M)  # as the machine is
    assert "model     unknown cannot be judged without a config" in done.stdout
    report = json.loads(edge("doctor", "--json", "--config", path).stdout)
    assert [check["name"] for check in report["checks"]] == NAMES


def test_a_healthy_daemon_is_healthy(
    daemon: Callable[..., Daemon], rgb: Path, broker: PrivateBroker, tmp_path: Path
) -> None:
    """Status 0, nothing but warnings; the daemon goes on and no rival is seen."""
    text = (f'[device]\nid = "wall"\n[camera]\nsource = "synthetic"\n[model]\npath = "{rgb}"\n'
            f'[mqtt]\nhost = "{broker.host}"\nport = {broker.port}\n')  # fmt: skip
    running = daemon(config=text)
    running.wait_for_log("connected")
    running.wait_for_log("->")
    done = edge("doctor", "--config", running.log.parent / "edge.toml")
    assert done.returncode == 0, done.stdout
    assert ": healthy; unknown: " in done.stdout
    assert "published ok      edge/wall online; version" in done.stdout
    assert running.process.poll() is None
    assert "name" not in running.log.read_text().partition("connected")[2]
    running.stop()
    stopped = edge("doctor", "--config", running.log.parent / "edge.toml")
    assert stopped.returncode == 1
    assert "edge/wall is offline" in stopped.stdout


def test_a_terminal_of_80_columns(config: Path) -> None:
    """Coloured, and no line is wider."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    written = b""
    command = [sys.executable, "-m", "edge", "doctor", "--config", str(config)]
    env = {**os.environ, "TERM": "xterm-256color"}
    with subprocess.Popen(command, stdout=theirs, stderr=subprocess.PIPE, cwd=ROOT, env=env) as own:
        os.close(theirs)
        with contextlib.suppress(OSError):  # how a terminal ends
            while part := os.read(ours, 65536):
                written += part
        os.close(ours)
        own.communicate()
    shown = written.decode()
    assert "\x1b[1;31mfault" in shown
    lines = re.sub(r"\x1b\[[0-9;]*m", "", shown).splitlines()
    assert max(map(len, lines)) <= 80, lines


def test_words_for_people() -> None:
    """Sizes and durations."""
    assert [size(n) for n in (0, 999, 1000, 1_500_000, 64e9)] == [
        *("0 bytes", "999 bytes", "1.0 kB", "1.5 MB", "64 GB"),
    ]
    assert [lasted(s) for s in (3, 61, 3700, 90_000)] == ["3 s", "1 min", "1 h 1 min", "1 d 1 h"]
