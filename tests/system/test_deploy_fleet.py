"""A fleet's server as docs/consumers.md sets it up: its units, mosquitto, PostgreSQL, Prometheus.

In this order: all tests use the same machine, which is the server and a device too.
"""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.certificates import Authority
from tests.conftest import ROOT
from tests.system import packages
from tests.system.conftest import APT, BASES, CLIP, CONFIG, SETTINGS, natives
from tests.system.containers import container
from tests.system.machine import Machine, Subscriber
from tests.system.test_install import clone

pytestmark = pytest.mark.system
CONSUMER: Final = "edge-fleet-consumer@1"
EXPORTER: Final = "edge-fleet-exporter"
PAGE: Final = (ROOT / "docs" / "consumers.md").read_text()
SERVER: Final = ("postgresql", "prometheus", "libnss-systemd", "libpq5", "python3-pip-whl", "curl")
"""What the page has an operator install, but for Debian's Python."""
HOST: Final = "broker.example"
BROKER: Final = """
allow_anonymous true
password_file /etc/mosquitto/passwords
acl_file /etc/mosquitto/acl
listener 1883 127.0.0.1
listener 8883
cafile /etc/mosquitto/certs/ca.crt
certfile /etc/mosquitto/certs/server.crt
keyfile /etc/mosquitto/certs/server.key
"""
"""One ACL for both, as the page asks; the device, without a name, is let in by the first lines."""
READ: Final = ("event", "availability", "info", "state", "telemetry")
PASSWORD: Final = "s3cret word"
EXPOSURE_MAX: Final = 1.3


def section(title: str) -> str:
    """Return the text of a section of the page, without those below it."""
    return re.split(r"^#+ ", PAGE.split(f"# {title}\n")[1], maxsplit=1, flags=re.M)[0]


def typed(title: str) -> list[str]:
    """Return each block of lines to type of a section."""
    blocks = re.findall(r"(?:^    \S.*\n(?:^      .*\n)*)+", section(title), re.M)
    return [re.sub(r"^    ", "", block, flags=re.M) for block in blocks]


def fenced(title: str, kind: str = "") -> str:
    """Return the first text of a kind between fences of a section."""
    fences = re.findall(r"^```(\w*)\n(.*?)^```\n", section(title), re.M | re.S)
    return next(str(text) for name, text in fences if name == kind)


class Server:
    """A booted machine with a clone in /opt/edge."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def run(self, lines: str) -> str:
        """Run lines in the clone, up to the first that fails."""
        return self.machine.run(f"cd /opt/edge && set -e\n{lines}", timeout_s=180).output

    def psql(self, query: str) -> str:
        """Return what a query gives, a row on each line."""
        return self.machine.output(
            f"cd / && sudo -u postgres psql -XAt -d fleet -c {shlex.quote(query)}"
        )

    def journal(self, unit: str) -> list[dict[str, Any]]:
        """Return the journal's entries of a unit's own process."""
        of = f"SYSLOG_IDENTIFIER={unit.partition('@')[0]}"
        lines = self.machine.output(f"journalctl -q -u {unit} -o json {of}")
        return [json.loads(line) for line in lines.splitlines()]

    def says(self, unit: str, text: str, timeout_s: float = 60.0) -> None:
        """Wait until the unit's process has logged a text."""
        log = f"journalctl -q -u {unit} -o cat"
        self.machine.wait_for(
            f"{unit}: {text}", lambda: text in self.machine.output(log), timeout_s
        )

    def is_active(self, unit: str) -> bool:
        """Return whether a unit's process runs."""
        return self.machine.show("SubState", unit=unit)["SubState"] == "running"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A machine with what the page's first section gives, a broker, and a device."""
    suite, arch = natives()[0].split("-")
    folder, deb = BASES / f"{suite}-fleet", packages.find(packages.DIST, suite, arch)
    build = ["unshare", "--mount", "--propagation", "private", "tests/system/build.sh"]
    build += [str(folder), suite, arch, *deb.depends(), *SERVER]
    subprocess.run(build, cwd=ROOT, check=True)
    with container(f"{suite}-{arch} fleet", folder / "root", network=True) as machine:
        machine.put(CLIP, (ROOT / "deploy" / "demo" / "clip.mp4").read_bytes())
        machine.put(CONFIG, SETTINGS.format(source=CLIP, fps=30).encode())
        machine.put("/root/package.deb", deb.path.read_bytes())
        machine.put("/root/clone.tar", clone())
        machine.run("mkdir /opt/edge && tar -xf /root/clone.tar -C /opt/edge --no-same-owner")
        running = Server(machine)
        begin_broker(running, tmp_path_factory.mktemp("authority"))
        machine.run(f"{APT} install /root/package.deb", timeout_s=180)
        yield running


