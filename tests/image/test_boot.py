"""A card boots into a working classifier, becomes a device of its own, survives a power cut.

Every machine is switched on once for as much as can be seen in it: a boot takes minutes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.broker import PrivateBroker
from deploy.image import build, disk, provision
from deploy.image.layout import ALIGNED, MIB
from deploy.runtime.pins import sha256
from edge.spool import SYNC_S
from tests.conftest import ROOT, Listener
from tests.image import pi, raspios
from tests.image.guest import Card, Guest
from tests.image.raspios import LACKING
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
    uptime_s,
)

pytestmark = pytest.mark.image
CLIP = ROOT / "deploy" / "demo" / "clip.mp4"


def test_a_card_lives_through_a_power_cut(
    image: Callable[..., Path],
    card: Callable[[Path], Card],
    key: Path,
    broker: PrivateBroker,
    tmp_path: Path,
) -> None:
    """READY, results, growth, keys; no event that was synced is lost when the power goes."""
    mine = card(image("trixie"))
    heard = Listener(broker)
    with Guest(mine, key, tmp_path / "console-1") as guest:
        online(guest, heard)
        guest.wait_for_ssh()
        found = facts(guest)
        report("trixie", found, heard)
        settled(found, 3800 * MIB)
        assert found["wifi"] == "600 root"
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

        guest.until(wait, "events in the spool")
        # Of itself the kernel would keep them in memory for half a minute.
        since = uptime_s(guest)
        guest.until(lambda: uptime_s(guest) > since + SYNC_S + 5, "a while")
        guest.cut()
    kept = spooled(mine, tmp_path)
    assert set(waiting) <= kept
    broker.start()
    heard = Listener(broker)
    with Guest(mine, key, tmp_path / "console-2") as guest:
        guest.until(lambda: kept <= arrived(heard), "every event that was spooled")
        guest.wait_for_ssh()
        again = facts(guest)
        print(f"after the cut: {len(kept)} events kept and delivered; {again['fsck']}")
        assert again["machine"] == found["machine"]
        assert again["host_key"] == found["host_key"]
        assert again["failed"] == ""
        guest.shut_down()
    heard.close()
    clean(mine)


def test_a_read_only_card(
    image: Callable[..., Path],
    card: Callable[[Path], Card],
    key: Path,
    broker: PrivateBroker,
    tmp_path: Path,
) -> None:
    """Its root stays as it is, its state grows and is kept, its logs are in memory."""
    mine = card(image("trixie", read_only=True))
    heard = Listener(broker)
    with Guest(mine, key, tmp_path / "console-1") as guest:
        online(guest, heard)
        guest.wait_for_ssh()
        found = facts(guest)
        report("trixie, read only", found, heard)
        assert found["time"] == "active"
        assert found["resolver"] == "0", "it starts before /var is there"
        assert "ro" in found["root"].split()[1].split(",")
        assert "rw" in found["state"].split()[1].split(",")
        settled(found, 4096 * MIB - starts(mine)[2])
        assert guest.ssh("findmnt -n -o FSTYPE --target /var/log") == "tmpfs"
        assert guest.ssh("ls /run/log/journal") == found["machine"]
        guest.cut()
    heard.close()
    with Guest(mine, key, tmp_path / "console-2") as guest:
        guest.wait_for_ssh()
        again = facts(guest)
        assert (again["machine"], again["host_key"]) == (found["machine"], found["host_key"])
        guest.shut_down()
    clean(mine)


def test_a_first_boot_that_fails_is_tried_again(
    image: Callable[..., Path],
    card: Callable[[Path], Card],
    key: Path,
    broker: PrivateBroker,
    tmp_path: Path,
) -> None:
    """On Debian 12. Its owner can log in and mend it; after one more cut the card is as any other.

    What fails is growing: another growpart in the place where the owner's own programs go.
    """
    mine = card(image("bookworm"))
    (tmp_path / "fails").write_text("#!/bin/sh\nexit 2\n")
    lines = ["cd /usr/local/bin", f"write {tmp_path}/fails growpart", "sif growpart mode 0100755"]
    at = f"{mine.file}?offset={starts(mine)[1]}"
    disk.run(["debugfs", "-w", "-f", "-", at], given="\n".join(lines) + "\n")
    with Guest(mine, key, tmp_path / "console-1") as guest:
        guest.wait_for_ssh()
        first = facts(guest)
        assert "edge-first-boot.service" in first["failed"]
        assert int(first["root"].split()[0]) < 1500 * MIB
        guest.ssh("sudo rm /usr/local/bin/growpart && sync")
    with Guest(mine, key, tmp_path / "console-2") as guest:
        guest.until(lambda: guest.says("Starting", "edge-first-boot."), "another first boot")
    heard = Listener(broker)
    with Guest(mine, key, tmp_path / "console-3") as guest:
        online(guest, heard)
        guest.wait_for_ssh()
        found = facts(guest)
        report("bookworm", found, heard)
        settled(found, 3800 * MIB)
        for own in ("machine", "host_key", "name"):
            assert found[own] != first[own], "of no boot that did not come to its end"
        guest.shut_down()
    heard.close()
    clean(mine)


@pytest.mark.parametrize(("suite", "moment"), [("bookworm", "Unpacking"), ("trixie", "Setting up")])
def test_a_provisioned_card(
    suite: str,
    moment: str,
    config: Callable[[bool], Path],
    card: Callable[[Path], Card],
    key: Path,
    broker: PrivateBroker,
    tmp_path: Path,
) -> None:
    """The package and what the base lacks are installed without a network; the same result.

    The power is cut once in the middle of that.
    """
    base = raspios.make(suite, tmp_path / "base.img")
    before = sha256(base)
    out = tmp_path / "provisioned.img"
    arguments = ["--base", str(base), "--config", str(config(False)), "--out", str(out)]
    assert provision.main(arguments) == 0
    assert sha256(base) == before
    assert provision.main([*arguments[2:], "--base", str(out)]) == 65, "provisioned already"
    mine = card(out)
    with Guest(mine, key, tmp_path / "console-1") as guest:
        guest.until(lambda: guest.says(moment, "python3-opencv"), "packages being installed")
        guest.cut()
    heard = Listener(broker)
    with Guest(mine, key, tmp_path / "console-2") as guest:
        online(guest, heard)
        guest.wait_for_ssh()
        guest.until(lambda: guest.ssh("ls /usr/lib/edge-image") == "provision\nsite", "its end")
        found = facts(guest)
        report(f"{suite}, provisioned", found, heard)
        settled(found, 3800 * MIB)
        installed = guest.ssh("dpkg-query -W -f '${Package} ' edge-camera " + " ".join(LACKING))
        assert sorted(installed.split()) == sorted(["edge-camera", *LACKING])
        guest.shut_down()
    heard.close()
    clean(mine)


def test_a_pi_of_qemu(
    image: Callable[..., Path], card: Callable[[Path], Card], key: Path, tmp_path: Path
) -> None:
    """The kernel finds a Pi 4B, its root on an SD card; the first boot comes to its end."""
    if not pi.is_known():
        pytest.skip("LEFT OUT: this QEMU has no raspi4b; Debian 13's has")
    with pi.Pi(card(image("trixie")), key, tmp_path / "console") as guest:
        guest.until(lambda: guest.says("Finished", "edge-first-boot.service"), "a first boot")
        guest.until(lambda: guest.says(f"porch-{pi.SERIAL[-8:]} login:"), "the board's name")
        assert guest.says("Machine model: Raspberry Pi 4 Model B")
        assert guest.says("EXT4-fs (mmcblk", "p2): mounted filesystem")


@pytest.mark.parametrize("suite", ["bookworm", "trixie"])
def test_what_only_a_pi_reads(image: Callable[..., Path], suite: str) -> None:
    """Its firmware, its device tree, what they are told: not emulated, so read from the card."""
    made = image(suite)
    drive = f"{made}@@{ALIGNED}"
    names = {
        name.removeprefix("::/") for name in disk.run(["mdir", "-b", "-i", drive, "::"]).split()
    }
    assert {"start4.elf", "fixup4.dat", "config.txt", "cmdline.txt"} <= names
    assert "bcm2711-rpi-4-b.dtb" in names
    told = disk.run(["mtype", "-i", drive, "::config.txt"])
    assert "arm_64bit=1" in told.split()
    assert {one.split("=")[1] for one in told.split() if one.startswith("kernel=")} <= names
    (initrd,) = re.findall(r"^initramfs (\S+)", told, re.M)
    assert initrd in names
    arguments = disk.run(["mtype", "-i", drive, "::cmdline.txt"]).split()
    assert "root=LABEL=rootfs" in arguments
    assert any(one.startswith("console=ttyS1,") for one in arguments)
    assert not [one for one in arguments if one.startswith("cma=")], "a Pi 4 does not boot with it"
    assert made.stat().st_size < 1_500_000_000
    listed = json.loads(made.with_suffix(".cdx.json").read_text())["components"]
    assert {"edge-camera", "openssh-server", "raspi-firmware"} <= {one["name"] for one in listed}


def test_the_same_inputs_give_the_same_image(
    image: Callable[..., Path], config: Callable[[bool], Path], tmp_path: Path
) -> None:
    """From one base root, which Debian's packages of the day are in."""
    made, again = image("trixie"), tmp_path / "again.img"
    arguments = ["--suite", "trixie", "--config", str(config(False)), "--out", str(again)]
    assert build.main(arguments) == 0
    for end in (".img", ".img.zst", ".bmap"):
        assert sha256(made.with_suffix(end)) == sha256(again.with_suffix(end)), end
