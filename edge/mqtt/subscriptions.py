"""The topics that are read: subscribed to on every connect, given up for a while in a flood.

Retained messages are not requested (MQTT 5): an old one is of no use here. Each topic has a
SUBSCRIBE of its own, so that the one on which a broker ends the connection can be found.
"""

from __future__ import annotations

from typing import Final

from paho.mqtt.subscribeoptions import SubscribeOptions

from edge.messages import Seconds
from edge.mqtt.client import Client
from edge.mqtt.limits import Limits
from edge.mqtt.suspects import Suspects

LATER_S: Final = 30.0
"""How often a subscription that was set aside is considered again."""
PAUSE_S: Final = 10.0
"""How long a subscription that floods is given up."""


class Subscriptions:
    """The topics of one link. Runs on the daemon's thread.

    [1] Except ``of``, on paho's thread: it reads ``_topics`` alone, which never changes.
    """

    def __init__(self, topics: tuple[str, ...], suspects: Suspects, version5: bool) -> None:
        self._topics, self._suspects, self._version5 = topics, suspects, version5
        self._due: dict[str, Seconds] = {}  # topic -> when to subscribe
        self._unanswered: dict[int, str] = {}  # packet id -> topic

    def of(self, topic: str) -> str:
        """Return the subscription that ``topic`` belongs to. [1]"""
        return topic if topic in self._topics else f"{topic.rpartition('/')[0]}/+"

    def begin(self) -> None:
        """Make all due, on a new connection."""
        self._due = dict.fromkeys(self._topics, 0.0)
        self._unanswered.clear()

    def due(self, client: Client, limits: Limits, now_s: Seconds) -> list[str]:
        """Subscribe to what is due; return the topics that the broker's limits exclude."""
        impossible = []
        for topic, at_s in list(self._due.items()):
            if now_s < at_s or (self._unanswered and self._suspects.careful):
                continue
            name = f"subscription {topic}"
            del self._due[topic]
            if "+" in topic and not limits.wildcards:
                impossible.append(topic)
            elif self._suspects.aside(name, 0, now_s):
                self._due[topic] = now_s + LATER_S
            else:
                number = self._subscribe(client, topic)
                self._unanswered[number] = topic
                self._suspects.sent(number, name, 0, True, now_s)
        return impossible

    def _subscribe(self, client: Client, topic: str) -> int:
        """Send a SUBSCRIBE; return its packet id, 0 if the connection is already gone."""
        if self._version5:
            _, number = client.subscribe(topic, options=SubscribeOptions(qos=1, retainHandling=2))
        else:
            _, number = client.subscribe(topic, 1)
        return number or 0

    def answered(self, number: int) -> str:
        """Return the topic of the SUBSCRIBE that the broker has answered, "" if unknown."""
        return self._unanswered.pop(number, "")

    def pause(self, client: Client, topic: str, now_s: Seconds) -> None:
        """Give a subscription up for PAUSE_S."""
        if topic in self._topics and topic not in self._due:
            client.unsubscribe(topic)
            self._due[topic] = now_s + PAUSE_S
