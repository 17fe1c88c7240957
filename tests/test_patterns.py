"""Patterns of texts: none accepts a newline, at the end or in the middle."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.image import config as sites
from deploy.image import patterns as site_patterns
from edge import config as configs
from edge.config import Config, device
from edge.contract import PAYLOADS, REQUESTS, Claim
from edge.errors import ConfigError
from tests.conftest import ROOT

TABLES = (Config, sites.Site, Claim, *REQUESTS.values(), *(body for body, *_ in PAYLOADS.values()))
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ9"


def patterns(kind: Any) -> Iterator[str]:
    """Yield every pattern within a type, as msgspec describes it."""
    if isinstance(kind, msgspec.inspect.StrType) and kind.pattern is not None:
        yield kind.pattern
    for name in ("fields", "types", "item_types"):
        for inner in getattr(kind, name, ()) or ():
            yield from patterns(inner)
    for name in ("type", "item_type", "key_type", "value_type"):
        if (inner := getattr(kind, name, None)) is not None:
            yield from patterns(inner)


FOUND = sorted({one for table in TABLES for one in patterns(msgspec.inspect.type_info(table))})
WHOLE = (device.NAME, device.MACHINE_ID, site_patterns.KEY, site_patterns.HOST_NAME)
"""Those that are matched by ``fullmatch``."""


def test_the_walk_finds_them() -> None:
    """Those of the daemon's config and those of an SD card's."""
    assert len(FOUND) >= 6
    assert any("[a-z_]" in pattern for pattern in FOUND)
    assert not [pattern for pattern in FOUND if not pattern.endswith(r"\Z")]


@pytest.mark.parametrize("pattern", FOUND)
@given(drawn=st.data())
def test_no_newline_passes_a_pattern(pattern: str, drawn: st.DataObject) -> None:
    """msgspec searches; `$` matches before a newline too."""
    valid = drawn.draw(st.from_regex(pattern))
    assert re.search(pattern, valid)
    assert not re.search(pattern, f"{valid}\n")


@pytest.mark.parametrize("pattern", WHOLE, ids=lambda pattern: pattern.pattern[:20])
@given(drawn=st.data())
def test_no_newline_passes_a_whole_match(pattern: re.Pattern[str], drawn: st.DataObject) -> None:
    """Nor a carriage return."""
    valid = drawn.draw(st.from_regex(pattern, fullmatch=True))
    assert not pattern.fullmatch(f"{valid}\n")
    assert not pattern.fullmatch(f"{valid}\r")


def test_no_validating_pattern_ends_in_a_dollar() -> None:
    """Neither in a table nor in one that is compiled to be searched for."""
    for path in (*(ROOT / "edge").rglob("*.py"), *(ROOT / "deploy").rglob("*.py")):
        assert not re.search(r'pattern=r?"[^"]*\$"', path.read_text()), path


def card(folder: Path, text: str) -> sites.Site:
    """Return an SD card's config, read."""
    (folder / "site.toml").write_text(text)
    return sites.load(folder / "site.toml")


SITE = {
    "system.hostname": "porch",
    "system.timezone": "Europe/Berlin",
    "user.name": "pi",
    "user.ssh_keys": KEY,
    "wifi.country": "DE",
    "wifi.ssid": "home",
    "wifi.password": "password",
    "broker.ca_file": "ca.crt",
    "broker.password": "password",
    "camera.password": "password",
    "edge.device.id": "porch",
    "edge.mqtt.base_topic": "edge",
    "edge.mqtt.host": "broker",
    "edge.mqtt.username": "porch",
    "edge.homeassistant.prefix": "homeassistant",
}


@pytest.mark.parametrize("key", SITE)
@pytest.mark.parametrize("end", [r"\n", r"\r\n", r"\u0085", r"\u001b[2J"])
def test_no_text_of_an_sdcard_ends_in_a_control_character(
    key: str, end: str, tmp_path: Path
) -> None:
    """It could add a line to sudoers, sysusers.d or wpa_supplicant.conf."""
    (tmp_path / "ca.crt").write_text("-----BEGIN CERTIFICATE-----")

    def text(end: str) -> str:
        words = {one: f'"{value}{end if one == key else ""}"' for one, value in SITE.items()}
        words["user.ssh_keys"] = f"[{words['user.ssh_keys']}]"
        return "secrets = true\nedge.mqtt.tls = true\n" + "".join(
            f"{one} = {value}\n" for one, value in words.items()
        )

    assert card(tmp_path, text("")).user.name == "pi"
    with pytest.raises(ConfigError) as caught:
        card(tmp_path, text(end))
    line = str(caught.value)
    assert f": {key.removeprefix('edge.')}" in line
    assert line.isprintable()
    assert 'got "password' not in line


@pytest.mark.parametrize("key", ["mqtt.base_topic", "homeassistant.prefix"])
@pytest.mark.parametrize(
    "topic",
    ["a/", "/a", "a//b", "/", "", "$a", "a b", "a+", "a/#", "a\n", "x" * 64, "\x7f", "\x85",
     "\uffff", "\ufffe", "\ufdd0", "\U0001ffff", "\ud800", "\ufeffa", "a\u202eb"],
)  # fmt: skip
def test_topics_that_a_broker_would_refuse(key: str, topic: str) -> None:
    """An empty level, a wildcard, characters outside UTF-8 or MQTT, invisible ones."""
    table, _, name = key.partition(".")
    with pytest.raises(ConfigError, match=re.escape(key)) as caught:
        configs.load(None, {table: {name: topic}})
    assert str(caught.value).isprintable()
    for good in ("site7/edge", "haus/küche", "x" * 63):
        assert configs.load(None, {table: {name: good}})