@pytest.fixture
def events(server: Server) -> Iterator[Subscriber]:
    """What the device publishes from now on."""
    subscriber = server.machine.subscribe("edge/edge-test/event")
    yield subscriber
    subscriber.close()


def begin_broker(server: Server, folder: Path) -> None:
    """Start a mosquitto for the devices here, and over TLS for those who log in."""
    machine, authority = server.machine, Authority(folder, "ca")
    pair = authority.sign("server", address=f"DNS:{HOST}")
    for path in (authority.cert, pair.cert, pair.key):
        machine.put(f"/etc/mosquitto/certs/{path.name}", path.read_bytes())
    acl = "topic readwrite edge/#\ntopic readwrite homeassistant/#\nuser fleet\n"
    acl += "".join(f"topic read edge/+/{kind}\n" for kind in READ)
    machine.put("/etc/mosquitto/acl", acl.encode())
    lines = fenced("On the server") + BROKER
    machine.put("/etc/mosquitto/conf.d/fleet.conf", lines.encode())
    machine.run(
        f"mosquitto_passwd -c -b /etc/mosquitto/passwords fleet '{PASSWORD}'"
        " && chown -R mosquitto /etc/mosquitto/passwords /etc/mosquitto/acl /etc/mosquitto/certs"
        f" && echo 127.0.0.1 {HOST} >>/etc/hosts && systemctl restart mosquitto"
    )


def test_the_page_sets_up_the_units(server: Server) -> None:
    """Each line as it stands there, but for the clone; both run, and log in over TLS."""
    (first,) = typed("On the server")
    server.run(first.replace("sudo git clone ADDRESS /opt/edge && ", ""))
    machine = server.machine
    machine.put("/etc/edge-fleet/mqtt.toml", fenced("On the server", "toml").encode())
    for name in ("consumer", "exporter"):
        place = f"/etc/edge-fleet/credentials/{name}-password"
        machine.put(place, f"{PASSWORD}\n".encode())
    machine.run("cp /etc/mosquitto/certs/ca.crt /etc/edge-fleet/credentials/mqtt-ca")
    stranger = machine.run("runuser -u nobody ls /etc/edge-fleet/credentials", check=False)
    assert "Permission denied" in stranger.output
    for block in (*typed("Events into PostgreSQL")[:1], *typed("Metrics and alerts")[:1]):
        print(server.run(block.replace("curl ", "curl --retry 9 --retry-connrefused ")))
    server.says(CONSUMER, f"{HOST}:8883: connected")
    server.says(EXPORTER, "http://127.0.0.1:9464/metrics")
    for unit in (CONSUMER, EXPORTER):
        assert machine.output(f"systemctl is-enabled {unit}") == "enabled"
        assert PASSWORD not in machine.output(f"journalctl -u {unit} -o export")


