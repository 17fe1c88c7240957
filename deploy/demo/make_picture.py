"""Makes the README's picture, docs/demo.svg, from a run of the daemon on the demo clip.

A private mosquitto, the daemon as a process, and the screen that `edge watch` draws. Nothing in
the picture is invented. The device publishes a snapshot at each change of the label; after
``--snapshots`` of them, and the telemetry that follows, the screen is drawn once, with the newest
snapshot in its empty corner.

The times in it are those of this machine. Needs mosquitto and the Python packages of `make run`.

    .venv/bin/python deploy/demo/make_picture.py
"""

from __future__ import annotations

import argparse
import base64
import io
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from rich.console import Console  # noqa: E402

from deploy.broker import PrivateBroker  # noqa: E402
from edge.cli.screen import TOPICS, Screen  # noqa: E402
from edge.messages import Broker, Incoming  # noqa: E402
from edge.mqtt import subscribe  # noqa: E402

DEVICE: Final = "porch"
CONFIG: Final = f"""\
[device]
id = "{DEVICE}"
[publish]
result = true
telemetry_interval_s = 2.0
[snapshot]
enabled = true
width = 400
max_bytes = 40000
"""
COLUMNS: Final = 104
CELL: Final = (12.2, 24.4)
"""Width and height of a character in rich's SVG, in its units."""
LIMIT_S: Final = 60.0
FORMAT: Final = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">
<title>edge watch, and the newest snapshot of the device</title>
<style>
.{unique_id}-matrix {{ font: {char_height}px "DejaVu Sans Mono", Menlo, Consolas, monospace }}
.{unique_id}-title {{ font: bold 18px sans-serif }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect width="{terminal_width}" height="{terminal_height}"/>
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
PICTURE
</g>
</svg>
"""


def main() -> None:
    """Run the daemon, wait for what the picture needs, and write it."""
    parser = argparse.ArgumentParser(description="make docs/demo.svg from a run on the demo clip")
    parser.add_argument("--snapshots", type=int, default=2, help="how many to wait for")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "demo.svg", help="the file")
    options = parser.parse_args()
    screen, jpeg = watch(options.snapshots)
    options.out.write_text(svg(screen, jpeg), encoding="utf-8")
    print(f"{options.out}: {options.out.stat().st_size} bytes")


def watch(snapshots: int) -> tuple[Screen, bytes]:
    """Return the screen after so many snapshots, and the newest of them, a JPEG."""
    messages: SimpleQueue[Incoming] = SimpleQueue()  # filled by paho's thread
    screen, jpeg, received, complete = Screen(), b"", 0, False
    with tempfile.TemporaryDirectory() as folder, PrivateBroker() as private:
        topics = [f"edge/{DEVICE}/{topic}" for topic in (*TOPICS, "snapshot")]
        broker = Broker(private.host, private.port)
        end = subscribe(broker, topics, messages.put, lambda _: None)
        daemon = start(Path(folder), private.address)
        until_s = time.monotonic() + LIMIT_S
        try:
            while not complete:
                message = messages.get(timeout=max(0.0, until_s - time.monotonic()))
                screen.take(message.topic, message.payload)
                if message.topic.endswith("/snapshot"):
                    jpeg, received = message.payload, received + 1
                complete = received >= snapshots and message.topic.endswith("/telemetry")
        except Empty:
            log = (Path(folder) / "log").read_text()
            raise SystemExit(f"messages are missing after {LIMIT_S:g} s\n{log}") from None
        finally:
            daemon.terminate()
            daemon.wait()
            end()
    return screen, jpeg


def start(folder: Path, address: str) -> subprocess.Popen[bytes]:
    """Start the daemon on the demo clip; its config and log are in ``folder``."""
    config = folder / "edge.toml"
    config.write_text(CONFIG)
    command = [sys.executable, "-m", "edge", "run", "--config", str(config), "--broker", address]
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            [*command, "--source", "deploy/demo/clip.mp4"], cwd=ROOT, stdout=log, stderr=log
        )


def svg(screen: Screen, jpeg: bytes) -> str:
    """Return the terminal as SVG, the snapshot right of the table of times."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(screen.render())
    lines = console.export_text(clear=False).splitlines()
    table = lines[1 : next(row for row, line in enumerate(lines) if " fps " in line)]
    height = (len(table) - 1) * CELL[1]
    left = (max(len(line.rstrip()) for line in table) + 2) * CELL[0]
    encoded = base64.b64encode(jpeg).decode()
    picture = (
        f'<image x="{left:.0f}" y="{1.5 * CELL[1]:.0f}" width="{COLUMNS * CELL[0] - left:.0f}"'
        f' height="{height:.0f}" preserveAspectRatio="xMaxYMid"'
        f' href="data:image/jpeg;base64,{encoded}"/>'
    )
    form = FORMAT.replace("PICTURE", picture)
    return console.export_svg(title=f"edge watch --device {DEVICE}", code_format=form)


if __name__ == "__main__":
    main()
