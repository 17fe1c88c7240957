"""First boots that do not come to their end at once: they fail, they install, the power is cut."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.broker import PrivateBroker
from deploy.image import disk, provision
from deploy.image.layout import MIB
from deploy.runtime.pins import sha256
from tests.conftest import Listener
from tests.image import raspios
from tests.image.guest import Guest, SdCard
from tests.image.raspios import LACKING
from tests.image.seen import clean, facts, online, report, settled, starts

pytestmark = pytest.mark.image


def test_a_first_boot_that_fails_is_tried_again(
    image: Callable[..., Path],
    sdcard: Callable[[Path], SdCard],
    machine: Callable[[SdCard], Guest],
    broker: PrivateBroker,
    tmp_path: Path,
) -> None:
    """On Debian 12: the owner can log in and repair it; after one more cut all is well.

    Growing fails: a broken growpart is in the folder of the owner's own programs.
    """
    mine = sdcard(image("bookworm"))
    (tmp_path / "fails").write_text("#!/bin/sh\nexit 2\n")
    lines = ["cd /usr/local/bin", f"write {tmp_path}/fails growpart", "sif growpart mode 0100755"]
    at = f"{mine.file}?offset={starts(mine)[1]}"
    disk.run(["debugfs", "-w", "-f", "-", at], given="\n".join(lines) + "\n")
    with machine(mine) as guest:
        guest.wait_for_ssh()
        first = facts(guest)
        assert "edge-first-boot.service" in first["failed"]
        assert int(first["root"].split()[0]) < 1500 * MIB
        guest.ssh("sudo rm /usr/local/bin/growpart && sync")
    with machine(mine) as guest:
        guest.until(lambda: guest.says("Starting", "edge-first-boot."), "another first boot")
    heard = Listener(broker)
    with machine(mine) as guest:
        online(guest, heard)
        guest.wait_for_ssh()
        device = facts(guest)
        report("bookworm", device, heard)
        settled(device, 3800 * MIB)
        for own in ("machine", "host_key", "name"):
            assert device[own] != first[own], "nothing of an unfinished boot remains"
        guest.shut_down()
    heard.close()
    clean(mine)


@pytest.mark.parametrize(("suite", "moment"), [("bookworm", "Unpacking"), ("trixie", "Setting up")])
def test_a_provisioned_sdcard(
    suite: str,
    moment: str,
    config: Callable[[bool], Path],
    sdcard: Callable[[Path], SdCard],
    machine: Callable[[SdCard], Guest],
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
    mine = sdcard(out)
    with machine(mine) as guest:
        guest.until(lambda: guest.says(moment, "python3-rich"), "packages being installed")
        guest.cut()
    heard = Listener(broker)
    with machine(mine) as guest:
        online(guest, heard)
        guest.wait_for_ssh()
        guest.until(lambda: guest.ssh("ls /usr/lib/edge-image") == "provision\nsite", "its end")
        device = facts(guest)
        report(f"{suite}, provisioned", device, heard)
        settled(device, 3800 * MIB)
        installed = guest.ssh("dpkg-query -W -f '${Package} ' edge-camera " + " ".join(LACKING))
        assert sorted(installed.split()) == sorted(["edge-camera", *LACKING])
        guest.shut_down()
    heard.close()
    clean(mine)
