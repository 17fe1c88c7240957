"""Which disks `make flash` refuses: a laptop's sysfs from files, and real loop devices."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.sdcard import checks, flash, steps
from deploy.sdcard.disks import Machine
from deploy.sdcard.refusal import FlashError
from tests.conftest import ROOT
from tests.loops import attached, needs_root

LAPTOP = ROOT / "tests" / "machines" / "laptop"


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """The laptop of tests/machines, unfolded into a tree."""
    top = tmp_path_factory.mktemp("laptop")
    blocks = top / "sys" / "class" / "block"
    blocks.mkdir(parents=True)
    folder = top
    for line in (LAPTOP / "disks").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        if not line.startswith(" "):
            folder = top / "sys" / "devices" / line
            folder.mkdir(parents=True)
            continue
        name, _, text = line.strip().partition(" ")
        file = folder / name
        if text.startswith("->"):
            file.symlink_to(text.removeprefix("-> "))
        elif name.endswith("/"):
            file.mkdir(parents=True)
        else:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text + "\n")
        if name == "dev":
            (blocks / folder.name).symlink_to(folder)
    (top / "proc" / "self").mkdir(parents=True)
    (top / "proc" / "self" / "mountinfo").write_bytes((LAPTOP / "mountinfo").read_bytes())
    (top / "proc" / "swaps").write_bytes((LAPTOP / "swaps").read_bytes())
    return Machine(top / "sys", top / "proc")


REFUSED = {
    "nvme0n1": ("own disk", "nvme0n1: this system runs from it: it is mounted at /"),
    "nvme0n1p2": ("a partition", "expected the disk it is on; DEVICE=/dev/nvme0n1"),
    "dm-1": ("own disk", "mounted at /"),
    "dm-0": ("own disk", "mounted at /"),
    "sda1": ("a partition", "DEVICE=/dev/sda"),
    "sdb": ("too small", "no SD card in it"),
    "sdc": (
        "not an SD card",
        "got Seagate Portable (usb, fixed); if it is the right one: FORCE=1",
    ),
    "sdd": ("in use", "sdd1 is mounted at /media/user/my stick; umount /dev/sdd1"),
    "sde": ("in use", "sde is part of md127"),
    "sdf": ("in use", "sdf is swap space"),
    "sdg": ("in use", "sdg is mounted at /mnt/pool"),
    "sdh": ("not an SD card", "got CT1000MX500SSD1 (sata)"),
    "mmcblk1": ("write-protected", "check the lock switch"),
    "mmcblk2": ("not an SD card", "got DF4032 (mmc, fixed)"),
    "zram0": ("not an SD card", "(virtual, fixed)"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_free_sdcard_is_refused(laptop: Machine, name: str) -> None:
    """With one line that says why."""
    reason, words = REFUSED[name]
    with pytest.raises(FlashError) as caught:
        checks.refuse(laptop.named(name), force=False)
    assert caught.value.reason == reason
    assert words in str(caught.value)


@pytest.mark.parametrize("name", ["sda", "mmcblk0"])
def test_an_sdcard_is_accepted(laptop: Machine, name: str) -> None:
    """In a USB reader, which says it is removable, and in a slot, which does not."""
    checks.refuse(laptop.named(name), force=False)
    assert checks.is_sdcard(laptop.named(name))


@pytest.mark.parametrize("name", REFUSED)
def test_force_overrides_one_refusal_only(laptop: Machine, name: str) -> None:
    """What is in use, this system's own, or no whole disk stays refused."""
    with contextlib.ExitStack() as stack:
        if REFUSED[name][0] != "not an SD card":
            stack.enter_context(pytest.raises(FlashError))
        checks.refuse(laptop.named(name), force=True)


@pytest.mark.parametrize(
    ("name", "serial"),
    [
        ("nvme0n1", "79DF70QXF5QS"),
        ("sda", "000000001532"),
        ("sdc", "NA7PG2K4"),
        ("sdd", "sdd"),
        ("sdh", "ABCD"),  # after four bytes of a header
        ("mmcblk0", "0x2bd1c2ab"),
    ],
)
def test_a_disk_has_its_own_serial(laptop: Machine, name: str, serial: str) -> None:
    """Or, without one, its name."""
    assert laptop.named(name).serial == serial


