"""A small image of an SD card; `make credentials` and `make flash` as the tests run them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

from deploy.image import disk, layout, placing
from tests.conftest import ROOT

SIZE = 100 << 20


def image(folder: Path, root: dict[str, str] | None = None) -> Path:
    """Return IMAGE.img.zst with its bmap; its root has the files of deploy/image/sdcard.

    root  further files: path -> content
    """
    tree, boot = folder / "tree", folder / "boot"
    shutil.copytree(ROOT / "deploy" / "image" / "sdcard", tree)
    boot.mkdir()
    (boot / "config.txt").write_text("arm_64bit=1\n")
    for name, content in (root or {}).items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(content)
    fat = layout.Partition("bootfs", layout.ALIGNED, 72 << 20, 0xC)
    ext4 = layout.Partition("rootfs", fat.end, 16 << 20, 0x83)
    made = folder / "edge.img"
    disk.empty(made, [fat, ext4], 7)
    disk.fat(made, fat, boot, 7, 1)
    disk.ext4(made, ext4, tree, uuid.UUID(int=7), 1)
    disk.pack(made, [ext4.start])
    made.unlink()
    return folder / "edge.img.zst"


def inside(card: Path, path: str) -> str:
    """Return a text on a card; empty where there is none."""
    return placing.read(root_of(card), path)


def root_of(card: Path) -> str:
    """Return the root file system of a card, as debugfs names it."""
    return f"{card}?offset={layout.ALIGNED + (72 << 20)}"


def credentials(csv: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run what `make credentials` runs."""
    command = [sys.executable, "-m", "deploy.credentials.build", "--csv", str(csv), *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def command(card: Path, image: Path, csv: Path, *options: str) -> list[str]:
    """Return what `make flash CSV=` runs, without a question."""
    return [
        *("/usr/bin/python3", "-B", "-m", "deploy.sdcard.flash", "--device", str(card)),
        *("--image", str(image), "--force", "1", "--serial", card.name, "--csv", str(csv)),
        *options,
    ]


def flash(
    card: Path, image: Path, csv: Path, *options: str, tools: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run it; programs in ``tools`` come first."""
    return subprocess.run(
        command(card, image, csv, *options),
        cwd=ROOT,
        env=environment(tools),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def environment(tools: Path | None = None) -> dict[str, str]:
    """Return the environment, with programs of a test's own first."""
    path = f"/usr/sbin:{os.environ['PATH']}"
    return {**os.environ, "PATH": f"{tools}:{path}" if tools else path}


def blank(folder: Path, name: str = "a-card") -> Path:
    """Return a file that stands for an SD card."""
    card = folder / name
    with card.open("wb") as stream:
        stream.truncate(SIZE)
    return card
