"""Settings over the API: validated, saved, reloaded; taken back where the daemon refuses."""

from __future__ import annotations

import json
import threading
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge import config as configs
from edge.config import Tables, persisted
from edge.errors import ConfigError
from edge.web import settings_file
from edge.web.toml_edit import changed
from tests.conftest import ROOT, Daemon, wait_until
from tests.web_server import ASK, Got, Web

Serve = Callable[..., Web]
FILE = """# mine
[local]
path = "{0}/edge.sock"

[model]
path = "{1}"   # the colours

[cases]   # off
margin = 0.1          # was 0.2

[smoothing]
window = 7
"""


@pytest.fixture
def pair(tmp_path: Path, daemon: Callable[..., Daemon], web: Serve, rgb: Path) -> Web:
    """A daemon and a page with one config file and one state directory."""
    config = FILE.format(tmp_path, rgb)
    daemon("--source", "synthetic", config=config, STATE_DIRECTORY=str(tmp_path))
    return web("--config", tmp_path / "edge.toml").ready().connected()


def post(server: Web, **tables: Any) -> Got:
    """Return the answer to a change."""
    return server.send("POST", "/api/settings", json.dumps(tables), ASK)


def config_of(server: Web) -> Any:
    """Return what is in force."""
    return server.ask("/api/info").json()["payload"]["config"]


def test_settings_say_what_they_are_and_may_be(pair: Web) -> None:
    """In force and saved, without secrets; the schema of each key takes its value."""
    got = pair.ask("/api/settings").json()
    assert got["tables"]["smoothing"]["window"] == got["saved"]["smoothing"]["window"] == 7
    assert got["changeable"] == list(configs.CHANGEABLE)
    assert "cases" in got["reloadable"]
    assert {"camera.roi", "mqtt"} <= set(got["needs_restart"])
    assert got["choices"]["log"]["level"]["enum"] == ["debug", "error", "info", "warning"]
    for table, keys in got["saved"].items():
        for key, value in keys.items():
            jsonschema.validate(value, got["choices"][table][key])


def test_a_change_is_saved_and_in_force(pair: Web, tmp_path: Path) -> None:
    """In the file, which keeps its comments; the one before is beside it; the daemon has it."""
    file = tmp_path / "edge.toml"
    before = file.read_text()
    got = post(pair, cases={"margin": 0.25, "window": True}, drift={"enabled": False})
    assert got.status == 200, got
    assert got.json() == {"saved": ["edge.toml"], "applied": True, "needs_restart": [], "error": ""}
    expected = before.replace("margin = 0.1 ", "margin = 0.25 ").replace(
        "was 0.2\n", "was 0.2\nwindow = true\n"
    )
    assert file.read_text() == expected + "\n[drift]\nenabled = false\n"
    assert (tmp_path / "edge.toml.before").read_text() == before
    assert file.stat().st_mode == (tmp_path / "edge.toml.before").stat().st_mode
    assert 'audit: settings {"cases":{"margin":0.25' in pair.log.read_text()
    in_force = pair.ask("/api/settings").json()["tables"]
    assert (in_force["cases"]["margin"], in_force["cases"]["window"]) == (0.25, True)
    same = post(pair, cases={"margin": 0.25})
    assert same.json()["applied"] is True
    assert file.read_text() == expected + "\n[drift]\nenabled = false\n"


def test_a_key_that_a_request_has_persisted_is_changed_where_it_counts(
    pair: Web, tmp_path: Path
) -> None:
    """What `set` has kept comes before the file: both have the new value then."""
    assert pair.order("set", smoothing={"window": 9}, persist=True).status == 200
    got = post(pair, smoothing={"window": 5, "hold_frames": 2}).json()
    assert got["saved"] == ["edge.toml", "settings.json"]
    wait_until(lambda: config_of(pair)["smoothing"]["window"] == 5)
    kept = json.loads((tmp_path / "settings.json").read_text())
    assert kept["smoothing"] == {"window": 5}
    assert tomllib.loads((tmp_path / "edge.toml").read_text())["smoothing"] == {
        "window": 5,
        "hold_frames": 2,
    }


def test_a_part_of_the_picture_is_saved_and_waits_for_a_restart(pair: Web, tmp_path: Path) -> None:
    """The answer says so; the daemon's own value is still shown as the one in force."""
    got = post(pair, camera={"roi": [0.1, 0.2, 0.5, 0.5]}).json()
    assert (got["applied"], got["needs_restart"]) == (True, ["camera"])
    settings = pair.ask("/api/settings").json()
    assert settings["tables"]["camera"]["roi"] == [0, 0, 1, 1]
    assert settings["saved"]["camera"]["roi"] == [0.1, 0.2, 0.5, 0.5]
    assert "roi = [0.1, 0.2, 0.5, 0.5]" in (tmp_path / "edge.toml").read_text()


