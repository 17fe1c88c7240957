"""``make image``: an SD card for the Pi 4B, in build/dist.

    python -m deploy.image.build [--suite trixie] [--config site.toml] [--deb FILE] [--out FILE]

Steps: check CONFIG; make a root file system from Debian's packages, kept in build/image and made
again when the list of packages changes, or with FRESH=1; add the daemon's package, the files of
deploy/image/sdcard and CONFIG; write file systems and image. Without root the last two steps run
in a user namespace. The same inputs, with that root file system, give the same bytes.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from deploy.image import config as sites
from deploy.image.stage import Inputs, stage
from deploy.package.build import SUITES, epoch
from deploy.runtime.pins import EPOCH, BuildError
from edge.errors import EdgeError
from edge.text import escaped

HERE: Final = Path(__file__).resolve().parent
ROOT: Final = HERE.parents[1]
CACHE: Final = ROOT / "build" / "image"
DIST: Final = ROOT / "build" / "dist"
PACKAGES: Final = (
    *("systemd-sysv", "systemd-resolved", "systemd-timesyncd", "libpam-systemd", "libnss-systemd"),
    *("libnss-myhostname", "dbus", "udev", "kmod", "apt", "ca-certificates", "tzdata"),
    *("linux-image-arm64", "initramfs-tools", "zstd", "raspi-firmware", "firmware-brcm80211"),
    *("wireless-regdb", "wpasupplicant", "iproute2", "iputils-ping", "openssh-server", "sudo"),
    *("cloud-guest-utils", "fdisk", "e2fsprogs", "dosfstools", "nano", "less"),
)
"""Beside Debian's essential packages and the dependencies of the daemon's package."""


def main(arguments: Sequence[str]) -> int:
    """Build; return the exit status, after one line on an error."""
    parser = argparse.ArgumentParser(prog="make image", allow_abbrev=False)
    parser.add_argument("--suite", default="trixie")
    parser.add_argument("--config", type=Path)
    parser.add_argument("--deb", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--fresh", action="store_true", help="ask the mirror again")
    parser.add_argument("--base", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    return ended("image", lambda: build(args))


def ended(name: str, work: Callable[[], None]) -> int:
    """Do ``work``; return the exit status, after one line that begins with ``name`` on an error."""
    try:
        work()
    except BuildError as exc:
        error, status = str(exc), exc.status
    except EdgeError as exc:
        error, status = str(exc), exc.exit_status
    except OSError as exc:
        error, status = str(exc), 74
    else:
        return 0
    print(escaped(f"{name}: {error}"), file=sys.stderr)
    return status


def build(args: argparse.Namespace) -> None:
    """Make the image. Raises BuildError, ConfigError."""
    if args.suite not in SUITES:
        expected = " or ".join(SUITES)
        raise BuildError(64, "unsupported SUITE", expected=expected, got=args.suite)
    site = sites.load(args.config)
    deb = args.deb or package(args.suite)
    base = args.base or base_root(args.suite, deb, fresh=args.fresh)
    out = args.out or DIST / f"edge-camera-{args.suite}-arm64.img"
    if os.getuid() != 0 and not args.base:
        again = ["--suite", args.suite, "--deb", deb, "--base", base, "--out", out]
        again += ["--config", args.config] if args.config else []
        command = [*NAMESPACE, sys.executable, "-m", "deploy.image.build", *again]
        done = subprocess.run(command, check=False)  # it has printed the error
        if done.returncode:
            sys.exit(done.returncode)
        return
    stage(Inputs(args.suite, site, deb, base, epoch()), CACHE, out)


NAMESPACE: Final = (
    *("unshare", "--user", "--map-root-user", "--map-auto", "--mount", "--pid", "--fork"),
    "--mount-proc",
)
"""Runs a command as root of its own files only."""


def package(suite: str, arch: str = "arm64") -> Path:
    """Return the newest package of the daemon for ``suite``; raise BuildError without one."""
    debs = sorted(DIST.glob(f"edge-camera_*~{SUITES[suite][1]}_{arch}.deb"), key=os.path.getmtime)
    if not debs:
        raise BuildError(
            69,
            "no package of the daemon",
            where=str(DIST),
            expected=f"edge-camera_*~{SUITES[suite][1]}_{arch}.deb",
            got="none",
            hint=f"run `make deb ARCH={arch} SUITE={suite}`, or name one with DEB=FILE",
        )
    return debs[-1]


def field(deb: Path, name: str) -> str:
    """Return a field of a package. Raises BuildError."""
    done = subprocess.run(
        ["dpkg-deb", "-f", str(deb), name], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BuildError(65, "not a Debian package", where=str(deb))
    return done.stdout.strip()


def depends(deb: Path) -> list[str]:
    """Return the names of a package's dependencies; of alternatives the first."""
    return sorted({re.split(r"[|(:]", one)[0].strip() for one in field(deb, "Depends").split(",")})


def base_root(suite: str, deb: Path, *, fresh: bool = False) -> Path:
    """Return the tar file with Debian; made if absent, or if ``fresh``."""
    packages = [*PACKAGES, *depends(deb)]
    recipe = [(HERE / name).read_text() for name in ("root.sh", "inside.sh", "dpkg.cfg")]
    key = hashlib.sha256("\n".join([suite, *packages, *recipe]).encode()).hexdigest()[:12]
    CACHE.mkdir(parents=True, exist_ok=True)
    base = CACHE / f"base-{suite}-{key}.tar"
    with base.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a build at the same time waits for it
        if fresh or not base.exists():
            make_base_root(suite, base, packages)
            return base
    made = datetime.fromtimestamp(base.stat().st_mtime).strftime("%Y-%m-%d")
    print(f"image: using Debian's packages of {made}; FRESH=1 fetches them again")
    return base


def make_base_root(suite: str, base: Path, packages: Sequence[str]) -> None:
    """Write the tar file ``base`` with ``packages``. Raises BuildError."""
    began = time.monotonic()
    print(f"image: making {base.name}", flush=True)
    part = base.with_suffix(".part")
    done = subprocess.run(
        [HERE / "root.sh", suite, part, *packages],
        # Not the last commit's date: the same root is used for many commits.
        env={**os.environ, "SOURCE_DATE_EPOCH": str(EPOCH)},
        check=False,
    )
    if done.returncode:
        part.unlink(missing_ok=True)
        raise BuildError(
            69 if done.returncode == 69 else 70,
            "the root file system could not be made",
            got=f"status {done.returncode}, see above",
        )
    part.replace(base)
    print(f"image: {base.name} in {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
