"""The page beside a real daemon: labels as MQTT has them; what is old is seen to be; faults."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path

from deploy.broker import PrivateBroker
from deploy.browser import Browser
from tests.conftest import Daemon, Listener, wait_until
from tests.web.conftest import CONFIG
from tests.web_server import Web

WATCH = """
window.labels = [];
new MutationObserver(() => {
  const text = document.querySelector(".said .big").innerText;
  if (text !== labels.at(-1)) labels.push(text);
}).observe(document.querySelector(".said .big"),
  {childList: true, characterData: true, subtree: true});
"""


def address(server: Web, section: str = "now") -> str:
    """Return where a section of the page is."""
    return f"http://127.0.0.1:{server.port}/#/{section}"


def start(daemon: Callable[..., Daemon], folder: Path, model: Path, *arguments: str) -> Daemon:
    """Start a daemon on the synthetic source."""
    return daemon(
        *("--source", "synthetic", "--model", model, *arguments),
        config=CONFIG.format(folder),
        STATE_DIRECTORY=str(folder),
    )


def test_labels_change_as_mqtt_says(
    tmp_path: Path,
    broker: PrivateBroker,
    listen: Callable[[], Listener],
    daemon: Callable[..., Daemon],
    web: Callable[..., Web],
    rgb: Path,
    browser: Browser,
) -> None:
    """Every label that the page shows, in the order of the states on the broker."""
    listener = listen()
    start(daemon, tmp_path, rgb, "--broker", broker.address)
    browser.go(address(web().ready().connected()))
    browser.wait("document.querySelector('.said .big')?.innerText.length > 0")
    browser.run(WATCH)
    shown = browser.wait("labels.length >= 3 && labels")
    states = [one["label"] or "Uncertain" for one in listener.payloads("state")]
    changes = [one for n, one in enumerate(states) if not n or one != states[n - 1]]
    joined = "\n".join(changes)
    assert "\n".join(shown) in joined, (shown, changes)
    browser.wait("document.title.includes('porch')")
    assert browser.run("document.getElementById('announce').textContent").startswith("The label is")


def test_every_figure_has_an_age(device: Web, browser: Browser) -> None:
    """Each card of figures says in its header how old they are."""
    browser.go(address(device))
    browser.sees("a second", ".cards")
    ages = browser.wait(
        "(() => { const all = [...document.querySelectorAll('.cards .card:not([hidden])')];"
        " const ages = all.map((one) => one.querySelector('.age')?.innerText);"
        " return ages.every((one) => one && one !== 'not yet') && ages; })()"
    )
    assert len(ages) >= 5
    assert all(one == "now" or one.endswith(" ago") for one in ages)


def test_what_is_old_is_marked_while_the_daemon_is_away(
    tmp_path: Path,
    daemon: Callable[..., Daemon],
    web: Callable[..., Web],
    rgb: Path,
    browser: Browser,
) -> None:
    """Killed: a line says since when, every card is marked by words too; back: none is.

    Also in a section to which one has come back.
    """
    first = start(daemon, tmp_path, rgb)
    browser.go(address(web().ready().connected()))
    browser.sees("✓ connected", ".status")
    for section in ("history", "now"):
        browser.click(f"nav a[href='#/{section}']")
        browser.wait(f"document.querySelector('.section.{section}')")
    browser.wait("!document.querySelector('.card.old')")
    first.stop(signal.SIGKILL)
    browser.sees("The daemon went away", ".status")
    browser.wait("document.querySelector('.said.old .age.stale')?.innerText.includes('old,')")
    browser.wait("document.querySelectorAll('.cards .card.old').length >= 5")
    browser.wait("document.title.startsWith('offline')")
    start(daemon, tmp_path, rgb)
    browser.sees("✓ connected", ".status")
    browser.wait("!document.querySelector('.card.old, .age.stale')")


def test_the_server_may_be_killed_and_come_back(
    tmp_path: Path,
    daemon: Callable[..., Daemon],
    web: Callable[..., Web],
    rgb: Path,
    browser: Browser,
) -> None:
    """The page says so, keeps what it showed as old, and goes on by itself."""
    start(daemon, tmp_path, rgb)
    server = web().ready().connected()
    browser.go(address(server))
    browser.wait("document.querySelector('.said .bars li')")
    server.stop(signal.SIGKILL)
    browser.sees("The server went away", ".status")
    browser.wait("document.querySelector('.said.old')")
    web("--port", str(server.port)).ready()
    browser.sees("✓ connected", ".status")
    browser.wait("!document.querySelector('.said.old')")


def test_the_broker_may_stop_and_start(
    tmp_path: Path,
    broker: PrivateBroker,
    daemon: Callable[..., Daemon],
    web: Callable[..., Web],
    rgb: Path,
    browser: Browser,
) -> None:
    """Its card says that it is away; labels go on; it says when it is back."""
    start(daemon, tmp_path, rgb, "--broker", broker.address)
    browser.go(address(web().ready().connected()))
    browser.sees("✓ reached")
    broker.stop()
    browser.sees("▲ away: events wait, figures are lost")
    before = browser.text(".said .big")
    wait_until(lambda: browser.text(".said .big") != before)
    broker.start()
    browser.sees("✓ reached")


def test_a_device_without_a_broker_is_seen_too(device: Web, browser: Browser) -> None:
    """Label, scores of every label, camera and model."""
    browser.go(address(device))
    browser.wait("document.querySelectorAll('.said .bars li').length === 3")
    browser.sees("✓ online")
    assert "uint8io" in browser.text(".cards")
    scores = browser.run("[...document.querySelectorAll('.bars .figure')].map((e) => e.innerText)")
    assert all(0 <= float(one) <= 1 for one in scores)


def pictures(browser: Browser) -> int:
    """Return how many pictures the page has asked for."""
    return sum(one.endswith("/snapshot.jpg") for one in browser.requests)


def test_a_picture_comes_on_demand_alone(device: Web, browser: Browser) -> None:
    """None before the button, none after it is pressed again, none in another section."""
    browser.go(address(device))
    browser.sees("The picture is hidden")
    assert pictures(browser) == 0
    browser.press("Show the picture")
    browser.wait("document.querySelector('.picture img').naturalWidth > 0")
    wait_until(lambda: pictures(browser) >= 2)
    browser.click("nav a[href='#/health']")
    browser.wait("document.querySelector('.section.health')")
    count = pictures(browser)
    browser.click("nav a[href='#/now']")
    wait_until(lambda: pictures(browser) > count)
    browser.press("Hide the picture")
    browser.sees("The picture is hidden")


def test_pictures_that_are_switched_off_say_how_to_switch_them_on(
    tmp_path: Path,
    daemon: Callable[..., Daemon],
    web: Callable[..., Web],
    rgb: Path,
    browser: Browser,
) -> None:
    """With a link to where that is, and no request for any."""
    config = CONFIG.format(tmp_path).replace("enabled = true", "enabled = false")
    daemon("--source", "synthetic", "--model", rgb, config=config, STATE_DIRECTORY=str(tmp_path))
    browser.go(address(web(config=config).ready().connected()))
    browser.sees("Pictures are switched off on this device.")
    assert browser.run("document.querySelector('.picture a').hash") == "#/settings"
    assert pictures(browser) == 0


def test_pause_and_going_on(device: Web, browser: Browser) -> None:
    """By the button; the daemon says so itself."""
    browser.go(address(device))
    browser.press("Pause")
    browser.sees("Paused", ".said .big")
    wait_until(lambda: device.ask("/api/state").json()["payload"]["paused"] is True)
    browser.press("Go on")
    wait_until(lambda: device.ask("/api/state").json()["payload"]["paused"] is False)


def test_texts_of_the_device_are_texts(
    tmp_path: Path, fake: Callable[..., object], web: Callable[..., Web], browser: Browser
) -> None:
    """Labels and names that are HTML are shown as they are, and do nothing."""
    bad = "<img src=x onerror=document.title='bad'>"
    state = {"seq": 1, "ts": 1.0, "label": bad, "score": 0.9, "scores": {bad: 0.9, "b": 0.1}}
    state |= {"since_s": 1.0, "partial": False, "frame": 1, "paused": False}
    lines = [
        {"topic": "state", "retained": False, "payload": state},
        {"topic": "availability", "retained": True, "payload": "online"},
    ]
    fake("".join(json.dumps(line) + "\n" for line in lines).encode())
    server = web().ready()
    browser.go(address(server))
    browser.sees(bad, ".said .big")
    assert browser.run("document.querySelectorAll('.said img').length") == 0
    assert not browser.run("document.title").startswith("bad")
