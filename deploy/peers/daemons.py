"""Whole programs at a film's own frame rate, each publishing to the same real mosquitto.

Frame rate, CPU and memory are read from outside, of the process and its children. The broker's own
time is in none of them.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from deploy.broker import PrivateBroker
from deploy.peers import clock
from deploy.peers.network import ROOT
from deploy.peers.shapes import CLIP, PICTURES

CONFIG: Final = """\
[camera]
source = {film}
[model]
threads = 1
[mqtt]
host = "127.0.0.1"
port = {port}
[publish]
result = true
result_rate = 60.0
[local]
path = {socket}
[adaptive]
motion = {motion}
"""
SCENE: Final = next(path for path in PICTURES if "kitchen" in path.name)
STILL: Final = ("-vf", "scale=640:480,noise=alls=4:allf=t", "-t", "20", "-r", "15")
START_S: Final = 30.0
SETTLE_S: Final = 1.5
"""After the first message: what a program does once is over."""


@dataclass(frozen=True, slots=True)
class Program:
    """One program to run.

    film    moving, or still
    kind    edge, edge with the motion gate (gate), or a loop of user_loop: naive, small
    wheels  ours, or PyPI's
    """

    film: str
    kind: str
    wheels: str


PROGRAMS: Final = (
    Program("moving", "edge", "ours"),
    Program("moving", "edge", "PyPI's"),
    Program("moving", "naive", "PyPI's"),
    Program("moving", "small", "PyPI's"),
    Program("still", "edge", "ours"),
    Program("still", "gate", "ours"),
    Program("still", "small", "PyPI's"),
)


class Bench:
    """A broker, the films by name, and what has arrived.

    wheels  folders with our wheels, for PYTHONPATH; none where there are none
    """

    def __init__(self, folder: Path, wheels: Mapping[str, str]) -> None:
        self._folder, self._wheels, self._arrived = folder, wheels, 0
        self.films = {"moving": CLIP, "still": folder / "still.mp4"}
        self._port = 0

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Make the still film; keep broker and subscriber while the block lasts."""
        command = ["ffmpeg", "-loglevel", "error", "-nostdin", "-loop", "1", "-i", str(SCENE)]
        coded = ["-c:v", "libx264", "-pix_fmt", "yuv420p", str(self.films["still"])]
        subprocess.run([*command, *STILL, *coded], check=True)
        with PrivateBroker() as broker:
            self._port = broker.port
            client = paho.Client(CallbackAPIVersion.VERSION2)
            client.on_message = self._count
            client.connect(broker.host, broker.port)
            client.subscribe([("bench/loop", 0), ("edge/+/result", 0)])
            client.loop_start()
            try:
                yield
            finally:
                client.loop_stop()
                client.disconnect()

    def _count(self, client: Any, userdata: Any, message: Any) -> None:
        self._arrived += 1

    def measure(self, program: Program, seconds: float) -> dict[str, Any]:
        """Return the figures of ``program``: {"refused": reason} where it does not run."""
        process = self._start(program)
        try:
            before, until = self._arrived, time.monotonic() + START_S
            while self._arrived == before:
                if process.poll() is not None or time.monotonic() > until:
                    return {"refused": f"no message: {self._said()}"}
                time.sleep(0.05)
            time.sleep(SETTLE_S)
            family = [process.pid, *clock.children(process.pid)]
            spent, arrived, begin = self._spent(family), self._arrived, time.monotonic()
            time.sleep(seconds)
            spent, arrived = self._spent(family) - spent, self._arrived - arrived
            lasted = time.monotonic() - begin
            sizes = [clock.memory(one) for one in family]
            return {
                "cpu_share": spent / lasted,
                "messages_per_s": arrived / lasted,
                **{name: sum(one[name] for one in sizes) for name in sizes[0]},
                "processes": len(family),
            }
        except (OSError, ValueError) as exc:
            return {"refused": f"it ended: {self._said() or exc}"}
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _start(self, program: Program) -> subprocess.Popen[bytes]:
        film, port = self.films[program.film], self._port
        ours = self._wheels.values() if program.wheels == "ours" else ()
        env = {**os.environ, "STATE_DIRECTORY": str(self._folder)}
        env["PYTHONPATH"] = os.pathsep.join(ours)
        if program.kind in ("naive", "small"):
            command = ["deploy.peers.user_loop", str(film), program.kind, "ai_edge_litert"]
            command += [str(port), "bench/loop"]
        else:
            texts = {"film": str(film), "socket": str(self._folder / "edge.sock")}
            quoted = {name: json.dumps(text) for name, text in texts.items()}
            motion = json.dumps(program.kind == "gate")
            config = self._folder / "edge.toml"
            config.write_text(CONFIG.format(**quoted, port=port, motion=motion))
            command = ["edge", "run", "--config", str(config)]
        with (self._folder / "stderr").open("wb") as stderr:
            return subprocess.Popen(
                [sys.executable, "-m", *command], cwd=ROOT, env=env, stderr=stderr
            )

    @staticmethod
    def _spent(family: list[int]) -> float:
        return sum(clock.cpu_s(one) for one in family)

    def _said(self) -> str:
        """Return the last line that the program has printed."""
        lines = (self._folder / "stderr").read_text(errors="replace").split("\n")
        return next((line for line in reversed(lines) if line.strip()), "")
