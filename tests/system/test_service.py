"""The service in a real systemd, from `apt install` to `apt purge`.

In this order: all tests use the same machine; the fixture ``service`` repairs what an earlier test
broke.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from tests.conftest import ROOT
from tests.system import packages
from tests.system.conftest import APT, CONFIG, EXPOSURE_MAX, LEFT, is_up
from tests.system.machine import Machine, Subscriber
from tests.system.packages import Package

pytestmark = pytest.mark.system
Subscribe = Callable[[], Subscriber]
OFFLINE_MAX_S: Final = 5.0
"""Longest absence of a device during an upgrade, by the machine's clock."""
STARTED: Final = "39f53479d3a045ac8e11786248231fbf"
"""systemd's MESSAGE_ID of a started unit."""

FILM_BYTES = 75_000_000
"""PSS with a film, at most; amd64, both wheels ours."""


def main_pid(machine: Machine) -> int:
    """Return the daemon's process id, 0 while it has none."""
    return int(machine.show("MainPID")["MainPID"])


def starts(machine: Machine) -> int:
    """Return how often systemd has started the service."""
    count = f"journalctl -q MESSAGE_ID={STARTED} UNIT=edge-camera.service -o cat | wc -l"
    return int(machine.output(count))


def journal(machine: Machine, *fields: str) -> list[dict[str, Any]]:
    """Return the service's journal entries that have all of ``fields``."""
    lines = machine.output(f"journalctl -q -u edge-camera -o json {' '.join(fields)}")
    return [json.loads(line) for line in lines.splitlines()]


def status(machine: Machine) -> str:
    """Return the output of `systemctl status`."""
    return machine.run("systemctl status --no-pager -l edge-camera", check=False).output


def inside(machine: Machine, program: str) -> str:
    """Run Python as root under the service's own cgroup, with its devices and its memory."""
    group = "/sys/fs/cgroup" + machine.show("ControlGroup")["ControlGroup"]
    machine.put("/run/inside.py", program.encode())
    return machine.run(
        f"(echo $BASHPID >{group}/cgroup.procs; exec python3 /run/inside.py)", check=False
    ).output


def test_apt_installs_it(machine: Machine, package: Package, tmp_path: Path, settings: str) -> None:
    """And starts it; without a camera it says so and tries again, which is not a failure of apt."""
    old = packages.before(package, tmp_path)
    machine.put("/root/before.deb", old.path.read_bytes())
    machine.put("/root/package.deb", package.path.read_bytes())

    machine.run(f"{APT} install /root/before.deb", timeout_s=180)

    assert machine.output("systemctl is-enabled edge-camera") == "enabled"
    if "/dev/video0" not in settings:
        machine.wait_for("status 74", lambda: "code=exited, status=74" in status(machine))
        machine.wait_for("the reason", lambda: "no camera found" in status(machine))
        machine.put(CONFIG, settings.encode())
        machine.run("systemctl restart edge-camera")
    machine.wait_for("an active service", lambda: is_up(machine))


def test_results_reach_a_subscriber(service: Machine, subscribe: Subscribe) -> None:
    """Each with a score for every label, from this machine's camera."""
    subscriber = subscribe()

    subscriber.wait_for("five results", lambda: len(subscriber.of("result")) >= 5)

    newest = subscriber.of("result")[-1].body
    assert newest["scores"].keys() == {"cat", "dog", "neither"}
    assert sum(newest["scores"].values()) == pytest.approx(1.0, abs=0.01)
    assert subscriber.of("info")[0].body["device"] == "edge-test"


def test_the_clip_gives_every_label(service: Machine, subscribe: Subscribe, settings: str) -> None:
    """Cats, dogs and neither, as in the demo clip; vivid shows a test picture."""
    if "/dev/video0" in settings:
        pytest.skip(f"LEFT OUT on {service.name}: its camera is vivid, which shows a test picture")
    subscriber = subscribe()

    def labels() -> set[str]:
        return {message.body["label"] for message in subscriber.of("state")}

    subscriber.wait_for("every label", lambda: labels() >= {"cat", "dog", "neither"}, 60)


