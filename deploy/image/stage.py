"""From Debian's root file system to an image: the daemon, the SD card's own files, CONFIG.

Runs as root, or as root of a user namespace. The folder it works in is removed at the end.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.image import disk, layout, sbom
from deploy.image.config import Site
from deploy.image.files import File, files
from deploy.image.layout import Partition
from deploy.runtime.pins import BuildError, sha256
from edge.text import escaped

HERE: Final = Path(__file__).resolve().parent
LIMIT: Final = 1_500_000_000
"""Bytes of an unpacked image."""
BOOT_FSTAB: Final = (
    "LABEL=bootfs /boot/firmware vfat "
    "noauto,x-systemd.automount,x-systemd.idle-timeout=60,noatime,umask=0077 0 0\n"
)
FSTAB: Final = {
    False: "LABEL=rootfs / ext4 noatime,errors=remount-ro 0 1\n",
    True: "LABEL=rootfs / ext4 ro,noatime 0 1\n"
    "LABEL=state /var ext4 noatime 0 2\n"
    "tmpfs /tmp tmpfs nosuid,nodev,size=25% 0 0\n"
    "tmpfs /var/log tmpfs nosuid,nodev,noexec,size=32M,mode=0755 0 0\n",
}
"""By whether the root is read only."""
VOLATILE: Final = File(
    "/etc/systemd/journald.conf.d/edge-memory.conf", "[Journal]\nStorage=volatile\n"
)
WRITABLE: Final = File(
    "/etc/apt/apt.conf.d/80edge-image",
    '// The root is read only, but for apt.\nDPkg::Pre-Invoke { "mount -o remount,rw /"; };\n'
    'DPkg::Post-Invoke { "mount -o remount,ro / || true"; };\n',
)
MODES: Final = {False: 0o644, True: 0o600}
"""Of an image, by whether secrets are in it."""
ARGUMENTS: Final = File("/etc/default/raspi-extra-cmdline", "ro\n")
"""Of the kernel; raspi-firmware adds them at each upgrade."""
LEFTOVERS: Final = (
    *("var/cache/ldconfig/aux-cache", "var/lib/systemd/random-seed", "etc/resolv.conf"),
    *("var/lib/dbus/machine-id", "etc/hostname", "var/lib/systemd/catalog/database"),
    "usr/sbin/policy-rc.d",
)
"""Files of this machine, or of the time of the build: on no SD card."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """The inputs of an image.

    deb    the daemon's package
    base   tar file with Debian
    epoch  the latest date of any file, seconds
    """

    suite: str
    site: Site
    deb: Path
    base: Path
    epoch: int


def stage(inputs: Inputs, cache: Path, out: Path) -> None:
    """Write ``out``.img, its .zst, .bmap and .cdx.json. Raises BuildError."""
    began = time.monotonic()
    os.umask(0o022)  # permissions on the SD card do not depend on who builds it
    out.parent.mkdir(parents=True, exist_ok=True)
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="stage-", dir=cache) as made:
        root = Path(made) / "root"
        root.mkdir()
        disk.run(
            ["tar", "-x", "-C", root, "--exclude=./dev/*", "--numeric-owner", "-f", inputs.base]
        )
        install(inputs, root)
        furnish(inputs, root)
        status = (root / "var" / "lib" / "dpkg" / "status").read_text()
        print(f"image: {time.monotonic() - began:4.0f} s: root is ready", flush=True)
        partitions = write(inputs, root, out)
    size = out.stat().st_size
    if size > LIMIT:
        raise BuildError(
            70, "image too large", expected=f"at most {LIMIT:,} bytes", got=f"{size:,}"
        )
    print(f"image: {time.monotonic() - began:4.0f} s: written, {size:,} bytes; packing", flush=True)
    disk.pack(out, [part.start for part in partitions[1:]])
    text = sbom.cyclonedx(status, out.name, inputs.suite, sha256(out), inputs.epoch)
    out.with_suffix(".cdx.json").write_text(text)
    packed = out.with_name(out.name + ".zst")
    line = f"image: {time.monotonic() - began:4.0f} s: {packed} ({packed.stat().st_size:,} bytes)"
    print(escaped(line))


def install(inputs: Inputs, root: Path) -> None:
    """Install the daemon's package; its scripts run emulated."""
    shutil.copy(inputs.deb, root / "edge-camera.deb")
    inside(
        root,
        ["dpkg", "--install", "--force-confold", "--force-unsafe-io", "/edge-camera.deb"],
        inputs.epoch,
    )
    (root / "edge-camera.deb").unlink()