def test_their_sandboxes_are_the_kernels(server: Server) -> None:
    """Of the running processes; systemd's own figure is printed."""
    for unit in (CONSUMER, EXPORTER):
        pid = server.machine.show("MainPID", unit=unit)["MainPID"]
        status = server.machine.output(f"cat /proc/{pid}/status")
        fields = dict(line.split(":\t", 1) for line in status.splitlines())
        assert {fields[name].strip() for name in fields if name.startswith("Cap")} == {"0" * 16}
        assert (fields["NoNewPrivs"], fields["Seccomp"]) == ("1", "2")
        assert "0" not in fields["Uid"].split() + fields["Gid"].split()
        table = server.machine.output(f"systemd-analyze security --no-pager {unit}")
        figure = re.search(r"exposure level for \S+: ([\d.]+)", table)
        assert figure, table
        print(f"{server.machine.name}: {unit}: systemd-analyze security: {figure[1]}")
        assert float(figure[1]) <= EXPOSURE_MAX, table


def test_an_event_of_the_daemon_becomes_a_row(server: Server, events: Subscriber) -> None:
    """The one that a subscriber sees, once; and the questions of the page know the device."""
    events.wait_for("a change of label", lambda: events.events("label_changed"))
    event = events.events("label_changed")[0]
    where = f"device = 'edge-test' AND id = '{event['id']}'"
    query = f"SELECT type, after, seq FROM event WHERE {where}"
    expected = f"label_changed|{event['after']}|{event['seq']}"
    server.machine.wait_for("its row", lambda: server.psql(query) == expected)
    assert server.psql("SELECT device, online FROM device") == "edge-test|t"


def test_a_killed_consumer_is_back_and_nothing_is_lost(server: Server, events: Subscriber) -> None:
    """By systemd, under its name; what was published meanwhile is stored once."""
    before = server.machine.show("MainPID", unit=CONSUMER)
    server.machine.run(f"systemctl kill -s KILL {CONSUMER}")
    events.wait_for("events meanwhile", lambda: len(events.events("label_changed")) > 1)
    server.machine.wait_for("another process", lambda: server.is_active(CONSUMER), 60)
    assert server.machine.show("MainPID", unit=CONSUMER) != before
    assert server.machine.show("NRestarts", unit=CONSUMER)["NRestarts"] == "1"
    stored(server, [event["id"] for event in events.events("label_changed")])


def stored(server: Server, ids: list[str]) -> None:
    """Wait until each of these events of the device is a row, and no more than one.

    An event may be published twice, with one id.
    """
    of, wanted = ", ".join(f"'{one}'" for one in ids), sorted(set(ids))
    query = f"SELECT id FROM event WHERE device = 'edge-test' AND id IN ({of}) ORDER BY id"

    def rows() -> list[str]:
        return server.psql(query).split()

    with contextlib.suppress(AssertionError):
        server.machine.wait_for("the rows", lambda: sorted(rows()) == wanted, 60)
    assert sorted(rows()) == wanted, f"published {len(ids)} times"


def test_a_database_that_is_stopped_is_waited_for(server: Server, events: Subscriber) -> None:
    """By the same process, which says so, with a priority; then all is stored."""
    before = server.machine.show("MainPID", unit=CONSUMER)
    events.wait_for("an event", lambda: events.events("label_changed"))
    server.machine.run("systemctl stop postgresql@*")
    server.says(CONSUMER, "messages wait, trying again")
    server.machine.run("systemctl start postgresql")
    server.says(CONSUMER, "the database is back")
    stored(server, [event["id"] for event in events.events("label_changed")])
    assert server.machine.show("MainPID", unit=CONSUMER) == before
    (away, *_) = [one for one in server.journal(CONSUMER) if "trying again" in one["MESSAGE"]]
    assert away["PRIORITY"] == "4"
    assert away["MESSAGE"].startswith("database fleet on /run/postgresql: "), "no time of its own"


