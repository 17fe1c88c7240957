"""The dashboard asks for what `/metrics` gives; Prometheus itself reads it, where there is one."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import socket
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.conftest import ROOT, Daemon, edge, model_folder, wait_until
from tests.test_drift_daemon import taught
from tests.test_web_security import set_password
from tests.web_server import FakeDaemon, Web, said

FOLDER: Final = ROOT / "deploy" / "grafana"
BOARD: Final = json.loads((FOLDER / "edge-camera.json").read_text())
VARIABLES: Final = {one["name"]: one for one in BOARD["templating"]["list"]}
CONFIG: Final = """
[local]
path = "{0}/edge.sock"
[model]
path = "{1}"
[publish]
telemetry_interval_s = 0.5
[drift]
enabled = true
window_s = 1
[cases]
path = "{0}/cases"
margin = 1.0
interval_s = 0.1
[shadow]
model = "{0}/other"
cpu_share = 1.0
"""
RARE: Final = {
    *("edge_temperature_celsius", "edge_throttled_bits", "edge_cpu_clock_hertz"),
    "edge_frames_skipped_total",
}
"""Of a Raspberry Pi, and of a gate: where the tests run there is neither."""
Samples = dict[str, set[str]]
"""Metric -> its labels."""
PANELS: Final[list[dict[str, Any]]] = BOARD["panels"]
FIRST: Final = next(panel["gridPos"]["y"] for panel in PANELS if panel["title"] == "Fleet")
TARGETS: Final = [
    target
    for panel in PANELS
    if panel["gridPos"]["y"] < FIRST
    for target in panel.get("targets", ())
]
"""Of one device. Those of the row of a fleet are in `tests/fleet/test_alerts.py`."""


@pytest.fixture
def device(
    tmp_path: Path, daemon: Callable[..., Daemon], web: Callable[..., Web]
) -> tuple[Web, dict[str, str]]:
    """A page behind a password, with a token, beside a daemon that has all that can be measured."""
    assert set_password(tmp_path).returncode == 0
    env = {"STATE_DIRECTORY": str(tmp_path)}
    token = edge("web", "--new-token", "prometheus", env={**os.environ, **env}).stdout.strip()
    model_folder(tmp_path / "other", "float")
    config = CONFIG.format(tmp_path, taught(tmp_path / "m"))
    daemon("--source", "synthetic", config=config, **env)
    server, headers = web(config=config).ready(), {"Authorization": f"Bearer {token}"}
    parts = ("edge_drift_psi{", "edge_shadow_agreement_ratio{", "edge_cases_kept_total{")

    def measured() -> bool:
        text = server.send("GET", "/metrics", None, headers).body.decode()
        return all(part in text for part in parts)

    server.send("POST", "/api/predict", b"no picture", headers)
    wait_until(
        *(measured, lambda: server.send("GET", "/metrics", None, headers).body.decode()),
        every_s=0.2,
    )
    return server, headers


def samples(text: str) -> Samples:
    """Return what a scrape has, as Prometheus's own client reads it."""
    from prometheus_client import parser

    families: Any = parser.text_string_to_metric_families
    found: Samples = {}
    for sample in itertools.chain.from_iterable(family.samples for family in families(text)):
        found.setdefault(sample.name, set()).update(sample.labels)
    return found


def asked(expression: str) -> Iterator[tuple[str, set[str]]]:
    """Yield each metric of an expression, with the labels that are selected by."""
    for name, selector in re.findall(r"(\w+)\{([^}]*)\}", expression):
        yield name, set(re.findall(r"(\w+)\s*=", selector))


def check(target: dict[str, Any], found: Samples) -> None:
    """Fail unless a scrape has what a panel asks for, and the labels that it shows."""
    metrics = list(asked(target["expr"]))
    assert metrics, target
    assert len(metrics) == len(re.findall(r"\b(?:edge|process)_\w+", target["expr"])), target
    shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
    for name, labels in metrics:
        assert name in found
        assert labels | shown <= found[name] | {"instance"}, target


def test_every_panel_asks_for_what_there_is(device: tuple[Web, dict[str, str]]) -> None:
    """Names and labels of every expression and legend are those of a scrape."""
    server, headers = device
    found = samples(server.send("GET", "/metrics", None, headers).body.decode())
    for target in TARGETS:
        if not {name for name, _ in asked(target["expr"])} <= RARE:
            check(target, found)
    assert "device" in found["edge_info"]


