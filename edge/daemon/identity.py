"""The device's name on the broker: what two daemons that share it do.

Each connection begins with a claim on ``<base>/claim``; at the first one nothing else is published
for a second. A daemon that has published under the name never yields: no message may stop a daemon
at work. It answers with a claim of its own, and the newcomer ends. Of two newcomers, the one whose
run sorts first stays.

Pure: time and messages are given; knows no broker.
"""

from __future__ import annotations

from typing import Final

import msgspec

from edge.contract import Claim
from edge.daemon.rate import Rate
from edge.errors import IdentityError
from edge.frames import Seconds
from edge.messages import Incoming, Message

RATE: Final = 20
"""Claims a second that are read; the others are ignored."""
RIVALS: Final = 50
"""Other daemons that are reported; the others are answered only."""


class Identity:
    """One daemon's claim to its name.

    base     what the topics begin with, edge/<device_id>
    device   the name
    run      names this run of the daemon
    machine  named to the other daemon
    """

    def __init__(self, base: str, device: str, run: str, machine: str) -> None:
        self.topic: Final = f"{base}/claim"
        self._device, self._run, self._machine = device, run, machine
        self._rivals: set[str] = set()
        self._rate = Rate(RATE)

    def claim(self, settled: bool) -> Message:
        """Return the claim to the name; ``settled``: it has been published under."""
        body = Claim(self._run, self._machine, settled)
        return Message(self.topic, msgspec.json.encode(body), 1, False)

    def judge(self, incoming: Incoming, settled: bool, now_s: Seconds) -> Message | Claim | None:
        """Return what another daemon's claim calls for.

        A Message: the answer. A Claim: the other one has published too, which is worth an event,
        once. None: nothing. Raises IdentityError where this daemon yields.
        """
        if not self._rate.take(now_s):
            return None
        other = read(incoming)
        if other is None or other.run == self._run:
            return None
        if yields(self._run, settled, other):
            raise IdentityError(
                "another daemon has this device id",
                where=f"device.id {self._device}",
                got=f"run {other.run} on {other.machine}",
                hint="give each device an id of its own",
            )
        if not other.settled:
            return self.claim(settled)
        if other.run in self._rivals or len(self._rivals) >= RIVALS:
            return None
        self._rivals.add(other.run)
        return other


def read(incoming: Incoming) -> Claim | None:
    """Return the claim in a message; None where it is none."""
    if incoming.retained or incoming.cut_bytes:
        return None
    try:
        return msgspec.json.decode(incoming.payload, type=Claim)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def yields(run: str, settled: bool, other: Claim) -> bool:
    """Return whether the daemon ``run`` leaves the name to another."""
    return not settled and (other.settled or other.run < run)
