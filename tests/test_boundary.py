"""Any exception from a config is a refusal, at the start and at a reload."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from edge import config
from edge.config import Config, SmoothingConfig
from edge.daemon.reload import Reload
from edge.errors import ConfigError, EdgeError, ModelError, boundary
from edge.pipeline import smoothing
from edge.pipeline.smoothing import Smoother
from tests.conftest import Daemon, edge, wait_until

Start = Callable[..., Daemon]
NUL = '"a\\u0000b"'
BAD = {
    f"[mqtt]\nusername = 'me'\npassword_file = {NUL}": "mqtt.password_file: NUL character: got",
    f"[mqtt]\ntls = true\nca_file = {NUL}": "mqtt.ca_file: NUL character",
    f"[spool]\npath = {NUL}": "spool.path: NUL character",
    f"[camera]\nsource = {NUL}": "camera.source: NUL character",
    f"[model]\npath = {NUL}": "model.path: NUL character",
    "[camera]\nfps = 1e-320": "camera.fps: wrong value: expected float >= 0.001, got 1e-320",
    "[publish]\nresult_rate = 1e-320": "publish.result_rate: wrong value: expected float >= 0.001",
    "[publish]\nstate_interval_s = 1e-320": "publish.state_interval_s: wrong value",
    "[camera]\nstall_timeout_s = 1e308": "camera.stall_timeout_s: wrong value",
    "[camera]\nwidth = " + "9" * 5_000: "not valid TOML: Exceeds the limit (4300 digits)",
    "[camera]\nwidth = 0x" + "f" * 5_000: "camera.width: wrong value: expected int",
    "x = " + "[" * 5_000: "edge.toml: not valid TOML",
}


@pytest.mark.parametrize("text", BAD, ids=range(len(BAD)))
def test_a_bad_config_ends_the_start_in_one_line(text: str, tmp_path: Path, rgb: Path) -> None:
    """Status 78, file and key, no traceback."""
    (tmp_path / "edge.toml").write_text(text + "\n")
    given = [] if "source" in text else ["--source", "synthetic"]
    model: list[str] = [] if "[model]" in text else ["--model", str(rgb)]
    done = edge("run", "--config", tmp_path / "edge.toml", *given, *model)
    assert done.returncode == 78, done.stderr
    (line,) = (line for line in done.stderr.splitlines() if not line.startswith("INFO: "))
    assert BAD[text] in line
    assert len(line) < 500


def test_no_bad_config_ends_a_daemon_that_runs(daemon: Start, tmp_path: Path, rgb: Path) -> None:
    """Each is refused with its line; a good one is accepted afterwards."""
    running = daemon("--source", "synthetic", "--model", rgb, "--broker", "localhost:1")
    running.wait_for_log("ready after")
    refusals = 0
    for text, words in BAD.items():
        if "source" in text or "[model]" in text:  # which the command line gives
            continue
        (tmp_path / "edge.toml").write_text(text + "\n")
        running.process.send_signal(signal.SIGHUP)
        running.wait_for_log("not reloaded", refusals := refusals + 1)
        assert words in running.log.read_text().split("not reloaded")[-1]
    (tmp_path / "edge.toml").write_text("[smoothing]\nwindow = 3\n")
    running.process.send_signal(signal.SIGHUP)
    running.wait_for_log(" reloaded")
    assert "Traceback" not in running.log.read_text()


def test_a_user_name_that_is_not_text_is_refused() -> None:
    """A command line may hold any bytes; MQTT and URLs may not."""
    name = os.fsdecode(b"caf\xe9")
    for table, keys in (("mqtt", {}), ("camera", {"source": "http://a/b"})):
        tables = {table: {"username": name, **keys}}
        with pytest.raises(ConfigError, match=rf"{table}\.username: not UTF-8: got caf\\udce9"):
            config.load(None, tables)


class Odd(Exception):
    """An exception that no library documents."""


@pytest.mark.parametrize(
    ("raised", "text"),
    [
        (MemoryError(), "cannot be used: MemoryError"),
        (RecursionError("too deep"), "cannot be used: RecursionError: too deep"),
        (ValueError("embedded null byte"), "cannot be used: ValueError: embedded null byte"),
        (Odd("a\nb\x1b[1m"), r"cannot be used: Odd: a b\x1b[1m"),
    ],
)
def test_the_boundary_turns_anything_into_its_error(
    raised: Exception, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    """With the exception's text on one line; the traceback only at DEBUG."""
    caplog.set_level(logging.DEBUG)
    for kind in (ConfigError, ModelError):
        with pytest.raises(kind) as caught, boundary(kind, "cannot be used", "place"):
            raise raised
        assert str(caught.value) == f"place: {text}"
        assert caught.value.__cause__ is raised
    assert {record.levelno for record in caplog.records} == {logging.DEBUG}
    assert all(record.exc_info for record in caplog.records)


