"""Text files as users and Windows leave them: a mark before, CRLF, or no regular file at all."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.image import config as sites
from edge import config as configs
from edge.config import CameraConfig, MqttConfig, device, persisted
from edge.errors import ConfigError
from tests.conftest import ROOT, edge

BOM = "\ufeff"
MACHINE_ID = "0123456789abcdef0123456789abcdef"


def windows(path: Path, text: str) -> Path:
    """Write ``text`` as Windows's editor does."""
    path.write_bytes(f"{BOM}{text}".replace("\n", "\r\n").encode())
    return path


def test_config_password_and_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each as if it had been written here."""
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    windows(tmp_path / "settings.json", '{"smoothing": {"window": 7}}\n')
    secret = windows(tmp_path / "password", "s\u00e9cret word\nanother line\n")
    path = windows(
        tmp_path / "edge.toml",
        f'[device]\nid = "porch"\n[mqtt]\nusername = "me"\npassword_file = "{secret}"\n',
    )
    config = configs.load(path, settings=persisted.read())
    assert (config.device.id, config.smoothing.window) == ("porch", 7)
    assert configs.password(config.mqtt) == "s\u00e9cret word"
    camera = CameraConfig(source="rtsp://cam/1", username="me", password_file=str(secret))
    assert configs.source(camera) == "rtsp://me:s%C3%A9cret%20word@cam/1"


def test_an_sdcards_config_its_certificates_and_keys(tmp_path: Path) -> None:
    """The same files on the SD card, without byte order mark and carriage returns."""
    pem = "-----BEGIN CERTIFICATE-----\nMII=\n-----END CERTIFICATE-----\n"
    windows(tmp_path / "ca.crt", pem)
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ9 somebody"
    text = (
        f'[user]\nssh_keys = ["\\uFEFF{key}"]\n'
        '[broker]\nca_file = "ca.crt"\n[edge.mqtt]\ntls = true\n'
    )
    site = sites.load(windows(tmp_path / "site.toml", text))
    assert site.broker.ca_file == pem
    assert site.user.ssh_keys == (key,)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "site.toml").write_text('[broker]\nca_file = "pipe"\n')
    with pytest.raises(ConfigError, match=r"broker\.ca_file: cannot be read: is a named pipe"):
        sites.load(tmp_path / "site.toml")


@pytest.mark.parametrize("content", [b"porch\n", b"\xef\xbb\xbfporch\r\n", b"porch\r\nother\r\n"])
def test_the_sdcards_own_reader_of_the_name(content: bytes, tmp_path: Path) -> None:
    """The line of the script that reads /etc/edge-image/hostname, run."""
    script = (ROOT / "deploy/image/sdcard/usr/lib/edge-image/site").read_text()
    (tmp_path / "hostname").write_bytes(content)
    (line,) = (
        line for line in script.splitlines() if line.startswith("name=$(") and "/etc/" in line
    )
    line = line.replace("/etc/edge-image/hostname", str(tmp_path / "hostname"))
    done = subprocess.run(
        ["sh", "-c", f'{line}; printf %s "$name"'], capture_output=True, text=True, check=True
    )
    assert done.stdout == "porch"


@pytest.mark.parametrize("key", ["mqtt", "camera"])
def test_a_password_file_is_a_regular_file_of_bounded_size(key: str, tmp_path: Path) -> None:
    """A pipe would block the start for ever, /dev/zero fill the memory; each is one line."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "long").write_text("x" * 70_000)
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(30_000_000_000)
    (tmp_path / "latin").write_bytes(b"caf\xe9\n")
    (tmp_path / "utf16").write_text("secret", encoding="utf-16")
    kind = MqttConfig if key == "mqtt" else CameraConfig
    for place, words in {
        str(tmp_path / "pipe"): "is a named pipe",
        "/dev/zero": "is a device",
        str(tmp_path): "is a folder",
        str(tmp_path / "huge"): "is too large: expected at most 100000 bytes",
        str(tmp_path / "long"): "password too long: expected at most 65535 bytes, got 70000",
        str(tmp_path / "latin"): "is not UTF-8",
        str(tmp_path / "utf16"): "save it as UTF-8",
        str(tmp_path / "a\0b"): "is not a file's name",
    }.items():
        with pytest.raises(ConfigError) as caught:
            configs.password(kind(username="me", password_file=place))
        line = str(caught.value)
        assert words in line
        assert f"{key}.password_file" in line
        assert line.isprintable()


def test_a_password_is_a_whole_line(tmp_path: Path) -> None:
    """Characters that only Python treats as line ends are part of it."""
    (tmp_path / "password").write_text("a\x0bb\x85c\u2028d\r\nnext")
    config = MqttConfig(username="me", password_file=str(tmp_path / "password"))
    assert configs.password(config) == "a\x0bb\x85c\u2028d"


@pytest.mark.parametrize(
    "content",
    [b"[1]", b"{", b"\xff\xfe{", b'{"smoothing": {"window": ' + b"9" * 5000 + b"}}",
     b"[" * 100_000, b'{"smoothing": {"window": 1e999}}', b"", b"\0", b'{"a": "\xff"}'],
)  # fmt: skip
def test_settings_that_cannot_be_read_are_ignored(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture
) -> None:  # fmt: skip
    """Whatever is in the file; with one line."""
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    (tmp_path / "settings.json").write_bytes(content)
    assert configs.load(None, settings=persisted.read()) == configs.load(None)
    assert [r.levelname for r in caplog.records] == ["WARNING"]
    assert len(caplog.messages[0]) < 1000


