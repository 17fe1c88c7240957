"""What goes to the broker when, and what waits while it is away.

Rule: the frame loop never waits for the network. While the broker is away, results and telemetry
are dropped and counted; of each retained topic the newest message is kept; events wait in their
queue until the broker has acknowledged them. A connection that has died unnoticed is
no different: only so much is handed to it as it has acknowledged before.

Runs on the daemon's thread alone; the link brings what paho's thread has seen.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from edge.messages import Broker, EventQueue, Incoming, Message
from edge.mqtt.link import Link
from edge.types import Seconds

log = logging.getLogger(__name__)
CLAIM_S: Final = 1.0
"""How long another daemon of the same name has to object, before anything is published."""
INCOMING: Final = 1000
"""Messages that have come and wait to be looked at, beyond which more are ignored."""
LEAVE_S: Final = 0.5
IN_FLIGHT: Final = 20
"""Events handed over and not yet acknowledged."""
UNWRITTEN: Final = 100
"""QoS 0 messages handed over and not yet on their way, beyond which more are dropped."""


class Publisher:
    """Publishes messages; once told to connect, connects again by itself.

    will    published by the broker if this process vanishes
    birth   published on every connect, after the retained messages
    events  where they wait; what waits there already is sent first
    topics  subscribed to; what comes waits in ``incoming``
    claim   the message that every connection begins with. At the first one nothing else is sent
            for CLAIM_S: another daemon of the same name may object
    user    name and value that every message carries (MQTT 5)
    """

    def __init__(
        self,
        broker: Broker,
        *,
        client_id: str,
        will: Message,
        birth: Message,
        events: EventQueue,
        topics: tuple[str, ...] = (),
        claim: Callable[[], Message] | None = None,
        user: tuple[str, str] = ("", ""),
    ) -> None:
        self._where, self._birth, self._claim = broker.address, birth, claim
        self._link = Link(broker, client_id=client_id, will=will, topics=topics, user=user)
        self._begins_at_s = float("inf")
        self.incoming: deque[Incoming] = deque()
        """What has come, oldest first; the daemon's loop takes it."""
        self._retained: dict[str, Message] = {}  # topic -> newest
        self._due: dict[str, None] = {}  # retained topics to be sent, in order
        self._events = events
        self._handed = 0  # number of the last event handed to this connection
        self._flying: dict[int, str | int] = {}  # paho's number -> topic or event, QoS 1
        self._loose: set[int] = set()  # paho's numbers, QoS 0
        self._told: set[str] = set()
        self._connects_total = 0
        self.online = False
        """Whether the broker is there now, as far as is known, and nobody has objected."""
        self._unsent = 0

    @property
    def reconnects_total(self) -> int:
        """How often the broker came back."""
        return max(0, self._connects_total - 1)

    @property
    def unsent_total(self) -> int:
        """Messages that nobody will get."""
        return self._unsent + self._events.dropped_total

    def connect(self) -> None:
        """Begin to connect; returns at once. What was published before goes first."""
        self._link.open()

    def publish(self, message: Message) -> None:
        """Take ``message``; never waits, never raises for a broker that is away."""
        if message.retain:
            self._retained[message.topic] = message
            self._due[message.topic] = None
        elif message.qos:
            self._events.add(message)
        elif self.online and len(self._loose) < UNWRITTEN:
            self._loose.add(self._link.send(message))
        else:
            self._unsent += 1
        self.poll()

    def poll(self) -> None:
        """See to what has happened, and send what may be sent; called often, never waits."""
        for what, value in self._link.happened():
            match what:
                case "taken" | "denied":
                    self._taken(value, what == "denied")
                case "deaf":
                    self._tell("does not let us read", value)
                case "message" if len(self.incoming) < INCOMING:
                    self.incoming.append(value)
                case "up":
                    self._greet()
                case "down" if self.online or self.greeting:
                    self._end()
                    self._tell("gone", value)
                case "down":
                    self._tell("ended the connection", value)
                case "refused":
                    old = "protocol version" in value.lower()
                    mend = '; set mqtt.protocol = "3.1.1"' if old else ""
                    self._tell("refused the connection", value + mend)
                case "unreachable":
                    self._tell("cannot be reached", value)
        now = time.monotonic()
        if now >= self._begins_at_s:
            self._begin()
        self._events.tick(now)
        if self.online:
            self._send_due()

    def settle(self, timeout_s: Seconds) -> None:
        """Wait until the broker has answered and nobody has objected, or for so long."""
        until = time.monotonic() + timeout_s
        while time.monotonic() < until and (self._link.waiting or self.greeting):
            self._rest()

    def close(self, farewell: Message, timeout_s: Seconds) -> None:
        """Deliver what waits, then ``farewell``, and disconnect, all within ``timeout_s``."""
        until = time.monotonic() + timeout_s
        while time.monotonic() < until - timeout_s / 2 and (
            self._link.waiting or self.greeting or (self.online and (self._events or self._due))
        ):
            self._rest()
        self._birth = farewell  # should the broker answer only now
        if self.online:
            self.publish(farewell)
        while time.monotonic() < until and self.online and (self._due or self._flying):
            self._rest()
        self._link.close(max(0.1, until - time.monotonic()))
        lost = self._events.volatile
        undelivered = lost + len(self._loose)
        self._end()
        self._unsent += lost
        if undelivered:
            log.warning("broker %s: %d messages were not delivered", self._where, undelivered)
        if kept := len(self._events) - lost:
            log.info("broker %s: %d events wait for the next run", self._where, kept)

    @property
    def settled(self) -> bool:
        """Whether anything has been published yet."""
        return self._connects_total > 0

    @property
    def greeting(self) -> bool:
        """Whether it is still to be seen if another daemon of this name objects."""
        return self._begins_at_s < float("inf")

    def answer(self, message: Message) -> None:
        """Send at once or never: the answer to what has come is of use only now."""
        if (self.online or self.greeting) and len(self._loose) < UNWRITTEN:
            self._loose.add(self._link.send(message))
        else:
            self._unsent += 1

    def reassert(self) -> None:
        """Publish the birth again: the will of a connection that is no more has come after it."""
        if self.online:
            self.publish(self._birth)

    def leave(self) -> None:
        """Disconnect and say nothing: the name belongs to another."""
        self._end()
        self._link.close(LEAVE_S)

    def _greet(self) -> None:
        log.info("broker %s: connected", self._where, extra={"event": "broker_up"})
        self._told.clear()
        first = self._connects_total == 0
        self._begins_at_s = time.monotonic() + (CLAIM_S if first and self._claim else 0.0)
        if self._claim:
            self.answer(self._claim())

    def _taken(self, number: int, denied: bool) -> None:
        """The broker has answered for a message; one that it denies it would deny again."""
        self._loose.discard(number)
        done = self._flying.pop(number, None)
        if denied:
            self._unsent += 1
            what = "events" if isinstance(done, int) else done or "an answer"
            self._tell("does not let us write", what)
        if isinstance(done, int):
            self._events.done(done)

    def _begin(self) -> None:
        self._begins_at_s = float("inf")
        self.online = True
        self._connects_total += 1
        self._retained.pop(self._birth.topic, None)
        self._retained[self._birth.topic] = self._birth
        self._due = dict.fromkeys(self._retained)
        self._handed = 0

    def _end(self) -> None:
        """The connection is lost, and with it all that was handed to it and not acknowledged."""
        self.online = False
        self._begins_at_s = float("inf")
        self._unsent += len(self._loose)
        self._loose.clear()
        self._flying.clear()

    def _send_due(self) -> None:
        """Hand over the newest of each retained topic, one at a time, and the next events."""
        if self._due:
            flying = set(self._flying.values())
            for topic in [topic for topic in self._due if topic not in flying]:
                del self._due[topic]
                self._flying[self._link.send(self._retained[topic])] = topic
        while len(self._flying) < IN_FLIGHT and (waiting := self._events.after(self._handed)):
            self._handed, message = waiting
            self._flying[self._link.send(message)] = self._handed

    def _rest(self) -> None:
        time.sleep(0.005)
        self.poll()

    def _tell(self, what: str, why: str) -> None:
        """Log once per outage, not once per try."""
        key = f"{what} {why}" if what.startswith("does not let") else what
        if key not in self._told:
            self._told.add(key)
            text = "broker %s: %s: %s; running on"
            extra = {} if what.startswith("does not let") else {"event": "broker_away"}
            log.warning(text, self._where, what, why, extra=extra)
