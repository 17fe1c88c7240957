"""A card of `make flash CSV=` at its first boot: the image's script, run in the card's root."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from deploy.image import disk
from tests import cards
from tests.loops import needs_root

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ8Xq4w me@desk"
BOOT = """
set -eu
cd "$1"
mount -t overlay -o "lowerdir=$PWD/usr:/usr" card usr
for name in bin sbin lib lib64; do ln -sfn "usr/$name" "$name"; done
mkdir -p proc dev home tmp
mount --bind /dev dev
mount -t proc proc proc
exec chroot . /bin/sh -c '
  /usr/lib/edge-image/site
  /usr/lib/edge-image/site
  echo "host $(hostname) $(cat /etc/hostname)"
  id -nG pi
  stat -c "%a %U" /home/pi/.ssh/authorized_keys
  cat /home/pi/.ssh/authorized_keys
  secret=/etc/edge-camera/credentials/mqtt-password
  setpriv --reuid pi --regid pi --init-groups cat $secret 2>&1 || true
  cat $secret
'
"""
"""The programs are this machine's; every file of the system itself is the card's."""


@needs_root
def test_the_first_boot_gives_it_name_user_and_credential(tmp_path: Path) -> None:
    """What CONFIG and the row say; run twice, as after a power cut; the credential is root's."""
    probe = "mkdir -p a b c && mount -t overlay -o lowerdir=a:b x c"
    command = ["unshare", "--mount", "--uts", "sh", "-c", probe]
    if subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode:
        pytest.skip("LEFT OUT: no overlay can be mounted here")
    (tmp_path / "image").mkdir()
    image = cards.image(tmp_path / "image")
    csv = tmp_path / "devices.csv"
    csv.write_text(f"name,host,password,ssh_key\ncellar,,,\nporch,porch-cam,hush hush,{KEY}\n")
    assert cards.credentials(csv).returncode == 0
    card, root = cards.blank(tmp_path), tmp_path / "root"
    done = cards.flash(card, image, csv, "--again", "porch")
    assert done.returncode == 0, done
    root.mkdir()
    disk.run(["debugfs", "-R", f"rdump / {root}", cards.root_of(card)])
    apart = ("--mount", "--uts", "--pid", "--fork")
    command = ["unshare", *apart, "sh", "-c", BOOT, "boot", str(root)]
    booted = subprocess.run(command, capture_output=True, text=True, check=False)
    assert booted.returncode == 0, booted
    assert booted.stdout.splitlines() == [
        "host porch-cam porch-cam",
        "pi sudo video systemd-journal edge-camera-local",
        "600 pi",
        KEY,
        "cat: /etc/edge-camera/credentials/mqtt-password: Permission denied",
        "hush hush",
    ]
