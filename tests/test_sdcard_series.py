"""`make flash CSV=`: each card gets the next device, each credential is used once."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import sqlite3
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.credentials.ledger import Ledger
from deploy.image import disk, placing
from tests import cards
from tests.conftest import ROOT, wait_until
from tests.loops import attached, needs_root

SITE = '[edge.mqtt]\nhost = "broker.example"\n[user]\nssh_keys = ["ssh-ed25519 AAAAC3 me@desk"]\n'
ROWS = (
    "name,host,password,wifi_country,wifi_ssid,wifi_password\n"
    "porch,,,,,\n"
    "wall,wall-cam,given to the wall,DE,IEEE,password\n"
)
PASSWORD = "/etc/edge-camera/credentials/mqtt-password"


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small image, with credentials of its own."""
    root = {PASSWORD[1:]: "of the image\n", "etc/edge-camera/credentials/camera-password": "too\n"}
    return cards.image(tmp_path_factory.mktemp("image"), root)


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    """Two devices with their credentials."""
    path = tmp_path / "devices.csv"
    path.write_text(ROWS)
    (tmp_path / "site.toml").write_text(SITE)
    remade(path)
    return path


def remade(csv: Path, *options: str) -> None:
    """Run `make credentials`."""
    done = cards.credentials(csv, "--config", str(csv.parent / "site.toml"), *options)
    assert done.returncode == 0, done


def states(csv: Path) -> dict[str, str]:
    """Return the state of each device."""
    with Ledger(csv) as ledger:
        return {device.name: device.state for device in ledger.devices()}


def credential(csv: Path, name: str) -> str:
    """Return the password that waits for its card."""
    with Ledger(csv) as ledger:
        device = ledger.device(name)
    assert device is not None
    return str(json.loads(device.credential)["password"])


def last(done: subprocess.CompletedProcess[str]) -> str:
    """Return the last line on stderr."""
    return done.stderr.splitlines()[-1]


def test_each_card_is_the_next_device(csv: Path, image: Path, tmp_path: Path) -> None:
    """Its own name, id and credential, root's alone; forgotten by the ledger, and in no output."""
    secrets = [credential(csv, name) for name in ("porch", "wall")]
    assert secrets[1] == "given to the wall"
    printed = ""
    for name, host, secret in zip(("porch", "wall"), ("porch", "wall-cam"), secrets, strict=True):
        card = cards.blank(tmp_path, f"card-{name}")
        done = cards.flash(card, image, csv)
        assert done.returncode == 0, done
        assert f"flash: next is {name}, host name {host}; " in done.stdout
        assert f"flash: {card} is {name}; " in done.stdout
        printed += done.stdout + done.stderr
        assert cards.inside(card, "/etc/edge-image/hostname") == f"{host}\n"
        edge = tomllib.loads(cards.inside(card, "/etc/edge-camera/edge.toml"))
        assert edge["device"]["id"] == edge["mqtt"]["username"] == name
        assert cards.inside(card, PASSWORD) == f"{secret}\n"
        assert "Mode:  0600 " in placing.stat(cards.root_of(card), PASSWORD)
        assert "Mode:  0700 " in placing.stat(cards.root_of(card), str(Path(PASSWORD).parent))
        assert cards.inside(card, f"{Path(PASSWORD).parent}/camera-password") == ""
        assert "me@desk" in cards.inside(card, "/etc/edge-image/authorized_keys")
    wall = tmp_path / "card-wall"
    assert "ssid=49454545" in cards.inside(wall, "/etc/wpa_supplicant/wpa_supplicant-wlan0.conf")
    unit = "/etc/systemd/system/multi-user.target.wants/wpa_supplicant@wlan0.service"
    assert "wpa_supplicant@.service" in placing.stat(cards.root_of(wall), unit)
    assert not [secret for secret in secrets if secret in printed]
    assert states(csv) == {"porch": "used", "wall": "used"}
    ledger = (tmp_path / "devices.credentials" / "ledger.sqlite").read_bytes()
    assert not [secret for secret in secrets if secret.encode() in ledger]
    done = cards.flash(cards.blank(tmp_path), image, csv)
    assert (done.returncode, "all SD cards are written" in last(done)) == (83, True)