def test_what_is_not_everywhere_is_asked_for_by_its_name(
    tmp_path: Path, fake: Callable[..., FakeDaemon], web: Callable[..., Web]
) -> None:
    """The same of temperature, clock, throttling and a gate, from the contract's golden message."""
    golden = json.loads((ROOT / "tests" / "golden" / "telemetry_parts.json").read_text())["payload"]
    golden["plugs"]["skipped_total"] = {"still": 7}
    fake(said("state", label="red") + said("telemetry", retained=False, **golden))
    server = web().ready().connected()
    wait_until(lambda: b"edge_temperature" in server.ask("/metrics").body)
    found = samples(server.ask("/metrics").body.decode())
    rare = [one for one in TARGETS if {name for name, _ in asked(one["expr"])} <= RARE]
    assert {name for one in rare for name, _ in asked(one["expr"])} == RARE
    for target in rare:
        check(target, found)


def test_the_dashboard_can_be_imported() -> None:
    """Ids are unique, panels do not overlap, no data source but the variable's is in it."""
    ids = [panel["id"] for panel in PANELS]
    assert len(ids) == len(set(ids))
    taken: set[tuple[int, int]] = set()
    for panel in PANELS:
        place = panel["gridPos"]
        cells = set(
            itertools.product(
                range(place["x"], place["x"] + place["w"]),
                range(place["y"], place["y"] + place["h"]),
            )
        )
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
        if panel["type"] != "row":
            assert panel["targets"], panel["title"]
            letters = [target["refId"] for target in panel["targets"]]
            assert len(letters) == len(set(letters))
    titles = [panel["title"] for panel in PANELS if panel["type"] != "row"]
    assert all(titles)
    text = json.dumps(BOARD)
    assert set(re.findall(r'"uid": "([^"]*)"', text)) == {"${datasource}", BOARD["uid"]}
    used = set(re.findall(r"\$\{?(\w+)", text)) - {"__rate_interval"}
    assert used == {"datasource", "device", "devices", "instance"} == set(VARIABLES)
    assert BOARD.get("id") is None


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ask(port: int, path: str, **query: str) -> Any:
    """Return what Prometheus answers."""
    address = f"http://127.0.0.1:{port}/api/v1/{path}?{urllib.parse.urlencode(query)}"
    with urllib.request.urlopen(address) as got:
        return json.load(got)["data"]


@pytest.mark.long
def test_prometheus_scrapes_and_answers_every_panel(
    tmp_path: Path, device: tuple[Web, dict[str, str]]
) -> None:
    """With the lines of the documentation; only what a Pi or a gate measures has no answer.

    Its linter has one complaint: percentiles that are no summary, whose sum nobody counts.
    """
    program = shutil.which("prometheus", path=os.environ.get("PROMETHEUS") or None)
    if program is None:
        pytest.skip("no prometheus here (Debian's package): PROMETHEUS=FOLDER says where it is")
    server, headers = device
    token, port = tmp_path / "token", free_port()
    token.write_text(headers["Authorization"].partition(" ")[2])
    config = (FOLDER / "prometheus.yml").read_text()
    for before, after in (
        ("15s", "1s"),
        ("/etc/prometheus/edge-camera.token", str(token)),
        ("camera.local:8080", f"127.0.0.1:{server.port}"),
    ):
        assert config.count(before) == 1
        config = config.replace(before, after)
    (tmp_path / "prometheus.yml").write_text(config)
    log = tmp_path / "prometheus.log"
    command = [program, f"--config.file={tmp_path}/prometheus.yml"]
    command += [f"--storage.tsdb.path={tmp_path}/tsdb", f"--web.listen-address=127.0.0.1:{port}"]
    with log.open("wb") as out:
        running = subprocess.Popen(command, stderr=out, cwd=tmp_path)
    try:
        wait_until(lambda: "Server is ready" in log.read_text(), log.read_text)
        instance = f"127.0.0.1:{server.port}"
        scraped = f'count_over_time(edge_up{{instance="{instance}"}}[1m]) >= 4'
        wait_until(lambda: bool(ask(port, "query", query=scraped)["result"]), log.read_text)
        for target in TARGETS:
            expression = target["expr"].replace("$instance", instance)
            expression = expression.replace("$__rate_interval", "1m")
            got = ask(port, "query", query=expression)["result"]
            names = {name for name, _ in asked(expression)}
            assert got or names <= RARE, expression
        scrape = server.send("GET", "/metrics", None, headers).body
        lint = [str(Path(program).with_name("promtool")), "check", "metrics"]
        found = subprocess.run(lint, input=scrape, capture_output=True, check=False).stderr
        assert {line.split()[0] for line in found.splitlines()} == {b"edge_stage_seconds"}
        (known,) = ask(port, "series", **{"match[]": "edge_info"})
        assert known["device"]
        assert known["instance"] == instance
    finally:
        running.terminate()
        running.wait()