def test_its_status_is_one_line_for_people(service: Machine) -> None:
    """In `systemctl status`: label, speed, and whether the broker is connected."""

    def text() -> str:
        return service.show("StatusText")["StatusText"]

    service.wait_for("figures in the status", lambda: " fps · " in text())
    assert re.search(r"broker up$", text()), text()
    print(f"{service.name}: {text()}")


def test_systemd_finds_no_fault_with_the_unit(service: Machine) -> None:
    """`systemd-analyze verify` writes nothing at all."""
    path = service.show("FragmentPath")["FragmentPath"]
    assert service.output(f"systemd-analyze verify --man=no {path}") == ""


def test_its_exposure_is_small(service: Machine) -> None:
    """As systemd counts it for the running unit."""
    table = service.output("systemd-analyze security --no-pager edge-camera.service")
    figure = re.search(r"exposure level for edge-camera.service: ([\d.]+)", table)
    assert figure, table
    print(f"{service.name}: systemd-analyze security: {figure[1]}")
    assert float(figure[1]) <= EXPOSURE_MAX, table


def test_every_gap_in_the_hardening_is_explained(service: Machine) -> None:
    """What systemd still marks is named in the unit's comments, and nothing else is marked."""
    table = service.output("systemd-analyze security --no-pager edge-camera.service")
    marked = re.findall(r"^✗ (\w+)", table, re.M)
    unit = service.output(f"cat {service.show('FragmentPath')['FragmentPath']}")
    comments = "".join(re.findall(r"^#.*\n", unit, re.M))
    assert [name for name in marked if name not in comments] == []


def test_the_process_has_no_privileges(service: Machine) -> None:
    """As the kernel says of the running daemon, not as the unit wishes."""
    status = dict(
        line.split(":\t", 1)
        for line in service.output(f"cat /proc/{main_pid(service)}/status").splitlines()
    )
    found = {name: status[name].strip() for name in status if name.startswith("Cap")}
    assert set(found.values()) == {"0" * 16}, found
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert "0" not in status["Uid"].split() + status["Gid"].split()


def test_its_devices_are_cameras_alone(service: Machine) -> None:
    """Even root could open no other under the service's own cgroup."""
    service.run("[ -e /dev/kmsg ] || mknod -m 666 /dev/kmsg c 1 11")
    tried = (
        "for path in ('/dev/null', '/dev/kmsg', '/dev/video0'):\n"
        "    try:\n        open(path, 'rb').close()\n        print(path, 'opened')\n"
        "    except OSError as exc:\n        print(path, exc.strerror)\n"
    )
    found = dict(line.split(" ", 1) for line in inside(service, tried).splitlines())
    assert found["/dev/null"] == "opened"
    assert found["/dev/kmsg"] == "Operation not permitted"
    expected = "opened" if service.name.endswith("arm64") else "No such file or directory"
    assert found["/dev/video0"] == expected


def test_its_memory_is_within_its_limit(service: Machine) -> None:
    """With room to spare; the figure is printed."""
    rollup = service.output(f"cat /proc/{main_pid(service)}/smaps_rollup")
    found = re.search(r"^Pss: +(\d+) kB", rollup, re.M)
    assert found
    pss, most = int(found[1]) * 1024, int(service.show("MemoryMax")["MemoryMax"])
    limit = "enforced" if service.enforces else "NOT ENFORCED here: no memory controller"
    print(f"{service.name}: PSS {pss / 1e6:.1f} MB; MemoryMax {most / 1e6:.0f} MB, {limit}")
    assert 1.5 * pss < most
    began, ready = "ExecMainStartTimestampMonotonic", "ActiveEnterTimestampMonotonic"
    at_us = service.show(began, ready)
    took_s = (int(at_us[ready]) - int(at_us[began])) / 1e6
    print(f"{service.name}: READY {took_s:.2f} s after its start")
    shown = json.loads(service.output("edge bench --memory --json"))
    resident = re.search(r"^Rss: +(\d+) kB", rollup, re.M)
    assert resident
    of_all = shown["private_bytes"] + shown["shared_bytes"]
    assert abs(of_all - int(resident[1]) * 1024) < 3_000_000
    private = "/usr/lib/edge-camera"
    if service.run(
        f"test -e {private}/cv2.abi3.so -a -d {private}/tflite_runtime", check=False
    ).status:
        print(f"{service.name}: LEFT OUT: the budget, which is for two wheels of ours")
    elif service.name.endswith("amd64"):
        assert pss < FILM_BYTES


