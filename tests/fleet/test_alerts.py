"""Prometheus itself: alerts of a fleet begin and end, and the dashboard's row has its answers."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from deploy.broker import PrivateBroker, free_port
from tests.conftest import ROOT, Daemon, wait_until
from tests.fleet.conftest import HINT, Program, Prometheus, Start, mqtt
from tests.test_drift_daemon import taught
from tests.test_grafana import FIRST, PANELS, asked

FOLDER: Final = ROOT / "deploy" / "fleet"
FLEET: Final = [
    target
    for panel in PANELS
    if panel["gridPos"]["y"] > FIRST
    for target in panel.get("targets", ())
]
RARE: Final = {"edge_temperature_celsius", "edge_throttled_bits"}
"""Of a Raspberry Pi."""
CONFIG: Final = """
[device]
id = "porch"
[mqtt]
host = "{0}"
port = {1}
[publish]
telemetry_interval_s = 0.5
[drift]
enabled = true
[model]
path = "{2}"
"""


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run Prometheus's own checker to its end."""
    program = shutil.which("promtool", path=os.environ.get("PROMETHEUS") or None)
    if program is None:
        pytest.skip(f"LEFT OUT: rules of alerts in promtool: it is not here; {HINT}")
    return subprocess.run(
        [program, *map(str, arguments)], capture_output=True, text=True, check=False
    )


def test_promtool_accepts_the_rules_and_the_configuration(tmp_path: Path) -> None:
    """As an operator copies them: side by side."""
    for name in ("alerts.yml", "prometheus.yml"):
        shutil.copy(FOLDER / name, tmp_path)
    done = promtool("check", "config", tmp_path / "prometheus.yml")
    assert done.returncode == 0, done.stderr
    assert "7 rules found" in done.stdout


def test_each_alert_begins_and_ends_when_it_should(tmp_path: Path) -> None:
    """By promtool's unit tests, with the times of the rules themselves."""
    text = (Path(__file__).parent / "alerts_test.yml").read_text()
    (tmp_path / "test.yml").write_text(text.replace("RULES", str(FOLDER / "alerts.yml")))
    done = promtool("test", "rules", tmp_path / "test.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    alerts = set(_values((FOLDER / "alerts.yml").read_text(), "- alert: "))
    assert alerts == set(_values(text, "alertname: "))  # none is without a test


def _values(text: str, key: str) -> list[str]:
    return [part.split("\n")[0].strip(" }") for part in text.split(key)[1:]]


class Site:
    """A broker, a daemon called porch, the exporter, and a Prometheus whose alerts do not wait."""

    def __init__(
        self, folder: Path, broker: PrivateBroker, program: Start, daemon: Callable[..., Daemon]
    ) -> None:
        self._folder, self._program, self._daemon = folder, program, daemon
        self._mqtt, self._port = mqtt(folder, broker), free_port()
        model = taught(folder / "m")
        self._config = CONFIG.format(broker.host, broker.port, model)
        self.begin_exporter()
        rules = folder / "rules.yml"
        rules.write_text((FOLDER / "alerts.yml").read_text().replace("for: ", "for: 0s  # "))
        config = (FOLDER / "prometheus.yml").read_text()
        for before, after in (
            ("scrape_interval: 15s", "scrape_interval: 500ms"),
            ("localhost:9464", f"127.0.0.1:{self._port}"),
            ("- alerts.yml", f"- {rules}"),
        ):
            assert config.count(before) == 1
            config = config.replace(before, after)
        config = f"global: {{evaluation_interval: 500ms}}\n{config}"
        self.prometheus = Prometheus(folder / "prometheus", config)

    def begin_exporter(self) -> None:
        """Start the exporter."""
        options = ("--config", self._mqtt, "--listen", f"127.0.0.1:{self._port}")
        self.exporter: Program = self._program("exporter", *options)
        self.exporter.wait_for_log("/metrics")

    def begin_daemon(self) -> Daemon:
        """Start the daemon."""
        return self._daemon("--source", "synthetic", config=self._config)

    def wait_for(self, *firing: tuple[str, str]) -> None:
        """Wait until these alerts fire, and no other, while all are evaluated."""
        log = self.prometheus.log
        wait_until(lambda: self.prometheus.firing() == set(firing), log.read_text, every_s=0.2)


@pytest.fixture
def site(
    tmp_path: Path, broker: PrivateBroker, program: Start, daemon: Callable[..., Daemon]
) -> Iterator[Site]:
    """A running site without its daemon."""
    made = Site(tmp_path, broker, program, daemon)
    try:
        wait_until(lambda: "Server is ready" in made.prometheus.log.read_text())
        yield made
    finally:
        made.prometheus.process.kill()
        made.prometheus.process.wait()


def test_alerts_fire_while_a_daemon_is_gone_and_end_when_it_is_back(site: Site) -> None:
    """A kill, the broker's last will, one alert; and one alert alone where the exporter is gone."""
    prometheus = site.prometheus
    running = site.begin_daemon()
    speaks = 'edge_up{device="porch"} == 1 and on (device) edge_frame_rate_hertz > 0'
    wait_until(lambda: bool(prometheus.query(speaks)), prometheus.log.read_text, every_s=0.2)
    assert prometheus.firing() == set()
    running.stop(signal.SIGKILL)
    site.wait_for(("EdgeDeviceQuiet", "porch"))
    assert not prometheus.query("edge_frame_rate_hertz")  # nothing stale looks fresh
    site.begin_daemon()
    site.wait_for()
    wait_until(lambda: bool(prometheus.query(speaks)), prometheus.log.read_text, every_s=0.2)
    site.exporter.end(signal.SIGKILL)
    site.wait_for(("EdgeExporterAway", ""))
    site.begin_exporter()
    site.wait_for()


def test_the_row_of_a_fleet_has_its_answers(site: Site) -> None:
    """Every expression and legend of the dashboard; a Pi's own figures by their names alone."""
    site.begin_daemon()
    prometheus = site.prometheus
    drift = 'edge_drifting{device="porch"}'
    wait_until(lambda: bool(prometheus.query(drift)), prometheus.log.read_text, every_s=0.2)
    count = "count_over_time(edge_exporter_messages_total[1m]) >= 4"
    wait_until(lambda: bool(prometheus.query(count)), every_s=0.2)
    label = "edge_label"
    wait_until(lambda: bool(prometheus.query(label)), prometheus.log.read_text, every_s=0.2)
    assert len(FLEET) > 8
    for target in FLEET:
        expression = target["expr"].replace("$devices", ".+").replace("$__rate_interval", "1m")
        names = {name for name, _ in asked(expression)}
        assert names, expression
        series: list[Any] = prometheus.query(expression)
        assert series or names <= RARE, expression
        legend = [part.split("}}")[0] for part in target["legendFormat"].split("{{")[1:]]
        assert all(set(legend) <= one["metric"].keys() for one in series), expression
    variable = prometheus.query('edge_up{job="edge-fleet"}')
    assert [one["metric"]["device"] for one in variable] == ["porch"]
