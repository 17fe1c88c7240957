"""An SD card in an emulated machine: its own Debian kernel, QEMU's `virt` in place of the Pi.

Time limits are the emulator's own processor time, of which a busy host gives less in an hour, and
a generous hour on the wall against a machine that sleeps. Nothing measured in it is a Pi's.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from deploy.broker import free_port
from deploy.image import disk
from deploy.image.layout import ALIGNED, MIB

LIMIT_CPU_S: Final = 900.0
LIMIT_WALL_S: Final = 2400.0
VIVID: Final = (
    "modules_load=vivid vivid.n_devs=1 vivid.node_types=0x1 vivid.num_inputs=1 vivid.input_types=0"
)
"""The kernel's test camera, at /dev/video0: the one thing that the SD card does not bring."""
USER: Final = "pi"
BROKER: Final = "10.0.2.100"
PORT: Final = 1883
"""Where the guest finds the broker; it finds nothing else."""
SLOW: Final = "systemd.default_timeout_start_sec=300"
"""The daemon's start takes a minute here, and more beside another machine; systemd allows 90 s."""
RELAY: Final = Path(__file__).with_name("relay.py")


class SdCard:
    """A copy of an image on a larger SD card."""

    def __init__(self, image: Path, file: Path, size: int = 4096 * MIB) -> None:
        self.file = file
        disk.run(["cp", "--sparse=always", image, file])
        with file.open("r+b") as sdcard:
            sdcard.truncate(size)
        self.kernel, self.initrd = file.with_suffix(".kernel"), file.with_suffix(".initrd")
        drive = f"{file}@@{ALIGNED}"
        names = disk.run(["mdir", "-b", "-i", drive, "::"]).split()
        for target, kind in ((self.kernel, "vmlinuz"), (self.initrd, "initrd.img")):
            name = next(name for name in names if name.startswith(f"::/{kind}"))
            disk.run(["mcopy", "-o", "-n", "-i", drive, name, target])
        self.arguments = disk.run(["mtype", "-i", drive, "::cmdline.txt"]).strip()

    def remove(self) -> None:
        """Free the space."""
        for file in (self.file, self.kernel, self.initrd, self.file.with_suffix(".dtb")):
            file.unlink(missing_ok=True)


class Guest:
    """The machine with an SD card in it, running while the block lasts.

    broker  port of this machine that the guest finds at BROKER:PORT
    """

    limit_cpu_s = LIMIT_CPU_S

    def __init__(self, sdcard: SdCard, key: Path, console: Path, broker: int) -> None:
        self.port = free_port()
        self._key, self.console = key, console
        # The SD card's own arguments name the Pi's console; this machine's comes last and wins.
        append = f"{sdcard.arguments} {VIVID} {SLOW} console=ttyAMA0 systemd.show_status=1"
        login = f"hostfwd=tcp:127.0.0.1:{self.port}-:22"
        forward = f"guestfwd=tcp:{BROKER}:{PORT}-cmd:{sys.executable} {RELAY} {broker}"
        self._command = [
            *("qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a72", "-smp", "2", "-m", "1G"),
            *("-accel", "tcg,thread=multi", "-display", "none", "-nodefaults", "-no-reboot"),
            *("-serial", f"file:{console}", "-kernel", str(sdcard.kernel)),
            *("-initrd", str(sdcard.initrd), "-append", append),
            *("-drive", f"if=none,id=sdcard,format=raw,file={sdcard.file}"),
            *("-device", "virtio-blk-pci,drive=sdcard", "-device", "virtio-rng-pci"),
            *("-netdev", f"user,id=net,restrict=on,{login},{forward}"),
            *("-device", "virtio-net-pci,netdev=net,romfile="),
        ]
        self._machine: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Switch on."""
        self.console.write_text("")
        self._began = time.monotonic()
        self._machine = subprocess.Popen(self._command, stdin=subprocess.DEVNULL)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Switch off."""
        self.cut()

    def cut(self) -> None:
        """Cut the power."""
        if self._machine is not None:
            self._machine.kill()
            self._machine.wait()
            self._machine = None

    def shut_down(self) -> None:
        """Switch off as a person would."""
        assert self._machine is not None
        self.ssh("sudo systemctl poweroff", accepted=(0, 255))
        machine = self._machine
        self.until(lambda: machine.poll() is not None, "power off")
        self._machine = None

    def until(self, condition: Callable[[], bool], what: str, every_s: float = 0.5) -> None:
        """Return once ``condition`` holds; fail, with the console's end, where it does not."""
        while not condition():
            spent, ended = self.cpu_s(), self._machine is None or self._machine.poll() is not None
            late = spent > self.limit_cpu_s or time.monotonic() - self._began > LIMIT_WALL_S
            if late or (ended and not condition()):
                output = self.console.read_text(errors="replace")[-4000:]
                raise AssertionError(
                    f"timed out after {spent:.0f} s of emulation: {what}\n{output}"
                )
            time.sleep(every_s)

    def says(self, *words: str) -> bool:
        """Return whether a line of the console has all of ``words``."""
        lines = self.console.read_text(errors="replace").splitlines()
        return any(all(word in line for word in words) for line in lines)

    def cpu_s(self) -> float:
        """Return the processor time that the emulator has had."""
        if self._machine is None or self._machine.poll() is not None:
            return 0.0
        fields = Path(f"/proc/{self._machine.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def ssh(self, command: str, accepted: tuple[int, ...] = (0,), given: str | None = None) -> str:
        """Return what a command writes that the SD card's user gives over SSH."""
        known = self.console.with_suffix(".known")
        options = [
            *("-i", str(self._key), "-p", str(self.port), "-o", "BatchMode=yes"),
            *("-o", "StrictHostKeyChecking=accept-new", "-o", f"UserKnownHostsFile={known}"),
            *("-o", "ConnectTimeout=120", "-o", "LogLevel=ERROR"),
            # One login for all commands: each costs an emulated machine many seconds.
            *("-o", "ControlMaster=auto", "-o", f"ControlPath=/tmp/edge-guest-{self.port}"),
            *("-o", "ControlPersist=yes"),
        ]
        line = ["ssh", *options, f"{USER}@127.0.0.1", command]
        return disk.run(line, given=given, accepted=accepted).strip()

    def wait_for_ssh(self) -> None:
        """Return once the user can log in."""
        self.until(lambda: self.ssh("true; echo in", (0, 255)) == "in", "login over SSH")

    def put(self, file: Path, place: str) -> None:
        """Copy a file to the guest, as root."""
        encoded = disk.run(["base64", file])
        self.ssh(f"base64 -d | sudo tee {place} >/dev/null", given=encoded)


def key_pair(folder: Path) -> Path:
    """Return a new private key; its public half is beside it."""
    key = folder / "id_ed25519"
    disk.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", key])
    return key
