"""Fuzzing what users write: a config or settings end in one line, or in none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from deploy.image import config as sites
from edge import config as configs
from edge.config import persisted
from edge.errors import ConfigError
from tests.conftest import ROOT
from tests.fuzz import corpus, fuzz, mutated

SHIPPED = [(ROOT / name).read_bytes() for name in ("deploy/edge.toml", "deploy/image/site.toml")]
SETTINGS = [
    b'{"smoothing": {"window": 7, "enter": 0.6}, "log": {"level": "debug"}}',
    b'\xef\xbb\xbf{"camera": {"controls": {"gain": 1.5}}, "publish": {"result": true}}',
    b'{"smoothing": {"enter": null, "exit": 0.9}}',
    b'{"smoothing": {"window": 1e999}, "publish": [[[[]]]]}',
]


def refused(load: Callable[[], Any]) -> None:
    """Load; only a ConfigError may be raised, with one printable line of limited length."""
    try:
        load()
    except ConfigError as exc:
        line = str(exc)
        assert line.isprintable()
        assert 0 < len(line) < 2000


def use(path: Path) -> None:
    """Load the daemon's config and read from it what the start reads."""
    config = configs.load(path)
    configs.redacted(config)
    configs.spool_path(config.spool)
    configs.source(config.camera)
    configs.broker(config.mqtt)


@pytest.mark.fuzz
@fuzz(300)
@given(content=mutated([*SHIPPED, *corpus("config")]))
def test_no_config_raises_anything_else(
    content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The daemon's own, and that of an SD card."""
    path = tmp_path_factory.getbasetemp() / "fuzzed.toml"
    path.write_bytes(content)
    refused(lambda: use(path))
    refused(lambda: sites.load(path))


@pytest.mark.fuzz
@fuzz(200)
@given(content=mutated(SETTINGS))
def test_no_settings_keep_the_daemon_from_starting(
    content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Settings that do not fit are ignored."""
    folder = tmp_path_factory.getbasetemp()
    (folder / persisted.NAME).write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STATE_DIRECTORY", str(folder))
        assert configs.load(None, settings=persisted.read()).device.id
