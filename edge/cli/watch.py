"""`edge watch`: the state, changes, rates and times of every device, live.

A screen that redraws on a terminal; elsewhere one line per message. The caller's thread draws.

[1] Messages of a broker cross from paho's thread through the mailbox.
[2] ``on_connection`` runs on paho's thread, or on the caller's for the local socket: it stores one
    string, which the screen reads, and prints; both are whole.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from rich.console import Console
from rich.live import Live

from edge.cli.screen import TOPICS, Screen
from edge.cli.watch_local import LocalMessages
from edge.frames import Seconds
from edge.messages import Broker, Incoming
from edge.mqtt import Mailbox, subscribe
from edge.text import escaped

DRAW_S: Final = 0.2
LOOK_S: Final = 0.02
MESSAGES: Final = 20_000
BYTES: Final = 16_777_216
"""A broker sends all retained messages at once, 5 MB for a thousand devices; beyond are dropped."""


class Messages(Protocol):
    """Where messages come from."""

    dropped_total: int
    """Messages dropped before they were read."""

    def take(self) -> Incoming | None:
        """Return the oldest message, None if there is none."""


def run(
    broker: Broker,
    base: str,
    device: str,
    *,
    seconds: Seconds | None = None,
    stopped: Callable[[], bool] = lambda: False,
    ended: Callable[[], None] = lambda: None,
    note: str = "",
) -> None:
    """Show ``device`` ("+" for all) at a broker until ``stopped`` or for ``seconds``.

    base   what the topics begin with
    ended  called at the end, before the last messages are shown
    note   printed on stderr once the broker is connected
    Raises PublishError if the broker cannot be reached.
    """
    arrived = Mailbox(MESSAGES, BYTES)  # [1]
    screen = Screen(base)
    end = subscribe(
        broker,
        [f"{base}/{device}/{topic}" for topic in TOPICS],
        arrived.put,
        _on_connection(screen, f"broker {broker.address}"),
    )
    try:
        _say(note)
        _show(arrived, screen, seconds, stopped, ended)
    finally:
        end()
        if arrived.dropped_total:
            _say(f"{arrived.dropped_total} messages dropped: they came too fast")


def run_local(path: Path, base: str, *, seconds: Seconds | None = None, note: str = "") -> None:
    """Show the device whose local socket is at ``path``, for ``seconds`` or until Ctrl-C.

    base  any; what the device's topics begin with
    note  printed on stderr once it is connected
    Raises LocalError if no daemon listens there.
    """
    screen = Screen(base)
    messages = LocalMessages(path, base, _on_connection(screen, str(path)))
    try:
        _say(note)
        _show(messages, screen, seconds, lambda: False, lambda: None)
    finally:
        messages.close()


def _on_connection(screen: Screen, where: str) -> Callable[[str], None]:
    """Return what notes a fault of the connection in ``screen``, and prints it."""
    on_terminal = Console().is_terminal

    def note(fault: str) -> None:  # [2]
        before = screen.connection
        screen.connection = escaped(f"{where} {fault}") if fault else ""
        if fault and screen.connection != before and not on_terminal:
            _say(screen.connection)

    return note


def _show(
    arrived: Messages,
    screen: Screen,
    seconds: Seconds | None,
    stopped: Callable[[], bool],
    ended: Callable[[], None],
) -> None:
    console = Console()
    until = time.monotonic() + seconds if seconds is not None else float("inf")
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


def _drain(arrived: Messages, screen: Screen) -> list[str]:
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


def _say(text: str) -> None:
    if text:
        print(escaped(text), file=sys.stderr)
