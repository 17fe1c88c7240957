"""The log-in form, where a password is set; what a stranger sees."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.browser import Browser
from tests.conftest import ROOT, Daemon, wait_until
from tests.web.conftest import CONFIG
from tests.web.test_page import address, start
from tests.web_server import Web

PASSWORD = "correct horse"


def protected(
    folder: Path, daemon: Callable[..., Daemon], web: Callable[..., Web], model: Path
) -> Web:
    """Return a server with a password, beside a daemon."""
    start(daemon, folder, model)
    server = web(config=CONFIG.format(folder))
    subprocess.run(
        [sys.executable, "-m", "edge", "web", "--set-password"],
        input=f"{PASSWORD}\n",
        text=True,
        check=True,
        cwd=ROOT,
        env=server.env,
        capture_output=True,
    )
    return server.ready()


def log_in(browser: Browser, password: str) -> None:
    """Type a password, and press Enter."""
    browser.wait("document.activeElement.id === 'password'")
    browser.write(password)
    browser.key("Enter")


def test_one_logs_in_and_out(
    tmp_path: Path,
    daemon: Callable[..., Daemon],
    web: Callable[..., Web],
    rgb: Path,
    browser: Browser,
) -> None:
    """A wrong password is refused, the right one shows the device, and nothing is left after."""
    server = protected(tmp_path, daemon, web, rgb)
    browser.go(address(server))
    browser.sees("Log in to see the device.")
    assert "porch" not in browser.text()
    log_in(browser, "wrong")
    browser.sees("wrong password", ".refused")
    log_in(browser, PASSWORD)
    browser.sees("✓ connected", ".status")
    browser.wait("document.querySelectorAll('.said .bars li').length === 3")
    browser.press("Log out")
    browser.sees("Log in to see the device.")
    assert "porch" not in browser.text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_session_that_ends_asks_again(
    number: int,
    tmp_path: Path,
    daemon: Callable[..., Daemon],
    web: Callable[..., Web],
    rgb: Path,
    browser: Browser,
) -> None:
    """An ended or killed server has forgotten it; after a log-in the page is where it was."""
    server = protected(tmp_path, daemon, web, rgb)
    browser.go(address(server, "why"))
    log_in(browser, PASSWORD)
    browser.wait("document.querySelector('.section.why')")
    server.stop(number)
    web("--port", str(server.port)).ready()
    browser.sees("Log in to see the device.")
    assert browser.run("document.querySelector('.section')") is None
    log_in(browser, PASSWORD)
    browser.wait("document.querySelector('.section.why')")
    wait_until(lambda: "connected" in browser.text(".status"))
