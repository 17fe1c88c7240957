"""What the web process costs, and what it costs the daemon: `make bench-web`.

The daemon classifies a synthetic source of 30 frames a second with the shipped model. Its frame
rate is what its own counter gained between two messages of telemetry; every mode has this program
as the same one client of the local socket. A page is what one asks for, without a browser, which
would be on another machine: the stream, a picture and the newest frames each second. No control
group: the classifying threads are niced, but have no CPUWeight as in the unit.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

from edge.web.live import READERS
from tests.case_files import jpeg
from tests.conftest import Daemon, wait_until
from tests.test_web_predict import send
from tests.test_web_teach import collect, post, until
from tests.web_server import Web

CONFIG: Final = """
[local]
path = "{0}/edge.sock"
[snapshot]
enabled = true
[cases]
path = "{0}/cases"
[publish]
telemetry_interval_s = 1.0
"""
SETTLE_S: Final = 3.0
CLIENTS: Final = 50


def memory_mb(process: int, kind: str) -> float:
    """Return Pss or Rss of a process. Source: proc(5), /proc/pid/smaps_rollup."""
    text = Path(f"/proc/{process}/smaps_rollup").read_text()
    (kilobytes,) = re.findall(rf"^{kind}:\s+(\d+) kB", text, re.MULTILINE)
    return int(kilobytes) * 1024 / 1e6


@dataclass(frozen=True, slots=True)
class Seen:
    """What a daemon says of some seconds. p99_ms: of the pipeline, the median of its intervals."""

    frames_per_s: float
    dropped: int
    p99_ms: float
    pss_mb: float
    rss_mb: float


def telemetry(path: Path, seconds: float, process: int) -> Seen:
    """Return what a daemon says of the next seconds."""
    told: list[dict[str, Any]] = []
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        for line in client.makefile("rb"):
            said = json.loads(line)
            if said["topic"] == "telemetry" and not said["retained"]:
                told.append(said["payload"])
                if told[-1]["ts"] - told[0]["ts"] >= seconds:
                    break
    first, last = told[0], told[-1]
    rate = (last["frames_total"] - first["frames_total"]) / (last["ts"] - first["ts"])
    return Seen(
        rate,
        last["dropped_total"] - first["dropped_total"],
        median(one["stages_ms"]["pipeline"]["p99"] for one in told[1:]),
        *(memory_mb(process, kind) for kind in ("Pss", "Rss")),
    )


class Machine:
    """A daemon in a folder, and a web process beside it, when one is wanted."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.config = folder, CONFIG.format(folder)
        env = {"STATE_DIRECTORY": str(folder)}
        self.daemon = Daemon(folder, "--source", "synthetic", config=self.config, **env)
        wait_until((folder / "edge.sock").exists, self.daemon.log.read_text)

    @contextlib.contextmanager
    def web(self) -> Iterator[Web]:
        """Yield a web process whose page was opened once."""
        server = Web(self.folder, config=self.config)
        try:
            server.ready().connected()
            for path in ("/", "/app.js", "/api/info", "/api/history", "/api/classes"):
                server.ask(path)
            yield server
        finally:
            server.process.kill()
            server.process.wait()

    def seen(self, seconds: float) -> Seen:
        """Return what the daemon says of the next seconds."""
        return telemetry(self.folder / "edge.sock", seconds, self.daemon.process.pid)

    def close(self) -> None:
        """End the daemon."""
        self.daemon.process.kill()
        self.daemon.process.wait()


@contextlib.contextmanager
def busy(count: int, work: Callable[[], object]) -> Iterator[None]:
    """Do ``work`` again and again on so many threads."""
    ended = threading.Event()

    def run() -> None:
        while not ended.is_set():
            with contextlib.suppress(OSError):
                work()

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def start_s(folder: Path) -> float:
    """Return the seconds from the start to the first answer."""
    begin = time.monotonic()
    server = Web(folder)
    try:
        server.ready().ask("/healthz")
        return time.monotonic() - begin
    finally:
        server.process.kill()
        server.process.wait()


def memory(machine: Machine) -> dict[str, float]:
    """Return state -> MB of the web process, each in a process of its own."""
    found: dict[str, float] = {}

    def note(name: str, server: Web) -> None:
        time.sleep(SETTLE_S)
        found[name] = memory_mb(server.process.pid, "Pss")

    with machine.web() as server:
        note("page opened once", server)
    with machine.web() as server:
        assert send(server, jpeg(), "image/jpeg").status == 200
        note("after a prediction", server)
    with machine.web() as server:
        post(server, "/api/teach", name="gate")
        assert until(server, "done", "failed")["state"] == "done"
        note("after teaching", server)
    with machine.web() as server, contextlib.ExitStack() as stack:
        for _ in range(READERS):
            stack.enter_context(server.live()).next()
        note(f"with {READERS} streams", server)
    return found


def rates(machine: Machine, seconds: float) -> dict[str, Seen]:
    """Return mode -> what the daemon says of it."""
    found = {"web off": machine.seen(seconds)}
    with machine.web() as server:
        found["web on, nobody looks"] = machine.seen(seconds)
        with server.live() as stream, busy(1, stream.next), busy(1, lambda: look(server)):
            found["web on, a page open"] = machine.seen(seconds)
    with machine.web() as server:
        picture = jpeg()
        with busy(CLIENTS, lambda: send(server, picture, "image/jpeg")):
            found[f"{CLIENTS} clients predict without a pause"] = machine.seen(seconds)
    return found


def look(server: Web) -> None:
    """Ask for what an open page asks for each second."""
    server.ask("/snapshot.jpg")
    server.ask("/api/why?seconds=30")
    time.sleep(1.0)


def main() -> None:
    """Print two tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=15.0, help="for each mode and run")
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="edge-web-") as name:
        folder = Path(name)
        collect(folder / "cases")
        machine = Machine(folder)
        try:
            print("| web process | |\n|---|---|")
            starts = [start_s(folder) for _ in range(5)]
            print(f"| start to the first answer | {median(starts):.2f} s |")
            for state, megabytes in memory(machine).items():
                print(f"| PSS, {state} | {megabytes:.0f} MB |", flush=True)
            runs = [rates(machine, args.seconds) for _ in range(args.runs)]
        finally:
            machine.close()
    print("\n| the daemon | frames/s | dropped | pipeline p99 | PSS, RSS |\n|---|---|---|---|---|")
    off = median(run["web off"].frames_per_s for run in runs)
    for mode in runs[0]:
        seen = [run[mode] for run in runs]
        rate = median(one.frames_per_s for one in seen)
        pss, rss = (median(getattr(one, key) for one in seen) for key in ("pss_mb", "rss_mb"))
        cells = (
            f"{rate:.1f} ({100 * rate / off:.1f} %)",
            str(sum(one.dropped for one in seen)),
            f"{median(one.p99_ms for one in seen):.1f} ms",
            f"{pss:.0f}, {rss:.0f} MB",
        )
        print(f"| {mode} | {' | '.join(cells)} |")
    print(f"\nload of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
