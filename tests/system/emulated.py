"""An arm64 Debian, booted in QEMU; nothing written is kept.

Its camera is vivid's, at /dev/video0 from the start. Emulated: its speed says nothing of a real
machine, but its addresses, system calls and memory are those of arm64.
"""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from deploy.broker import free_port
from tests.system.containers import booted
from tests.system.machine import Machine
from tests.vm.machine import initramfs

HERE: Final = Path(__file__).resolve().parent
LOADED: Final = (
    *("virtio_pci", "virtio_blk", "virtio_net", "virtio_rng", "crc32c_generic", "ext4"),
    "vivid n_devs=1 node_types=0x1 num_inputs=1 input_types=0x0",
)
PATIENCE: Final = 12.0


@contextlib.contextmanager
def emulated(name: str, base: Path) -> Iterator[Machine]:
    """Run the image in ``base`` while the block lasts."""
    with tempfile.TemporaryDirectory(prefix="edge-system-") as made:
        initrd = Path(made) / "initrd"
        kernel = base / "kernel"
        init = HERE / "init.sh"
        initrd.write_bytes(initramfs(kernel, LOADED, init=init, busybox=base / "busybox"))
        port, console = free_port(), Path(made) / "console"
        qemu = [
            *("qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a72"),
            *("-accel", "tcg,thread=multi", "-smp", "2", "-m", "1G"),
            *("-display", "none", "-no-reboot", "-nodefaults", "-serial", "stdio"),
            *("-kernel", str(next((kernel / "boot").glob("vmlinuz-*")))),
            *("-initrd", str(initrd), "-append", "console=ttyAMA0 panic=-1 net.ifnames=0"),
            *("-drive", f"file={base / 'root.ext4'},format=raw,if=none,id=disk,snapshot=on"),
            *("-device", "virtio-blk-pci,drive=disk", "-device", "virtio-rng-pci"),
            *("-netdev", f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:2222"),
            *("-device", "virtio-net-pci,netdev=net,romfile="),
        ]
        with console.open("wb") as out:
            process = subprocess.Popen(
                qemu, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT
            )

        try:
            machine = Machine(name, port, patience=PATIENCE, enforces=True, console=console)
            booted(machine, process)
            yield machine
        finally:
            process.kill()
            process.wait()
