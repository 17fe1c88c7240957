"""A browser for the tests of the page, and what makes a device for it."""

from __future__ import annotations

import importlib.util
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.browser import DESK, Browser
from tests.conftest import ROOT, Daemon, wait_until
from tests.web_server import Web

CONFIG = """
[device]
id = "porch"
[local]
path = "{0}/edge.sock"
[publish]
telemetry_interval_s = 0.5
[snapshot]
enabled = true
[cases]
request = true
every_s = 0.5
interval_s = 0.1
duplicate_s = 0.0
"""
OWN = re.compile(r"(blob:)?http://127\.0\.0\.1:|about:|data:image/svg")
"""Addresses that a page of this machine may ask."""


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    """A browser. What the page's own code says on the console, or asks another host, fails."""
    if shutil.which("chromium") is None:
        pytest.skip("LEFT OUT: the page in a browser: chromium is not here; make setup installs it")
    running = Browser(tmp_path / "profile")
    try:
        running.size(*DESK)
        yield running
        assert [one for one in running.errors if "Failed to load resource" not in one] == []
        assert [one for one in running.requests if not OWN.match(one)] == []
    finally:
        running.close()


@pytest.fixture
def device(
    tmp_path: Path, daemon: Callable[..., Daemon], web: Callable[..., Web], rgb: Path
) -> Web:
    """A web process beside a daemon without a broker that sees red, green and blue."""
    config = CONFIG.format(tmp_path)
    daemon("--source", "synthetic", "--model", rgb, config=config, STATE_DIRECTORY=str(tmp_path))
    return web(config=config).ready().connected()


def counts(server: Web) -> dict[str, int]:
    """Return how many pictures each class has, the unsorted ones with them."""
    known: Any = server.ask("/api/classes").json()
    return {**known["classes"], "unsorted": known["unsorted"]}


@pytest.fixture
def kept(tmp_path: Path, daemon: Callable[..., Daemon], web: Callable[..., Web], rgb: Path) -> Web:
    """A web process beside a daemon that has kept some pictures and keeps no more of them."""
    config = CONFIG.format(tmp_path) + f'[model]\npath = "{rgb}"\n[shadow]\nevery = 1\n'
    config += "cpu_share = 1.0\n"
    config = config.replace("every_s = 0.5", "every_s = 0.2")
    arguments = ("--source", "synthetic")
    running = daemon(*arguments, config=config, STATE_DIRECTORY=str(tmp_path))
    server = web(config=config).ready().connected()
    wait_until(lambda: counts(server)["unsorted"] >= 12)
    running.stop()
    config = config.replace("every_s = 0.2", "every_s = 0.0")
    daemon(*arguments, config=config, STATE_DIRECTORY=str(tmp_path))
    return server.connected()


def serves(*files: str) -> bool:
    """Return whether the server has these parts."""
    return all((ROOT / "edge" / "web" / file).exists() for file in files)


def axe() -> str:
    """Return axe-core, the checker of accessibility."""
    spec = importlib.util.find_spec("axe_core_python")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("LEFT OUT: accessibility: axe-core is not here; make setup installs it")
    return (Path(spec.submodule_search_locations[0]) / "axe.min.js").read_text(encoding="utf-8")


def violations(browser: Browser, checker: str) -> object:
    """Return what axe-core finds in what is shown."""
    browser.call("Runtime.evaluate", expression=checker)
    return browser.run(
        "axe.run(document).then((all) => all.violations.map((one) =>"
        " `${one.id}: ${one.nodes.map((node) => node.html.slice(0, 150)).join('; ')}`))"
    )
