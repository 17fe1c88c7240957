"""What has come and waits: bounded in number and in bytes, for the daemon and for `edge watch`."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path
from subprocess import PIPE

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from deploy.broker import PrivateBroker
from edge.cli.screen import Screen
from edge.messages import Incoming
from edge.mqtt import mailbox
from edge.mqtt.mailbox import BURST, FLOOD, Flood, Mailbox
from tests.conftest import ROOT, WAIT_S
from tests.test_watch import STATE, drawn


def message(size: int, name: str = "a") -> Incoming:
    """Return a message with a payload of ``size`` bytes."""
    return Incoming(f"edge/d/request/{name}", bytes(size))


def test_a_mailbox_is_bounded_in_number_and_bytes() -> None:
    """The oldest stay; what does not fit is counted; what is taken makes room."""
    box = Mailbox(messages=3, size_bytes=10_000)
    for number in range(5):
        box.put(message(10, str(number)))
    assert (len(box), box.dropped_total) == (3, 2)
    first = box.take()
    assert first is not None
    assert first.topic.endswith("/0")
    box.put(message(9_500))
    assert box.dropped_total == 3  # too long beside the others
    assert [box.take() is None for _ in range(3)] == [False, False, True]
    box.put(message(9_500))
    assert (len(box), box.dropped_total) == (1, 3)


def test_a_full_mailbox_takes_no_more_than_it_says() -> None:
    """Measured: of tiny messages, and of long ones with long names."""
    for incoming in (
        [Incoming(f"edge/d/request/{n}", b"%d" % n, came_s=1.5 * n) for n in range(5000)],
        [Incoming("t" * 900 + str(n), bytes(16_000), answer_to="a" * 900) for n in range(500)],
    ):
        tracemalloc.start()
        box = Mailbox()
        copies = [Incoming(i.topic + "x", i.payload + b"x", False, 1.0) for i in incoming]
        before = tracemalloc.get_traced_memory()[0]
        del copies
        after = tracemalloc.get_traced_memory()[0]
        each = (before - after) / len(incoming)
        for one in incoming:
            box.put(one)
        assert len(box) * each < mailbox.BYTES + 200_000
        assert box.dropped_total
        tracemalloc.stop()


def test_the_subscription_that_floods_is_found() -> None:
    """Beyond the burst the one that brings most is named; a rate below is not."""
    flood = Flood()
    named = [flood.add("b" if number % 3 else "a", 0.0) for number in range(BURST)]
    assert named[:-1] == [None] * (BURST - 1)
    assert named[-1] == "b"
    calm = Flood()
    for second in range(20):
        for _ in range(FLOOD):
            assert calm.add("a", float(second)) is None


def test_watching_a_hostile_broker_is_bounded(broker: PrivateBroker) -> None:
    """2,000 devices with retained states of 60 KB, 100 payloads of 1 MB: 110 MB at most."""
    scores = {f"label {number}": 0.5 for number in range(3_000)}
    body = json.dumps(STATE | {"scores": scores}).encode()
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.connect(broker.host, broker.port)
    client.loop_start()
    for number in range(2000):
        sent = client.publish(f"edge/d{number}/state", body, 1, True)
        if number % 20 == 0:
            client.publish(f"edge/e{number}/info", b"[" * 1_000_000, 1, True)
            sent.wait_for_publish(WAIT_S)
    sent.wait_for_publish(WAIT_S)
    client.disconnect()
    client.loop_stop()
    command = [sys.executable, "-m", "edge", "watch", "--broker", broker.address]
    with subprocess.Popen(command, cwd=ROOT, stdout=PIPE, stderr=PIPE, text=True) as watch:
        assert watch.stdout is not None
        lines = [watch.stdout.readline() for _ in range(300)]
        status = Path(f"/proc/{watch.pid}/status").read_text()
        watch.send_signal(signal.SIGINT)
        _, errors = watch.communicate(timeout=WAIT_S)
    assert all(" state a 0.50" in line for line in lines)
    assert "Traceback" not in errors
    peak_kb = int(status.split("VmHWM:")[1].split()[0])
    assert peak_kb < 110_000


def test_messages_that_came_too_fast_are_said() -> None:
    """In the screen."""
    screen = Screen()
    screen.dropped_total = 7
    assert "7 messages dropped: they came too fast" in drawn(screen)