def test_the_limit_is_the_kernels(service: Machine) -> None:
    """A process that takes more is killed, and the service restarts."""
    if not service.enforces:
        pytest.skip(f"LEFT OUT on {service.name}: its kernel gives it no memory controller")
    before = main_pid(service)
    inside(service, "hog = []\nwhile True: hog.append(bytes([1]) * 2**24)\n")
    service.wait_for("another process", lambda: main_pid(service) not in (0, before), 60)
    service.wait_for("an active service", lambda: is_up(service), 60)
    assert service.output("journalctl -q -k -g 'Killed process.*python3' -o cat")


def test_the_local_socket_is_for_its_group_alone(service: Machine) -> None:
    """Without a broker: for root, for a member, and for another unit of the same dynamic user."""
    service.run("systemctl stop mosquitto; useradd -G edge-camera-local member; useradd stranger")
    modes = service.output("stat -c '%a %G' /run/edge-camera /run/edge-camera/edge.sock")
    assert modes.split("\n") == ["750 edge-camera-local", "660 edge-camera-local"]
    watch = "edge watch --seconds 3 --socket /run/edge-camera/edge.sock"
    same = "systemd-run -q --wait --pipe -p DynamicUser=yes -p User=edge-camera"
    for who in ("", "runuser -u member -- ", f"{same} "):
        assert " state " in service.output(f"{who}{watch}"), who
    refused = service.run(f"runuser -u stranger -- {watch}", check=False)
    assert (refused.status, "Permission denied; use sudo" in refused.output) == (69, True)
    service.run("userdel member; userdel stranger; systemctl start mosquitto")


def test_secrets_come_as_credentials(service: Machine, subscribe: Subscribe, settings: str) -> None:
    """A password that only root can read is used to log in."""
    service.put(
        "/etc/mosquitto/conf.d/login.conf",
        b"per_listener_settings true\nlistener 1883\nallow_anonymous true\n"
        b"listener 1884\nallow_anonymous false\npassword_file /etc/mosquitto/passwords\n",
    )
    service.run(
        "mosquitto_passwd -c -b /etc/mosquitto/passwords device 's3cret word'"
        " && chown mosquitto /etc/mosquitto/passwords && systemctl restart mosquitto"
    )
    service.put("/etc/edge-camera/credentials/mqtt-password", b"s3cret word\n")
    service.run("chmod 600 /etc/edge-camera/credentials/mqtt-password")
    service.put(CONFIG, f'{settings}[mqtt]\nport = 1884\nusername = "device"\n'.encode())
    subscriber = subscribe()

    service.run("systemctl restart edge-camera")

    subscriber.wait_for("online", lambda: subscriber.availability()[-1:] == ["online"])
    assert "s3cret" not in service.output("journalctl -u edge-camera -o export")
    service.run(
        "rm /etc/edge-camera/credentials/* /etc/mosquitto/conf.d/login.conf"
        " && systemctl restart mosquitto"
    )


def test_a_hung_process_is_restarted(service: Machine, subscribe: Subscribe) -> None:
    """By the watchdog, after SIGSTOP; the broker publishes `offline` meanwhile."""
    before, subscriber = main_pid(service), subscribe()
    subscriber.wait_for_online()

    service.run(f"kill -STOP {before}")

    service.wait_for("another process", lambda: main_pid(service) not in (0, before), 60)
    subscriber.wait_for(
        "the return", lambda: subscriber.availability() == ["offline", "online"], 60
    )
    assert service.output("journalctl -q -u edge-camera -g 'Watchdog timeout' -o cat")


