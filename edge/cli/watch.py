"""What a subscriber sees, live: every device's state, changes, rates and times.

A screen that redraws on a terminal, a line a message elsewhere. paho's thread brings the messages
[1]; the caller's thread draws.
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
"""What a broker keeps comes at once, of a thousand devices 5 MB; more waits only to be dropped."""


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

    ended  called then, before the last messages are shown
    Raises PublishError where the broker cannot be reached.
    """
    arrived = Mailbox(MESSAGES, BYTES)  # [1]
    console, view = Console(), Screen(base)

    def on_connection(wrong: str) -> None:
        before = view.connection
        view.connection = escaped(f"broker {broker.address} {wrong}") if wrong else ""
        if wrong and view.connection != before and not console.is_terminal:
            print(escaped(view.connection), file=sys.stderr)

    end = subscribe(
        broker,
        [f"{base}/{device}/{topic}" for topic in TOPICS],
        arrived.put,
        on_connection,
    )
    until = time.monotonic() + seconds if seconds is not None else float("inf")
    try:
        if console.is_terminal:
            with Live(view.render(), console=console, auto_refresh=False) as live:
                while time.monotonic() < until and not stopped():
                    _drain(arrived, view)
                    live.update(view.render(), refresh=True)
                ended()
                _drain(arrived, view)
                live.update(view.render(), refresh=True)
        else:
            while time.monotonic() < until and not stopped():
                for text in _drain(arrived, view):
                    print(escaped(text), flush=True)
            ended()
            for text in _drain(arrived, view):
                print(escaped(text), flush=True)
    finally:
        end()
        if arrived.dropped_total:
            text = f"{arrived.dropped_total} messages came too fast to be shown"
            print(escaped(text), file=sys.stderr)


def _drain(arrived: Mailbox, view: Screen) -> list[str]:
    """Take every message there is, for at most ``DRAW_S``; return them as lines."""
    lines: list[str] = []
    until = time.monotonic() + DRAW_S
    while time.monotonic() < until:
        incoming = arrived.take()
        if incoming is None:
            time.sleep(LOOK_S)
            continue
        text = view.take(incoming.topic, incoming.payload)
        if text is not None:
            lines.append(text)
    view.dropped_total = arrived.dropped_total
    return lines
