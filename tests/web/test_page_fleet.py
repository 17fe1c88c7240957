"""Other devices in the section Health: asked by a button, and nothing hostile in what is shown."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from deploy.broker import PrivateBroker
from deploy.browser import PHONE, Browser
from tests import test_fleet as fleets
from tests.conftest import Daemon
from tests.web.conftest import axe, violations
from tests.web.test_page import address, start
from tests.web_server import Web

CARD = "document.querySelector('.health > .card:last-child')"
PRESS = f"{CARD}.querySelector('button').click()"
ROWS = (
    f"[...{CARD}.querySelectorAll('tbody tr')].map((row) =>"
    " [...row.children].map((cell) => cell.innerText))"
)


def test_other_devices_are_seen(
    tmp_path: Path,
    broker: PrivateBroker,
    daemon: Callable[..., Daemon],
    web: Callable[..., Web],
    rgb: Path,
    browser: Browser,
) -> None:
    """Nothing is asked before the button; then a table with a link, and texts that stay texts."""
    start(daemon, tmp_path, rgb, "--broker", broker.address).wait_for_log(": connected")
    config = fleets.config(
        tmp_path / "a", "wall", '[homeassistant]\npage = "http://wall.local:8080/"\n'
    )
    fleets.start(daemon, tmp_path / "a", rgb, broker.address, config).wait_for_log(": connected")
    state = {"label": "<img src=x onerror=alert(1)>", "ts": 1e9, "since_s": 5}
    page = {"version": "9", "config": {"homeassistant": {"page": "javascript:alert(1)"}}}
    fleets.retain(broker, "edge/evil/state", json.dumps(state).encode())
    fleets.retain(broker, "edge/evil/info", json.dumps(page).encode())
    fleets.retain(broker, "edge/evil/availability", b"offline")
    browser.go(address(web().ready().connected(), "health"))
    browser.wait(f"!!{CARD}?.querySelector('button')")
    assert browser.run(f"{CARD}.querySelector('.age').innerText") == "not yet"
    assert not any(one.endswith("/api/fleet") for one in browser.requests)
    browser.run(PRESS)
    evil, wall = browser.wait(f"{CARD}.querySelector('tbody') && {ROWS}")
    assert evil[:3] == ["evil", "✕ offline", "<img src=x onerror=alert(1)>"]
    assert wall[:2] == ["wall", "✓ online"]
    assert wall[2] in ("red", "green", "blue")
    links = f"[...{CARD}.querySelectorAll('a')].map((one) => one.href)"
    assert browser.run(links) == ["http://wall.local:8080/"]
    assert browser.run(f"{CARD}.querySelectorAll('img').length") == 0
    browser.size(*PHONE, phone=True)
    assert browser.run(f"{CARD}.scrollWidth <= {CARD}.clientWidth && {CARD}.clientWidth < 390")
    assert violations(browser, axe()) == []


def test_a_fault_is_a_line(
    tmp_path: Path,
    daemon: Callable[..., Daemon],
    web: Callable[..., Web],
    rgb: Path,
    browser: Browser,
    broker: PrivateBroker,
) -> None:
    """Alone on the broker: it says so. The broker goes: the line says why, and what to look at."""
    start(daemon, tmp_path, rgb, "--broker", broker.address).wait_for_log(": connected")
    browser.go(address(web().ready().connected(), "health"))
    browser.wait(f"!!{CARD}?.querySelector('button')")
    browser.run(PRESS)
    browser.wait(f"{CARD}.innerText.includes('this device is alone')")
    broker.stop()
    again = f"{CARD}.querySelector('button').disabled || {PRESS}"
    text = f"{CARD}.innerText"
    browser.wait(f"({again}, {text}.includes('cannot be reached') && {text}.includes('[mqtt]'))")
