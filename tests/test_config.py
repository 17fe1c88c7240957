"""Config and TOML errors: one line that names file, key, expected, got and the hint."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edge import config
from edge.config import device
from edge.errors import ConfigError

WRONG = {
    '[camera]\nsorce = "x"': ["camera.sorce", "unknown key", "did you mean `source`?"],
    "[camra]\n": ["camra", "unknown key", "did you mean `camera`?"],
    '[smoothing]\nwindow = "ten"': ["smoothing.window", "expected int", 'got "ten"'],
    "[smoothing]\nwindow = 0": ["smoothing.window", "int >= 1", "got 0"],
    "[smoothing]\nenter = 0.3\nexit = 0.5": ["smoothing.exit", "at most 0.3", "got 0.5"],
    "[smoothing]\nenter = nan": ["smoothing.enter", ">= 0", "got nan"],
    "[smoothing]\nexit = 1.5": ["smoothing.exit", "<= 1", "got 1.5"],
    '[smoothing]\nexit = "card"': ["smoothing.exit", "expected float", 'got "card"'],
    '[device]\nid = "a/b"': ["device.id", "not a device id", "got a/b"],
    '[camera]\npace = "slow"': ["camera.pace", "one of fast, realtime", 'got "slow"'],
    "[mqtt]\nport = 70000": ["mqtt.port", "65535", "got 70000"],
    '[mqtt]\npassword_file = "/x"': ["mqtt.username", "password without"],
    "[drift]\nwindow_s = 0.5": ["drift.window_s", ">= 1", "got 0.5"],
    "[drift]\nenter = 0.2\nexit = 0.3": ["drift.exit", "at most 0.2", "got 0.3"],
    "[drift]\nenter = nan": ["drift.enter", "> 0", "got nan"],
    "[drift]\nlearn_s = inf": ["drift.learn_s", "<= 2", "got inf"],
    "[adaptive]\nmax_skip_s = 6": ["adaptive.max_skip_s", "<= 5", "got 6"],
    "[adaptive]\nmax_celsius = 20": ["adaptive.max_celsius", "at least 40", "got 20", "75"],
    "[adaptive]\ncpu_share = 1.5": ["adaptive.cpu_share", "<= 1", "got 1.5"],
    "[adaptive]\nmin_fps = 0": ["adaptive.min_fps", ">= 0.001", "got 0"],
    "[shadow]\ncpu_share = 0": ["shadow.cpu_share", ">= 0.001", "got 0"],
    "[shadow]\ncpu_share = nan": ["shadow.cpu_share", "got nan"],
    "[shadow]\nevery = 0": ["shadow.every", ">= 1", "got 0"],
    "[shadow]\nthreads = 65": ["shadow.threads", "<= 64", "got 65"],
    "camera = 3": ["camera", "expected object", "got 3"],
    "[camera": ["not valid TOML"],
    "[camera]\nfps = nan": ["camera.fps", ">= 0.001", "got nan"],
    "[camera]\nstall_timeout_s = inf": ["camera.stall_timeout_s", "<= 86400", "got inf"],
    '[mqtt]\nhost = "a..b"': ["mqtt.host", "not a host", "got a..b"],
    '[mqtt]\nhost = "mqtt://me:pw@b"': ["mqtt.host", "not a host", "got b", "password_file"],
    "[camera]\nrotation = 45": ["camera.rotation", "45"],
    '[camera]\nformat = "h264"': ["camera.format", "h264"],
    "[camera]\nroi = [0.5, 0, 0.6, 1]": ["camera.roi", "inside 1", "[0.5, 0.0, 0.6, 1.0]"],
    "[camera]\nroi = [0, 0, 0, 1]": ["camera.roi", "above 0"],
    "[camera]\nroi = [0, 0, 1]": ["camera.roi", "length 4"],
    '[camera]\nusername = "me"': ["camera.username", "that is not a stream", "got auto"],
    '[camera]\npassword_file = "/x"': ["camera.username", "password without"],
    '[camera]\nsource = "rtsp://a:pw@b/"\nusername = "c"': ["camera.username", "two user names"],
    '[camera.controls]\nawb = "sunny"': ["camera.controls.awb", "sunny"],
    '[cases]\npath = ""': ["cases.path", "not a folder", "or auto"],
    "[cases]\nmargin = 2": ["cases.margin", "<= 1", "got 2"],
    "[cases]\nmask = [[0.5, 0, 0.6, 1]]": ["cases.mask", "inside 1", "[0.5, 0.0, 0.6, 1.0]"],
    "[cases]\nmask = [[0, 0, 1]]": ["cases.mask", "length 4"],
    "[cases]\nbytes = 10": ["cases.bytes", ">= 100000", "got 10"],
    '[local]\npath = ""': ["local.path", "length >= 1"],
    f'[local]\npath = "/{"x" * 107}"': ["local.path", "at most 107", "got /xxx"],
    '[local]\npath = "/a\\u001bb"': ["local.path", "printable", "got /a\\x1bb"],
    "[local]\nclients = 0": ["local.clients", ">= 1", "got 0"],
    "a = " + "[" * 5000: ["nested too deeply"],
}


@pytest.mark.parametrize("text", WRONG)
def test_each_fault_is_one_line_with_everything(text: str, tmp_path: Path) -> None:
    """File, key, expected and got are in the message."""
    path = tmp_path / "edge.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        config.load(path)
    message = str(caught.value)
    assert "\n" not in message
    assert "pw" not in message
    assert all(word.lower() in message.lower() for word in [str(path), *WRONG[text]]), message
    assert caught.value.exit_status == 78


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    """Every table and key is optional."""
    path = tmp_path / "edge.toml"
    path.write_text("")
    assert config.load(path) == config.load(None)
    assert config.load(None).device.id


def test_a_streams_login_is_in_its_address_and_nowhere_else(tmp_path: Path) -> None:
    """Whatever characters it has; the file's first line is the password."""
    secret = tmp_path / "secret"
    secret.write_text("p@ss/w:rd\n")
    path = tmp_path / "edge.toml"
    path.write_text(
        f'[device]\nid = "porch"\n[camera]\nsource = "rtsp://cam/1"\nusername = "{{id}}@home"\n'
        f'password_file = "{secret}"\n'
    )
    loaded = config.load(path)
    source = config.source(loaded.camera)
    assert source == "rtsp://porch%40home:p%40ss%2Fw%3Ard@cam/1"
    assert config.without_credentials(source) == "rtsp://***@cam/1"
    assert "p@ss" not in str(config.redacted(loaded))
    secret.unlink()
    with pytest.raises(ConfigError, match=r"camera\.password_file"):
        config.source(loaded.camera)


