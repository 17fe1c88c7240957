"""The daemon through outages of its camera: reported once, brought back, given up in the end."""

from __future__ import annotations

import json
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from deploy.broker import PrivateBroker
from tests import odd_models
from tests.conftest import ROOT, WAIT_S, Daemon, Listener
from tests.streams import Pictures, RtspServer

Start = Callable[..., Daemon]
Listen = Callable[[], Listener]
Serve = Callable[..., RtspServer]
CAMERA = ("camera_lost", "camera_stalled", "camera_recovered", "camera_failed")


def last(listener: Listener, kind: str) -> Any:
    """Return the newest of a topic, or None."""
    return (listener.payloads(kind) or [None])[-1]


def camera_events(listener: Listener) -> list[dict[str, Any]]:
    """Return the events of the camera."""
    return [event for event in listener.payloads("event") if event["type"] in CAMERA]


def camera_states(listener: Listener) -> list[str]:
    """Return the camera's states in `info`, without repetitions."""
    states: list[str] = []
    for info in listener.payloads("info"):
        if states[-1:] != [info["camera"]["state"]]:
            states.append(info["camera"]["state"])
    return states


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def red(width: int = 320, height: int = 240) -> bytes:
    """Return a red picture as a web camera would send it."""
    return cv2.imencode(".jpg", np.full((height, width, 3), (0, 0, 200), np.uint8))[1].tobytes()


def test_an_rtsp_server_that_dies_and_comes_back(
    broker: PrivateBroker, listen: Listen, daemon: Start, serve: Serve, rgb: Path
) -> None:
    """Lost and back: one event each, with evidence; labels go on."""
    listener, port = listen(), str(free_port())
    server = serve("--port", port)
    daemon(
        *("--source", server.url("colors"), "--model", rgb, "--broker", broker.address),
        config="[publish]\ntelemetry_interval_s = 0.5\n[smoothing]\nwindow = 2\nhold_frames = 1\n",
    )
    listener.wait_for(lambda: len(listener.payloads("event")) >= 3)
    server.close()
    listener.wait_for(lambda: len(camera_events(listener)) == 1)
    lost = camera_events(listener)[0]
    assert lost["type"] == "camera_lost"
    assert lost["evidence"]["reason"] == "gone"
    listener.wait_for(lambda: camera_states(listener) == ["online", "recovering"])
    listener.wait_for(lambda: (last(listener, "telemetry") or {}).get("camera_problem", False))
    serve("--port", port)
    listener.wait_for(lambda: len(camera_events(listener)) == 2)
    back = camera_events(listener)[1]
    assert back["type"] == "camera_recovered"
    assert back["evidence"]["reopens"] >= 1
    assert back["evidence"]["outage_s"] > 0
    listener.wait_for(lambda: not last(listener, "telemetry")["camera_problem"])
    assert camera_states(listener) == ["online", "recovering", "online"]
    before = len(listener.payloads("event"))
    listener.wait_for(lambda: len(listener.payloads("event")) > before + 2)
    frames = [state["frame"] for state in listener.payloads("state")]
    assert frames == sorted(frames)
    assert last(listener, "telemetry")["reopens_total"] >= 1
    assert listener.payloads("availability") == ["online"]


def test_a_camera_that_is_not_required_may_come_after_the_daemon(
    broker: PrivateBroker, listen: Listen, daemon: Start, serve: Serve, rgb: Path
) -> None:
    """Online without it; `info` says why; once it is there, everything is as usual."""
    listener, port = listen(), str(free_port())
    source = f"rtsp://127.0.0.1:{port}/colors"
    running = daemon(
        *("--source", source, "--model", rgb, "--broker", broker.address),
        config="[camera]\nrequired = false\nmax_reopens = 3\n",
    )
    listener.wait_for(lambda: "online" in listener.payloads("availability"))
    info = listener.payloads("info")[0]
    assert info["camera"]["state"] == "recovering"
    assert source in info["camera"]["error"]
    assert not listener.payloads("state")
    listener.wait_for(lambda: camera_states(listener)[-1] == "failed")
    serve("--port", port)
    listener.wait_for(lambda: bool(listener.payloads("state")))
    listener.wait_for(lambda: camera_states(listener) == ["recovering", "failed", "online"])
    assert last(listener, "info")["camera"]["width"] == 328
    assert [event["type"] for event in camera_events(listener)] == [
        *("camera_lost", "camera_failed", "camera_recovered")
    ]
    assert running.stop() == 0


def test_a_stream_that_falls_silent_again_and_again_ends_the_daemon(
    broker: PrivateBroker, listen: Listen, daemon: Start, rgb: Path, frozen_stream: str
) -> None:
    """After max_reopens: status 74, so that systemd restarts it. Its password appears nowhere."""
    listener = listen()
    running = daemon(
        *("--source", frozen_stream, "--model", rgb, "--broker", broker.address),
        config="[camera]\nstall_timeout_s = 1.5\nmax_reopens = 1\n",
    )
    assert running.process.wait(WAIT_S) == 74
    listener.wait_for(lambda: last(listener, "availability") == "offline")
    assert [event["type"] for event in camera_events(listener)] == [
        *("camera_stalled", "camera_recovered", "camera_failed")
    ]
    log = running.log.read_text()
    assert "given up after 1 tries" in log
    place = "http://***@127.0.0.1"
    assert last(listener, "info")["camera"]["state"] == "failed"
    assert last(listener, "info")["camera"]["source"].startswith(place)
    assert last(listener, "info")["config"]["camera"]["source"].startswith(place)
    assert all(b"secret" not in body for _, body, _ in listener.messages)
    assert "secret" not in log


