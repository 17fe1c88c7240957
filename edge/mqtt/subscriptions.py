"""What is read of a broker: asked for on every connect, given up for a while where it floods.

What the broker keeps is not asked for (MQTT 5): nothing that is read is of use once it is old. Each
topic has a SUBSCRIBE of its own, so that a broker which hangs up on one can be found out.
"""

from __future__ import annotations

from typing import Final

from paho.mqtt.subscribeoptions import SubscribeOptions

from edge.frames import Seconds
from edge.mqtt.client import Client
from edge.mqtt.limits import Limits
from edge.mqtt.suspects import Suspects

LATER_S: Final = 30.0
"""When it is seen again whether one that was set aside may be asked for."""
PAUSE_S: Final = 10.0
"""How long a subscription is given up that brings more than can be read."""


class Subscriptions:
    """The topics of one link, and where they stand. On the daemon's thread, all but ``of``."""

    def __init__(self, topics: tuple[str, ...], suspects: Suspects, version5: bool) -> None:
        self._topics, self._suspects, self._version5 = topics, suspects, version5
        self._due: dict[str, Seconds] = {}  # topic -> when it is to be asked for
        self._asked: dict[int, str] = {}  # paho's number -> topic

    def of(self, topic: str) -> str:
        """Return the subscription that has brought ``topic``."""
        return topic if topic in self._topics else f"{topic.rpartition('/')[0]}/+"

    def begin(self) -> None:
        """Ask for all, on a new connection."""
        self._due = dict.fromkeys(self._topics, 0.0)
        self._asked.clear()

    def due(self, client: Client, limits: Limits, now_s: Seconds) -> list[str]:
        """Ask for what is due; return topics that cannot be asked for."""
        impossible = []
        for topic, at_s in list(self._due.items()):
            if now_s < at_s or (self._asked and self._suspects.careful):
                continue
            name = f"subscription {topic}"
            del self._due[topic]
            if "+" in topic and not limits.wildcards:
                impossible.append(topic)
            elif self._suspects.aside(name, 0, now_s):
                self._due[topic] = now_s + LATER_S
            else:
                number = self._ask(client, topic)
                self._asked[number] = topic
                self._suspects.sent(number, name, 0, True, now_s)
        return impossible

    def _ask(self, client: Client, topic: str) -> int:
        """Send a SUBSCRIBE; return its number, 0 where the connection is already gone."""
        if self._version5:
            _, number = client.subscribe(topic, options=SubscribeOptions(qos=1, retainHandling=2))
        else:
            _, number = client.subscribe(topic, 1)
        return number or 0

    def answered(self, number: int) -> str:
        """Note the broker's answer; return the topic, empty where it was none of ours."""
        return self._asked.pop(number, "")

    def pause(self, client: Client, topic: str, now_s: Seconds) -> None:
        """Give a subscription up for a while."""
        if topic in self._topics and topic not in self._due:
            client.unsubscribe(topic)
            self._due[topic] = now_s + PAUSE_S
