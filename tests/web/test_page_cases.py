"""From kept pictures to a model at work, by mouse and keys, as a person does it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from deploy.browser import CTRL, SHIFT, Browser
from tests.conftest import wait_until
from tests.web.conftest import counts, serves
from tests.web.test_page import address
from tests.web_server import Web

pytestmark = pytest.mark.skipif(
    not serves("cases.py", "teaching.py"), reason="LEFT OUT: this server has no cases yet"
)
COLORS = {"open": (60, 200, 60), "closed": (60, 60, 200)}
SHOWN = "[...document.querySelectorAll('.cell')]"
CHOSEN = f"{SHOWN}.filter((one) => one.getAttribute('aria-selected') === 'true').length"


def photographs(folder: Path, label: str, each: int = 12) -> list[Path]:
    """Return pictures of a gate that is open or closed, each of a moment of its own."""
    random = np.random.default_rng(len(label))
    found = []
    for number in range(each):
        picture = random.integers(60, 120, (96, 128, 3), np.uint8)
        x, y = (int(v) for v in random.integers(5, 40, 2))
        cv2.rectangle(picture, (x, y), (x + 70, y + 30), COLORS[label], -1)
        path = folder / f"20260131T{10 + number:02d}{len(label)}000-000-{number}.jpg"
        cv2.imwrite(str(path), picture)
        found.append(path)
    return found


def add_class(browser: Browser, name: str) -> None:
    """Make a class by its form."""
    browser.wait("document.querySelector('#class-name')")
    browser.click("#class-name")
    browser.write(name)
    browser.key("Enter")
    browser.sees(name, ".tabs")


def at_work(server: Web) -> str:
    """Return the name of the model that decides."""
    return str(server.ask("/api/info").json()["payload"]["model"]["name"])


def test_sorting_by_keys(kept: Web, browser: Browser) -> None:
    """Arrows, Shift, Space, digits, u, Ctrl+A, Escape, Delete; the mouse has no part in it."""
    browser.go(address(kept, "pictures"))
    browser.wait(f"{SHOWN}.length >= 12")
    before = counts(kept)["unsorted"]
    for name in ("blue", "red"):
        add_class(browser, name)
    browser.run("document.activeElement.blur()")
    browser.key("ArrowRight")  # into the grid
    browser.key("ArrowRight", SHIFT)
    browser.key("ArrowRight", SHIFT)
    assert browser.run(CHOSEN) == 3
    browser.key("1")
    browser.sees("3 sorted into blue.", "#toast")
    assert counts(kept) == {"blue": 3, "red": 0, "unsorted": before - 3}
    browser.wait(f"{SHOWN}.length === {before - 3}")
    assert browser.run("document.activeElement.className") == "cell"  # the work goes on there
    browser.key("2")  # none selected: the one with the focus
    browser.sees("1 sorted into red.", "#toast")
    browser.key("u")
    browser.sees("1 put back.", "#toast")
    assert counts(kept)["red"] == 0
    browser.wait(f"{SHOWN}.length === {before - 3}")
    browser.run("document.querySelector('.cell').focus()")
    browser.key("a", CTRL)
    assert browser.run(CHOSEN) == before - 3
    browser.key("Escape")
    assert browser.run(CHOSEN) == 0
    browser.key(" ")
    browser.key("Delete")
    browser.sees("Delete this picture for good?", "dialog")
    browser.key("Tab")
    browser.key("Enter")
    browser.sees("1 deleted.", "#toast")
    assert sum(counts(kept).values()) == before - 1
    browser.key("Enter")
    browser.wait("document.querySelector('dialog.closely img').naturalWidth > 100")
    browser.key("2")
    browser.sees("1 sorted into red.", "#toast")


def test_sorting_by_mouse(kept: Web, browser: Browser) -> None:
    """Click, Shift-click, Ctrl-click, a box; between classes; filter; classes renamed, deleted."""
    browser.go(address(kept, "pictures"))
    browser.wait(f"{SHOWN}.length >= 12")
    add_class(browser, "red")
    add_class(browser, "spare")
    browser.click(".cell:nth-child(2)")
    browser.click(".cell:nth-child(5)", SHIFT)
    browser.click(".cell:nth-child(8)", CTRL)
    assert browser.run(CHOSEN) == 5
    browser.click(".targets button")
    browser.sees("5 sorted into red.", "#toast")
    assert counts(kept)["red"] == 5
    browser.click("#toast button")
    browser.sees("5 put back.", "#toast")
    browser.wait(f"{SHOWN}.length === {counts(kept)['unsorted']}")
    first, third = browser.place(".cell:nth-child(1)"), browser.place(".cell:nth-child(3)")
    browser.drag((first[0] - 20, first[1] - 10), (third[0] + 5, third[1] + 5))
    assert browser.run(CHOSEN) == 3
    browser.key("1")
    browser.sees("3 sorted into red.", "#toast")
    browser.click(".tabs button:nth-child(2)")
    browser.wait(f"{SHOWN}.length === 3")
    browser.click(".cell:nth-child(1)")
    browser.key("2")
    browser.sees("1 sorted into spare.", "#toast")
    assert (counts(kept)["red"], counts(kept)["spare"]) == (2, 1)
    browser.click(".classes li input")
    browser.run("document.querySelector('.classes li input').select()")
    browser.write("crimson")
    browser.click(".classes li button")
    browser.sees("crimson", ".tabs")
    assert counts(kept)["crimson"] == 2
    browser.run("document.querySelector('.filters').open = true")
    browser.click(".tabs button:last-child")
    browser.run("document.querySelector('#reason').value = 'drift'")
    browser.run("document.querySelector('#reason').dispatchEvent(new Event('change'))")
    browser.sees("None here.")


def test_from_pictures_to_a_model_at_work(tmp_path: Path, kept: Web, browser: Browser) -> None:
    """Upload, sort, teach, see the report, try beside, promote, roll back."""
    browser.go(address(kept, "pictures"))
    browser.wait(f"{SHOWN}.length >= 12")
    for number, name in enumerate(COLORS):
        add_class(browser, name)
        browser.wait(f"document.querySelectorAll('.tabs button').length === {3 + number}")
    for tab, label in enumerate(sorted(COLORS), 2):  # as the page has them
        folder = tmp_path / f"files-{label}"
        folder.mkdir()
        browser.click(f".tabs button:nth-child({tab})")
        browser.wait(f"document.querySelectorAll('.tabs button')[{tab - 1}].ariaPressed === 'true'")
        browser.choose("#files", *photographs(folder, label))
        browser.sees(f"12 added to {label}.", ".uploads")
    assert (counts(kept)["open"], counts(kept)["closed"]) == (12, 12)
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no picture")
    browser.choose("#files", bad)
    browser.sees("Not added", ".uploads")
    assert sum(counts(kept).values()) >= 24

    browser.go(address(kept, "teach"))
    browser.sees("8 more for a start")
    browser.fill("teach-name", "gate")
    browser.press("Teach", ".teach form")
    browser.wait("document.querySelector('.matrix')", 300)
    browser.sees("Report: gate")
    browser.sees("certainty", ".teach")
    browser.press("Add to the models of this device")
    browser.sees("It is gate@1 among this device's models.")
    rows = "[...document.querySelectorAll('.classes li')]"
    number = browser.wait(f"{rows}.findIndex((one) => one.innerText.startsWith('gate@1')) + 1")
    browser.press("Try beside", f".classes li:nth-child({number})")
    browser.sees("✓ working")
    browser.wait("/[\\d.]+ % of \\d+ frames/.test(document.querySelector('.teach').innerText)")
    browser.press("Promote it")
    browser.sees("gate@1 is at work.")
    wait_until(lambda: at_work(kept) == "gate")
    browser.press("Roll back")
    browser.press("Roll back", "dialog")
    wait_until(lambda: at_work(kept) == "uint8io")