@pytest.mark.parametrize(
    ("tables", "error"),
    [
        ({}, "nothing to set"),
        ({"cases": {}}, "nothing to set"),
        ({"cases": {"margin": 2}}, "cases.margin"),
        ({"cases": {"margin": None}}, "cases.margin"),
        ({"cases": {"nonsense": 1}}, "nonsense"),
        ({"cases": {"mask": [[0.5, 0.5, 0.6, 0.6]]}}, "cases.mask"),
        ({"cases": {"path": "/etc"}}, "cases.path"),
        ({"model": {"path": "/etc/passwd"}}, "model.path"),
        ({"model": {"second": "/etc/passwd"}}, "model.second"),
        ({"mqtt": {"host": "evil"}}, "mqtt"),
        ({"device": {"id": "x"}}, "device"),
        ({"local": {"path": "/tmp/x"}}, "local"),
        ({"web": {"history": True}}, "web"),
        ({"camera": {"source": "http://elsewhere/"}}, "camera.source"),
        ({"camera": {"password_file": "/etc/shadow"}}, "camera.password_file"),
        ({"camera": {"roi": [0, 0, 2, 2]}}, "camera.roi"),
        ({"smoothing": {"enter": 0.2, "exit": 0.8}}, "exit"),
        ({"smoothing": {"window": "\u0000"}}, "smoothing.window"),
        ({"nothing": {"x": 1}}, "nothing"),
        ({"cases": 5}, "object"),
        ({"shadow": {"model": "/tmp/x"}}, "shadow.model"),
    ],
)
def test_what_the_config_refuses_is_refused(
    tables: dict[str, Any], error: str, web: Serve, tmp_path: Path
) -> None:
    """By its own rules, in one line with the key; nothing is written."""
    server = web(config=f'[local]\npath = "{tmp_path}/edge.sock"\n').ready()
    before = server.config.read_bytes()
    got = server.send("POST", "/api/settings", json.dumps(tables), ASK)
    assert got.status == 400
    assert error in got.json()["error"]
    assert server.config.read_bytes() == before
    assert not (tmp_path / "settings.json").exists()
    assert not (tmp_path / "web.toml.before").exists()


def test_what_the_daemon_refuses_is_taken_back(pair: Web, tmp_path: Path) -> None:
    """Its words as a conflict; file and persisted settings are as they were, to the byte."""
    file = tmp_path / "edge.toml"
    assert pair.order("set", smoothing={"window": 9}, persist=True).status == 200
    file.write_text(file.read_text().replace("# the colours", "").replace('rgb"', 'nowhere"'))
    before, kept = file.read_bytes(), json.loads((tmp_path / "settings.json").read_text())
    got = post(pair, cases={"margin": 0.9}, smoothing={"window": 4})
    assert got.status == 409
    assert "nowhere" in got.json()["error"]
    assert file.read_bytes() == before
    assert json.loads((tmp_path / "settings.json").read_text()) == kept
    assert "taken back" in pair.log.read_text()
    assert config_of(pair)["smoothing"]["window"] == 9


def test_without_a_daemon_it_is_saved_for_later(web: Serve, tmp_path: Path) -> None:
    """And the answer says that nobody has taken it yet."""
    server = web(config=f'[local]\npath = "{tmp_path}/edge.sock"\n').ready()
    got = post(server, cases={"margin": 0.3}).json()
    assert (got["saved"], got["applied"]) == (["web.toml"], False)
    assert "edge.sock" in got["error"]
    assert server.ask("/api/settings").json()["saved"]["cases"]["margin"] == 0.3
    assert server.ask("/api/settings").json()["tables"] is None


def test_a_file_that_may_not_be_written_is_overlaid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the service's sandbox has /etc read-only: the state directory has it."""
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    path = tmp_path / "edge.toml"
    path.write_text("[cases]\nmargin = 0.1\n")

    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(settings_file, "_replace", refuse)
    tables: Tables = {"cases": {"margin": 0.3}, "smoothing": {"enter": None}}
    settings_file.check(tables, path)
    saved = settings_file.save(tables, path)
    assert saved.where == ["settings.json"]
    assert configs.load(path, settings=persisted.read()).cases.margin == 0.3
    saved.take_back()
    assert persisted.settings() == {}
    assert path.read_text() == "[cases]\nmargin = 0.1\n"