def test_settings_that_are_no_file_do_not_block_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A pipe, and one of 30 GB."""
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    file = tmp_path / "settings.json"
    os.mkfifo(file)
    assert persisted.read() == {}
    file.unlink()
    with file.open("wb") as out:
        out.truncate(30_000_000_000)
    assert persisted.read() == {}
    assert "is a named pipe" in caplog.messages[0]
    assert "is too large" in caplog.messages[1]


def names(root: Path, machine_id: str, serial: str = "") -> str:
    """Return the device's name on a machine with that machine-id."""
    for name, text in (("etc/machine-id", machine_id), (device.SERIAL, serial)):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return device.name("{serial}" if serial else "{machine}", "device.id", root)


@pytest.mark.parametrize(
    "text",
    ["uninitialized\n", "", "\n", "0" * 32, MACHINE_ID[:-1], f"{MACHINE_ID}0", "g" * 32,
     f"{MACHINE_ID}\n{MACHINE_ID}", "\u0661" * 32],
)  # fmt: skip
def test_a_machine_without_an_id_has_no_name_from_it(text: str, tmp_path: Path) -> None:
    """An SD card that never booted says `uninitialized`: a whole fleet would have one name."""
    with pytest.raises(ConfigError, match="this machine has no machine"):
        names(tmp_path, text)


def test_ids_and_serials_with_marks_and_returns(tmp_path: Path) -> None:
    """The same name as without."""
    plain = names(tmp_path, f"{MACHINE_ID}\n")
    assert plain == names(tmp_path, f"{BOM}{MACHINE_ID}\r\n")
    assert re.fullmatch("[0-9a-f]{12}", plain)
    assert names(tmp_path, "", "10000000ABCD1234\r\n\0") == "abcd1234"


@pytest.mark.parametrize(
    ("host", "bare"),
    [
        ("[::1]", "::1"), ("::1", "::1"), ("[fe80::1%eth0]", "fe80::1%eth0"),
        ("fe80::1%eth0", "fe80::1%eth0"), ("127.0.0.1", "127.0.0.1"), ("pi_1.local", "pi_1.local"),
        ("küche.example", "küche.example"),
    ],
)  # fmt: skip
def test_hosts_as_people_write_them(host: str, bare: str) -> None:
    """An address of IPv6 with or without brackets, as on the command line."""
    assert configs.load(None, {"mqtt": {"host": host}}).mqtt.host == bare
    address = configs.broker(MqttConfig(host=bare)).address
    assert address == (f"[{bare}]:1883" if ":" in bare else f"{bare}:1883")


@pytest.mark.parametrize(
    "host",
    ["[::1]:1883", "localhost:1883", "[]", "[localhost]", "[[::1]]", "[::1", "::1]", "1::2::3",
     "a%b", "a\x1b[2J", "a\n", "a\u202eb", "\ud800", "x" * 254, "x" * 900_000, "fe80::1%\x1b"],
)  # fmt: skip
def test_a_text_that_is_no_host_is_refused(host: str) -> None:
    """A port is a key of its own; the error is one printable line of limited length."""
    with pytest.raises(ConfigError, match=r"mqtt\.host: not a host") as caught:
        configs.load(None, {"mqtt": {"host": host}})
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


def test_a_broker_by_its_address_in_brackets(tmp_path: Path) -> None:
    """`edge watch` by a config with `[::1]` asks the loopback."""
    (tmp_path / "edge.toml").write_text('[mqtt]\nhost = "[::1]"\nport = 1\n')
    done = edge("watch", "--config", tmp_path / "edge.toml")
    assert done.stderr.startswith("edge: [::1]:1: broker cannot be reached: ")
    assert "name" not in done.stderr.lower()


ODD = {
    '"a` - at `$.camera[9]" = 1': "unknown key",
    '[camera]\n"a` - at `$.b[' + "9" * 5000 + ']" = 1': "unknown key",
    '[camera]\n"k\\u001b[2J\\n\\u202e" = 1': "camera.k\\x1b[2J\\n\\u202e: unknown key",
    '[camera]\npace = "k\\u001b[2J\\n"': 'got "k\\x1b[2J\\n"',
    '[camera]\n"' + "k" * 900_000 + '" = 1': "(900000 characters): unknown key",
    '[camera]\nusername = "x"\nsource = "'
    + "a" * 900_000
    + '"': "a user name for a source that is not a stream",
    "[mqtt]\nport = 0x" + "f" * 5000: "a number too long to print",
    "[camera]\nroi = [0x" + "f" * 5000 + "]": "a number too long to print",
    "a = " + "1_" * 400_000 + "1": "not valid TOML",
    "a" + ".a" * 200_000 + " = 1": "a key of more than 32 parts",
    "[a" + " . 'a'" * 100_000 + "]": "a key of more than 32 parts",
    "b" + '."\\\\" . "\\""' * 50_000 + " = 1": "a key of more than 32 parts",
    "a = " + "{a=" * 3000: "nested too deeply",
}


@pytest.mark.parametrize("text", ODD, ids=lambda text: text[:20].strip())
def test_a_hostile_config_is_one_line(text: str, tmp_path: Path) -> None:
    """Printable and short; a dotted key of 400 kB took 160 GB in Python's own parser."""
    path = tmp_path / "edge.toml"
    path.write_text(text)
    limit = f"ulimit -v 2000000; exec {sys.executable} -m edge watch --config '{path}'"
    done = subprocess.run(
        ["bash", "-c", limit], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 78, done.stderr[-500:]
    assert ODD[text] in done.stderr
    assert done.stderr.rstrip("\n").isprintable()
    assert len(done.stderr) < 1000


def test_a_command_line_with_control_characters(tmp_path: Path) -> None:
    """argparse quotes an unknown option; escaped here."""
    for words in (["watch", "\x1b[2J"], ["watch", "--device", "a/\x1b"], ["run", "--\x1b\n"]):
        done = edge(*words)
        assert done.returncode == 2
        assert "\x1b" not in done.stderr
