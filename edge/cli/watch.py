"""`edge watch`: the state, changes, rates and times of every device, live.

A screen that redraws on a terminal; elsewhere one line per message. The caller's thread draws.

[1] Messages cross from paho's thread through the mailbox.
[2] ``on_connection`` runs on paho's thread: it stores one string, which the screen reads, and
    prints; both are whole.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Final

from rich.console import Console
from rich.live import Live

from edge.cli.screen import TOPICS, Screen
from edge.frames import Seconds
from edge.messages import Broker
from edge.mqtt import Mailbox, subscribe
from edge.text import escaped

DRAW_S: Final = 0.2
LOOK_S: Final = 0.02
MESSAGES: Final = 20_000
BYTES: Final = 16_777_216
"""A broker sends all retained messages at once, 5 MB for a thousand devices; beyond are dropped."""


def run(
    broker: Broker,
    base: str,
    device: str,
    *,
    seconds: Seconds | None = None,
    stopped: Callable[[], bool] = lambda: False,
    ended: Callable[[], None] = lambda: None,
) -> None:
    """Show ``device`` ("+" for all) until ``stopped`` or for ``seconds``.

    base   what the topics begin with
    ended  called at the end, before the last messages are shown
    Raises PublishError if the broker cannot be reached.
    """
    arrived = Mailbox(MESSAGES, BYTES)  # [1]
    console, screen = Console(), Screen(base)

    def on_connection(fault: str) -> None:  # [2]
        before = screen.connection
        screen.connection = escaped(f"broker {broker.address} {fault}") if fault else ""
        if fault and screen.connection != before and not console.is_terminal:
            print(escaped(screen.connection), file=sys.stderr)

    end = subscribe(
        broker,
        [f"{base}/{device}/{topic}" for topic in TOPICS],
        arrived.put,
        on_connection,
    )
    until = time.monotonic() + seconds if seconds is not None else float("inf")
    try:
        if console.is_terminal:
            with Live(screen.render(), console=console, auto_refresh=False) as live:
                while time.monotonic() < until and not stopped():
                    _drain(arrived, screen)
                    live.update(screen.render(), refresh=True)
                ended()
                _drain(arrived, screen)
                live.update(screen.render(), refresh=True)
        else:
            while time.monotonic() < until and not stopped():
                for text in _drain(arrived, screen):
                    print(escaped(text), flush=True)
            ended()
            for text in _drain(arrived, screen):
                print(escaped(text), flush=True)
    finally:
        end()
        if arrived.dropped_total:
            text = f"{arrived.dropped_total} messages dropped: they came too fast"
            print(escaped(text), file=sys.stderr)


def _drain(arrived: Mailbox, screen: Screen) -> list[str]:
    """Take the messages of the next ``DRAW_S``; return them as lines."""
    lines: list[str] = []
    until = time.monotonic() + DRAW_S
    while time.monotonic() < until:
        incoming = arrived.take()
        if incoming is None:
            time.sleep(LOOK_S)
            continue
        text = screen.take(incoming.topic, incoming.payload)
        if text is not None:
            lines.append(text)
    screen.dropped_total = arrived.dropped_total
    return lines
