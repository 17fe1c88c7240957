"""Checks of three RabbitMQ nodes as in deploy/rabbitmq, run by `python -m tests.rabbitmq`.

A device's permissions are those of deploy/mosquitto/acl; one config of the daemon serves both
brokers; what docs/brokers.md says of RabbitMQ is so.
"""

from __future__ import annotations

import json
import queue
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from deploy.rabbitmq.cluster import PORT, Cluster
from deploy.rabbitmq.definitions import Login
from deploy.rabbitmq.namespaces import NAME, connect
from tests.conftest import WAIT_S, Daemon, wait_until
from tests.rabbitmq.broker import ROOT
from tests.test_acl import Start

USERS = (
    *(Login("porch", "secret"), Login("wall", "secret")),
    *(Login("homeassistant", "secret", "homeassistant"), Login("watcher", "secret", "watcher")),
)
GRANTED, REFUSED = "Granted QoS 1", "Not authorized"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three nodes."""
    folder = tmp_path_factory.mktemp("cluster")
    connect(folder)
    with Cluster(ROOT, folder / "nodes", list(USERS)) as running:
        yield running


class Peer:
    """A client that knows nothing of this project. ``ended``: the broker has closed on it."""

    def __init__(self, cluster: Cluster, user: str, client_id: str = "", node: str = NAME) -> None:
        self.ended = threading.Event()
        self.messages: queue.Queue[tuple[str, bytes, bool]] = queue.Queue()
        self._answers: queue.Queue[str] = queue.Queue()
        self._client = client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id,
            protocol=MQTTProtocolVersion.MQTTv5,
            reconnect_on_failure=False,
        )
        client.tls_set_context(ssl.create_default_context(cafile=str(cluster.ca_file)))
        client.username_pw_set(user, "secret")
        client.on_connect = lambda _, __, ___, code, ____: self._answers.put(str(code))
        client.on_subscribe = lambda _, __, ___, codes, ____: self._answers.put(str(codes[0]))
        client.on_publish = lambda _, __, ___, code, ____: self._answers.put(str(code))
        client.on_message = self._take
        client.on_disconnect = self._end
        client.connect(node, PORT)
        client.loop_start()
        assert self._answers.get(timeout=WAIT_S) == "Success"

    def _end(self, *_: Any) -> None:
        self.ended.set()
        self._answers.put("ended")

    def _take(self, _: Any, __: Any, message: paho.MQTTMessage) -> None:
        self.messages.put((message.topic, bytes(message.payload), message.retain))

    def subscribe(self, topic: str) -> str:
        """Return the broker's answer."""
        self._client.subscribe(topic, 1)
        return self._answers.get(timeout=WAIT_S)

    def publish(self, topic: str, payload: bytes = b"{}", retain: bool = False) -> str:
        """Return the broker's answer, "ended" if it closes the connection instead."""
        self._client.publish(topic, payload, 1, retain)
        return self._answers.get(timeout=WAIT_S)

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()


@pytest.mark.parametrize(
    ("topic", "may"),
    [
        ("edge/porch/state", True),
        ("edge/porch/response/ping", True),
        ("homeassistant/device/porch/config", True),
        ("edge/wall/state", False),
        ("edge/wall/request/pause", False),
        ("edge/wall/claim", False),
        ("edge/porch2/state", False),
        ("edge.wall.state", False),
        ("homeassistant/device/wall/config", False),
        ("homeassistant/status", False),
        ("other", False),
    ],
)
def test_a_device_writes_its_own_topics_alone(cluster: Cluster, topic: str, may: bool) -> None:
    """On what is not its own the connection ends, without an answer; nobody receives it."""
    porch = Peer(cluster, "porch", "edge-porch-1a")
    everything = Peer(cluster, "homeassistant")
    for topics in ("edge/#", "homeassistant/#"):
        assert everything.subscribe(topics) == GRANTED
    assert porch.publish(topic) == ("Success" if may else "ended")
    assert Peer(cluster, "wall", "edge-wall-1a").publish("edge/wall/event") == "Success"
    assert everything.messages.get(timeout=WAIT_S)[0] == (topic if may else "edge/wall/event")
    porch.close()
    everything.close()


@pytest.mark.parametrize(
    ("user", "topic", "may"),
    [
        ("porch", "edge/porch/request/+", True),
        ("porch", "edge/porch/claim", True),
        ("porch", "edge/porch/availability", True),
        ("porch", "edge/porch/info", True),
        ("porch", "homeassistant/status", True),
        ("porch", "edge/wall/state", False),
        ("porch", "edge/+/availability", False),
        ("porch", "edge/porch/#", False),
        ("porch", "edge/#", False),
        ("porch", "#", False),
        ("watcher", "edge/#", True),
        ("watcher", "edge/+/event", True),
        ("watcher", "homeassistant/status", False),
        ("homeassistant", "homeassistant/#", True),
        ("homeassistant", "#", False),
    ],
)
def test_who_may_read_what(cluster: Cluster, user: str, topic: str, may: bool) -> None:
    """A filter that covers more than its reader may read is refused, and the connection ends."""
    peer = Peer(cluster, user, f"edge-{user}-2b" if user == "porch" else "")
    assert peer.subscribe(topic) == (GRANTED if may else REFUSED)
    if not may:
        assert peer.ended.wait(WAIT_S)
    peer.close()