def test_a_stop_while_a_camera_is_being_opened_is_quick(
    broker: PrivateBroker, daemon: Start, rgb: Path
) -> None:
    """A server that accepts and stays silent blocks an opening for long; the stop does not wait."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        source = f"http://127.0.0.1:{server.getsockname()[1]}/cam.mjpg"
        running = daemon(
            *("--source", source, "--model", rgb, "--broker", broker.address),
            config="[camera]\nstall_timeout_s = 60.0\n",
        )
        server.settimeout(WAIT_S)
        with server.accept()[0]:
            assert running.stop() == 0  # which waits for less than the 60 s of the config


def test_requests_are_answered_while_the_camera_is_away(
    broker: PrivateBroker, listen: Listen, daemon: Start, rgb: Path
) -> None:
    """The loop goes on: a snapshot is refused in one line, a ping is answered."""
    listener = listen()
    camera = Pictures([red()], interval_s=0.02, again=True)
    try:
        daemon(
            *("--source", camera.url, "--model", rgb, "--broker", broker.address),
            config="[snapshot]\nenabled = true\n",
        )
        listener.wait_for(lambda: bool(listener.payloads("state")))
    finally:
        camera.close()
    listener.wait_for(lambda: len(camera_events(listener)) == 1)
    device = last(listener, "info")["device"]
    for command in ("snapshot", "ping"):
        broker_publish(broker, f"edge/{device}/request/{command}", '{"transaction": 1}')
    listener.wait_for(lambda: len(answers(listener)) == 2)
    refused, answered = answers(listener)
    assert refused == ("error", "there is no frame now: got camera recovering")
    assert answered == ("ok", "")


def answers(listener: Listener) -> list[tuple[str, str]]:
    """Return status and error of every answer."""
    answers = [json.loads(b) for t, b, _ in listener.messages if t in ("snapshot", "ping")]
    return [(body["status"], body["error"]) for body in answers if "status" in body]


def broker_publish(broker: PrivateBroker, topic: str, body: str) -> None:
    """Publish one message."""
    import paho.mqtt.publish as publish

    publish.single(topic, body, 1, hostname=broker.host, port=broker.port)


SLOW = """
import time
from edge.model import runtime
real = runtime.Classifier.invoke

def invoke(self):
    time.sleep(1.0)
    real(self)

runtime.Classifier.invoke = invoke
"""
"""Makes every invoke of the daemon take a second longer."""


@pytest.mark.parametrize("kind", ["synthetic", "http", "rtsp"])
def test_a_slow_model_gets_the_newest_frame_and_every_gap_is_counted(
    kind: str,
    *,
    broker: PrivateBroker,
    listen: Listen,
    daemon: Start,
    serve: Serve,
    rgb: Path,
    tmp_path: Path,
) -> None:
    """Its age at the start of inference is a frame's interval and a read, however slow the rest."""
    listener = listen()
    camera = Pictures([red()], interval_s=1 / 30, again=True)
    source = {"http": camera.url, "synthetic": "synthetic"}.get(kind) or serve().url("colors")
    (tmp_path / "sitecustomize.py").write_text(SLOW)
    daemon(
        *("--source", source, "--model", rgb, "--broker", broker.address),
        config="[publish]\nresult = true\ntelemetry_interval_s = 1.0\n",
        PYTHONPATH=f"{tmp_path}:{ROOT}",
    )
    listener.wait_for(lambda: len(listener.payloads("result")) >= 5)
    frames = len(listener.payloads("result"))
    listener.wait_for(lambda: last(listener, "telemetry")["frames_total"] >= frames)
    camera.close()
    telemetry = last(listener, "telemetry")
    results = listener.payloads("result")
    ages_ms = [result["latency_ms"] - 1000 for result in results[1:]]
    # A frame that had waited for the model would be a second old; the machine has other work.
    assert np.median(ages_ms) < 700, ages_ms
    numbers = [result["frame"] for result in results]
    assert min(np.diff(numbers)) > 1
    newest = telemetry["dropped_total"] + telemetry["frames_total"] - 1
    assert newest in numbers, "the newest frame's number"


def test_a_reload_during_an_opening_applies_to_the_camera(
    broker: PrivateBroker, listen: Listen, daemon: Start, rgb: Path, tmp_path: Path
) -> None:
    """A stream that is slow to open comes back for the old model; the new one wants more pixels."""
    free = threading.Event()

    class Slow:
        """A picture again and again, once it may."""

        def __iter__(self) -> Iterator[bytes]:
            free.wait(WAIT_S)
            yield red(640, 480)

    camera = Pictures(Slow(), again=True)
    config = f'[camera]\nrequired = false\nstall_timeout_s = 60\nsource = "{camera.url}"\n'
    listener = listen()
    running = daemon("--broker", broker.address, config=f'{config}[model]\npath = "{rgb}"\n')
    try:
        running.wait_for_log("ready after")  # it does not wait for a camera that is not required
        listener.wait_for(lambda: camera_states(listener) == ["recovering"])
        model = odd_models.wide(tmp_path, 256)
        (tmp_path / "edge.toml").write_text(f'{config}[model]\npath = "{model}"\n')
        running.process.send_signal(signal.SIGHUP)
        running.wait_for_log(" reloaded")
        free.set()
        listener.wait_for(lambda: last(listener, "info")["camera"]["state"] == "online")
        mode = last(listener, "info")["camera"]
        assert (mode["width"], mode["height"]) == (640, 480)  # 80 x 60 is enough for the old one
        assert running.stop() == 0
    finally:
        camera.close()
