"""``make provision``: the daemon added to a Raspberry Pi OS Lite image, in build/dist.

    python -m deploy.image.provision --base raspios-lite.img.xz [--config site.toml] [--deb FILE]

The base is only read; a copy gets the daemon's package and the dependencies that the base lacks, as
a repository in its root, CONFIG, and a unit that installs them at the first boot, without a
network. apt uses the base's own sources and keys. Nothing is mounted.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from deploy.image import config as sites
from deploy.image import disk, placing, recognise
from deploy.image.build import CACHE, DIST, HERE, ended, field, package
from deploy.image.files import File, files
from deploy.image.layout import Partition, rounded
from deploy.image.stage import MODES
from deploy.package.build import SUITES
from edge.errors import ConfigError
from edge.text import escaped

PLACE: Final = "/usr/lib/edge-image"
UNIT: Final = "edge-provision.service"
ENABLED: Final = f"/etc/systemd/system/multi-user.target.wants/{UNIT}"
CAMERA: Final = "python3-picamera2"
"""For the Pi's own camera; added if the base's sources have it."""


def main(arguments: Sequence[str]) -> int:
    """Provision; return the exit status, after one line on an error."""
    parser = argparse.ArgumentParser(prog="make provision", allow_abbrev=False)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--config", type=Path)
    parser.add_argument("--deb", type=Path)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args(arguments)
    return ended("provision", lambda: provision(args))


def provision(args: argparse.Namespace) -> None:
    """Write the provisioned copy. Raises BuildError, ConfigError."""
    site = sites.load(args.config)
    if site.system.read_only:
        raise ConfigError(
            "not supported on Raspberry Pi OS, which has its own setting",
            where=f"{args.config}: system.read_only",
            expected="false",
            hint="remove it; on the Pi: raspi-config, Performance, Overlay File System",
        )
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="provision-", dir=CACHE) as made:
        work = Path(made)
        image, root = work / "image", work / "root"
        recognise.copy(args.base, image)
        image.chmod(MODES[site.secrets])
        boot, part = recognise.partitions(args.base, image)
        copy_range(image, part.start, root, 0, part.size)

        def read(path: str) -> str:
            return placing.read(root, path)

        suite = recognise.suite(args.base, read, tuple(SUITES))
        deb = args.deb or package(suite)
        names = [field(deb, "Package")]
        source = site.edge.get("camera", {}).get("source", "auto")
        if source == "auto" or source.startswith("picamera2"):
            names.append(CAMERA)
        repository = work / "packages"
        names = download(root, work, deb, names, repository)
        made_files = [
            *files(site, "NetworkManager"),
            *(
                File(f"/{path.relative_to(HERE / 'base')}", path.read_text(), path.stat().st_mode)
                for path in sorted((HERE / "base").rglob("*"))
                if path.is_file()
            ),
            File(f"{PLACE}/site", (HERE / "sdcard" / PLACE[1:] / "site").read_text(), 0o755),
            File(f"{PLACE}/packages/names", " ".join(names) + "\n"),
            File("/etc/timezone", f"{site.system.timezone}\n"),
        ]
        links = {
            ENABLED: f"/usr/lib/systemd/system/{UNIT}",
            "/etc/localtime": f"/usr/share/zoneinfo/{site.system.timezone}",
        }
        grown = insert(root, repository, made_files, links, work)
        if site.user.ssh_keys:
            (work / "ssh").touch()
            disk.run(["mcopy", "-o", "-i", f"{image}@@{boot.start}", work / "ssh", "::ssh"])
        replace(image, root, part, grown)
        out = args.out or result(args.base)
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(image, out)
    disk.pack(out, [part.start])
    size = Path(f"{out}.zst").stat().st_size
    print(escaped(f"provision: {out}.zst ({size:,} bytes), {suite}"))


def result(base: Path) -> Path:
    """Return the path of the provisioned copy of ``base``."""
    return DIST / f"{base.name.removesuffix('.xz').removesuffix('.img')}-edge.img"


def download(root: Path, work: Path, deb: Path, names: list[str], repository: Path) -> list[str]:
    """Fill ``repository`` with what the base lacks for ``names``; return the names apt knows."""
    apt = work / "apt"
    for name in ("lists/partial", "archives/partial", "preferences.d", "apt.conf.d"):
        (apt / name).mkdir(parents=True)
    for folder in ("/etc/apt", "/usr/share/keyrings"):
        disk.run(["debugfs", "-R", f"rdump {folder} {apt}", root])
    for file in (*apt.glob("apt/sources.list"), *apt.glob("apt/sources.list.d/*")):
        file.write_text(file.read_text().replace("/usr/share/keyrings", str(apt / "keyrings")))
    (apt / "status").write_text(disk.run(["debugfs", "-R", "cat /var/lib/dpkg/status", root]))
    options = [
        f"Dir::State={apt}",
        f"Dir::State::status={apt / 'status'}",
        f"Dir::State::lists={apt / 'lists'}",
        f"Dir::Cache={apt}",
        f"Dir::Etc={apt / 'apt'}",
        f"Dir::Etc::trustedparts={apt / 'apt' / 'trusted.gpg.d'}",
        "APT::Architecture=arm64",
        "APT::Architectures=arm64",
        "APT::Install-Recommends=false",
        "Acquire::Languages=none",
        "APT::Sandbox::User=root",
    ]
    apt_get = ["apt-get", "-q", "-y", *(f"-o{option}" for option in options)]
    print("provision: fetching packages from the base's sources", flush=True)
    disk.run([*apt_get, "-oAPT::Update::Error-Mode=any", "update"])
    known = disk.run(["apt-cache", *apt_get[3:], "pkgnames"]).split()
    names = [name for name in names if name in known or name == names[0]]
    disk.run([*apt_get, "--download-only", "install", str(deb.resolve()), *names[1:]])
    repository.mkdir()
    for file in (deb, *(apt / "archives").glob("*.deb")):
        shutil.copy(file, repository)
    scan = ["env", f"--chdir={repository}", "dpkg-scanpackages", "--multiversion", "."]
    (repository / "Packages").write_text(disk.run(scan))
    return names


def insert(
    root: Path, repository: Path, made: list[File], links: Mapping[str, str], work: Path
) -> int:
    """Write everything into the file system, grown if necessary; return its size.

    links  path -> target
    """
    size, want = root.stat().st_size, sum(file.stat().st_size for file in repository.iterdir())
    missing_bytes = want + (64 << 20) - recognise.free_bytes(root)
    if missing_bytes > 0:
        size = rounded(size + missing_bytes)
        with root.open("r+b") as file:
            file.truncate(size)
        disk.run(["e2fsck", "-f", "-p", root], accepted=(0, 1))
        disk.run(["resize2fs", root])
    stamp = work / "files"
    stamp.mkdir()
    placed: list[placing.Placed] = [
        (file, f"{PLACE}/packages/{file.name}", 0o644) for file in sorted(repository.iterdir())
    ]
    for number, one in enumerate(made):
        path = stamp / str(number)
        path.write_text(one.content)
        placed.append((path, one.path, one.mode & 0o7777))
    placing.write(root, placed, links)
    placing.verify(root, placed, links)
    return size


def replace(image: Path, root: Path, part: Partition, size: int) -> None:
    """Write the root back into its partition, the last, which grows to ``size``."""
    if size != part.size:
        with image.open("r+b") as file:
            file.truncate(part.start + size)
        disk.run(["sfdisk", "--quiet", "-N", "2", image], given=", +\n")
    copy_range(root, 0, image, part.start, size)


def copy_range(source: Path, begin: int, target: Path, at: int, size: int) -> None:
    """Copy bytes of one file into another; dd leaves holes where there are zeros."""
    flags = ["iflag=skip_bytes,count_bytes", "oflag=seek_bytes", "conv=notrunc,sparse", "bs=4M"]
    numbers = [f"skip={begin}", f"seek={at}", f"count={size}"]
    if target.exists() and at:  # old data must not remain in the holes
        disk.run(["fallocate", "--punch-hole", "-o", str(at), "-l", str(size), target])
    disk.run(["dd", f"if={source}", f"of={target}", "status=none", *flags, *numbers])
    if not at:
        with target.open("r+b") as file:
            file.truncate(size)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
