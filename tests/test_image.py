"""SD cards, without building one: CONFIG, partitions, refusals, the list of packages."""

from __future__ import annotations

import configparser
import json
import lzma
import re
import tomllib
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.image import build, disk, layout, provision, recognise, sbom
from deploy.image import config as site
from deploy.image.files import SECRETS, File, files, toml
from deploy.image.stage import MODES
from deploy.runtime.pins import sha256
from edge import config
from tests.conftest import ROOT

EXAMPLE = ROOT / "deploy" / "image" / "site.toml"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ8Xq4w me@desk"


def written(tmp_path: Path, text: str) -> Path:
    """Return a CONFIG with ``text`` in it."""
    file = tmp_path / "site.toml"
    file.write_text(text)
    return file


def placed(tmp_path: Path, text: str) -> dict[str, File]:
    """Return what CONFIG puts on an SD card of our own, by path."""
    made = files(site.load(written(tmp_path, text)), "networkd")
    return {file.path: file for file in made}


def test_the_example_is_valid_and_names_every_key() -> None:
    """It says what is the default, but for what has none."""
    site.load(EXAMPLE)
    shown = EXAMPLE.read_text()
    for table, kind in (
        ("system", site.System),
        ("user", site.User),
        ("wifi", site.Wifi),
        ("broker", site.Broker),
        ("camera", site.Camera),
    ):
        block = shown.split(f"[{table}]")[1].split("\n[")[0]
        for key in kind.__struct_fields__:
            assert f"{key} = " in block, f"{table}.{key}"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[wify]", "unknown key: expected one of"),
        ("[system]\nhostname = 3", "system.hostname: wrong value: expected str, got 3"),
        ('[system]\nhostname = "a_b"', "system.hostname: not a host name"),
        (f'[system]\nhostname = "{"a" * 56}{{serial}}"', "system.hostname: not a host name"),
        ('[system]\nhostname = "-{serial}"', "system.hostname: not a host name"),
        (
            'secrets = true\n[edge.camera]\nsource = "rtsp://me:word@cam/1"',
            "edge.camera.source: a login in an address",
        ),
        ('[system]\ntimezone = "Mars/Crater"', "system.timezone: unknown time zone"),
        ('[user]\nname = "root"', "user.name: not an ordinary user"),
        ('[user]\nssh_keys = ["-----BEGIN"]', "user.ssh_keys[0]: not a public key"),
        ('[wifi]\nssid = "x"', "wifi.country: a network without a country"),
        ('secrets = true\n[wifi]\npassword = "12345678"', "wifi.ssid: a password without"),
        (
            'secrets = true\n[wifi]\ncountry = "DE"\nssid = "x"\npassword = "1234567"',
            "wifi.password: too short",
        ),
        ('[broker]\npassword = "x"', "broker.password: a secret without `secrets = true`"),
        ('[broker]\nca_file = "none.crt"', "broker.ca_file: cannot be read"),
        ("[edge.mqtt]\nport = 70000", "edge: mqtt.port"),
        ("[edge.mqtt]\nprot = 1", "edge: mqtt.prot: unknown key"),
        ('[edge.device]\nid = "{cereal}"', "edge: device.id: unknown name in braces"),
        (
            "[edge.smoothing]\nenter = 0.3\nexit = 0.9",
            "edge: smoothing.exit: `exit` is above `enter`",
        ),
        ("[edge", "not valid TOML"),
    ],
)
def test_a_wrong_config_is_one_line_and_78(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, line: str
) -> None:
    """Before anything is built; the line names the file and the key."""
    file = written(tmp_path, text)
    assert build.main(["--config", str(file)]) == 78
    error = capsys.readouterr().err
    assert error.startswith(f"image: {file}")
    assert line in error
    assert len(error.splitlines()) == 1


def test_secrets_are_roots_and_readable_nowhere_else(tmp_path: Path) -> None:
    """Each in a file of its own that others cannot read; the Wi-Fi's only as its key."""
    made = placed(
        tmp_path,
        'secrets = true\n[wifi]\ncountry = "DE"\nssid = "IEEE"\npassword = "password"\n'
        '[broker]\npassword = "tell nobody"\n[camera]\npassword = "nor this"\n',
    )
    for secret in ("tell nobody", "nor this", "psk="):
        holding = [file for file in made.values() if secret in file.content]
        assert [file.mode for file in holding] == [0o600]
    wifi = made["/etc/wpa_supplicant/wpa_supplicant-wlan0.conf"].content
    # IEEE 802.11-2020, J.4.2, test case 1
    assert "psk=f42c6fc52df0ebef9ebb4b90b38a5f902e83fe1b135a70e23aed762e9710a12e" in wifi
    assert "ssid=49454545\n" in wifi
    assert '"password"' not in wifi


