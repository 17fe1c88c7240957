"""Fixtures for SD cards: images in build/image/test, a broker, machines.

`make test-image` runs the files of tests side by side, each in a process of its own: no two of them
may build the same image.
"""

from __future__ import annotations

import itertools
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.broker import PrivateBroker
from deploy.image import build
from tests.conftest import ROOT
from tests.image import pi
from tests.image.guest import BROKER, PORT, Guest, SdCard, key_pair

FOLDER = ROOT / "build" / "image" / "test"
PASSWORD = "correct horse"
SITE = """
secrets = true
[system]
hostname = "porch-{{serial}}"
read_only = {read_only}
[user]
ssh_keys = ["{key}"]
[wifi]
country = "DE"
ssid = "guests"
password = "not needed here"
[broker]
password = "{password}"
[edge.device]
id = "cam-{{machine}}"
[edge.camera]
source = "/dev/video0"
[edge.mqtt]
host = "{host}"
port = {port}
username = "camera"
[edge.smoothing]
window = 1
hold_frames = 1
[edge.publish]
result = true
telemetry_interval_s = 5.0
"""


@pytest.fixture(scope="session")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The SSH key of the SD cards' user."""
    return key_pair(tmp_path_factory.mktemp("key"))


@pytest.fixture(scope="session")
def config(key: Path) -> Callable[[bool], Path]:
    """Return a function that writes CONFIG."""

    def write(read_only: bool) -> Path:
        file = key.with_name(f"site-{'ro' if read_only else 'rw'}.toml")
        public = key.with_suffix(".pub").read_text().strip()
        values = {"key": public, "password": PASSWORD, "host": BROKER, "port": PORT}
        file.write_text(SITE.format(read_only=str(read_only).lower(), **values))
        return file

    return write


@pytest.fixture(scope="session")
def image(config: Callable[[bool], Path]) -> Callable[..., Path]:
    """Return a function that builds an image, through the command line of `make image`."""
    made: dict[tuple[str, bool], Path] = {}

    def get(suite: str, read_only: bool = False) -> Path:
        if (suite, read_only) not in made:
            out = FOLDER / f"{suite}{'-ro' if read_only else ''}.img"
            arguments = ["--suite", suite, "--config", str(config(read_only)), "--out", str(out)]
            assert build.main(arguments) == 0
            assert out.stat().st_size < 1_500_000_000
            pi.readable(out)
            listed = json.loads(out.with_suffix(".cdx.json").read_text())["components"]
            names = {one["name"] for one in listed}
            assert {"edge-camera", "openssh-server", "raspi-firmware"} <= names
            made[suite, read_only] = out
        return made[suite, read_only]

    return get


@pytest.fixture
def sdcard(tmp_path: Path) -> Iterator[Callable[[Path], SdCard]]:
    """Return a function that copies an image to an SD card of 4 GiB."""
    sdcards: list[SdCard] = []

    def copy(image: Path) -> SdCard:
        sdcards.append(SdCard(image, tmp_path / f"sdcard-{len(sdcards)}"))
        return sdcards[-1]

    yield copy
    for one in sdcards:
        one.remove()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[PrivateBroker]:
    """A mosquitto with the SD cards' password; tests may listen without one."""
    file = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", file, "camera", PASSWORD], check=True)
    with PrivateBroker("allow_anonymous true", f"password_file {file}") as running:
        yield running


@pytest.fixture
def machine(key: Path, broker: PrivateBroker, tmp_path: Path) -> Callable[..., Guest]:
    """Return a function that makes a machine of an SD card, the broker within its reach."""
    consoles = itertools.count(1)

    def make(sdcard: SdCard, kind: type[Guest] = Guest) -> Guest:
        return kind(sdcard, key, tmp_path / f"console-{next(consoles)}", broker.port)

    return make
