"""What deploy/rabbitmq gives an operator: users and permissions; a cluster that loses nothing."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.rabbitmq.definitions import ROLES, Login, definitions, hashed, parsed
from tests.conftest import ROOT

PROGRAM = ROOT / "deploy" / "rabbitmq" / "definitions.py"
LONG_S = 900.0


def may(user: str, role: str, what: str, topic: str) -> bool:
    """Return whether RabbitMQ's patterns allow a topic, or the filter of a subscription."""
    made = definitions([Login(user, "secret", role)])
    (rule,) = made["topic_permissions"]
    pattern = rule[what].replace("{username}", user).replace(r"\z", r"\Z")
    return bool(re.search(pattern, topic.replace("/", ".").replace("+", "*")))


@pytest.mark.parametrize(
    ("role", "what", "allowed", "denied"),
    [
        (
            "device",
            "write",
            ["edge/porch/state", "edge/porch/response/ping", "homeassistant/device/porch/config"],
            ["edge/wall/state", "edge/porch", "edge/porch2/state", "xedge/porch/state",
             "homeassistant/device/wall/config", "homeassistant/status", "edge/porch/state\n",
             "homeassistant/device/porch/config\n"],
        ),
        (
            "device",
            "read",
            ["edge/porch/request/+", "edge/porch/request/ping", "edge/porch/claim",
             "edge/porch/availability", "edge/porch/info", "edge/porch/state",
             "homeassistant/status"],
            ["#", "edge/#", "edge/porch/#", "edge/+/state", "edge/porch/request/#",
             "edge/porch/request/a/b", "edge/porch/event", "edge/wall/state", "homeassistant/#"],
        ),
        (
            "homeassistant",
            "write",
            ["edge/porch/request/ping", "homeassistant/status"],
            ["edge/porch/state", "edge/porch/request", "edge/porch/a/request/ping"],
        ),
        ("homeassistant", "read", ["edge/#", "edge/+/state", "homeassistant/#"], ["#", "other/#"]),
        ("watcher", "write", [], ["edge/porch/request/ping", "edge/porch/state", "a"]),
        ("watcher", "read", ["edge/#", "edge/+/event"], ["#", "homeassistant/status", "edge2/#"]),
    ],
)  # fmt: skip
def test_the_permissions_are_those_of_mosquittos_acl(
    role: str, what: str, allowed: list[str], denied: list[str]
) -> None:
    """The same topics as deploy/mosquitto/acl, in RabbitMQ's words."""
    assert [topic for topic in allowed if not may("porch", role, what, topic)] == []
    assert [topic for topic in denied if may("porch", role, what, topic)] == []


def test_a_device_has_sessions_of_its_own_alone() -> None:
    """Client ids are names of queues: a device cannot take another's."""
    made = definitions([Login("porch", "x"), Login("porch-2", "x")])
    first, second = (rule["configure"] for rule in made["permissions"])
    for pattern, own, other in ((first, "porch", "porch-2"), (second, "porch-2", "porch")):
        pattern = pattern.replace(r"\z", r"\Z")
        assert re.search(pattern, f"mqtt-subscription-edge-{own}-7fb7997eqos1")
        assert re.search(pattern, "mqtt-subscription-edge-doctor-1a2b3c4dqos1")
        assert not re.search(pattern, f"mqtt-subscription-edge-{other}-7fb7997eqos1")
        assert not re.search(pattern, "amq.topic")


def test_passwords_are_salted_and_hashed() -> None:
    """Salt before the digest of salt and password, each password with another salt."""
    digest = hashlib.sha512(b"saltsecret").digest()
    assert base64.b64decode(hashed("secret", b"salt")) == b"salt" + digest
    made = definitions([Login("a", "same"), Login("b", "same")])
    one, two = (user["password_hash"] for user in made["users"])
    assert one != two


def test_the_lines_of_a_file_become_logins() -> None:
    """Quoted passwords, roles, and empty lines."""
    lines = ["porch,secret\n", "\n", 'wall,"a,b",device\n', "ha,x,homeassistant\n"]
    assert [*parsed(lines)] == [
        *(Login("porch", "secret"), Login("wall", "a,b"), Login("ha", "x", "homeassistant")),
    ]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("porch\n", "line 1: 1 fields; expected NAME,PASSWORD[,ROLE]"),
        ("a,b\nporch,b,c,d\n", "line 2: 4 fields"),
        ("porch.x,secret\n", "line 1: a name has letters, digits, _ and - only"),
        (".*,secret\n", "line 1: a name has letters"),
        ("porch,\n", "line 1: porch has no password"),
        ("porch,a\nporch,b\n", "line 2: porch is on a line before"),
        ("porch,a,root\n", f"line 1: porch: a role is one of {', '.join(ROLES)}"),
        ('porch,"a\n', "unexpected end of data"),
        ("\xff,a\n", ""),
    ],
)
def test_a_bad_line_is_refused_in_one_line(text: str, why: str) -> None:
    """Status 65, the line's number, nothing on standard output, no password in the error."""
    done = subprocess.run(
        [sys.executable, PROGRAM], input=text.encode("latin-1"), capture_output=True, check=False
    )
    error = done.stderr.decode()
    assert done.returncode == 65
    assert done.stdout == b""
    assert error.count("\n") == 1
    assert error.startswith("definitions: standard input: ")
    assert why in error


def cluster_run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run something that needs namespaces; skip the test, loudly, where there are none."""
    if os.geteuid() != 0:
        pytest.skip("LEFT OUT: a RabbitMQ cluster: only root can make namespaces")
    probe = ["unshare", "--net", "--mount", "--pid", "--fork", "true"]
    if subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("LEFT OUT: a RabbitMQ cluster: this machine allows no namespaces")
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=LONG_S,
        check=False,
    )
    if "no Debian 13 with RabbitMQ could be made" in done.stderr:
        pytest.skip("LEFT OUT: a RabbitMQ cluster: `make load BROKER=cluster` makes what it needs")
    return done


@pytest.mark.long
def test_a_cluster_under_the_shipped_files() -> None:
    """Permissions, the daemon under them, retained messages: tests/rabbitmq says what."""
    checks = ROOT / "tests" / "rabbitmq"
    for file in ("check_cluster.py", "check_node.py"):
        done = cluster_run("-m", "tests.rabbitmq", checks / file)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


@pytest.mark.long
def test_a_cluster_that_is_broken_loses_no_event() -> None:
    """A node and the leader are killed, the next leader is cut off: each event comes, in order."""
    load = ROOT / "deploy" / "load.py"
    done = cluster_run(load, "--broker=cluster", "--devices=30", "--seconds=5")
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    rows = {
        line.split("|")[1].strip(): line.split("|")[3].strip() for line in done.stdout.splitlines()
    }
    sent, lost, _ = rows["events sent / lost / twice"].replace(",", "").split(" / ")
    assert int(sent) > 300
    assert lost == "0"
    assert rows["copies that differ / events out of order"] == "0 / 0"
    for fault in ("a node is killed", "the leader is killed", "the leader is cut off"):
        assert " reconnects in " in rows[f"{fault}: events late for"]