def test_without_a_device_the_disks_are_listed(
    laptop: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    """SD cards, and other disks with the reason why not. What is never an SD card is left out."""
    with pytest.raises(FlashError, match="no DEVICE given"):
        flash.flash(flash.arguments([]), laptop)
    output = capsys.readouterr().err
    lines = output.splitlines()
    assert "flash:   DEVICE=/dev/sda: Generic- SD/MMC, 31,915 MB, usb" in lines
    assert "flash:   DEVICE=/dev/mmcblk0: SC32G, 31,915 MB, mmc" in lines
    assert "DEVICE=/dev/sdd: Ultra, 16,009 MB, usb; refused: in use: sdd1 is mounted at" in output
    named = [line.split("/dev/")[1].split(":")[0] for line in lines]
    assert not {"nvme0n1", "sda1", "sdb", "dm-0", "zram0", "md127"} & set(named)


@pytest.mark.parametrize(
    ("given", "answer", "status"),
    [
        ([], "y", 0),
        ([], "yes", 0),
        ([], "", 78),
        ([], "n", 78),
        (["--yes=1"], "unasked", 0),
        (["--serial=000000001532"], "unasked", 0),
        (["--serial=another", "--yes=1"], "unasked", 78),
    ],
)
def test_the_user_is_asked_once(
    laptop: Machine, monkeypatch: pytest.MonkeyPatch, given: list[str], answer: str, status: int
) -> None:
    """Anything but yes is no; the right SERIAL= replaces the question."""
    asked: list[str] = []
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)

    def put(question: str) -> str:
        asked.append(question)
        return answer

    monkeypatch.setattr("builtins.input", put)
    try:
        steps.confirm(laptop.named("sda"), flash.arguments(given))
        ended = 0
    except FlashError as exc:
        ended = exc.status
    assert ended == status
    assert len(asked) == (answer != "unasked")


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Path]:
    """A loop device on a file of 16 MB."""
    with attached(tmp_path / "backing", 16 << 20) as device:
        yield device


def refused(device: Path, *, force: bool = True) -> FlashError:
    """Return why a device of this machine is refused."""
    try:
        checks.refuse(Machine().disk(device), force=force)
        checks.refuse_by_opening(device)
    except FlashError as exc:
        return exc
    raise AssertionError(f"{device} is accepted")


@needs_root
def test_a_real_mount_is_found(loop: Path, tmp_path: Path) -> None:
    """With its mount point."""
    subprocess.run(["mke2fs", "-q", str(loop)], check=True)
    place = tmp_path / "mounted here"
    place.mkdir()
    subprocess.run(["mount", str(loop), str(place)], check=True)
    try:
        error = refused(loop)
    finally:
        subprocess.run(["umount", str(place)], check=True)
    assert (error.status, error.what) == (73, f"in use: {loop.name} is mounted at {place}")


@needs_root
def test_a_mount_in_another_namespace_is_found(loop: Path, tmp_path: Path) -> None:
    """No file shows it; the kernel refuses to open the device."""
    if subprocess.run(["unshare", "--mount", "true"], check=False, capture_output=True).returncode:
        pytest.skip("LEFT OUT: no mount namespace here, as in a plain chroot")
    subprocess.run(["mke2fs", "-q", str(loop)], check=True)
    place = tmp_path / "elsewhere"
    place.mkdir()
    script = f"mount {loop} '{place}' && echo mounted && read -r _"
    with subprocess.Popen(
        ["unshare", "--mount", "--propagation=private", "sh", "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as elsewhere:
        assert elsewhere.stdout is not None
        assert elsewhere.stdout.readline() == "mounted\n"
        error = refused(loop)
        elsewhere.communicate("\n")
    assert (error.status, error.what) == (73, "in use")


@needs_root
def test_real_swap_is_found(loop: Path) -> None:
    """Swap space is in use too."""
    subprocess.run(["mkswap", str(loop)], check=True, capture_output=True)
    subprocess.run(["swapon", str(loop)], check=True)
    try:
        error = refused(loop)
    finally:
        subprocess.run(["swapoff", str(loop)], check=True)
    assert (error.status, error.what) == (73, f"in use: {loop.name} is swap space")


@needs_root
def test_a_read_only_device_is_refused(tmp_path: Path) -> None:
    """As an SD card with its lock switch on."""
    with attached(tmp_path / "backing", 1 << 20, "--read-only") as device:
        assert refused(device).status == 71


@needs_root
def test_a_loop_device_is_no_sdcard(loop: Path) -> None:
    """Without FORCE."""
    assert refused(loop, force=False).status == 76


@needs_root
def test_the_disk_this_machine_runs_from_is_refused() -> None:
    """Whatever is mounted at / here, if that is a disk."""
    asked = ["findmnt", "--noheadings", "--output", "SOURCE", "/"]
    source = subprocess.run(asked, check=False, capture_output=True, text=True).stdout.strip()
    if not source or not Path(source).is_block_device():
        what = source or "no mounted device"
        pytest.skip(f"LEFT OUT: / is on {what}, not a disk: tested on the laptop's tree only")
    assert refused(Path(source)).reason in ("own disk", "a partition")


@needs_root
def test_without_permission_the_hint_is_sudo(loop: Path) -> None:
    """As a user outside the group `disk`."""
    os.seteuid(65534)
    try:
        error = refused(loop)
    finally:
        os.seteuid(0)
    assert (error.status, error.hint) == (77, "run it as root: sudo make flash ...")


@pytest.mark.parametrize("path", ["/dev/null", "/dev", "/dev/sd-misspelt"])
def test_other_paths_are_refused(path: str) -> None:
    """No plain file is created instead."""
    with pytest.raises(FlashError) as caught:
        Machine().disk(Path(path))
    assert caught.value.status == 67
