"""The whole way with keys alone; files dropped and exported; what a report leads to; axe."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from deploy.browser import DESK, PHONE, SHIFT, Browser
from tests.conftest import ROOT, wait_until
from tests.web.conftest import axe, counts, violations
from tests.web.test_page import address
from tests.web.test_page_cases import (
    COLORS,
    SHOWN,
    add_class,
    at_work,
    photographs,
)
from tests.web.test_page_look import SECTIONS, show
from tests.web_server import Web


def put(server: Web, folder: Path, wrong: int = 0) -> None:
    """Put pictures of a gate into classes as files; so many open ones among the closed."""
    for label in COLORS:
        (folder / label).mkdir(parents=True)
        into = server.folder / "cases" / "sorted" / label
        into.mkdir(parents=True, exist_ok=True)
        for number, picture in enumerate(photographs(folder / label, label)):
            there = into if label == "closed" or number >= wrong else into.with_name("closed")
            there.mkdir(exist_ok=True)
            shutil.copy(picture, there)


def test_the_whole_way_by_keys_alone(kept: Web, browser: Browser) -> None:
    """Classes, sorted pictures, a model, its trial, its work, the way back: no mouse."""
    browser.go(address(kept))
    browser.wait("document.querySelector('main .section.now')")
    for section in SECTIONS[1:4]:
        browser.key("]")
        browser.wait(f"document.querySelector('main .section.{section}')")
    browser.wait(f"{SHOWN}.length >= 12")
    for name in ("left", "right"):
        browser.tab("#class-name")
        browser.write(name)
        browser.key("Enter")
        browser.sees(name, ".tabs")
    for number, name in (("1", "left"), ("2", "right")):
        browser.tab(".cell")
        for _ in range(5):
            browser.key("ArrowRight", SHIFT)
        browser.key(number)
        browser.sees(f"6 sorted into {name}.", "#toast")
    assert (counts(kept)["left"], counts(kept)["right"]) == (6, 6)
    browser.key("]")
    browser.wait("document.querySelector('main .section.teach')")
    browser.sees("14 more for a start")
    browser.tab("#teach-name")
    browser.key("a", 2)
    browser.write("side")
    browser.key("Enter")
    browser.wait("document.querySelector('.matrix')", 300)
    browser.tab(".teach .section button.primary")
    browser.key("Enter")
    browser.sees("It is side@1 among this device's models.")
    rows = "[...document.querySelectorAll('.classes li')]"
    found = browser.wait(f"{rows}.findIndex((one) => one.innerText.startsWith('side@1')) + 1")
    browser.tab(f".classes li:nth-child({found}) button")
    browser.key("Enter")
    browser.sees("✓ working")
    browser.tab(".teach > .cards:last-child button.primary")
    browser.key("Enter")
    browser.sees("side@1 is at work.")
    wait_until(lambda: at_work(kept) == "side")
    browser.sees("Roll back", ".teach")
    browser.run(
        "[...document.querySelectorAll('button')].find((e) => e.innerText === 'Roll back')"
        ".dataset.of = 'back'"
    )
    browser.tab("[data-of=back]")
    browser.key("Enter")
    browser.tab("dialog button.danger")
    browser.key("Enter")
    wait_until(lambda: at_work(kept) == "uint8io")


def test_files_are_dropped_and_what_is_exported_can_be_taught(
    tmp_path: Path, kept: Web, browser: Browser
) -> None:
    """Dropped on a class they are in it; the archive of the button is one for `edge teach`."""
    browser.call(
        "Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path / "downloads")
    )
    browser.go(address(kept, "pictures"))
    browser.wait(f"{SHOWN}.length >= 12")
    for name in sorted(COLORS):
        add_class(browser, name)
    for tab, label in enumerate(sorted(COLORS), 2):
        folder = tmp_path / f"files-{label}"
        folder.mkdir()
        browser.click(f".tabs button:nth-child({tab})")
        browser.wait(f"document.querySelectorAll('.tabs button')[{tab - 1}].ariaPressed === 'true'")
        browser.drop(browser.place(".pictures"), *photographs(folder, label, 6))
        browser.sees(f"6 added to {label}.", ".uploads")
    large = tmp_path / "large.png"
    large.write_bytes(bytes(9_000_000))
    more = photographs(tmp_path, sorted(COLORS)[0], 1)
    browser.drop(browser.place(".pictures"), large, *more)
    browser.sees("more than 8 MB", ".uploads")
    browser.sees("1 added to", ".uploads")
    browser.click(".tabs button:last-child")
    browser.sees("Export the sorted ones")
    browser.click("a[download]")
    wait_until(lambda: bool(list((tmp_path / "downloads").glob("*.tar"))))
    (archive,) = (tmp_path / "downloads").glob("*.tar")
    (tmp_path / "gate").mkdir()
    subprocess.run(["tar", "-xf", archive, "-C", tmp_path / "gate"], check=True)
    command = [sys.executable, "-m", "edge", "teach", str(tmp_path / "gate")]
    command += ["--out", str(tmp_path / "gate-model")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "gate-model" / "model.toml").exists()


def test_a_number_of_the_confusion_leads_to_its_pictures(
    tmp_path: Path, kept: Web, browser: Browser
) -> None:
    """Two open gates among the closed: seen under their number, sorted there; axe finds nothing.

    With everything that a report brings: in each section, on a phone and on a desk, dark and light.
    """
    put(kept, tmp_path / "files", wrong=2)
    browser.go(address(kept, "teach"))
    browser.fill("teach-name", "gate")
    browser.press("Teach", ".teach form")
    browser.wait("document.querySelector('.matrix')", 300)
    cell = ".matrix tbody tr:nth-child(1) .wrong button"  # closed, taken for open
    number = int(browser.text(cell))
    browser.click(cell)
    browser.wait(f"document.querySelectorAll('.look img').length === {number}")
    browser.wait("document.querySelector('.look img').naturalWidth > 0")
    before = counts(kept)
    browser.press("To open", ".look figure:first-child")
    browser.sees("now in open; teach again", ".look")
    assert counts(kept)["open"] == before["open"] + 1
    browser.press("Add to the models of this device")
    browser.sees("It is gate@1 among this device's models.")
    checker = axe()
    for size in (PHONE, DESK):
        for scheme in ("light", "dark"):
            browser.size(*size, phone=size == PHONE)
            browser.scheme(scheme)
            for section in SECTIONS:
                show(browser, kept, section)
                if section == "teach":
                    browser.wait("document.querySelector('.matrix')")
                assert browser.run("document.documentElement.scrollWidth <= innerWidth"), section
                found = violations(browser, checker)
                assert found == [], f"{section}, {size}, {scheme}: {json.dumps(found, indent=1)}"
    browser.go(address(kept, "pictures"))
    browser.wait("document.querySelector('.cell')")
    browser.run("document.querySelector('.cell').focus()")
    browser.key("Enter")
    browser.wait("document.querySelector('dialog.closely img').naturalWidth > 0")
    assert violations(browser, checker) == []
    browser.key("Escape")
    browser.key("?", 8)
    browser.sees("select all", "dialog.keys")
    assert violations(browser, checker) == []