def test_a_killed_process_is_back(service: Machine, subscribe: Subscribe) -> None:
    """SIGKILL: the last will says offline, the next process online."""
    before, subscriber = main_pid(service), subscribe()
    subscriber.wait_for_online()

    service.run(f"kill -KILL {before}")

    subscriber.wait_for("the return", lambda: subscriber.availability() == ["offline", "online"])
    assert main_pid(service) not in (0, before)
    gone, back = (message.at_s for message in subscriber.of("availability"))
    print(f"{service.name}: back {back - gone:.1f} s after SIGKILL")


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ("[smoothing]\nwindw = 3\n", "smoothing.windw: unknown key"),
        ('[model]\npath = "/nowhere"\n', "/nowhere"),
    ],
    ids=["key", "model"],
)
def test_a_broken_config_is_not_tried_again(
    service: Machine, settings: str, broken: str, reason: str
) -> None:
    """Status 78, once, and why in `systemctl status`."""
    service.put(CONFIG, (settings + broken).encode())

    service.run("systemctl restart edge-camera", check=False)

    service.wait_for("failed", lambda: service.show("ActiveState")["ActiveState"] == "failed")
    found = service.show("ExecMainStatus", "NRestarts", "SubState")
    assert found == {"ExecMainStatus": "78", "NRestarts": "0", "SubState": "failed"}
    service.wait_for("the reason", lambda: reason in status(service))


def test_a_reload_takes_a_good_config(
    service: Machine, subscribe: Subscribe, settings: str
) -> None:
    """In the same process."""
    before, subscriber = main_pid(service), subscribe()
    service.put(CONFIG, f"{settings}[smoothing]\nwindow = 7\n".encode())

    service.run("systemctl reload edge-camera")

    subscriber.wait_for("reloaded", lambda: subscriber.events("reloaded"))
    subscriber.wait_for(
        "the new window",
        lambda: subscriber.of("info")[-1].body["config"]["smoothing"]["window"] == 7,
    )
    service.wait_for("an active service", lambda: is_up(service))
    assert main_pid(service) == before


def test_a_reload_refuses_a_broken_model(
    service: Machine, subscribe: Subscribe, settings: str
) -> None:
    """Says so, and keeps the old one in the same process."""
    before, subscriber = main_pid(service), subscribe()
    service.put("/usr/local/share/broken/model.tflite", b"TFL3 but nothing else")
    service.put("/usr/local/share/broken/labels.txt", b"cat\ndog\n")
    model = "/usr/local/share/broken/model.tflite"
    service.put(CONFIG, f'{settings}[model]\npath = "{model}"\n'.encode())

    service.run("systemctl reload edge-camera")

    subscriber.wait_for("reload_failed", lambda: subscriber.events("reload_failed"))
    assert model in subscriber.events("reload_failed")[0]["evidence"]["error"]
    count = len(subscriber.of("result"))
    subscriber.wait_for("results still", lambda: len(subscriber.of("result")) > count + 2)
    service.wait_for("an active service", lambda: is_up(service))
    assert main_pid(service) == before


def test_the_journal_can_be_searched(service: Machine, subscribe: Subscribe, settings: str) -> None:
    """For a stalled camera, as the docs show; each entry has a priority and a kind."""
    service.put("/usr/local/share/frozen_stream.py", (ROOT / "tests/frozen_stream.py").read_bytes())
    service.run(
        "systemd-run -q --unit=frozen -p Restart=on-failure"
        " -E PYTHONPATH=/usr/lib/edge-camera python3 /usr/local/share/frozen_stream.py 8090 200"
    )
    changed = re.sub('source = ".*"', 'source = "http://127.0.0.1:8090/cam.mjpg"', settings)
    changed = changed.replace("[publish]", "stall_timeout_s = 2.0\n[publish]")
    service.put(CONFIG, changed.encode())
    machine_wait = 60.0
    service.wait_for(
        "the stream",
        lambda: service.run("ss -Hltn 'sport = 8090' | grep -q .", check=False).status == 0,
    )

    service.run("systemctl restart edge-camera", timeout_s=90)

    service.wait_for(
        "camera_stalled", lambda: journal(service, "EDGE_EVENT=camera_stalled"), machine_wait
    )
    entry = journal(service, "EDGE_EVENT=camera_stalled")[0]
    assert entry["PRIORITY"] == "4"
    assert re.fullmatch("[0-9a-f]{32}", entry["MESSAGE_ID"])
    assert entry["EDGE_STAGE"] == "camera"
    assert entry["_SYSTEMD_UNIT"] == "edge-camera.service"
    ready = journal(service, "EDGE_EVENT=ready")
    assert ready
    assert ready[0]["MESSAGE_ID"] != entry["MESSAGE_ID"]
    assert ready[0]["MESSAGE"].startswith("ready after")  # level and part are fields, not text
    service.run("systemctl stop frozen")


