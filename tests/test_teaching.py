"""docs/teaching.md, run: from an empty folder to a gate in Home Assistant."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

from deploy.broker import PrivateBroker
from edge.cases.store import Store
from tests import gate_scene
from tests.conftest import ROOT, Daemon, Listener, wait_until
from tests.test_control import newest, online

PAGE = (ROOT / "docs" / "teaching.md").read_text()
CONFIG = """
[device]
id = "porch"
[camera]
fps = 40
[publish]
telemetry_interval_s = 0.3
[shadow]
every = 2
cpu_share = 1.0
"""
FAST = "every_s = 0.05\ninterval_s = 0.05\nper_hour = 3600\nfree_bytes = 0"
"""Instead of a picture every 15 seconds; and no regard for this machine's disk."""
ENOUGH = 30
"""Pictures of a class."""
PROGRAMS = {
    "edge": f'exec "{sys.executable}" -m edge "$@"',
    "sudo": 'exec "$@"',
    "systemctl": 'test "$*" = "reload edge-camera" && kill -HUP "$DAEMON"',
}
"""What a Pi with the package has."""


def walk() -> list[str]:
    """Return the lines to type, and the comments that say what else to do, in order."""
    section = PAGE.split("## From an empty folder")[1].split("\n## ")[0]
    return re.findall(r"^    (\S.*)$", re.sub(r"^```.*?^```", "", section, flags=re.M | re.S), re.M)


def tables() -> list[str]:
    """Return what goes into the config, in order."""
    return re.findall(r"^```toml\n(.*?)^```", PAGE, re.M | re.S)


class Newcomer:
    """Somebody who types what the page says, on a Pi with a camera at a gate."""

    def __init__(self, folder: Path, daemon: Daemon, broker: PrivateBroker) -> None:
        self.folder, self.daemon = folder, daemon
        self.home = folder / "home"
        self.home.mkdir()
        for name, line in PROGRAMS.items():
            program = folder / "bin" / name
            program.parent.mkdir(exist_ok=True)
            program.write_text(f"#!/bin/sh\n{line}\n")
            program.chmod(0o755)
        for name in ("mosquitto_pub", "mosquitto_sub"):
            (self.home / name).write_text(f"-h {broker.host}\n-p {broker.port}\n")
        self.env = {
            **os.environ,
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "STATE_DIRECTORY": str(folder / "state"),
            "XDG_CONFIG_HOME": str(self.home),
            "DAEMON": str(daemon.process.pid),
        }
        self._visits = 0

    def types(self, line: str) -> str:
        """Run a line in the shell; return what it prints."""
        work = self.folder / "work"
        work.mkdir(exist_ok=True)
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=work,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=100,
        )
        assert done.returncode == 0, f"{line}: {done.stderr}"
        return done.stdout

    def show(self, state: str) -> None:
        """Let the camera see a state, in pictures that it has not seen."""
        self._visits += 1
        first = 1000 * self._visits
        gate_scene.write(self.folder / "camera", state, range(first, first + 40))

    def wait(self) -> None:
        """Wait until enough was kept."""

        def enough() -> bool:
            with Store(self.folder / "state" / "cases") as store:
                return len(store.names("")) >= ENOUGH

        wait_until(enough)


def test_the_walk_of_the_page_ends_at_a_gate_in_home_assistant(
    broker: PrivateBroker,
    daemon: Callable[..., Daemon],
    listen: Callable[[], Listener],
    tmp_path: Path,
) -> None:
    """Each line as it stands there; sudo, systemctl and the broker's address are this machine's."""
    gate_scene.write(tmp_path / "camera", "closed", range(40))
    (tmp_path / "state").mkdir()
    running = daemon(
        *("--source", tmp_path / "camera", "--broker", broker.address),
        config=CONFIG,
        STATE_DIRECTORY=str(tmp_path / "state"),
    )
    online(broker)
    listener, discovery = listen(), Listener(broker, "homeassistant/#")
    one = Newcomer(tmp_path, running, broker)
    printed: dict[str, str] = {}

    def label(wanted: str) -> None:
        one.show(wanted)
        listener.wait_for(lambda: (newest(listener, "state") or {}).get("label") == wanted)

    (tmp_path / "edge.toml").write_text(CONFIG + tables()[0].replace("every_s = 15", FAST, 1))
    acts: dict[str, Callable[[], None]] = {
        "# shut the gate": lambda: one.show("closed"),
        "# open the gate": lambda: one.show("open"),
        "# wait ten minutes": one.wait,
        "# look at the gate, open and shut it": lambda: listener.wait_for(
            lambda: (
                (newest(listener, "telemetry") or {}).get("shadow", {}).get("frames_total", 0) >= 20
            )
        ),
    }
    for line in walk():
        if line.startswith("#"):
            acts[line]()
        else:
            printed[line] = one.types(line)
            if line.endswith("reload edge-camera"):
                running.wait_for_log("reloaded")
    assert "verdict" in printed["edge teach gate"]
    for line in re.findall(r"`(edge classify .*?)`", PAGE):
        assert one.types(line).count(": open ") >= ENOUGH
    assert '"shadow":' in printed["mosquitto_sub -t edge/porch/telemetry -C 2"]
    listener.wait_for(lambda: newest(listener, "info")["model"]["name"] == "gate")
    for state in ("open", "closed", "open"):
        label(state)
    parts = discovery.payloads("config")[-1]["components"].values()
    named = {part.get("name") for part in parts if part["platform"] == "binary_sensor"}
    assert {"open", "closed"} <= named
    assert not {"cat", "dog", "Cat", "Dog"} & named
    (tmp_path / "edge.toml").write_text(CONFIG + tables()[1])
    one.types("sudo systemctl reload edge-camera")
    running.wait_for_log("reloaded", 3)
    discovery.close()
    assert running.stop(signal.SIGTERM) == 0


def test_nothing_on_the_page_is_left_out_by_the_way_it_is_written() -> None:
    """Every program of the walk is run above; the tables are TOML."""
    programs = {shlex.split(line.removeprefix("sudo "))[0] for line in walk() if line[0] != "#"}
    assert programs == {"edge", "systemctl", "mkdir", "tar", "mosquitto_pub", "mosquitto_sub"}
    assert [sorted(tomllib.loads(one)) for one in tables()] == [["cases"], ["cases", "drift"]]