@pytest.mark.parametrize(
    "source",
    [
        "rtsp://me:pa?ss@cam/1",
        "rtsp://me:p?@ss@cam/1",
        "rtsp://me:pa/ss@cam/1",
        "http://cam?k=pass",
    ],
)
def test_no_part_of_a_password_is_printed(source: str) -> None:
    """Whatever characters it has, escaped or not."""
    shown = config.without_credentials(source)
    assert "pa" not in shown
    assert "ss" not in shown
    assert "***" in shown


def test_the_command_line_wins(tmp_path: Path) -> None:
    """Overrides replace keys of the file, and are checked like it."""
    path = tmp_path / "edge.toml"
    path.write_text('[camera]\nsource = "a"\nwidth = 320\n')
    loaded = config.load(path, {"camera": {"source": "b"}})
    assert (loaded.camera.source, loaded.camera.width) == ("b", 320)
    with pytest.raises(ConfigError, match=r"command line: mqtt\.port"):
        config.load(path, {"mqtt": {"port": 65536}})


def test_a_folder_in_place_of_the_file_is_an_error(tmp_path: Path) -> None:
    """A file that cannot be read has an error of its own."""
    with pytest.raises(ConfigError, match="cannot be read"):
        config.load(tmp_path)


@pytest.mark.parametrize("content", [None, "", "\n"])
def test_a_password_file_must_hold_one(content: str | None, tmp_path: Path) -> None:
    """Missing and empty files are errors, never an empty password."""
    path = tmp_path / "password"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match="password file"):
        config.password(config.MqttConfig(username="u", password_file=str(path)))


def test_the_password_is_the_first_line(tmp_path: Path) -> None:
    """The newline at its end is not part of it."""
    path = tmp_path / "password"
    path.write_text("se cret\n")
    assert config.password(config.MqttConfig(username="u", password_file=str(path))) == "se cret"


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("rtsp://u:p@host:554/x@y", "rtsp://***@y"),
        ("rtsp://u:p@ss@host/x", "rtsp://***@host/x"),
        ("rtsp://u:p/q@host/x", "rtsp://***@host/x"),
        ("http://host/v?user=u&pwd=p", "http://host/v?***"),
        ("rtsp://host/x", "rtsp://host/x"),
        ("/dev/video0", "/dev/video0"),
    ],
)
def test_credentials_leave_the_url(source: str, shown: str) -> None:
    """Nothing before the last @ is printed, and no query."""
    assert config.without_credentials(source) == shown