def test_it_stops_in_time(service: Machine, subscribe: Subscribe) -> None:
    """Within TimeoutStopSec=5s, after publishing `offline` itself."""
    subscriber = subscribe()
    subscriber.wait_for_online()

    service.run("systemctl stop edge-camera")

    found = service.show("ActiveState", "Result", "ExecMainStatus", "TimeoutStopUSec")
    assert found == {
        "ActiveState": "inactive",
        "Result": "success",
        "ExecMainStatus": "0",
        "TimeoutStopUSec": "5s",
    }
    subscriber.wait_for("offline", lambda: subscriber.availability() == ["offline"])


def test_an_upgrade_keeps_waiting_events(
    service: Machine, subscribe: Subscribe, settings: str
) -> None:
    """And an edited config; the service is restarted just once."""
    service.run("systemctl stop mosquitto")
    waiting = len(journal(service, "EDGE_EVENT=reloaded"))

    def reloads() -> int:
        return len(journal(service, "EDGE_EVENT=reloaded")) - waiting

    while (before := reloads()) < 3:
        service.run("systemctl reload edge-camera")
        service.wait_for(
            "an event in the journal", partial(lambda so_far: reloads() > so_far, before)
        )
    count = starts(service)

    service.run(f"{APT} install /root/package.deb", timeout_s=180)

    service.wait_for("an active service", lambda: is_up(service))
    assert starts(service) == count + 1
    assert service.output(f"cat {CONFIG}") == settings.strip()
    service.run("systemctl start mosquitto")
    subscriber = subscribe()
    subscriber.wait_for("what waited", lambda: len(subscriber.events("reloaded")) >= 3)
    events = subscriber.events("reloaded")
    assert len({event["id"] for event in events}) == len(events) == 3
    assert [event["seq"] for event in events] == sorted(event["seq"] for event in events)


def test_an_upgrade_takes_the_device_away_for_a_moment_only(
    service: Machine, subscribe: Subscribe, package: Package
) -> None:
    """For a subscriber: from `offline` to `online`, by the machine's clock."""
    service.run(f"{APT} --allow-downgrades install /root/before.deb", timeout_s=180)
    service.wait_for("an active service", lambda: is_up(service))
    subscriber = subscribe()
    subscriber.wait_for_online()
    count = starts(service)

    service.run(f"{APT} install /root/package.deb", timeout_s=180)

    subscriber.wait_for("the return", lambda: subscriber.availability() == ["offline", "online"])
    assert starts(service) == count + 1
    assert service.output("dpkg-query -W -f '${Version}' edge-camera") == package.field("Version")
    gone, back = (message.at_s for message in subscriber.of("availability"))
    away_s, start_s = back - gone, subscriber.of("info")[-1].body["start_s"]
    verdict = "within" if away_s < OFFLINE_MAX_S else "NOT WITHIN"  # as fast as this machine is now
    print(
        f"{service.name}: away for {away_s:.2f} s in the upgrade, {verdict} {OFFLINE_MAX_S:g} s;"
        f" {start_s:.2f} s of it are the daemon's own start"
    )


def test_removal_keeps_config_and_state(
    service: Machine, subscribe: Subscribe, settings: str
) -> None:
    """It publishes `offline`; the owner's files stay."""
    subscriber = subscribe()
    subscriber.wait_for_online()

    service.run(f"{APT} remove edge-camera", timeout_s=180)

    subscriber.wait_for("offline", lambda: subscriber.availability() == ["offline"])
    assert service.run("pgrep -f 'edge run'", check=False).output == ""
    assert service.output(f"cat {CONFIG}") == settings.strip()
    assert service.output("ls /var/lib/edge-camera/")
    assert service.show("LoadState")["LoadState"] == "not-found"


def test_a_purge_leaves_nothing(machine: Machine) -> None:
    """No file, no folder, no link, no user; journal and apt's own records aside."""
    machine.run(f"{APT} purge edge-camera", timeout_s=180)

    assert machine.output(LEFT) == ""
    assert machine.run("getent passwd edge-camera", check=False).output == ""
    assert machine.run("getent group edge-camera-local", check=False).output == ""
