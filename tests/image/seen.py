"""Observations of an SD card: over SSH, in its file systems, at the broker."""

from __future__ import annotations

import json
import re
import sqlite3
from pathlib import Path
from typing import Any

from deploy.image import disk
from deploy.image.layout import SECTOR
from tests.conftest import Listener
from tests.image.guest import Guest, SdCard

SPOOL = "/var/lib/private/edge-camera/spool.db"
IDS = f"""
rm -rf /tmp/spool && mkdir /tmp/spool && cp {SPOOL}* /tmp/spool && python3 - <<'END'
import json, sqlite3
rows = sqlite3.connect("/tmp/spool/spool.db").execute("SELECT payload FROM events")
print(*(json.loads(row[0])["id"] for row in rows))
END
"""
"""Of a copy: the daemon locks its file."""
FACTS = {
    "machine": "cat /etc/machine-id",
    "host_key": "cat /etc/ssh/ssh_host_ed25519_key.pub",
    "name": "hostname",
    "secret": "sudo stat -c '%a %U' /etc/edge-camera/credentials/mqtt-password",
    "wifi": "sudo stat -c '%a %U' /etc/wpa_supplicant/wpa_supplicant-wlan0.conf",
    "time": "systemctl is-active systemd-timesyncd",
    "resolver": "systemctl show -P NRestarts systemd-resolved",
    "service": "systemctl show -p ActiveState -p NRestarts edge-camera",
    "failed": "systemctl --failed --plain --no-legend; "
    "sudo journalctl -b -q -o cat -u edge-first-boot -u edge-provision -p 4",
    "root": "findmnt -n -b -o SIZE,OPTIONS /",
    "state": "findmnt -n -b -o SIZE,OPTIONS --target /var/lib/dpkg",
    "kernel": "sed -n 's/^btime //p' /proc/stat",
    "ready": "systemctl show -p ExecMainStartTimestampMonotonic"
    " -p ActiveEnterTimestampMonotonic edge-camera",
    "pss": "sudo sed -n 's/^Pss: *//p' /proc/$(systemctl show -P MainPID edge-camera)/smaps_rollup",
    "fsck": "journalctl -b -k -o cat | grep -i 'ext4.*vda' ; sudo cat /run/initramfs/fsck.log",
}


def facts(guest: Guest) -> dict[str, str]:
    """Return facts about the guest, with one connection."""
    script = "\n".join(f"echo @@{name}; {command}; true" for name, command in FACTS.items())
    output = guest.ssh("sh -s", given=script)
    return {
        part.partition("\n")[0]: part.partition("\n")[2].strip() for part in output.split("@@")[1:]
    }


def online(guest: Guest, heard: Listener) -> None:
    """Return once the daemon has published a result."""
    guest.until(lambda: bool(heard.bodies("result")), "a result")


def clean(sdcard: SdCard) -> None:
    """Fail unless every ext4 file system of the SD card is without fault, its journal empty."""
    for start in starts(sdcard)[1:]:
        output = disk.run(["dumpe2fs", "-h", f"{sdcard.file}?offset={start}"])
        assert "needs_recovery" not in output
        disk.run(["e2fsck", "-f", "-n", f"{sdcard.file}?offset={start}"])


def starts(sdcard: SdCard) -> list[int]:
    """Return where the partitions begin."""
    table = json.loads(disk.run(["sfdisk", "--json", sdcard.file]))["partitiontable"]
    return [part["start"] * SECTOR for part in table["partitions"]]


def spooled(sdcard: SdCard, tmp_path: Path) -> set[str]:
    """Return the ids of the events on an SD card after a power cut, its journal replayed first."""
    part = starts(sdcard)[-1]
    copy = tmp_path / "after-the-cut"
    disk.run(
        [
            "dd",
            f"if={sdcard.file}",
            f"of={copy}",
            "bs=4M",
            "iflag=skip_bytes",
            f"skip={part}",
            "conv=sparse",
            "status=none",
        ]
    )
    disk.run(["e2fsck", "-p", copy], accepted=(0, 1))
    inside = SPOOL if len(starts(sdcard)) == 2 else SPOOL.removeprefix("/var")
    for end in ("", "-wal"):
        disk.run(["debugfs", "-R", f"dump {inside}{end} {tmp_path}/spool.db{end}", copy])
    copy.unlink()
    database = sqlite3.connect(tmp_path / "spool.db")
    return {json.loads(row[0])["id"] for row in database.execute("SELECT payload FROM events")}


def report(what: str, device: dict[str, str], heard: Listener) -> None:
    """Print the figures; emulated, on a shared host."""
    started, ready = (int(stamp) / 1e6 for stamp in re.findall(r"=(\d+)", device["ready"]))
    first = heard.payloads("result")[0]["ts"]
    rates = [one["fps"] for one in heard.payloads("telemetry")]
    print(
        f"\n{what}, in seconds from the kernel's start: process {started:.0f}, READY {ready:.0f}, "
        f"first result {first - int(device['kernel']):.0f}; PSS {device['pss']}; "
        f"frames a second {rates}"
    )


def settled(device: dict[str, str], size: int) -> None:
    """Fail unless the machine is as a first boot should leave it."""
    assert re.fullmatch(r"[0-9a-f]{32}", device["machine"])
    assert re.fullmatch(r"porch-[0-9a-f]{8}", device["name"])
    assert device["secret"] == "600 root"
    assert sorted(device["service"].split()) == ["ActiveState=active", "NRestarts=0"]
    assert device["failed"] == ""
    grown = int(device["state"].split()[0])
    assert size * 0.9 < grown < size


def changes(heard: Listener) -> int:
    """Return how many changes of label have come."""
    events: list[dict[str, Any]] = heard.payloads("event")
    return sum(event["type"] == "label_changed" for event in events)


def arrived(heard: Listener) -> set[str]:
    """Return the ids of the events that have come."""
    return {event["id"] for event in heard.payloads("event")}
