"""The SD card in QEMU's own Raspberry Pi 4B, `-M raspi4b` of QEMU 9 and newer, as far as that goes.

The SD card's own device tree is changed: what a Pi's firmware would add is added, and what this
machine lacks is disabled, since its drivers would crash the kernel or wait for ever. The SD card is
attached to the older controller, where a Pi has its Wi-Fi; the machine has neither of the Pi's
networks, so tests see its console only.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Final

from deploy.image import disk
from deploy.image.layout import ALIGNED
from tests.image.guest import SLOW, Guest, SdCard

SERIAL: Final = "10000000abcd1234"
ABSENT: Final = (
    *("/scb/pcie@7d500000", "/scb/ethernet@7d580000", "/scb/gpu@7ec00000", "/gpu"),
    *("/soc/avs-monitor@7d5d2000", "/soc/rng@7e104000", "/soc/mailbox@7e00b840"),
    *("/soc/txp@7e004000", "/soc/hvs@7e400000", "/soc/clock@7ef00000", "/soc/pwm@7e20c800"),
    *("/soc/interrupt-controller@7ef00100", "/soc/hdmi@7ef00700", "/soc/hdmi@7ef05700"),
    *("/soc/i2c@7ef04500", "/soc/i2c@7ef09500", "/soc/pixelvalve@7e206000"),
    *("/soc/pixelvalve@7e207000", "/soc/pixelvalve@7e20a000", "/soc/pixelvalve@7e216000"),
    *("/soc/serial@7e201000/bluetooth", "/soc/mmc@7e300000/wifi@1"),
)
SDCARD: Final = "/soc/mmc@7e300000"
OF_WIFI: Final = ("non-removable", "mmc-pwrseq")
NEWER: Final = "/emmc2bus/mmc@7e340000"
SUPPLIES: Final = ("vqmmc-supply", "vmmc-supply")
"""The firmware's to switch, so not to be had: no driver would take this controller, and nobody
would answer its interrupts, whose line is the other's too."""


def readable(image: Path) -> None:
    """Fail unless the files that a Pi reads exist: firmware, device tree, configuration."""
    drive = f"{image}@@{ALIGNED}"
    names = {
        name.removeprefix("::/") for name in disk.run(["mdir", "-b", "-i", drive, "::"]).split()
    }
    assert {"start4.elf", "fixup4.dat", "config.txt", "cmdline.txt"} <= names
    assert "bcm2711-rpi-4-b.dtb" in names
    config = disk.run(["mtype", "-i", drive, "::config.txt"])
    assert "arm_64bit=1" in config.split()
    assert {one.split("=")[1] for one in config.split() if one.startswith("kernel=")} <= names
    (initrd,) = re.findall(r"^initramfs (\S+)", config, re.M)
    assert initrd in names
    arguments = disk.run(["mtype", "-i", drive, "::cmdline.txt"]).split()
    assert "root=LABEL=rootfs" in arguments
    assert any(one.startswith("console=ttyS1,") for one in arguments)
    assert not [one for one in arguments if one.startswith("cma=")], "a Pi 4 does not boot with it"


def is_known() -> bool:
    """Return whether this machine's QEMU has a Raspberry Pi 4B."""
    command = ["qemu-system-aarch64", "-M", "help"]
    return "raspi4b " in subprocess.run(command, capture_output=True, text=True, check=True).stdout


def device_tree(sdcard: SdCard) -> Path:
    """Return the SD card's own device tree for a Pi 4B, changed."""
    tree = sdcard.file.with_suffix(".dtb")
    disk.run(
        ["mcopy", "-o", "-n", "-i", f"{sdcard.file}@@{ALIGNED}", "::bcm2711-rpi-4-b.dtb", tree]
    )
    for node in ABSENT:
        disk.run(["fdtput", "-t", "s", tree, node, "status", "disabled"])
    disk.run(["fdtput", "-d", tree, SDCARD, *OF_WIFI])
    disk.run(["fdtput", "-d", tree, NEWER, *SUPPLIES])
    disk.run(["fdtput", tree, SDCARD, "broken-cd"])
    disk.run(["fdtput", "-t", "s", tree, "/", "serial-number", SERIAL])
    return tree


class Pi(Guest):
    """The machine: four emulated cores, where `virt` has two, so slower."""

    limit_cpu_s = 2700.0

    def __init__(self, sdcard: SdCard, key: Path, console: Path, broker: int) -> None:
        super().__init__(sdcard, key, console, broker)
        arguments = sdcard.arguments.replace("console=ttyS1,115200", "")  # QEMU's stalls
        append = f"{arguments} {SLOW} console=ttyAMA0,115200 systemd.show_status=1"
        self._command = [
            *("qemu-system-aarch64", "-M", "raspi4b", "-display", "none", "-no-reboot"),
            *("-serial", f"file:{console}", "-serial", "null", "-kernel", str(sdcard.kernel)),
            *("-initrd", str(sdcard.initrd), "-dtb", str(device_tree(sdcard)), "-append", append),
            *("-drive", f"if=sd,format=raw,file={sdcard.file}"),
        ]
