"""An SD card boots into a working classifier, becomes a device of its own, survives a power cut.

Every machine is booted once for as many checks as possible: a boot takes minutes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.broker import PrivateBroker
from deploy.image import build
from deploy.image.layout import MIB
from deploy.runtime.pins import sha256
from edge.mqtt.spool import SYNC_S
from tests.conftest import ROOT, Listener
from tests.image import pi
from tests.image.guest import Guest, SdCard
from tests.image.seen import (
    IDS,
    arrived,
    changes,
    clean,
    facts,
    online,
    report,
    settled,
    spooled,
    starts,
)

pytestmark = pytest.mark.image
CLIP = ROOT / "deploy" / "demo" / "clip.mp4"


def test_an_sdcard_lives_through_a_power_cut(
    image: Callable[..., Path],
    sdcard: Callable[[Path], SdCard],
    machine: Callable[[SdCard], Guest],
    broker: PrivateBroker,
    tmp_path: Path,
) -> None:
    """READY, results, growth, keys; no event that was synced is lost when the power goes."""
    mine = sdcard(image("trixie"))
    heard = Listener(broker)
    with machine(mine) as guest:
        online(guest, heard)
        guest.wait_for_ssh()
        device = facts(guest)
        report("trixie", device, heard)
        settled(device, 3800 * MIB)
        assert device["wifi"] == "600 root"
        # Another source, whose pictures change: events.
        guest.put(CLIP, "/etc/edge-camera/clip.mp4")
        guest.ssh(
            r"sudo sed -i 's|^source = .*|source = \"/etc/edge-camera/clip.mp4\"|'"
            " /etc/edge-camera/edge.toml && sudo systemctl restart edge-camera"
        )
        guest.until(lambda: changes(heard) > 1, "events of changing labels")
        broker.stop()
        heard.close()
        waiting: list[str] = []

        def wait() -> bool:
            waiting[:] = guest.ssh("sudo sh -s", given=IDS).split()
            return len(waiting) >= 4

        guest.until(wait, "events in the spool", every_s=5.0)
        # Of itself the kernel would keep them in memory for half a minute.
        guest.ssh(f"sleep {SYNC_S + 5}")
        guest.cut()
    kept = spooled(mine, tmp_path)
    assert set(waiting) <= kept
    broker.start()
    heard = Listener(broker)
    with machine(mine) as guest:
        guest.until(lambda: kept <= arrived(heard), "every event that was spooled")
        guest.wait_for_ssh()
        again = facts(guest)
        print(f"after the cut: {len(kept)} events kept and delivered; {again['fsck']}")
        assert again["machine"] == device["machine"]
        assert again["host_key"] == device["host_key"]
        assert again["failed"] == ""
        guest.shut_down()
    heard.close()
    clean(mine)


def test_a_read_only_sdcard(
    image: Callable[..., Path],
    sdcard: Callable[[Path], SdCard],
    machine: Callable[[SdCard], Guest],
    broker: PrivateBroker,
) -> None:
    """Its root stays as it is, its state grows and is kept, its logs are in memory."""
    mine = sdcard(image("trixie", read_only=True))
    heard = Listener(broker)
    with machine(mine) as guest:
        online(guest, heard)
        guest.wait_for_ssh()
        device = facts(guest)
        report("trixie, read only", device, heard)
        assert device["time"] == "active"
        assert device["resolver"] == "0", "it starts before /var is there"
        assert "ro" in device["root"].split()[1].split(",")
        assert "rw" in device["state"].split()[1].split(",")
        settled(device, 4096 * MIB - starts(mine)[2])
        assert guest.ssh("findmnt -n -o FSTYPE --target /var/log") == "tmpfs"
        assert guest.ssh("ls /run/log/journal") == device["machine"]
        guest.cut()
    heard.close()
    with machine(mine) as guest:
        guest.wait_for_ssh()
        again = facts(guest)
        assert (again["machine"], again["host_key"]) == (device["machine"], device["host_key"])
        guest.shut_down()
    clean(mine)


def test_a_pi_of_qemu(
    image: Callable[..., Path], sdcard: Callable[[Path], SdCard], machine: Callable[..., Guest]
) -> None:
    """The kernel finds a Pi 4B, its root on an SD card; the first boot comes to its end."""
    if not pi.is_known():
        pytest.skip("LEFT OUT: this QEMU has no raspi4b; Debian 13's has")
    with machine(sdcard(image("trixie")), pi.Pi) as guest:
        guest.until(lambda: guest.says("Finished", "edge-first-boot.service"), "a first boot")
        guest.until(lambda: guest.says(f"porch-{pi.SERIAL[-8:]} login:"), "the board's name")
        assert guest.says("Machine model: Raspberry Pi 4 Model B")
        assert guest.says("EXT4-fs (mmcblk", "p2): mounted filesystem")


def test_the_same_inputs_give_the_same_image(
    image: Callable[..., Path], config: Callable[[bool], Path], tmp_path: Path
) -> None:
    """From one base root, which Debian's packages of the day are in."""
    made, again = image("trixie"), tmp_path / "again.img"
    arguments = ["--suite", "trixie", "--config", str(config(False)), "--out", str(again)]
    assert build.main(arguments) == 0
    for end in (".img", ".img.zst", ".bmap"):
        assert sha256(made.with_suffix(end)) == sha256(again.with_suffix(end)), end