def test_a_database_with_a_password_is_used_over_tcp(server: Server, events: Subscriber) -> None:
    """The password comes as a credential: in no command line, environment or log."""
    server.psql('ALTER ROLE "edge-consumer" PASSWORD $$pg s3cret$$')
    line = "localhost:5432:fleet:edge-consumer:pg s3cret\n"
    server.machine.put("/etc/edge-fleet/credentials/pgpass", line.encode())
    database = "DATABASE=host=localhost dbname=fleet user=edge-consumer\n"
    server.machine.put("/etc/edge-fleet/consumer.env", database.encode())
    server.machine.run(f"systemctl restart {CONSUMER}")
    held = "SELECT client_addr IS NOT NULL FROM pg_stat_activity"
    query = f"{held} WHERE application_name = 'edge-consumer'"
    server.machine.wait_for("a connection over TCP", lambda: server.psql(query) == "t")
    count = len(events.events("label_changed"))
    events.wait_for("an event after it", lambda: len(events.events("label_changed")) > count)
    stored(server, [event["id"] for event in events.events("label_changed")])
    pid = server.machine.show("MainPID", unit=CONSUMER)["MainPID"]
    shown = f"cat /proc/{pid}/cmdline /proc/{pid}/environ; journalctl -u {CONSUMER} -o export"
    assert "s3cret" not in server.machine.output(shown)


@pytest.mark.parametrize("unit", [CONSUMER, EXPORTER])
def test_a_wrong_config_is_not_tried_again(server: Server, unit: str) -> None:
    """Status 78, once, and why in `systemctl status`; after a correction it runs."""
    config = "/etc/edge-fleet/mqtt.toml"
    server.machine.run(f"cp {config} /root/mqtt.toml; echo prt = 8883 >>{config}")
    server.machine.run(f"systemctl restart {unit}", check=False)

    def shown() -> dict[str, str]:
        return server.machine.show("ActiveState", "ExecMainStatus", "NRestarts", unit=unit)

    failed = {"ActiveState": "failed", "ExecMainStatus": "78", "NRestarts": "0"}
    server.machine.wait_for("failed", lambda: shown() == failed)
    status = server.machine.run(f"systemctl status --no-pager -l {unit}", check=False).output
    assert f"{config}: mqtt.prt: unknown key" in status
    server.machine.run(f"cp /root/mqtt.toml {config}; systemctl restart {unit}")
    server.machine.wait_for("a running unit", lambda: server.is_active(unit))


def test_a_killed_exporter_is_back(server: Server) -> None:
    """And says again how the device is."""
    server.machine.run(f"systemctl kill -s KILL {EXPORTER}")
    curl = "curl -s localhost:9464/metrics"

    def again() -> bool:
        restarts = server.machine.show("NRestarts", unit=EXPORTER)["NRestarts"]
        metrics = server.machine.run(curl, check=False).output
        return restarts == "1" and 'edge_up{device="edge-test"} 1.0' in metrics

    server.machine.wait_for("metrics of another process", again, 60)


def test_debians_prometheus_takes_the_page_s_lines(server: Server) -> None:
    """In its own file, accepted by promtool; then it has the device and the rules."""
    (lines,) = typed("Metrics and alerts")[1:]
    assert "SUCCESS: 7 rules found" in server.run(lines)

    def ask(path: str) -> Any:
        answer = server.machine.run(f"curl -s 'localhost:9090/api/v1/{path}'", check=False).output
        return json.loads(answer)["data"] if answer.startswith("{") else {}

    def result() -> Any:
        return ask("query?query=edge_up").get("result")

    server.machine.wait_for("the device", result, 90)
    labels = result()[0]["metric"]
    assert (labels["job"], labels["device"]) == ("edge-fleet", "edge-test")
    (group,) = ask("rules")["groups"]
    assert len(group["rules"]) == 7
    targets = {one["labels"]["job"] for one in ask("targets")["activeTargets"]}
    assert targets >= {"edge-fleet", "prometheus"}, "Debian's own are still there"
