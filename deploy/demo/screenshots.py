"""Makes docs/page-*.png: the page in a headless Chromium, beside the daemon on the demo clip.

A private mosquitto, the daemon and `edge web` as processes. What the page shows is what they say:
frames of the clip are kept, sorted by their scores (a few on purpose into the wrong class), and
taught. Needs what `make test` needs: chromium, mosquitto and the Python packages.

    .venv/bin/python deploy/demo/screenshots.py [--out docs]
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from PIL import Image  # noqa: E402

from deploy.broker import PrivateBroker  # noqa: E402
from deploy.browser import DESK, PHONE, Browser  # noqa: E402

CONFIG: Final = """\
[device]
id = "porch"
[local]
path = "{folder}/edge.sock"
[camera]
fps = 15.0
[publish]
telemetry_interval_s = 2.0
[snapshot]
enabled = true
caption = false
[cases]
request = true
every_s = 0.5
interval_s = 0.1
per_hour = 3600
duplicate_s = 0.0
[drift]
enabled = true
"""
BYTES: Final = 150_000
"""Of a picture, at most."""
KEPT: Final = 120
LONGEST_S: Final = 240.0


def main() -> None:
    """Make every picture."""
    parser = argparse.ArgumentParser(description="make docs/page-*.png from a run on the demo clip")
    parser.add_argument("--out", type=Path, default=ROOT / "docs", help="the folder")
    out = parser.parse_args().out
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edge-page-")))
        broker = stack.enter_context(PrivateBroker())
        server = stack.enter_context(device(folder, broker))
        browser = Browser(folder / "profile")
        stack.callback(browser.close)
        browser.go(server)
        browser.run("localStorage.setItem('picture', 'on')")
        wait(lambda: call(server, "/api/classes")["unsorted"] >= KEPT)
        teach(server)
        for name, take in SHOTS.items():
            take(browser, server)
            path = out / f"page-{name}.png"
            path.write_bytes(small(browser.picture()))
            print(f"{path}: {path.stat().st_size} bytes")


@contextlib.contextmanager
def device(folder: Path, broker: PrivateBroker) -> Iterator[str]:
    """Yield the address of the page of a daemon on the demo clip."""
    config = folder / "edge.toml"
    config.write_text(CONFIG.format(folder=folder))
    env = {**os.environ, "STATE_DIRECTORY": str(folder)}
    edge = (sys.executable, "-m", "edge")
    run = (*edge, "run", "--config", str(config), "--broker", broker.address)
    commands = (
        (*run, "--source", "deploy/demo/clip.mp4"),
        (*edge, "web", "--config", str(config), "--port", "0"),
    )
    processes = []
    try:
        for number, command in enumerate(commands):
            with (folder / f"log-{number}").open("wb") as log:
                processes.append(subprocess.Popen(command, cwd=ROOT, env=env, stderr=log))
        place = re.compile(r"serving (http://[\w.:]+/)")
        found = wait(lambda: place.search((folder / "log-1").read_text()))
        yield found[1]
    finally:
        for process in processes:
            process.terminate()
            process.wait()


def wait(condition: Callable[[], Any]) -> Any:
    """Return what ``condition`` gives once it is true."""
    until_s = time.monotonic() + LONGEST_S
    while not (found := condition()):
        if time.monotonic() > until_s:
            raise SystemExit(f"not reached within {LONGEST_S:g} s")
        time.sleep(0.5)
    return found


def call(server: str, path: str, **body: Any) -> Any:
    """Return an answer of the API; a body makes it a POST."""
    content = json.dumps(body).encode() if body else None
    request = urllib.request.Request(server + path[1:], content, {"X-Edge-Request": "1"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def teach(server: str) -> None:
    """Sort most of what was kept by its scores, three into the wrong class, and teach it."""
    sorted_by: dict[str, list[str]] = {}
    for row in call(server, "/api/cases?class=unsorted&limit=500")["cases"][30:]:
        label, score = max(row["scores"].items(), key=lambda one: one[1])
        if score > 0.9:
            sorted_by.setdefault(label, []).append(row["name"])
    sorted_by["dog"] += [sorted_by["cat"].pop() for _ in range(3)]
    for label, names in sorted_by.items():
        call(server, "/api/cases/sort", **{"names": names, "class": label})
    call(server, "/api/teach", name="porch", background=["neither"])
    wait(lambda: call(server, "/api/teach")["state"] == "done")


def show(browser: Browser, server: str, section: str, scheme: str = "light") -> None:
    """Go to a section on a desk's screen."""
    browser.size(*DESK)
    browser.scheme(scheme)
    browser.go("about:blank")
    browser.go(f"{server}#/{section}")


def now(browser: Browser, server: str) -> None:
    """Label, picture and figures, with a picture of what the label says."""
    show(browser, server, "now")
    browser.wait("document.querySelector('.picture img')?.naturalWidth > 0")
    browser.sees("✓ reached")
    steady(browser)


def phone(browser: Browser, server: str) -> None:
    """The same on a phone at night."""
    now(browser, server)
    browser.size(*PHONE, phone=True)
    browser.scheme("dark")
    steady(browser)


def steady(browser: Browser) -> None:
    """Wait for a label that is not the background's and has lasted as long as the picture."""
    browser.wait(
        "!/neither|Uncertain/.test(document.querySelector('.said .big').innerText)"
        " && document.querySelector('.said .since').innerText.startsWith('for 2 s')"
    )


def why(browser: Browser, server: str) -> None:
    """Half a minute of frames, in the dark."""
    show(browser, server, "why", "dark")
    browser.size(DESK[0], 960)
    time.sleep(20)
    browser.press("Hold")
    browser.press("Change before")
    browser.run("scrollTo(0, 0)")


def pictures(browser: Browser, server: str) -> None:
    """The grid with a selection."""
    show(browser, server, "pictures")
    browser.wait("document.querySelectorAll('.cell').length >= 18")
    browser.click(".cell:nth-child(2)")
    browser.click(".cell:nth-child(5)", 8)
    browser.run("scrollTo(0, 0)")
    browser.wait(
        "[...document.querySelectorAll('.cell img')].slice(0, 18).every((e) => e.complete)"
    )


def taught(browser: Browser, server: str) -> None:
    """The report, suspects beside it."""
    show(browser, server, "teach")
    browser.wait("document.querySelector('.matrix')")
    browser.run("document.querySelectorAll('.teach .cards')[1].scrollIntoView()")
    browser.run("scrollBy(0, -80)")
    browser.wait(
        "[...document.querySelectorAll('.thumbs img')].slice(0, 3).every((e) => e.complete)"
    )


def loaded(browser: Browser, selector: str, count: int) -> None:
    """Wait for the first pictures of a list."""
    images = f"[...document.querySelectorAll('{selector}')].slice(0, {count})"
    browser.wait(f"{images}.every((one) => one.complete && one.naturalWidth)")


SHOTS: Final = {
    "now": now,
    "why": why,
    "pictures": pictures,
    "teach": taught,
    "phone": phone,
}


def small(png: bytes) -> bytes:
    """Return a picture with as many colours as fit into BYTES."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    for colours in (256, 192, 128, 96, 64, 48, 32):
        out = io.BytesIO()
        reduced = picture.quantize(colours, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
        reduced.save(out, "PNG", optimize=True)
        if out.tell() <= BYTES:
            return out.getvalue()
    raise SystemExit(f"a picture does not fit into {BYTES} bytes")


if __name__ == "__main__":
    main()