def machine(root: Path, serial: str = "", machine_id: str = "") -> Path:
    """Return a machine's files: a Pi's serial number, systemd's machine-id."""
    for name, content in (
        ("proc/device-tree/serial-number", serial and f"{serial}\0"),
        ("etc/machine-id", machine_id and f"{machine_id}\n"),
    ):
        if content:
            (root / name).parent.mkdir(parents=True)
            (root / name).write_text(content)
    return root


def test_a_name_from_the_machine(tmp_path: Path) -> None:
    """One config for a fleet: the serial number's end, or a hash of the machine-id."""
    root = machine(tmp_path, "10000000ABCD1234", "0123456789abcdef0123456789abcdef")
    assert device.name("{serial}", "here", root) == "abcd1234"
    made = device.name("porch-{machine}", "here", root)
    assert re.fullmatch("porch-[0-9a-f]{12}", made)
    assert "0123456789ab" not in made, "the machine-id is not to be shown"
    assert device.name("", "here", root)


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{serial}", "this machine has no serial"),
        ("{machine}", "this machine has no machine"),
        ("{mac}", "unknown name in braces: expected {hostname}, {serial}, {machine}, got {mac}"),
        ("a b", "not a device id"),
        ("-a", "not a device id"),
        ("x" * 64, "not a device id"),
    ],
)
def test_impossible_device_ids(template: str, words: str, tmp_path: Path) -> None:
    """One line that names the key."""
    with pytest.raises(ConfigError, match=re.escape(words)) as caught:
        device.name(template, "edge.toml: device.id", tmp_path)
    assert str(caught.value).startswith("edge.toml: device.id: ")


def test_the_login_can_be_the_devices_id(tmp_path: Path) -> None:
    """So that one file serves a fleet whose ACL depends on the login."""
    path = tmp_path / "edge.toml"
    path.write_text('[device]\nid = "wall"\n[mqtt]\nusername = "site7-{id}"\n')
    assert config.load(path).mqtt.username == "site7-wall"


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ('ca_file = "x"', "mqtt.ca_file: `ca_file` without TLS"),
        ("accept_any_certificate = true", "without TLS"),
        ('tls = true\nca_file = "x"\naccept_any_certificate = true', "would be ignored"),
        ('tls = true\nkey_file = "x"', "a key without its certificate"),
        ('transport = "udp"', "mqtt.transport"),
        ('websocket_path = "mqtt"', "mqtt.websocket_path"),
        ('base_topic = "a/#"', "mqtt.base_topic"),
        ('protocol = "4"', "mqtt.protocol"),
    ],
)
def test_keys_of_a_connection_that_do_not_fit(lines: str, words: str, tmp_path: Path) -> None:
    """An error at the start, not at the first connection."""
    path = tmp_path / "edge.toml"
    path.write_text(f"[mqtt]\n{lines}\n")
    with pytest.raises(ConfigError, match=re.escape(words)):
        config.load(path)


def test_settings_lie_between_file_and_command_line(tmp_path: Path) -> None:
    """Persisted settings are over the file; those that no longer fit are ignored."""
    path = tmp_path / "edge.toml"
    path.write_text("[smoothing]\nwindow = 3\nenter = 0.7\n")
    settings = {"smoothing": {"window": 5}}
    assert config.load(path, None, settings).smoothing.window == 5
    assert config.load(path, {"smoothing": {"window": 7}}, settings).smoothing.window == 7
    assert config.load(path, None, {"smoothing": {"exit": 0.9}}).smoothing.exit is None
    assert config.load(path, None, {"smoothing": {"exit": 0.7}}).smoothing.exit == 0.7
    assert config.load(path, None, {"smoothing": {"enter": None}}).smoothing.enter is None


@pytest.mark.parametrize("line", ["enter = 0.1", "exit = 0.9", "enter = 0.0", "exit = 1.0"])
def test_a_threshold_that_is_stated_alone_is_no_error(line: str, tmp_path: Path) -> None:
    """Whatever the other is by default."""
    path = tmp_path / "edge.toml"
    path.write_text(f"[smoothing]\n{line}\n")
    assert config.load(path).smoothing
