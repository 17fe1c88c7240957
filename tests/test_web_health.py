"""`edge doctor` over the API: a child with a limit, shared, and honest about a sandbox."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
from starlette.requests import Request

from edge.web import health
from edge.web.answers import Refused
from edge.web.health import Check, Report
from edge.web.place import Place
from tests.conftest import Daemon, edge, wait_until
from tests.test_web_teach import is_alive, only_child
from tests.web_server import Got, Web

Serve = Callable[..., Web]


def test_the_checks_are_those_of_the_command_line(
    tmp_path: Path, web: Serve, daemon: Callable[..., Daemon], rgb: Path
) -> None:
    """Name by name; of the same config; no secret in them."""
    config = (
        f'[local]\npath = "{tmp_path}/edge.sock"\n[model]\npath = "{rgb}"\n'
        '[camera]\nsource = "rtsp://me:hunter22@127.0.0.1:1/x"\nrequired = false\n'
    )
    daemon("--source", "synthetic", config=config, STATE_DIRECTORY=str(tmp_path))
    server = web(config=config).ready().connected()
    got = server.ask("/api/doctor")
    assert got.status == 200, got
    report = got.json()
    told = edge("doctor", "--json", "--config", server.config, env=server.env)
    expected = json.loads(told.stdout)
    assert [one["name"] for one in report["checks"]] == [one["name"] for one in expected["checks"]]
    local = next(one for one in report["checks"] if one["name"] == "local")
    assert local["verdict"] == "ok"
    assert report["version"] == expected["version"]
    assert b"hunter22" not in got.body


def test_many_who_ask_share_one_child(tmp_path: Path, web: Serve) -> None:
    """All get the same checks."""
    server = web(config=f'[local]\npath = "{tmp_path}/edge.sock"\n').ready()
    answers: list[Got] = []
    threads = [
        threading.Thread(target=lambda: answers.append(server.ask("/api/doctor")))
        for _ in range(10)
    ]
    for thread in threads:
        thread.start()
    only_child(server)
    for thread in threads:
        thread.join()
    assert {one.status for one in answers} == {200}
    assert len({json.dumps(one.json()["checks"]) for one in answers}) == 1
    assert server.ask("/api/doctor").json()["age_s"] < health.FRESH_S + 60


def test_a_server_that_ends_does_not_wait_for_it(tmp_path: Path, web: Serve) -> None:
    """The child ends with it."""
    server = web(config=f'[local]\npath = "{tmp_path}/edge.sock"\n').ready()

    def ask() -> None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            server.ask("/api/doctor")

    thread = threading.Thread(target=ask)
    thread.start()
    child = only_child(server)
    assert server.stop(signal.SIGTERM) == 0
    thread.join()
    wait_until(lambda: not is_alive(child))


def test_what_takes_too_long_or_says_nothing_is_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The child is killed; the next request tries again."""
    program = tmp_path / "python"
    place = Place(None, tmp_path)

    async def refused(script: str) -> Refused:
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        checker = health.Health(place)
        with pytest.raises(Refused) as caught:
            await checker.doctor(cast(Request, None))
        return caught.value

    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.setattr(health, "LONGEST_S", 0.3)
    assert asyncio.run(refused("exec sleep 60")).status == 504
    monkeypatch.setattr(health, "LONGEST_S", 30.0)
    assert asyncio.run(refused("echo no json")).status == 503
    assert asyncio.run(refused("exit 3")).status == 503
    assert asyncio.run(refused("exec cat /dev/zero")).status == 503


def test_a_sandbox_claims_no_fault_of_what_it_cannot_see() -> None:
    """Camera and broker are unknown there, with what to run; what can be seen is as it is."""
    checks = [
        Check("camera", "fault", "no camera", "plug one in"),
        Check("broker", "fault", "network is unreachable"),
        Check("published", "ok", "state"),
        Check("disk", "warning", "/ is read-only; nearly full"),
        Check("service", "unknown", "Failed to get properties"),
        Check("events", "warning", "camera_stalled"),
    ]
    seen = health._seen_from_a_sandbox(Report(False, "1", checks))
    assert [(one.name, one.verdict) for one in seen.checks] == [
        *(("camera", "unknown"), ("broker", "unknown"), ("published", "ok"), ("disk", "warning")),
        *(("service", "unknown"), ("events", "warning")),
    ]
    assert seen.checks[3].line == "nearly full"
    assert seen.checks[4].line == "systemd's answer cannot be seen from the page's sandbox"
    assert "sudo edge doctor" in seen.checks[0].hint
    assert seen.healthy
