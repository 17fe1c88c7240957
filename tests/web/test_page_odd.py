"""The page where things are odd: hidden, cut pictures, no daemon, many classes, other scripts."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deploy.browser import DESK, PHONE, Browser
from tests import case_files
from tests.conftest import Daemon, model_folder, wait_until
from tests.web.conftest import CONFIG
from tests.web.test_page import address, pictures, start
from tests.web_server import Web

NAMES = (
    *("a name as long as a name may be so that nobody would type it 2nd", "дверь открыта"),
    *("扉が開いている", "الباب مفتوح", "<b>bold", "ProvaProvaProvaProva" * 3),
    *(f"class {number:02d}" for number in range(44)),
)


def requests_of(server: Web) -> int:
    """Return how many requests have come to the daemon."""
    found = re.search(r"^edge_requests_total\S* (\S+)", server.ask("/metrics").body.decode(), re.M)
    assert found
    return int(float(found[1]))


def test_a_hidden_page_asks_for_no_pictures(device: Web, browser: Browser) -> None:
    """While the window is minimised the daemon gets no request at all; shown again, it does."""
    browser.go(address(device))
    browser.press("Show the picture")
    wait_until(lambda: pictures(browser) >= 2)
    browser.hide(hidden=True)
    seen = device.ask("/api/telemetry").json()["payload"]["seq"]

    def later(figures: int) -> bool:
        return bool(device.ask("/api/telemetry").json()["payload"]["seq"] >= seen + figures)

    wait_until(lambda: later(2))  # a picture that was under way has come
    count, asked = requests_of(device), pictures(browser)
    wait_until(lambda: later(8))  # four seconds, in which a page that is shown asks four times
    assert (requests_of(device), pictures(browser)) == (count, asked)
    browser.hide(hidden=False)
    wait_until(lambda: requests_of(device) > count)


@pytest.mark.parametrize(("resize", "wide", "high"), [("stretch", 0.5, 0.5), ("crop", 0.375, 0.5)])
def test_the_part_that_the_model_takes_is_drawn(
    resize: str,
    wide: float,
    high: float,
    tmp_path: Path,
    daemon: Callable[..., Daemon],
    web: Callable[..., Web],
    browser: Browser,
) -> None:
    """A card that uses the centre of 640 x 480: a frame of that size, and a sentence."""
    model = model_folder(tmp_path / "centre")
    card = model / "model.toml"
    how = f'[preprocessing]\nresize = "{resize}"\ncentral_fraction = 0.5\n'
    card.write_text(card.read_text() + how)
    start(daemon, tmp_path, model)
    browser.go(address(web().ready().connected()))
    browser.press("Show the picture")
    browser.sees("The model takes what is inside the frame.", ".picture")
    box = "document.querySelector('{}').getBoundingClientRect()"
    used, image = box.format(".used"), box.format(".sheet img")
    browser.wait(f"{image}.height > 0")
    share = browser.run(
        f"[{used}.width / {image}.width, {used}.height / {image}.height,"
        f" {used}.x - {image}.x, {image}.right - {used}.right]"
    )
    assert share[:2] == pytest.approx([wide, high], abs=0.01)
    assert share[2] == pytest.approx(share[3], abs=1)
    browser.sees(f"{wide * high:.0%} of it".replace("%", " %"), ".cards")


def test_without_a_daemon_nothing_is_empty(
    tmp_path: Path, web: Callable[..., Web], browser: Browser
) -> None:
    """No card without content, no button without words; it says what is missing, and recovers."""
    server = web(config=CONFIG.format(tmp_path)).ready()
    empty = (
        "[...document.querySelectorAll('button, .card')].filter((one) => one.checkVisibility()"
        " && (one.innerText.trim() === '' || /^[^\\n]*\\n+not yet$/.test(one.innerText)))"
        ".map((one) => one.outerHTML)"
    )
    for section in ("now", "history", "why", "pictures", "teach", "settings"):
        browser.go("about:blank")
        browser.go(address(server, section))
        browser.sees("The daemon went away", ".status")
        browser.wait(f"document.querySelector('.section.{section}')")
        browser.wait("document.querySelector('.age, .note:not(:empty), .empty')")
        assert browser.run(empty) == [], section


def test_fifty_classes_of_any_name_fit(tmp_path: Path, device: Web, browser: Browser) -> None:
    """Pictures and Teach with long names and other scripts, on a phone and on a desk."""
    for number, name in enumerate(NAMES):
        case_files.fill(tmp_path / "cases", 1, name, first=number)
    for size in (PHONE, DESK):
        browser.size(*size, phone=size == PHONE)
        for section, selector in (("pictures", ".tabs button"), ("teach", ".counts li")):
            browser.go("about:blank")
            browser.go(address(device, section))
            browser.wait(f"document.querySelectorAll('{selector}').length >= {len(NAMES)}")
            assert browser.run("document.documentElement.scrollWidth <= innerWidth"), section
            text = browser.text()
            assert [name for name in NAMES if name not in text] == [], section
        browser.go(address(device, "pictures"))
        browser.wait("document.querySelector('.cell')")
        top = browser.run("document.querySelector('.field').getBoundingClientRect().top")
        assert top < 1.5 * size[1]  # the pictures are not far below


def test_text_from_right_to_left_keeps_the_words_around_it(device: Web, browser: Browser) -> None:
    """A label in Arabic is isolated within a sentence; another label is left alone."""
    browser.go(address(device))
    script = """
    import('/dom.js').then(({t}) => ["الباب", "door"].map((before) =>
      t("events.label", {before, after: "x", score: "1"})))
    """
    made: Any = browser.run(script)
    assert made == ["\u2068الباب\u2069 → x, score 1", "door → x, score 1"]


@pytest.mark.parametrize("reason", ["constructor", "toString", "margin.length", "__proto__"])
def test_a_reason_that_is_any_word_is_text(reason: str, device: Web, browser: Browser) -> None:
    """A side-car may say anything: what has no text of its own is shown as its name."""
    browser.go(address(device))
    name = f"pictures.why.{reason}"
    made: Any = browser.run(
        f"import('/dom.js').then(({{t, known}}) => [t({name!r}), known({name!r})])"
    )
    assert made == [name, False]