def test_the_wifi_of_a_raspberry_pi_os_is_its_network_managers(tmp_path: Path) -> None:
    """In a file that NetworkManager accepts: root's alone; names of any characters as bytes."""
    text = 'secrets = true\n[wifi]\ncountry = "DE"\nssid = "é;"\npassword = "password"\n'
    given = site.load(written(tmp_path, text))
    made = {file.path: file for file in files(given, "NetworkManager")}
    file = made["/etc/NetworkManager/system-connections/edge-site.nmconnection"]
    assert file.mode == 0o600
    profile = configparser.ConfigParser(interpolation=None)
    profile.read_string(file.content)
    assert profile["wifi"]["ssid"] == "195;169;59;"
    assert profile["wifi-security"]["key-mgmt"] == "wpa-psk"
    assert profile["wifi-security"]["psk"] == site.psk(given.wifi)
    assert made["/etc/edge-image/wifi-country"].content == "DE\n"
    assert not [path for path in made if "wpa_supplicant" in path]


def test_an_image_with_secrets_is_its_owners_alone(tmp_path: Path) -> None:
    """From its first byte on."""
    part = layout.Partition("rootfs", layout.ALIGNED, 8 << 20, 0x83)
    (tmp_path / "sdcard.img").write_bytes(b"an earlier one")
    for secrets, mode in MODES.items():
        disk.empty(tmp_path / "sdcard.img", [part], 7, mode)
        assert (tmp_path / "sdcard.img").stat().st_mode & 0o777 == (0o600 if secrets else 0o644)


def test_the_daemon_understands_what_is_written_for_it(tmp_path: Path) -> None:
    """edge.toml on the SD card is what CONFIG says, nested tables and odd characters too."""
    (tmp_path / "ca.crt").write_text("-----BEGIN CERTIFICATE-----\n")
    made = placed(
        tmp_path,
        '[broker]\nca_file = "ca.crt"\n[edge.device]\nid = "a"\n[edge.mqtt]\ntls = true\n'
        'host = "broker.example"\n[edge.camera]\nsource = "/tmp/\\"é\\u007f.mp4"\n'
        "roi = [0, 0, 0.5, 1]\n[edge.camera.controls]\nexposure_us = 9\n",
    )
    text = made["/etc/edge-camera/edge.toml"].content
    file = written(tmp_path, text)
    loaded = config.load(file)
    assert loaded.camera.source == '/tmp/"é\x7f.mp4'
    assert loaded.camera.roi == (0, 0, 0.5, 1)
    assert loaded.camera.controls.exposure_us == 9
    assert loaded.mqtt.ca_file in made
    assert tomllib.loads(text)["mqtt"]["host"] == "broker.example"


def test_without_config_a_device_is_named_by_its_serial(tmp_path: Path) -> None:
    """So that many SD cards of one image are different devices; without a login."""
    made = placed(tmp_path, "")
    assert tomllib.loads(made["/etc/edge-camera/edge.toml"].content)["device"]["id"] == "{serial}"
    assert made["/etc/edge-image/hostname"].content == "edge-{serial}\n"
    assert not [path for path in made if "sysusers" in path or "authorized" in path]


def test_toml_has_each_table_once() -> None:
    """A table that holds only another has no line of its own."""
    assert toml({"a": {"b": {"c": 1}}}).splitlines()[1:] == ["", "[a.b]", "c = 1"]


def test_partitions_follow_each_other_and_are_aligned() -> None:
    """Whatever the sizes."""
    made = layout.plan({"rootfs": 700_000_001, "state": 1})
    assert [part.label for part in made] == ["bootfs", "rootfs", "state"]
    assert all(part.start % layout.ALIGNED == 0 for part in made)
    assert [part.start for part in made[1:]] == [part.end for part in made[:-1]]
    assert made[1].size >= 700_000_001
    text = layout.script(made, 0x1234)
    assert "label-id: 0x00001234" in text
    assert "start=8192, size=442368, type=c, bootable" in text


RPI = {
    "etc/rpi-issue": "Raspberry Pi reference 2025-05-13\n",
    "etc/os-release": 'ID=debian\nVERSION_CODENAME="bookworm"\n',
    "var/lib/dpkg/status": "Package: dpkg\nStatus: install ok installed\nArchitecture: arm64\n",
}
"""What a Raspberry Pi OS is known by."""


