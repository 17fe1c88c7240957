"""`edge web` beside a real daemon: what it shows and passes on, and how one outlives the other."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import jsonschema
import numpy as np
import pytest

from deploy.broker import PrivateBroker
from edge import contract
from tests.certificates import Authority
from tests.conftest import ROOT, WAIT_S, Daemon, Listener, edge, wait_until
from tests.web_server import ASK, FakeDaemon, Web, said

Start = Callable[..., Daemon]
Serve = Callable[..., Web]
Fake = Callable[..., FakeDaemon]
CONFIG = """
[local]
path = "{}/edge.sock"
[publish]
telemetry_interval_s = 0.5
[snapshot]
enabled = true
"""


@pytest.fixture
def pair(tmp_path: Path, daemon: Start, web: Serve, rgb: Path) -> Web:
    """A web process connected to a daemon without a broker that sees red, green and blue."""
    daemon("--source", "synthetic", "--model", rgb, config=CONFIG.format(tmp_path))
    return web().ready().connected()


def test_what_the_daemon_says_is_what_the_api_says(pair: Web) -> None:
    """Each payload is as the contract has it, with its age, and not stale."""
    wait_until(lambda: pair.ask("/api/telemetry").json()["payload"] is not None)
    schemas = contract.schema()
    for topic in ("state", "telemetry", "info"):
        got = pair.ask(f"/api/{topic}").json()
        jsonschema.validate(got["payload"], schemas[topic])
        assert got["daemon"]["connected"] is True
        assert got["stale"] is False
        assert 0 <= got["age_s"] < WAIT_S


def test_a_label_that_changes_comes_as_it_was_published(
    tmp_path: Path,
    broker: PrivateBroker,
    listen: Callable[[], Listener],
    daemon: Start,
    web: Serve,
    rgb: Path,
) -> None:
    """The same event and state on MQTT, in the stream and in the list of events."""
    listener = listen()
    arguments = ("--source", "synthetic", "--model", rgb, "--broker", broker.address)
    daemon(*arguments, config=CONFIG.format(tmp_path))
    server = web().ready().connected()
    with server.live() as stream:
        event = stream.until("event", type="label_changed")["payload"]
        state = stream.until("state", label=event["after"])["payload"]
    listener.wait_for(lambda: event in listener.payloads("event"))
    assert event["id"] in [
        one["payload"]["id"] for one in server.ask("/api/events").json()["events"]
    ]
    listener.wait_for(lambda: state in listener.payloads("state"))


def test_a_reader_gets_first_what_is_current(pair: Web) -> None:
    """How the daemon is reached, what it is, and its state, without waiting for a change."""
    with pair.live() as stream:
        names = [stream.next()[0] for _ in range(3)]
    assert names == ["daemon", "info", "state"]


def test_a_picture_is_the_camera_s(pair: Web) -> None:
    """A JPEG of the synthetic source's size."""
    got = pair.ask("/snapshot.jpg")
    assert (got.status, got.headers["content-type"]) == (200, "image/jpeg")
    picture = cv2.imdecode(np.frombuffer(got.body, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    assert picture.shape == (480, 640, 3)


def test_a_picture_that_is_switched_off_says_how_to_switch_it_on(
    tmp_path: Path, daemon: Start, web: Serve, rgb: Path
) -> None:
    """The daemon's own words, as a conflict."""
    config = CONFIG.format(tmp_path).replace("enabled = true", "enabled = false")
    daemon("--source", "synthetic", "--model", rgb, config=config)
    got = web().ready().connected().ask("/snapshot.jpg")
    assert got.status == 409
    assert "snapshot.enabled" in got.json()["error"]


def test_a_request_is_passed_on_and_logged(pair: Web) -> None:
    """The daemon's answer with the caller's transaction; its effect; a line for the audit."""
    got = pair.order("pause", seconds=30, transaction="mine")
    assert got.status == 200
    jsonschema.validate(got.json(), contract.schema()["response"])
    assert got.json()["transaction"] == "mine"
    wait_until(lambda: pair.ask("/api/state").json()["payload"]["paused"] is True)
    assert pair.order("resume").status == 200
    assert re.search(r"audit: pause .*30.*, by local, from 127.0.0.1: ok\n", pair.log.read_text())


def test_a_setting_that_the_daemon_refuses_is_a_conflict(pair: Web) -> None:
    """A wrong key of the payload is the caller's fault, a wrong setting has the daemon's words."""
    got = pair.order("set", smoothing={"window": -1})
    assert got.status == 409
    assert "window" in got.json()["error"]
    wrong = pair.order("set", nonsense=1)
    assert wrong.status == 400
    assert "nonsense" in wrong.json()["error"]
    assert pair.order("model", action="use", name="absent").status == 409


@pytest.mark.parametrize("command", ["ping", "stats", "snapshot", "claim", "../state", "exit"])
def test_only_listed_requests_are_passed_on(command: str, fake: Fake, web: Serve) -> None:
    """Another one has no address, and nothing reaches the daemon."""
    device = fake(said("state", label=None))
    server = web().ready().connected()
    assert server.order(command).status == 404
    assert device.received == []


def test_a_daemon_that_is_killed_is_not_shown_as_fresh(
    tmp_path: Path, daemon: Start, web: Serve, rgb: Path
) -> None:
    """The last state is stale and its age grows; requests say why; back, all is fresh again."""
    arguments = ("--source", "synthetic", "--model", rgb)
    running = daemon(*arguments, config=CONFIG.format(tmp_path))
    server = web().ready().connected()
    with server.live() as stream:
        running.stop(signal.SIGKILL)
        gone = stream.until("daemon", connected=False)
        assert "closed the connection" in gone["error"]
        first = server.ask("/api/state").json()
        assert first["stale"] is True
        assert first["payload"] is not None
        assert server.ask("/snapshot.jpg").status == 503
        assert server.order("pause").status == 503
        assert b"edge_up 0.0" in server.ask("/metrics").body
        assert b"edge_frames_total" not in server.ask("/metrics").body
        daemon(*arguments, config=CONFIG.format(tmp_path))
        stream.until("daemon", connected=True)
    wait_until(lambda: server.ask("/api/state").json()["age_s"] < first["age_s"])
    assert server.ask("/api/state").json()["stale"] is False


def test_without_a_daemon_everything_says_so(web: Serve) -> None:
    """The server starts, serves its page, and has nothing to show."""
    server = web().ready()
    state = server.ask("/api/state").json()
    assert (state["stale"], state["payload"], state["age_s"]) == (True, None, None)
    assert state["daemon"]["error"]
    assert server.ask("/").status == 200
    assert server.ask("/healthz").json() == {"ok": True}
    assert server.ask("/api/events").json()["events"] == []


def test_metrics_are_what_prometheus_reads(pair: Web) -> None:
    """Its own parser takes them; the daemon's figures are among them, in base units."""
    from prometheus_client import parser

    families: Any = parser.text_string_to_metric_families
    wait_until(lambda: pair.ask("/api/telemetry").json()["payload"] is not None)
    got = pair.ask("/metrics")
    assert got.headers["content-type"].startswith("text/plain")
    found = {family.name: family for family in families(got.body.decode())}
    assert found["edge_up"].samples[0].value == 1
    assert found["edge_frames"].samples[0].name == "edge_frames_total"
    stages = {sample.labels["stage"] for sample in found["edge_stage_seconds"].samples}
    assert {"preprocess", "invoke", "latency"} <= stages
    assert all(sample.value < 60 for sample in found["edge_stage_seconds"].samples)
    assert {s.labels["label"] for s in found["edge_score_ratio"].samples} == {
        "red",
        "green",
        "blue",
    }
    assert found["process_resident_memory_bytes"].samples[0].value > 1e7


def test_the_description_is_of_what_is_served(pair: Web) -> None:
    """Every reference leads somewhere; answers are as described; errors, too."""
    document = pair.ask("/openapi.json").json()
    text = json.dumps(document)
    for name in set(re.findall(r'"#/components/schemas/([^"]+)"', text)):
        assert name in document["components"]["schemas"], name
    assert r"\\A" not in text  # patterns are of JavaScript's regular expressions
    root = {"components": document["components"]}

    def check(path: str, method: str, got: Any) -> None:
        answers = document["paths"][path][method]["responses"]
        assert str(got.status) in answers, (path, got)
        kind = got.headers["content-type"].partition(";")[0]
        schema = answers[str(got.status)]["content"][kind]["schema"]
        if kind == "application/json":
            jsonschema.validate(got.json(), {**root, **schema})

    for path, methods in document["paths"].items():
        if "get" in methods and path != "/api/live":
            check(path, "get", pair.ask(path))
        if "post" in methods:
            check(path, "post", pair.ask(path, b"no json"))
            check(path, "post", pair.send("POST", path, b"no json", ASK))
        refused = pair.ask(path, method="DELETE")
        assert (refused.status, bool(refused.headers["allow"])) == (405, True)
    check("/api/request/resume", "post", pair.order("resume"))
    assert pair.ask("/api/nothing").status == 404


def test_the_page_needs_nothing_from_elsewhere(web: Serve) -> None:
    """Only files of its own; no script or style in the page, which its policy would refuse."""
    server = web().ready()
    page = server.ask("/").body.decode()
    assert "<style" not in page
    assert not re.search(r"<script(?![^>]*\bsrc=)|\son\w+=|javascript:|style=", page)
    paths = re.findall(r'(?:src|href)="(/[^"]*)"', page)
    assert paths
    for path in paths:
        got = server.ask(path)
        assert got.status == 200
        assert b"://" not in got.body.replace(b'xmlns="http://www.w3.org/2000/svg"', b"")
        assert server.ask(path, if_none_match=got.headers["etag"]).status == 304
    assert server.ask("/../web.toml").status == 404
    assert server.ask("/%2e%2e/web.toml").status == 404


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly_with_readers_connected(number: int, web: Serve) -> None:
    """Streams end, the status is 0, nothing is left listening."""
    server = web().ready()
    with server.live() as stream:
        stream.next()
        server.process.send_signal(number)
        stream.drain()
    assert server.process.wait(WAIT_S) == 0
    assert "Traceback" not in server.log.read_text()
    with pytest.raises(ConnectionRefusedError):
        server.raw()


@contextlib.contextmanager
def activated(tmp_path: Path, config: str) -> Iterator[Web]:
    """Start a server as systemd does: with a socket that listens already, as LISTEN_FDS has it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        file = tmp_path / "web.toml"
        file.write_text(config)
        arguments = [sys.executable, "-m", "edge", "web", "--config", str(file), "--idle", "1"]
        script = (
            "import os, sys\n"
            f"os.dup2({listener.fileno()}, 3); os.environ['LISTEN_PID'] = str(os.getpid())\n"
            "os.execv(sys.argv[1], sys.argv[1:])"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", script, *arguments],
            cwd=ROOT,
            pass_fds=[listener.fileno()],
            env={**os.environ, "LISTEN_FDS": "1", "STATE_DIRECTORY": str(tmp_path)},
        )
        try:
            server = Web.__new__(Web)
            server.port, server.process = listener.getsockname()[1], process
            yield server
        finally:
            process.kill()
            process.wait()


def test_a_socket_of_systemd_s_is_served_and_the_server_ends_when_idle(tmp_path: Path) -> None:
    """While a reader is connected it is not idle."""
    with activated(tmp_path, f'[local]\npath = "{tmp_path}/edge.sock"\n') as server:
        with server.live() as stream:
            assert stream.next()[0] == "daemon"
            begin_s = time.monotonic()
            while time.monotonic() - begin_s < 3:  # idle three times over, but for this reader
                stream.next()
        assert server.process.wait(WAIT_S) == 0


def test_whoever_waits_for_a_server_that_cannot_start_is_answered(tmp_path: Path) -> None:
    """With 503 and without the reason; one that sends nothing keeps nobody waiting for long."""
    with activated(tmp_path, "[local]\nsecret_key = 'abc'\n") as server:
        with server.raw():
            for _ in range(2):
                got = server.ask("/api/state")
                assert (got.status, got.headers["retry-after"]) == (503, "5")
                assert "journalctl" in got.json()["error"]
                assert b"secret_key" not in got.body
        assert server.process.wait(WAIT_S) == 78


def test_it_serves_https_with_a_certificate_of_the_owner_s(tmp_path: Path, web: Serve) -> None:
    """A certificate that belongs to a key; without one of them, or with another, one line."""
    authority = Authority(tmp_path, "authority")
    pair = authority.sign("device", address="DNS:localhost")
    certificate, key = pair.cert, pair.key
    server = web("--tls-cert", certificate, "--tls-key", key).ready()
    context = ssl.create_default_context(cafile=str(authority.cert))
    with (
        socket.create_connection(("127.0.0.1", server.port), WAIT_S) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        secure.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert b'{"ok":true}' in b"".join(iter(lambda: secure.recv(65536), b""))
    wrong = edge("web", "--tls-cert", certificate, "--tls-key", certificate)
    assert (wrong.returncode, wrong.stderr.count("\n")) == (78, 1)
    half = edge("web", "--tls-cert", certificate)
    assert half.returncode == 78
    assert "--tls-key" in half.stderr


def test_a_port_that_is_taken_is_one_line(web: Serve) -> None:
    """With the address, and status 78."""
    server = web().ready()
    second = edge("web", "--port", str(server.port))
    assert (second.returncode, second.stderr.count("\n")) == (78, 1)
    assert f"127.0.0.1:{server.port}: cannot listen" in second.stderr
