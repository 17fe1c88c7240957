"""The page itself: weight, nothing from elsewhere, texts, sizes, dark, keyboard, accessibility."""

from __future__ import annotations

import json
import re

import pytest

from deploy.browser import DESK, PHONE, Browser
from edge.web.pages import FOLDER
from tests.web.conftest import axe, violations
from tests.web.test_page import address
from tests.web_server import Web

SECTIONS = ("now", "history", "why", "pictures", "teach", "settings", "health")
READY = {
    "now": ".facts dd:not(:empty)",
    "history": ".track, .note:not(:empty)",
    "why": ".verdict:not(:empty), .note:not(:empty)",
    "pictures": ".cell img, .note:not(:empty)",
    "teach": ".note:not(:empty)",
    "settings": ".fields, .note:not(:empty)",
    "health": ".checks li, .verdict:not(:empty)",
}
"""Section -> what is there once it has got what it asked for, or was refused."""
BYTES = 150_000
NAMES = """
import('/texts.js').then(({texts}) => {
  const found = [];
  const walk = (part, path) => { for (const [key, value] of Object.entries(part)) {
    if (typeof value === 'string') found.push([...path, key].join('.'));
    else walk(value, [...path, key]);
  } };
  walk(texts, []);
  return found;
})
"""


def show(browser: Browser, server: Web, section: str) -> None:
    """Go to a section, and open all that can be opened in it."""
    browser.go("about:blank")
    browser.go(address(server, section))
    browser.wait(f"document.querySelector('.{section} :is({READY[section]})')")
    browser.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")


def test_the_page_is_small() -> None:
    """All its files together; nobody on a slow network waits."""
    files = [path for path in FOLDER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= BYTES


def test_no_file_holds_two_ideas() -> None:
    """About 200 lines, as everywhere; texts.js alone is a list."""
    for path in FOLDER.rglob("*.js"):
        assert path.name == "texts.js" or len(path.read_text().splitlines()) <= 260, path


def test_every_text_is_in_one_file(device: Web, browser: Browser) -> None:
    """Every name that the code gives is there, so that a translation of texts.js is whole."""
    browser.go(address(device))
    names = set(browser.run(NAMES))
    groups = {name.rsplit(".", 1)[0] for name in names}
    for path in FOLDER.rglob("*.js"):
        code = re.sub(r"^ *//.*$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
        for name in re.findall(r'\bt\("([\w.]+)"', code):
            assert name in names or name in groups, f"{path.name}: {name}"
        if path.name != "texts.js":
            plain = re.findall(r'h\("\w+", \{[^}]*\}, "([^"]*[a-z]{3}[^"]*)"', code)
            assert [text for text in plain if text != "edge"] == [], path


def test_nothing_comes_from_elsewhere(device: Web, browser: Browser) -> None:
    """Every address is the server's own, in every section; the policy is never broken."""
    own = f"http://127.0.0.1:{device.port}/"
    for section in SECTIONS:
        show(browser, device, section)
    asked = [one for one in browser.requests if not one.startswith(("about:", "data:image/svg"))]
    assert asked
    assert [one for one in asked if not one.startswith((own, f"blob:{own}"))] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_every_section_fits_and_is_accessible(
    device: Web, browser: Browser, size: tuple[int, int], scheme: str
) -> None:
    """No section is wider than the window, and axe-core finds nothing."""
    checker = axe()
    browser.size(*size, phone=size == PHONE)
    browser.scheme(scheme)
    for section in SECTIONS:
        show(browser, device, section)
        assert browser.run("document.documentElement.scrollWidth <= innerWidth"), section
        found = violations(browser, checker)
        assert found == [], f"{section}: {json.dumps(found, indent=1)}"


def test_dark_and_light_differ(device: Web, browser: Browser) -> None:
    """The background follows the reader's wish."""
    colours = []
    for scheme in ("light", "dark"):
        browser.scheme(scheme)
        browser.go(address(device))
        colours.append(browser.run("getComputedStyle(document.body).backgroundColor"))
    assert colours[0] != colours[1]


def test_by_keyboard_alone(device: Web, browser: Browser) -> None:
    """The first stop skips to the content; brackets change sections; ? shows the keys."""
    browser.go(address(device))
    browser.wait("!!document.querySelector('main .section.now')")
    browser.key("Tab")
    assert browser.run("document.activeElement.className") == "skip"
    browser.key("Enter")
    assert browser.run("document.activeElement.id") == "main"
    for section in (*SECTIONS[1:], SECTIONS[0]):
        browser.key("]")
        browser.wait(f"!!document.querySelector('main .section.{section}')")
        browser.wait("document.activeElement.tagName === 'H1'")
    browser.key("[")
    browser.wait("!!document.querySelector('main .section.health')")
    browser.key("?", 8)
    browser.sees("select all", "dialog.keys")
    browser.key("Escape")
    browser.wait("!document.querySelector('dialog')")


def test_single_keys_can_be_switched_off(device: Web, browser: Browser) -> None:
    """For those who speak to their browser; it is remembered."""
    browser.go(address(device))
    browser.wait("!!document.querySelector('main .section.now')")
    browser.click(".tools .round")
    browser.click("dialog input[type=checkbox]")
    browser.key("Escape")
    browser.wait("!document.querySelector('dialog')")
    browser.key("]")
    browser.key("?", 8)
    assert browser.run("document.querySelector('dialog') === null && location.hash === '#/now'")
