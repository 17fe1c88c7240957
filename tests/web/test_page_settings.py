"""Settings with their effect, why, history and health: what the page makes of the API."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from deploy.browser import Browser
from tests.conftest import wait_until
from tests.web.conftest import serves
from tests.web.test_page import address
from tests.web_server import Web

pytestmark = pytest.mark.skipif(
    not serves("settings.py", "why.py", "past.py", "health.py"),
    reason="LEFT OUT: this server has no settings, why, history and health yet",
)


def test_a_setting_is_changed_and_its_effect_is_shown(device: Web, browser: Browser) -> None:
    """The threshold moves as it is typed, then in the daemon; it is kept."""
    browser.go(address(device, "settings"))
    browser.wait("document.querySelector('#smoothing-enter')")
    browser.fill("smoothing-enter", "0.91")
    browser.sees("would begin at 0.91", ".effects")
    browser.click("[data-name=smoothing] button.primary")
    browser.sees("In force.", "#toast")
    wait_until(
        lambda: device.ask("/api/info").json()["payload"]["config"]["smoothing"]["enter"] == 0.91
    )
    browser.sees("begins at 0.91", ".effects")


def test_a_wrong_value_is_refused_in_the_daemon_s_words(device: Web, browser: Browser) -> None:
    """Beside the form, the field marked; nothing has changed."""
    browser.go(address(device, "settings"))
    browser.wait("document.querySelector('#smoothing-window')")
    browser.fill("smoothing-window", "0")
    browser.click("[data-name=smoothing] button.primary")
    browser.sees("smoothing.window", "[data-name=smoothing] .refused")
    assert browser.run("document.getElementById('smoothing-window').ariaInvalid") == "true"
    assert device.ask("/api/info").json()["payload"]["config"]["smoothing"]["window"] == 10


def test_the_part_of_the_picture_is_drawn_with_the_mouse(
    tmp_path: Path, device: Web, browser: Browser
) -> None:
    """A box on the picture becomes camera.roi in the config, for the next start."""
    browser.go(address(device, "settings"))
    browser.wait("document.querySelector('[data-name=region]')")
    browser.run("document.querySelector('[data-name=region]').open = true")
    browser.wait("document.querySelector('.drawn img').naturalWidth > 0")
    x, y = browser.place(".drawn")
    box = "document.querySelector('.drawn').getBoundingClientRect()"
    width, height = browser.run(f"[{box}.width, {box}.height]")
    browser.drag((x - width / 4, y - height / 4), (x + width / 4, y + height / 4))
    browser.click("[data-name=region] button.primary")
    browser.sees("after the daemon is restarted", "#toast")
    roi = tomllib.loads((tmp_path / "web.toml").read_text())["camera"]["roi"]
    assert roi == pytest.approx([0.25, 0.25, 0.5, 0.5], abs=0.03)


def test_why_the_label_is_what_it_is(device: Web, browser: Browser) -> None:
    """Scores of frames and window, the rule in words, frame by frame with the arrows."""
    browser.go(address(device, "why"))
    browser.wait("document.querySelector('.why .plot .dots')?.getAttribute('d').length > 300")
    browser.sees("The window is the mean of 10 frames")
    browser.click(".why h1")
    browser.key(" ")
    browser.sees("Go on", ".why .head")
    at = browser.run("document.getElementById('moment').value")
    browser.key("ArrowLeft")
    assert int(browser.run("document.getElementById('moment').value")) == int(at) - 1
    verdict = browser.text(".why .verdict")
    assert any(word in verdict for word in ("stays", "became", "about to", "No label", "ended"))


def test_the_replayed_rule_is_the_daemon_s(device: Web, browser: Browser) -> None:
    """Where the label changed, the page's replay has counted as many frames in a row."""
    browser.go(address(device, "why"))
    browser.wait("document.querySelector('.why .verdict')?.innerText")
    script = """
    import('/why.js').then(async (why) => {
      const data = await (await fetch('/api/why?seconds=60')).json();
      const steps = why.replay(data), changes = [];
      for (let n = 3; n < steps.length; n++) {
        if (!steps[n].changed) continue;
        changes.push([steps[n - 1].held, steps[n - 1].due, data.frames[n].label]);
      }
      return [data.hold_frames, changes];
    })
    """
    wait_until(lambda: len(browser.run(script)[1]) >= 2)
    hold, changes = browser.run(script)
    for held, due, label in changes:
        assert (held, due) == (hold - 1, label)


def test_the_history_has_labels_and_figures(device: Web, browser: Browser) -> None:
    """A lane for each label, a plot for each figure, and tables of both."""
    wait_until(lambda: len(device.ask("/api/history?hours=1").json()["series"]["time"]) >= 3)
    browser.go(address(device, "history"))
    browser.wait("document.querySelectorAll('.lane').length >= 2")
    browser.wait("document.querySelector('.history .plot .line')?.getAttribute('d').includes('L')")
    browser.run(
        "document.querySelectorAll('.history details').forEach((one) => { one.open = true; })"
    )
    browser.wait("document.querySelectorAll('.history table tbody tr').length >= 4")


def test_health_names_what_is_wrong(device: Web, browser: Browser) -> None:
    """No broker listens: a fault, first, with its hint, in words and a sign."""
    browser.go(address(device, "health"))
    browser.wait("document.querySelectorAll('.checks li').length > 3", 100)
    assert browser.run("document.querySelector('.checks li').className") == "fault"
    assert "✕ fault" in browser.text(".checks")
    assert "start the broker" in browser.text(".checks")
