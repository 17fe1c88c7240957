"""Requests made from the API's own description by schemathesis, right and wrong ones, many."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest

from deploy.broker import PrivateBroker
from tests.case_files import fill
from tests.conftest import Daemon, edge
from tests.fuzz import LONG
from tests.test_web_security import set_password
from tests.test_web_teach import collect
from tests.web_server import Web

CONFIG = """
[local]
path = "{0}/edge.sock"
[model]
path = "{0}/rgb"
[snapshot]
enabled = true
[cases]
request = true
path = "{0}/cases"
bytes = 5000000
[publish]
telemetry_interval_s = 1.0
"""
RARELY: Final = (
    *("/api/cases/{name}.jpg", "/api/cases/export.tar", "/api/cases/undo", "/api/classes/rename"),
    *("/api/login", "/api/request/cases-sort", "/api/request/set", "/api/settings"),
    *("/api/teach/cancel", "/api/teach/install"),
)
"""Addresses where what is made up is hardly ever right: a name, a token, a key, a moment."""
SETTINGS: Final = """
max-stream-events = 3

[checks]   # all of them, but for what a run adds, and:
positive_data_acceptance.enabled = false   # see the test
negative_data_rejection.expected-statuses = [400, 401, 403, 404, 405, 409, 413, 415, 429, 503]

[[operations]]
include-path = ["/api/predict", "/api/cases/upload"]
checks.negative_data_rejection.enabled = false   # in a form, every type is bytes
"""
AWAY: Final = SETTINGS.replace(
    "[[operations]]", 'not_a_server_error.expected-statuses = ["2xx", "4xx", 503]\n[[operations]]'
)
"""Without a daemon, 503 is an answer like another, where it is described."""


@pytest.fixture
def token(tmp_path: Path) -> str:
    """A token, beside a password."""
    assert set_password(tmp_path).returncode == 0
    env = {**os.environ, "STATE_DIRECTORY": str(tmp_path)}
    return edge("web", "--new-token", "schemathesis", env=env).stdout.strip()


def run(
    folder: Path, server: Web, token: str, *options: str, settings: str = SETTINGS
) -> Iterator[tuple[str, int, str]]:
    """Send many requests; yield path, status and error of each answer.

    The same ones each time, except where FUZZ is long. Fails where an answer is not as described.
    """
    document = server.ask("/openapi.json").json()
    file, report = folder / "openapi.json", folder / "report.har"
    file.write_text(json.dumps(_plain(document)))
    (folder / "schemathesis.toml").write_text(settings)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", str(file)),
            *("--url", f"http://127.0.0.1:{server.port}", "-H", f"Authorization: Bearer {token}"),
            *("--phases", "coverage,fuzzing", "--continue-on-failure", "--no-shrink"),
            *("--generation-database", "none", "--rate-limit", "45/s" if LONG else "60/s"),
            *("--report", "har", "--report-har-path", str(report), "--warnings", "off"),
            *(() if LONG else ("--seed", "1")),
            *options,
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    paths = {re.sub(r"\{\w+\}", "[^/]*", path): path for path in document["paths"]}
    for entry in json.loads(report.read_text())["log"]["entries"]:
        sent = urlsplit(entry["request"]["url"]).path
        path = next((path for pattern, path in paths.items() if re.fullmatch(pattern, sent)), sent)
        yield path, entry["response"]["status"], entry["response"]["content"].get("text", "")


def _plain(value: Any) -> Any:
    """Return a description without ``prefixItems``: of an answer, schemathesis 4.32 refuses it."""
    if isinstance(value, dict):
        return {
            key: _plain(inner)
            for key, inner in value.items()
            if key != "prefixItems" and not (key == "items" and inner is False)
        }
    return [_plain(inner) for inner in value] if isinstance(value, list) else value


@pytest.mark.fuzz
def test_every_answer_is_as_described(
    tmp_path: Path,
    broker: PrivateBroker,
    daemon: Callable[..., Daemon],
    web: Callable[..., Web],
    rgb: Path,
    token: str,
) -> None:
    """No fault of the server, good requests answered; both processes as well as before.

    Not every request that the schemas allow is good: that a class is one folder's name of at most
    128 bytes is more than JSON Schema can say. So each address must have answered some with 200.
    """
    collect(tmp_path / "cases")
    fill(tmp_path / "cases", 40)
    config = CONFIG.format(tmp_path)
    source = ("--source", "synthetic", "--broker", broker.address)
    running = daemon(*source, config=config, STATE_DIRECTORY=str(tmp_path))
    server = web("--config", tmp_path / "edge.toml").ready()
    bearer = {"Authorization": f"Bearer {token}"}
    paths = server.ask("/openapi.json").json()["paths"]
    statuses: dict[str, Counter[int]] = {path: Counter() for path in paths}
    for path, status, error in run(tmp_path, server, token, "-n", "60" if LONG else "3"):
        assert status not in (500, 501, 502), (path, error)
        statuses.setdefault(path, Counter())[status] += 1
    unanswered = {path for path, counts in statuses.items() if path in paths and not counts[200]}
    assert unanswered <= set(RARELY)
    assert server.send("POST", "/api/request/resume", b"{}", bearer).status == 200
    state = server.send("GET", "/api/state", None, bearer).json()
    assert (state["daemon"]["connected"], state["stale"]) == (True, False)
    for log in (server.log, running.log):
        assert "Traceback" not in log.read_text(), log.read_text()[-3000:]


@pytest.mark.long
def test_without_a_daemon_every_answer_is_as_described(
    tmp_path: Path, web: Callable[..., Web], token: str
) -> None:
    """What needs it is refused with 503, and nothing else is a fault of the server."""
    collect(tmp_path / "cases")
    server = web(config=CONFIG.format(tmp_path)).ready()
    statuses: Counter[int] = Counter()
    for path, status, error in run(tmp_path, server, token, "-n", "3", settings=AWAY):
        assert status not in (500, 501, 502, 504), (path, error)
        statuses[status] += 1
    assert statuses[503]
    assert "Traceback" not in server.log.read_text()