def test_a_release_file_that_is_a_link_is_read_where_it_lies() -> None:
    """As on every Debian: /etc/os-release is a link, of which nothing is read from outside."""
    files = {f"/{name}": content for name, content in RPI.items()}
    files["/usr/lib/os-release"] = files.pop("/etc/os-release")
    read: Callable[[str], str] = lambda name: files.get(name, "")  # noqa: E731
    assert recognise.suite(Path("base.img"), read, ("bookworm", "trixie")) == "bookworm"


def base(
    tmp_path: Path, root: dict[str, str], labels: tuple[str, str] = ("bootfs", "rootfs")
) -> Path:
    """Return an image laid out as a Raspberry Pi OS, with the files of ``root`` in it."""
    image, tree, empty = tmp_path / "base.img", tmp_path / "root", tmp_path / "boot"
    for name, content in root.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(content)
    empty.mkdir()
    (empty / "config.txt").write_text("arm_64bit=1\n")
    boot = layout.Partition(labels[0], layout.ALIGNED, 72 << 20, 0xC)
    part = layout.Partition(labels[1], boot.end, 8 << 20, 0x83)
    disk.empty(image, [boot, part], 7)
    disk.fat(image, boot, empty, 7, 1)
    disk.ext4(image, part, tree, uuid.UUID(int=7), 1)
    drive = f"{image}@@{boot.start}"
    assert disk.run(["mtype", "-i", drive, "::config.txt"]) == "arm_64bit=1\n"
    return image