def test_a_raspberry_pi_os_gets_its_network_managers_file(csv: Path, tmp_path: Path) -> None:
    """As `make provision` would write it."""
    (tmp_path / "image").mkdir()
    image = cards.image(tmp_path / "image", {"etc/rpi-issue": "Raspberry Pi reference\n"})
    card = cards.blank(tmp_path)
    assert cards.flash(card, image, csv, "--again", "wall").returncode == 0
    profile = "/etc/NetworkManager/system-connections/edge-site.nmconnection"
    assert "ssid=73;69;69;69;" in cards.inside(card, profile)
    assert cards.inside(card, "/etc/wpa_supplicant/wpa_supplicant-wlan0.conf") == ""


def tool(folder: Path, name: str, script: str) -> Path:
    """Return a folder with a program that is found before the real one."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("#!/bin/sh\nset -eu\n" + script)
    (folder / name).chmod(0o755)
    return folder


def test_a_bad_card_uses_no_device(csv: Path, image: Path, tmp_path: Path) -> None:
    """Reading the image back fails: nothing of the device was on it, and the next run takes it."""
    card = cards.blank(tmp_path)
    spoil = f"printf x | dd of={card} bs=1 seek={(76 << 20) + 1100} conv=notrunc status=none\n"
    tools = tool(tmp_path / "tools", "bmaptool", f'/usr/bin/bmaptool "$@"\n{spoil}')
    before = credential(csv, "porch")
    done = cards.flash(card, image, csv, tools=tools)
    assert done.returncode == 80, done
    assert states(csv)["porch"] == "ready"
    assert cards.flash(card, image, csv).returncode == 0
    assert cards.inside(card, PASSWORD) == f"{before}\n"


def test_files_that_do_not_reach_the_card_are_found(csv: Path, image: Path, tmp_path: Path) -> None:
    """debugfs reports no failure; the device is unfinished, and a person decides."""
    real = '/usr/sbin/debugfs "$@"'
    loses = f"case $1 in -w) grep -v mqtt-password | {real} ;; *) exec {real} ;; esac\n"
    done = cards.flash(
        cards.blank(tmp_path), image, csv, tools=tool(tmp_path / "tools", "debugfs", loses)
    )
    assert done.returncode == 81, done
    assert "the files of porch could not be written" in last(done)
    assert f"got {PASSWORD}" in last(done) or PASSWORD in last(done)
    assert "AGAIN=porch" in last(done)
    assert states(csv)["porch"] == "writing"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_ends_in_the_middle_is_never_forgotten(
    csv: Path, image: Path, tmp_path: Path, number: int
) -> None:
    """Neither lost nor used twice: the next run says so, until AGAIN or REPLACE decides."""
    began = tmp_path / "began"
    stall = f'case $1 in -w) touch {began}; exec sleep 600 ;; esac\nexec /usr/sbin/debugfs "$@"\n'
    tools = tool(tmp_path / "tools", "debugfs", stall)
    card = cards.blank(tmp_path)
    with subprocess.Popen(
        cards.command(card, image, csv),
        cwd=ROOT,
        env=cards.environment(tools),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        wait_until(lambda: began.exists() or process.poll() is not None)
        second = cards.flash(cards.blank(tmp_path, "another"), image, csv)
        assert (second.returncode, "another run uses it" in last(second)) == (73, True)
        os.killpg(process.pid, number)
        _, error = process.communicate()
    if number == signal.SIGINT:
        assert process.returncode == 130, error
        assert "interrupted: the files of porch are perhaps on it; AGAIN=porch" in error
        assert "Traceback" not in error
    assert states(csv) == {"porch": "writing", "wall": "ready"}
    before = credential(csv, "porch")
    done = cards.flash(card, image, csv)
    assert done.returncode == 81, done
    assert last(done).startswith("flash: porch: a run ended while its files were written; AGAIN=")
    listed = cards.credentials(csv, "--config", str(tmp_path / "site.toml"))
    assert "porch is unfinished: make flash AGAIN=porch" in listed.stdout
    if number == signal.SIGINT:
        remade(csv, "--replace", "porch")
        assert credential(csv, "porch") != before
        done = cards.flash(card, image, csv)
    else:
        done = cards.flash(card, image, csv, "--again", "porch")
    assert done.returncode == 0, done
    assert (cards.inside(card, PASSWORD) == f"{before}\n") == (number == signal.SIGKILL)
    assert states(csv) == {"porch": "used", "wall": "ready"}


def test_a_used_credential_is_not_written_twice(csv: Path, image: Path, tmp_path: Path) -> None:
    """Refused until it is replaced; the card itself is not overwritten by the next device."""
    card = cards.blank(tmp_path)
    assert cards.flash(card, image, csv).returncode == 0
    first = cards.inside(card, PASSWORD)
    done = cards.flash(card, image, csv)
    assert done.returncode == 82, done
    assert f"{card}: this is the SD card of porch, written 2" in last(done)
    done = cards.flash(cards.blank(tmp_path, "another"), image, csv, "--again", "porch")
    assert done.returncode == 82, done
    assert "porch: its SD card is written: 2" in last(done)
    assert "REPLACE=porch" in last(done)
    remade(csv, "--replace", "porch")
    assert cards.flash(card, image, csv).returncode == 0
    assert cards.inside(card, "/etc/edge-image/hostname") == "porch\n"
    assert cards.inside(card, PASSWORD) not in (first, "")


@contextlib.contextmanager
def waiting(command: list[str], output: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command that does not end by itself; what it prints goes into a file."""
    with (
        output.open("w") as stream,
        subprocess.Popen(
            command,
            cwd=ROOT,
            env=cards.environment(),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def test_one_run_writes_one_card_after_the_other(csv: Path, image: Path, tmp_path: Path) -> None:
    """It waits until the card is removed and the next is put in; it never touches the first."""
    card, written = cards.blank(tmp_path), tmp_path / "written"
    output = tmp_path / "output"
    with waiting(cards.command(card, image, csv, "--count", "all"), output) as process:
        wait_until(lambda: "put the next one in" in output.read_text(), output.read_text)
        assert used_meanwhile(tmp_path) == 1
        card.rename(written)
        wait_until(lambda: "flash: removed; " in output.read_text(), output.read_text)
        first = written.read_bytes()
        cards.blank(tmp_path, "new").rename(card)
        assert process.wait(60) == 0, output.read_text()
    assert cards.inside(card, "/etc/edge-image/hostname") == "wall-cam\n"
    assert cards.inside(written, "/etc/edge-image/hostname") == "porch\n"
    assert written.read_bytes() == first
    assert "is wall; 0 to write" in output.read_text()


def used_meanwhile(folder: Path) -> int:
    """Return how many are used, read past the lock of the run."""
    with sqlite3.connect(
        f"file:{folder}/devices.credentials/ledger.sqlite?mode=ro", uri=True
    ) as db:
        return int(db.execute("select count(*) from device where state = 'used'").fetchone()[0])


@needs_root
def test_another_disk_in_the_place_of_the_next_card_is_refused(
    csv: Path, image: Path, tmp_path: Path
) -> None:
    """Under the same path: it is another disk, and not the reader that the user named."""
    card = tmp_path / "reader"
    card.symlink_to(cards.blank(tmp_path, "in-it"))
    output = tmp_path / "output"
    with attached(tmp_path / "backing", cards.SIZE) as loop:
        command = cards.command(card, image, csv, "--count", "2", "--serial", "reader")
        with waiting(command, output) as process:
            wait_until(lambda: "put the next one in" in output.read_text(), output.read_text)
            card.unlink()
            wait_until(lambda: "flash: removed; " in output.read_text(), output.read_text)
            card.symlink_to(loop)
            assert process.wait(60) == 79, output.read_text()
        with loop.open("rb") as stream:
            assert not any(stream.read(1 << 20))
    assert f"flash: {card}: another reader: expected a plain file" in output.read_text()
    assert states(csv)["wall"] == "ready"


@needs_root
def test_a_real_device_gets_the_files_too(csv: Path, image: Path, tmp_path: Path) -> None:
    """A loop device, which nothing else can claim meanwhile; its cache is dropped in between."""
    with attached(cards.blank(tmp_path), cards.SIZE) as loop:
        done = cards.flash(loop, image, csv)
        assert done.returncode == 0, done
        assert cards.inside(loop, "/etc/edge-image/hostname") == "porch\n"


def test_any_card_may_be_in_the_reader(csv: Path, tmp_path: Path) -> None:
    """One that another system filled: a huge file in the place of the stamp is not read."""
    (tmp_path / "image").mkdir()
    stamp = tmp_path / "stamp"
    stamp.touch()
    os.truncate(stamp, 1 << 40)
    image = cards.image(tmp_path / "image")
    card = cards.blank(tmp_path)
    assert cards.flash(card, image, csv).returncode == 0
    placing_there = f"rm /etc/edge-image/device\nwrite {stamp} /etc/edge-image/device\n"
    disk.run(["debugfs", "-w", "-f", "-", cards.root_of(card)], given=placing_there)
    assert placing.size(cards.root_of(card), "/etc/edge-image/device") == 1 << 40
    limited = f"ulimit -v 1000000; exec {shlex.join(cards.command(card, image, csv))}"
    done = subprocess.run(
        ["bash", "-c", limited],
        cwd=ROOT, env=cards.environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done
    assert states(csv) == {"porch": "used", "wall": "used"}


def test_an_image_of_another_system_gets_no_files(csv: Path, tmp_path: Path) -> None:
    """It would not read them; the device stays ready."""
    (tmp_path / "image").mkdir()
    image = cards.image(tmp_path / "image", {"usr/lib/edge-image/site": ""})
    done = cards.flash(cards.blank(tmp_path), image, csv)
    assert done.returncode == 65, done
    assert "not an image of `make image` or `make provision`" in last(done)
    assert states(csv)["porch"] == "ready"


def test_what_does_not_fit_the_ledger_is_refused(csv: Path, image: Path, tmp_path: Path) -> None:
    """No ledger, a CSV that has changed, unknown names and counts: one line, nothing written."""
    card = cards.blank(tmp_path)
    refused = {
        ("--again", "cellar"): (66, "no such device: got cellar"),
        ("--count", "-1"): (64, "COUNT: expected a number from 1 on, or all, got -1"),
        ("--csv", "."): (66, ".: not a CSV"),
        ("--csv", str(tmp_path / "none.csv")): (66, "run `make credentials CSV="),
    }
    for options, (status, line) in refused.items():
        done = cards.flash(card, image, csv, *options)
        assert (done.returncode, line in last(done)) == (status, True), done
    csv.write_text(ROWS.replace("wall-cam", "wall-2"))
    done = cards.flash(card, image, csv)
    assert (done.returncode, "changed since its credentials" in last(done)) == (65, True), done
    ledger = tmp_path / "devices.credentials" / "ledger.sqlite"
    ledger.write_bytes(b"no database, but long enough to be taken for one" * 100)
    done = cards.flash(card, image, csv)
    assert (done.returncode, "not a ledger" in last(done)) == (65, True), done
    assert not any(card.read_bytes())