def test_somebody_else_s_change_is_not_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between reading and writing, and before it is taken back."""
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    path = tmp_path / "edge.toml"
    path.write_text("[cases]\nmargin = 0.1\n")
    saved = settings_file.save({"cases": {"margin": 0.3}}, path)
    path.write_text("[cases]\nmargin = 0.9\n")
    saved.take_back()
    assert path.read_text() == "[cases]\nmargin = 0.9\n"
    real = settings_file._replace

    def meanwhile(file: Path, content: bytes, like: Path) -> None:
        real(file, content, like)
        path.write_text("# changed\n")

    monkeypatch.setattr(settings_file, "_replace", meanwhile)
    with pytest.raises(ConfigError, match="meanwhile"):
        settings_file.save({"cases": {"margin": 0.5}}, path)
    assert path.read_text() == "# changed\n"


def test_a_link_to_the_config_stays_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file that it leads to is changed, with its mode."""
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    real = tmp_path / "real.toml"
    real.write_text("[cases]\n")
    real.chmod(0o640)
    (tmp_path / "edge.toml").symlink_to(real)
    settings_file.save({"cases": {"margin": 0.3}}, tmp_path / "edge.toml")
    assert (tmp_path / "edge.toml").is_symlink()
    assert real.read_text() == "[cases]\nmargin = 0.3\n"
    assert real.stat().st_mode & 0o777 == 0o640


def test_settings_that_another_holds_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a short wait, in one line; nothing is written."""
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    monkeypatch.setattr(persisted, "LOCK_S", 0.05)
    with persisted._locked(), pytest.raises(ConfigError, match="another process"):
        persisted.add({"log": {"level": "debug"}})
    assert persisted.settings() == {}
    persisted.add({"log": {"level": "debug"}})
    assert persisted.settings() == {"log": {"level": "debug"}}


def test_daemon_and_page_lose_nothing_of_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both persist at once, many times: every key is there in the end."""
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    monkeypatch.setattr(persisted, "LOCK_S", 30.0)

    def add(table: str) -> None:
        for number in range(40):
            persisted.add({table: {f"key{number}": number}})

    threads = [threading.Thread(target=add, args=(table,)) for table in ("a", "b", "c")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {table: len(keys) for table, keys in persisted.settings().items()} == {
        "a": 40,
        "b": 40,
        "c": 40,
    }


SAMPLES = [
    "",
    "# only a comment",
    "[cases]",
    "[cases]\r\nmargin = 0.1\r\n[log]\r\n",
    "[ cases ] # c\n  margin=0.1# close\n\n\n[log]\nlevel = 'info' # \"quoted\" # twice\n",
    '[log]\nlevel = "a # b"\n',
    (ROOT / "deploy" / "edge.toml").read_text(),
]


@pytest.mark.parametrize("text", SAMPLES)
@given(
    margin=st.floats(0, 1, allow_nan=False),
    level=st.sampled_from(["debug", "info"]) | st.text(max_size=20),
    roi=st.lists(st.floats(0, 1), max_size=4),
    on=st.booleans() | st.none(),
)
def test_only_what_is_changed_is_different(
    text: str, margin: float, level: str, roi: list[float], on: bool | None
) -> None:
    """Parsed, it is the old tables with the new keys; every comment is still there."""
    tables: Tables = {"cases": {"margin": margin, "x": on}, "log": {"level": level}}
    tables["camera"] = {"roi": roi}
    result = changed(text, tables, "edge.toml")
    expected = configs.over(tomllib.loads(text), tables)
    if on is None:
        del expected["cases"]["x"]
    assert tomllib.loads(result) == expected
    for line in text.splitlines():
        if "#" in line and "=" not in line:
            assert line in result.splitlines()


@pytest.mark.parametrize(
    "text",
    [
        "cases = { margin = 0.1 }\n",
        "cases.margin = 0.1\n",
        "[cases]\nmask = [\n[0.0, 0.0, 0.1, 0.1],\n]\n",
        '[cases]\n"mask" = []\n',
        '["cases"]\nmask = []\n',
        "[[cases]]\nmask = []\n",
        '[log]\nlevel = """\n[cases]\nmask = []\n"""\n',
    ],
)
def test_a_form_that_cannot_be_changed_safely_is_left_alone(text: str) -> None:
    """One line that says so; the file is its owner's."""
    tables: Tables = {"cases": {"mask": [[0.0, 0.0, 0.5, 0.5]], "margin": 0.2}}
    with pytest.raises(ConfigError, match="cannot be changed here"):
        changed(text, tables, "edge.toml")