def test_the_boundary_passes_errors_of_its_own_and_exits() -> None:
    """An error that already has its line, and an intended exit."""
    for raised in (EdgeError("so"), KeyboardInterrupt(), SystemExit(3)):
        with (
            pytest.raises(type(raised)) as caught,
            boundary(ConfigError, "cannot be used", "place"),
        ):
            raise raised
        assert caught.value is raised


@pytest.mark.parametrize("raised", [MemoryError(), Odd("?"), OSError(5, "Input/output error")])
def test_a_reload_that_cannot_read_its_config_is_refused_once(raised: Exception) -> None:
    """Then nothing more is reported until the next."""

    def load() -> Config:
        raise raised

    reloading = Reload(load)
    assert reloading.poll() is None
    for _ in range(2):
        reloading.begin(Config())
        with pytest.raises(ConfigError, match=type(raised).__name__):
            reloading.poll()
        assert reloading.poll() is None


def test_what_a_request_sets_during_a_reload_is_newer_than_the_file() -> None:
    """The file was read before; a prefix whose status is subscribed to waits for a restart."""
    before = Config()
    set_since = replace(before, smoothing=replace(before.smoothing, window=20))
    new = replace(
        before,
        smoothing=replace(before.smoothing, window=5),
        publish=replace(before.publish, top_k=3),
        homeassistant=replace(before.homeassistant, prefix="ha", discovery=False),
    )
    reloading = Reload(lambda: new)
    reloading.begin(before)
    try:
        result, restart = reloading.merged(set_since, new)
    finally:
        reloading.close()
    assert (result.smoothing.window, result.publish.top_k) == (20, 3)
    assert (result.homeassistant.prefix, result.homeassistant.discovery) == ("homeassistant", False)
    assert restart == ["homeassistant"]


def test_no_exception_of_a_reload_reaches_the_loop(
    monkeypatch: pytest.MonkeyPatch, rgb: Path
) -> None:
    """For example where no thread can be started for the model."""

    def no_thread(*_: object, **__: object) -> None:
        raise RuntimeError("can't start new thread")

    reloading = Reload(lambda: replace(Config(), model=replace(Config().model, path=str(rgb))))
    monkeypatch.setattr("edge.daemon.reload.Call", no_thread)
    reloading.begin(Config())
    wait_until(lambda: bool(reloading._underway and reloading._underway.attempt.wait(0.1)))
    with pytest.raises(ModelError, match="can't start new thread"):
        reloading.poll()


def test_a_window_that_would_take_all_memory_is_refused() -> None:
    """One `set` request could set 10,000 frames of 21,841 labels."""
    labels = tuple(map(str, range(1001)))
    smoother = Smoother(labels, SmoothingConfig(window=10))
    with pytest.raises(ConfigError, match="at most 999 with 1001 labels, got 10000"):
        smoothing.check(10_000, labels)
    with pytest.raises(ConfigError, match="window is too large"):
        Smoother(labels, SmoothingConfig(window=10_000))
    assert smoother.update(np.zeros(1001, np.float32), 0, 1)[0].label is None