def refused(base: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Return the one line of a refusal, whose status is 65."""
    before = sha256(base)
    assert provision.main(["--base", str(base)]) == 65
    assert sha256(base) == before
    line = capsys.readouterr().err
    assert len(line.splitlines()) == 1
    return line


@pytest.mark.parametrize(
    ("file", "content", "line"),
    [
        ("etc/rpi-issue", None, "not Raspberry Pi OS"),
        ("etc/os-release", "VERSION_CODENAME=bullseye\n", "got bullseye, not bookworm or trixie"),
        ("var/lib/dpkg/status", "Package: dpkg\nArchitecture: armhf\n", "not 64-bit"),
        ("usr/lib/edge-image/site", "#!/bin/sh\n", "already provisioned"),
    ],
)
def test_another_system_is_refused(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    file: str,
    content: str | None,
    line: str,
) -> None:
    """One line that says what it is; the base stays as it was."""
    root = {**RPI, file: content or ""} if content else {k: v for k, v in RPI.items() if k != file}
    assert line in refused(base(tmp_path, root), capsys)


def starts(image: Path) -> list[int]:
    """Return where the partitions begin."""
    table = json.loads(disk.run(["sfdisk", "--json", image]))["partitiontable"]
    return [part["start"] * layout.SECTOR for part in table["partitions"]]


def test_a_read_only_root_is_not_for_provisioning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A setting that this verb does not support: one line, 78, before anything is read."""
    file = written(tmp_path, "[system]\nread_only = true\n")
    assert provision.main(["--base", "none.img", "--config", str(file)]) == 78
    assert f"{file}: system.read_only: not supported on Raspberry Pi OS" in capsys.readouterr().err


def test_other_file_systems_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Such as an image made by `make image`, or another distribution's."""
    image = base(tmp_path, RPI, ("boot", "root"))
    assert '"boot" and "root"' in refused(image, capsys)
    for part in starts(image):
        with image.open("r+b") as file:
            file.seek(part)
            file.write(bytes(1 << 20))
    assert '"" and ""' in refused(image, capsys)
    disk.run(["sfdisk", "--quiet", "--delete", image])
    assert "unexpected partitions" in refused(image, capsys)


def test_what_is_no_image_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Noise, and a download that was cut short."""
    file = tmp_path / "noise.img"
    file.write_bytes(b"noise" * 1000)
    assert "no partition table" in refused(file, capsys)
    file.write_bytes(lzma.compress(b"x" * 100_000)[:-20])
    assert "download it again" in refused(file, capsys)
    assert provision.main(["--base", str(tmp_path / "none.img")]) == 66
    assert "no such file" in capsys.readouterr().err


def test_the_same_files_give_the_same_image(tmp_path: Path) -> None:
    """Whenever they were written, and in whatever order."""
    sums = []
    for name, order in (("one", 1), ("two", -1)):
        folder = tmp_path / name
        folder.mkdir()
        root = dict(list({**RPI, "b/1": "x" * 9000, "a/2": "y"}.items())[::order])
        image = base(folder, root)
        sums.append(sha256(image))
    assert sums[0] == sums[1]


def test_nothing_of_a_cards_earlier_journal_is_left(tmp_path: Path) -> None:
    """A block map leaves out what is a hole; the journal is none, for it would be replayed."""
    image = tmp_path / "new.img"
    part = layout.Partition("rootfs", layout.ALIGNED, 64 << 20, 0x83)
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "file").write_text("content")
    disk.empty(image, [part], 7)
    disk.ext4(image, part, tree, uuid.UUID(int=7), 1)
    disk.pack(image, [part.start])

    text = image.with_suffix(".bmap").read_text()
    ranges = re.findall(r"<Range[^>]*>\s*(\d+)(?:-(\d+))?\s*</Range>", text)
    copied = {n for first, last in ranges for n in range(int(first), int(last or first) + 1)}
    journal = disk.run(["debugfs", "-R", "blocks <8>", f"{image}?offset={part.start}"]).split()
    first = part.start // layout.BLOCK
    assert len(journal) >= 1024
    assert {first + int(block) for block in journal} <= copied
    assert len(copied) < part.end // layout.BLOCK / 2


def test_files_get_into_a_base_that_grows_for_them(tmp_path: Path) -> None:
    """With their owner and mode; the table of partitions follows, its identity stays."""
    image, root = base(tmp_path, {**RPI, "etc/hostname": "old"}), tmp_path / "rootfs"
    boot, part = recognise.partitions(image, image)
    provision.copy_range(image, part.start, root, 0, part.size)
    repository, work = tmp_path / "packages", tmp_path / "work"
    repository.mkdir()
    work.mkdir()
    large = bytes(range(256)) * 80_000
    (repository / "large~1 a.deb".replace(" ", "+")).write_bytes(large)
    secret = File(f"{SECRETS}/mqtt-password", "tell nobody\n", 0o600)
    unit = provision.ENABLED
    links = {unit: "/usr/lib/unit", "/etc/localtime": "/usr/share/zoneinfo/Europe/Berlin"}
    new = File("/etc/hostname", "new\n")
    size = provision.insert(root, repository, [secret, new], links, work)
    assert size > part.size
    provision.replace(image, root, part, size)
    again = recognise.partitions(image, image)
    assert again == (boot, replace(part, size=size))
    assert "0x00000007" in disk.run(["sfdisk", "--dump", image])
    at = f"{image}?offset={part.start}"
    disk.run(["e2fsck", "-f", "-n", at])
    assert disk.run(["debugfs", "-R", "cat /etc/hostname", at]) == "new\n"
    for path, mode in ((secret.path, "0600"), (SECRETS, "0700")):
        output = disk.run(["debugfs", "-R", f"stat {path}", at])
        assert f"Mode:  {mode}" in output
        assert "User:     0   Group:     0" in output
    for link in links:
        assert "Type: symlink" in disk.run(["debugfs", "-R", f"stat {link}", at])


def test_no_package_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says what to run; so does a suite that there is not."""
    monkeypatch.setattr(build, "DIST", tmp_path)
    assert build.main([]) == 69
    assert "run `make deb ARCH=arm64 SUITE=trixie`" in capsys.readouterr().err
    (tmp_path / "edge.deb").write_text("not one")
    assert build.main(["--deb", str(tmp_path / "edge.deb")]) == 65
    assert "not a Debian package" in capsys.readouterr().err
    assert build.main(["--suite", "sid"]) == 64
    assert "expected bookworm or trixie, got sid" in capsys.readouterr().err


def test_what_is_installed_is_listed() -> None:
    """Each package once, with the source it was built from; what was removed is not."""
    status = (
        "Package: b\nStatus: install ok installed\nArchitecture: arm64\nVersion: 2:1+x\n"
        "Source: src (1)\nDescription: of it\n Package: not this\n\n"
        "Package: edge-camera\nStatus: install ok installed\nArchitecture: arm64\nVersion: 1\n\n"
        "Package: a\nStatus: deinstall ok config-files\nArchitecture: all\nVersion: 1\n"
    )
    text = sbom.cyclonedx(status, "x.img", "trixie", "00", 0)
    assert text == sbom.cyclonedx(status, "x.img", "trixie", "00", 0)
    document = json.loads(text)
    assert [(part["name"], part["purl"]) for part in document["components"]] == [
        ("b", "pkg:deb/debian/b@2%3A1%2Bx?arch=arm64&distro=trixie"),
        ("edge-camera", "pkg:deb/edge-camera@1?arch=arm64"),
    ]
    assert document["components"][0]["properties"] == [{"name": "source", "value": "src (1)"}]
