"""A stand-in for Raspberry Pi OS Lite: its partitions, its marks, Debian inside.

What the real one does at its first boot by its own means (growing, keys) a short unit does here. It
lacks some of what the daemon depends on, for the provisioned SD card to bring.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import uuid
from pathlib import Path
from typing import Final

from deploy.image import disk, layout
from deploy.image.build import HERE, NAMESPACE, base_root, package
from deploy.image.stage import FSTAB, bare, inside
from deploy.package.build import epoch

LACKING: Final = ("python3-rich", "python3-systemd")
GROW: Final = """[Unit]
After=local-fs.target
Before=edge-provision.service
[Service]
Type=oneshot
ExecStart=-/usr/bin/growpart /dev/vda 2
ExecStart=/usr/sbin/resize2fs /dev/vda2
ExecStart=/usr/bin/ssh-keygen -A
[Install]
WantedBy=multi-user.target
"""


def make(suite: str, image: Path) -> Path:
    """Write ``image``, as root or as root of a user namespace; return it."""
    base = base_root(suite, package(suite))
    if os.getuid() == 0:
        write(base, image)
    else:
        disk.run([*NAMESPACE, sys.executable, "-m", "tests.image.raspios", base, image])
    return image


def write(base: Path, image: Path) -> None:
    """Make of the tar file ``base`` the ``image``."""
    with tempfile.TemporaryDirectory(dir=image.parent) as made:
        root, boot = Path(made) / "root", Path(made) / "boot"
        root.mkdir()
        disk.run(["tar", "-x", "-C", root, "--exclude=./dev/*", "--numeric-owner", "-f", base])
        inside(root, ["dpkg", "--remove", *LACKING], epoch())
        bare(root)
        (root / "etc/rpi-issue").write_text("stand-in for Raspberry Pi reference 2025-10-01\n")
        (root / "etc/fstab").write_text(FSTAB[False])
        network = "etc/systemd/network/20-wired.network"
        shutil.copy(HERE / "sdcard" / network, root / network)
        (root / "etc/systemd/system/grow.service").write_text(GROW)
        disk.run(["systemctl", f"--root={root}", "--quiet", "enable", "grow", "systemd-networkd"])
        shutil.move(root / "boot" / "firmware", boot)
        (root / "boot" / "firmware").mkdir()
        parts = layout.plan({"rootfs": layout.needed(root)})
        disk.empty(image, parts, 0x45444745)
        disk.fat(image, parts[0], boot, 0x45444745, epoch())
        disk.ext4(image, parts[1], root, uuid.UUID(int=1), epoch())


if __name__ == "__main__":
    write(Path(sys.argv[1]), Path(sys.argv[2]))