def inside(root: Path, command: Sequence[str], epoch: int) -> None:
    """Run a program of the root file system in it."""
    script = 'mount --bind /dev "$0/dev"; mount --rbind /proc "$0/proc"; exec chroot "$0" "$@"'
    more = {
        "SOURCE_DATE_EPOCH": str(epoch),
        "QEMU_CPU": "cortex-a72",  # as in root.sh
        "DEBIAN_FRONTEND": "noninteractive",
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    }
    disk.run(["unshare", "--mount", "sh", "-c", script, root, *command], more=more)


def bare(root: Path) -> None:
    """Remove from the root what belongs to one machine, or to the time of the build."""
    for name in LEFTOVERS:
        (root / name).unlink(missing_ok=True)
    for file in (root / "etc" / "ssh").glob("ssh_host_*"):
        file.unlink()
    for folder in ("var/log", "var/cache/apt", "var/lib/apt/lists", "tmp", "run", "var/tmp"):
        for path in (root / folder).rglob("*"):
            if path.is_symlink() or not path.is_dir():
                path.unlink()
    put(root, File("/etc/machine-id", "uninitialized\n", 0o444))
    # A first boot enables every unit by preset: also this one, which needs ssh.service's port.
    put(root, File("/etc/systemd/system-preset/10-sdcard.preset", "disable ssh.socket\n"))
    (root / "etc" / "resolv.conf").symlink_to("../run/systemd/resolve/stub-resolv.conf")
    # It would wait for answers at the console.
    mask(root, "systemd-firstboot.service")


def mask(root: Path, unit: str) -> None:
    """Prevent a unit of the root from being started."""
    disk.run(["systemctl", f"--root={root}", "--quiet", "mask", unit])


def furnish(inputs: Inputs, root: Path) -> None:
    """Add the SD card's own files and the site's to the root."""
    bare(root)
    shutil.copytree(HERE / "sdcard", root, dirs_exist_ok=True)
    # first-boot stores it at its end: a first boot that failed is repeated at the next boot.
    mask(root, "systemd-machine-id-commit.service")
    system = inputs.site.system
    made = [
        *files(inputs.site, "networkd"),
        File("/etc/fstab", FSTAB[system.read_only] + BOOT_FSTAB),
        File("/etc/hosts", "127.0.0.1 localhost\n::1 localhost ip6-localhost\n"),
        *([VOLATILE, WRITABLE, ARGUMENTS] if system.read_only else []),
    ]
    for file in made:
        put(root, file)
    units = ["systemd-networkd.service", "edge-first-boot.service"]
    if any("wpa_supplicant" in file.path for file in made):
        units.append("wpa_supplicant@wlan0.service")
    disk.run(["systemctl", f"--root={root}", "--quiet", "enable", *units])
    (root / "etc" / "localtime").unlink(missing_ok=True)
    (root / "etc" / "localtime").symlink_to(f"/usr/share/zoneinfo/{system.timezone}")


def put(root: Path, file: File) -> None:
    """Write one file, and the missing folders of its path."""
    path = root / file.path.lstrip("/")
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.parent.name == "credentials":
        path.parent.chmod(0o700)
    path.write_text(file.content)
    path.chmod(file.mode)


def write(inputs: Inputs, root: Path, out: Path) -> list[Partition]:
    """Write the image of ``root``; return its partitions, the ext4 ones after the first."""
    identity = identify(inputs)
    trees = {"bootfs": root.with_name("bootfs"), "rootfs": root}
    shutil.move(root / "boot" / "firmware", trees["bootfs"])
    (root / "boot" / "firmware").mkdir()
    if inputs.site.system.read_only:
        arguments = trees["bootfs"] / "cmdline.txt"
        arguments.write_text(f"{arguments.read_text().strip()} {ARGUMENTS.content}")
        trees["state"] = root.with_name("state")
        shutil.move(root / "var", trees["state"])
        # Under the mount point: services that start before the mount need /var/tmp.
        (root / "var" / "tmp").mkdir(parents=True)
    sizes = {label: layout.needed(tree) for label, tree in trees.items() if label != "bootfs"}
    partitions = layout.plan(sizes)
    number = int(identity.hex[:8], 16)
    disk.empty(out, partitions, number, MODES[inputs.site.secrets])
    disk.fat(out, partitions[0], trees["bootfs"], number, inputs.epoch)
    for part in partitions[1:]:
        disk.ext4(out, part, trees[part.label], uuid.uuid5(identity, part.label), inputs.epoch)
        disk.check(out, part)
    return partitions


def identify(inputs: Inputs) -> uuid.UUID:
    """Return an id for the image, made from its inputs; not from CONFIG, which has secrets."""
    made = hashlib.sha256(f"{inputs.suite} {inputs.base.name} {sha256(inputs.deb)}".encode())
    return uuid.UUID(made.hexdigest()[:32])