def test_requests_come_from_those_who_may(cluster: Cluster) -> None:
    """Home Assistant's reach the device; a watcher's end its connection."""
    porch = Peer(cluster, "porch", "edge-porch-3c")
    assert porch.subscribe("edge/porch/request/+") == GRANTED
    assert Peer(cluster, "watcher").publish("edge/porch/request/pause") == "ended"
    homeassistant = Peer(cluster, "homeassistant")
    assert homeassistant.publish("edge/porch/request/ping") == "Success"
    assert porch.messages.get(timeout=WAIT_S)[0] == "edge/porch/request/ping"
    porch.close()
    homeassistant.close()


def test_a_session_is_its_owners(cluster: Cluster) -> None:
    """A device that takes another's client id gets no subscription under it."""
    thief = Peer(cluster, "porch", "edge-wall-4d")
    assert thief.subscribe("edge/porch/claim") == REFUSED
    thief.close()


def test_retained_messages_are_on_one_node_and_under_their_own_topic(cluster: Cluster) -> None:
    """Where mosquitto has them for every filter; docs/brokers.md says what follows."""
    porch = Peer(cluster, "porch", "edge-porch-5e", "edge1")
    porch.publish("edge/porch/info", b"kept", retain=True)
    porch.close()
    got = {}
    for node, topic in (
        ("edge1", "edge/porch/info"),
        ("edge1", "edge/+/info"),
        ("edge2", "edge/porch/info"),
    ):
        peer = Peer(cluster, "watcher", node=node)
        assert peer.subscribe(topic) == GRANTED
        wall = Peer(cluster, "wall", "edge-wall-5e", node)
        assert peer.subscribe("edge/wall/event") == GRANTED
        wall.publish("edge/wall/event", b"after")
        got[node, topic] = peer.messages.get(timeout=WAIT_S)[1]
        peer.close()
        wall.close()
    assert list(got.values()) == [b"kept", b"after", b"after"]


def config(folder: Path, cluster: Cluster, login: str = "porch") -> str:
    """Return the config of the device porch, as docs/fleet.md has it."""
    (folder / "password").write_text("secret\n")
    return (
        f'[device]\nid = "porch"\n[mqtt]\nhost = "{NAME}"\nport = {PORT}\ntls = true\n'
        f'ca_file = "{cluster.ca_file}"\nusername = "{login}"\n'
        f'password_file = "{folder}/password"\nkeepalive_s = 10\n'
    )


def test_the_daemon_needs_no_more(
    cluster: Cluster, daemon: Start, rgb: Path, tmp_path: Path
) -> None:
    """The daemon's own messages, and an answer to a request, through a name of three addresses."""
    everything = Peer(cluster, "homeassistant")
    for topics in ("edge/porch/#", "homeassistant/device/#"):
        assert everything.subscribe(topics) == GRANTED
    running = start(daemon, rgb, config(tmp_path, cluster))
    running.wait_for_log("red -> green")
    everything.publish("edge/porch/request/ping", b'{"transaction": 5}')
    running.wait_for_log("green -> blue")
    came: dict[str, bytes] = {}

    def all_came() -> bool:
        while not everything.messages.empty():
            topic, payload, _ = everything.messages.get()
            came[topic] = payload
        return {"edge/porch/response/ping", "edge/porch/event", "edge/porch/telemetry"} <= {*came}

    wait_until(all_came)
    assert json.loads(came["edge/porch/response/ping"])["transaction"] == 5
    assert came["edge/porch/availability"] == b"online"
    assert "homeassistant/device/porch/config" in came
    assert "does not let" not in running.log.read_text()
    everything.close()


def test_a_daemon_with_another_login_says_what_is_denied(
    cluster: Cluster, daemon: Start, rgb: Path, tmp_path: Path
) -> None:
    """Each subscription and topic by name; it goes on, and its events wait."""
    running = start(daemon, rgb, config(tmp_path, cluster, "wall"))
    running.wait_for_log("does not let us read: edge/porch/")
    running.wait_for_log("closes the connection on")
    running.wait_for_log("green -> blue")
    assert running.process.poll() is None


def start(daemon: Start, model: Path, config: str) -> Daemon:
    """Return a running daemon on the synthetic camera."""
    return daemon("--source", "synthetic", "--model", model, config=config)
