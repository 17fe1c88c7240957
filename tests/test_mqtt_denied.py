"""A broker that denies one topic, each in turn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.broker import PrivateBroker
from tests.conftest import Daemon, Listener
from tests.test_control import Asker
from tests.test_mqtt_hostile import config

Start = Callable[..., Daemon]
WRITTEN = ("availability", "info", "state", "event", "telemetry", "response/ping", "claim")
DISCOVERY = "homeassistant/device/wall/config"
READ = ("request/ping", "claim", "availability")


def denying(folder: Path, topic: str) -> tuple[str, ...]:
    """Return options that let the device neither write nor read a topic."""
    rules = f"topic readwrite #\n\nuser wall\ntopic deny {topic}\ntopic readwrite #\n"
    (folder / "acl").write_text(rules)  # the first lines: logins without a user name
    (folder / "acl").chmod(0o600)
    return "allow_anonymous true", f"acl_file {folder / 'acl'}"


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
@pytest.mark.parametrize("topic", [*(f"edge/wall/{kind}" for kind in WRITTEN), DISCOVERY])
@pytest.mark.long
def test_a_topic_that_is_denied_costs_that_topic_alone(
    topic: str, protocol: str, daemon: Start, rgb: Path, tmp_path: Path
) -> None:
    """It is named once where the broker says so (MQTT 5); all the others arrive, events drain."""
    with PrivateBroker(*denying(tmp_path, topic)) as broker:
        listener = Listener(broker, "#")
        running = daemon(
            *("--source", "synthetic", "--model", rgb, "--broker", broker.address),
            config=config(protocol, username="wall"),
        )
        asker = Asker(broker)
        kinds = [*(kind.split("/")[-1] for kind in WRITTEN), "config"]
        denied = topic.split("/")[-1]
        running.wait_for_log("green -> blue")
        asker.send("ping", {"transaction": "a"})
        listener.wait_for(
            lambda: all(listener.bodies(kind) for kind in kinds if kind not in (denied, "ping"))
        )
        if denied != "ping":
            asker.wait_for(1)
            assert asker.answers[0][1]["status"] == "ok"
        later = "event" if denied == "telemetry" else "telemetry"
        count = len(listener.bodies(later))
        listener.wait_for(lambda: len(listener.bodies(later)) >= count + 2)
        assert not listener.bodies(denied) or denied == "ping"
        log = running.log.read_text()
        assert log.count("does not let us write") <= 1, log
        if protocol == "5" and denied not in ("telemetry",):
            assert log.count("does not let us write") == 1, log
        if denied != "telemetry":  # an event may be on its way
            listener.wait_for(lambda: listener.payloads("telemetry")[-1]["spooled"] == 0)
            assert listener.payloads("telemetry")[-1]["reconnects_total"] == 0
        asker.close()
        listener.close()


@pytest.mark.long
@pytest.mark.parametrize("kind", READ)
def test_a_topic_that_may_not_be_read_costs_that_topic_alone(
    kind: str, daemon: Start, rgb: Path, tmp_path: Path
) -> None:
    """The device is online, publishes, and answers what it may read."""
    with PrivateBroker(*denying(tmp_path, f"edge/wall/{kind}")) as broker:
        listener = Listener(broker, "#")
        running = daemon(
            *("--source", "synthetic", "--model", rgb, "--broker", broker.address),
            config=config(username="wall"),
        )
        asker = Asker(broker)
        running.wait_for_log("green -> blue")
        answer = asker.ask("stats", {"transaction": "a"})
        assert answer["status"] == "ok"
        assert answer["data"]["reconnects_total"] == 0
        asker.close()
        listener.close()
