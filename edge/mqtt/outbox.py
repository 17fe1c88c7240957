"""What is to be sent over one connection, and what of it is underway.

Of each retained topic the newest message is kept. Events stay in their queue until the broker has
acknowledged them. Everything else goes now or never. What this broker cannot take is set aside by
name, and the rest goes on. Runs on the daemon's thread.
"""

from __future__ import annotations

import time
from typing import Final

from edge.frames import Seconds
from edge.messages import EventQueue, Message
from edge.mqtt.connection import Link, SetAsideError
from edge.mqtt.outage import Seldom

IN_FLIGHT: Final = 20
"""Events handed over and not yet acknowledged."""
UNWRITTEN: Final = 100
"""Other messages handed over and not yet on their way, beyond which more are dropped."""
UNWRITTEN_BYTES: Final = 4_194_304
"""The same in bytes; one that is longer goes alone."""
A_POLL: Final = 50
"""Events looked at in one poll, those that are set aside among them."""
LATER_S: Final = 60.0
"""When it is tried again what was set aside."""
REPEAT_S: Final = 60.0
"""How often what should be retained is sent to a broker that keeps nothing."""


class Outbox:
    """Sends over ``link``, one connection after the other; ``seldom`` logs what is set aside."""

    def __init__(self, link: Link, events: EventQueue, seldom: Seldom) -> None:
        self._link, self._events, self._seldom = link, events, seldom
        self._retained: dict[str, Message] = {}  # topic -> newest
        self._due: dict[str, None] = {}  # retained topics to be sent, in order
        self._handed = 0  # number of the last event handed to this connection
        self._more = False  # events wait that have not been handed over
        self._aside: dict[str, None] = {}  # retained topics
        self._later_at_s = self._repeat_at_s = float("inf")
        self.flying: dict[int, str | int] = {}
        """paho's number -> topic or event, of what an acknowledgement is awaited for."""
        self.loose: dict[int, int] = {}
        """paho's number -> bytes, of what goes now or never."""
        self.unsent_total = 0
        """Messages that nobody will get."""

    @property
    def busy(self) -> bool:
        """Whether something is to be delivered that the broker has not acknowledged."""
        return bool(self._due or self.flying or self._more)

    def keep(self, message: Message) -> None:
        """Take the newest message of a retained topic."""
        self._retained[message.topic] = message
        self._due[message.topic] = None

    def add(self, event: Message) -> None:
        """Take an event."""
        self._events.add(event)
        self._more = True

    def begin(self, birth: Message, now_s: Seconds) -> None:
        """Send all anew over a new connection, ``birth`` after what is retained."""
        self._retained.pop(birth.topic, None)
        self._retained[birth.topic] = birth
        self._due = dict.fromkeys(self._retained)
        self._handed, self._more = 0, bool(self._events)
        self._aside.clear()
        keeps = self._link.limits.retain
        self._repeat_at_s = float("inf") if keeps else now_s + REPEAT_S

    def end(self) -> None:
        """The connection is lost, and with it all that was handed to it and not acknowledged."""
        self.unsent_total += len(self.loose)
        self.loose.clear()
        self.flying.clear()

    def send_due(self, now_s: Seconds) -> None:
        """Hand over the newest of each retained topic, one at a time, and the next events."""
        if now_s >= self._repeat_at_s:
            self._repeat_at_s = now_s + REPEAT_S
            self._due = dict.fromkeys(self._retained)
        if now_s >= self._later_at_s:
            self._later_at_s = float("inf")
            self._due |= self._aside
            self._aside.clear()
            self._handed = 0
        careful = self._link.careful
        if self._due:
            underway = set(self.flying.values())
            for topic in [topic for topic in self._due if topic not in underway]:
                if careful and (self.flying or self.loose):
                    return
                del self._due[topic]
                self._hand(self._retained[topic], topic)
        room = 1 if careful else IN_FLIGHT
        for _ in range(A_POLL):
            if len(self.flying) >= room or (careful and self.loose):
                return
            waiting = self._events.after(self._handed)
            self._more = waiting is not None
            if waiting is None:
                return
            self._handed, event = waiting
            if self._handed not in self.flying.values():
                self._hand(event, self._handed)

    def let_go(self, message: Message) -> None:
        """Send now or never."""
        waiting, size = sum(self.loose.values()), len(message.payload)
        full = len(self.loose) >= UNWRITTEN or (waiting and waiting + size > UNWRITTEN_BYTES)
        if full or (self._link.careful and self.flying):
            self.unsent_total += 1
            return
        try:
            self.loose[self._link.send(message)] = size
        except SetAsideError as exc:
            self.unsent_total += 1
            self._set_aside(message, exc)

    def taken(self, number: int, denied: bool) -> str:
        """Note that the broker has answered; return what it denies, empty where it does not.

        What it denies it would deny again: an event is set aside, where a person can look at it.
        """
        self.loose.pop(number, None)
        done = self.flying.pop(number, None)
        if isinstance(done, int):
            if denied:
                self._events.set_aside(done)
                return "events"
            self._events.done(done)
        if not denied:
            return ""
        self.unsent_total += 1
        return str(done or "an answer")

    def _hand(self, message: Message, name: str | int) -> None:
        """Send what is to be acknowledged. An event that is set aside stays in its queue."""
        try:
            self.flying[self._link.send(message)] = name
        except SetAsideError as exc:
            if isinstance(name, str):
                self.unsent_total += 1
                self._aside[name] = None
            if self._later_at_s == float("inf"):
                self._later_at_s = time.monotonic() + LATER_S
            self._set_aside(message, exc)

    def _set_aside(self, message: Message, why: SetAsideError) -> None:
        self._seldom.warn(f"aside {message.topic}", f"does not get {why}")
