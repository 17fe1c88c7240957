"""One connection: a client of paho's, and the events that its thread reports.

paho runs one thread per client; it calls the methods of Session, which decide nothing. What
crosses between that thread and the daemon's:

[1] Events, frozen: paho's thread appends to a deque, the daemon's pops; both are atomic. Each is
    stored with its session, because one that was given up may still report.
[2] Incoming messages: through the mailbox, which has a lock.
[3] ``ended``, a threading.Event: set by paho's thread, awaited by the daemon's when it closes.
[4] Outgoing packets: the daemon's thread calls ``publish``, ``subscribe``, ``unsubscribe`` and
    ``disconnect`` of the client, which has locks of its own; client.py adds one flag.
[5] ``client.unreadable_total``: counted by paho's thread, read by the daemon's, possibly one late.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from typing import Any

from paho.mqtt.client import ConnectFlags, DisconnectFlags
from paho.mqtt.reasoncodes import ReasonCode

from edge.messages import Incoming, Message
from edge.mqtt.access import Access, reason
from edge.mqtt.lifecycle import (
    Acknowledged,
    Connected,
    Event,
    Flooded,
    Lost,
    Refused,
    Subscribed,
    Unreachable,
)
from edge.mqtt.mailbox import Flood, Mailbox
from edge.mqtt.subscriptions import Subscriptions
from edge.mqtt.suspects import INNOCENT


class Session:
    """A client that connects once.

    events         [1]
    mailbox        [2]
    subscriptions  tells which one a message belongs to; only ``of`` is called
    """

    def __init__(
        self,
        access: Access,
        client_id: str,
        will: Message,
        *,
        events: deque[tuple[Session, Event]],
        mailbox: Mailbox,
        subscriptions: Subscriptions,
    ) -> None:
        self._events, self._mailbox, self._subscriptions = events, mailbox, subscriptions
        self._arguments = access.connection()
        self._flood = Flood()
        self._answered = False
        self.ended = threading.Event()  # [3]
        self.client = client = access.client(
            client_id, on_incoming=self._incoming, on_ended=self._thread_ended
        )
        client.will_set(will.topic, will.payload, will.qos, will.retain)
        client.on_connect, client.on_connect_fail = self._connect, self._connect_fail
        client.on_disconnect, client.on_publish = self._disconnect, self._publish
        client.on_subscribe = self._subscribe

    def begin(self) -> None:
        """Start paho's thread, which connects. Raises OSError, RuntimeError if it cannot start."""
        self.client.connect_async(**self._arguments)
        self.client.loop_start()

    def release(self) -> None:
        """Drop the client, which refers to this object, so that it goes when its thread ends.

        A cycle would keep two descriptors per connection until the garbage collector runs.
        """
        del self.client

    # All below runs on paho's thread.

    def _report(self, event: Event) -> None:
        self._events.append((self, event))  # [1]

    def _connect(self, client: Any, _: Any, __: ConnectFlags, code: ReasonCode, ___: Any) -> None:
        self._answered = True
        if code.is_failure:
            self._report(Refused(str(code), code.value))
        else:
            self._report(Connected(client.limits))

    def _connect_fail(self, _: Any, __: Any) -> None:
        """Report the error that paho handles at this moment and does not pass on."""
        self._report(Unreachable(reason(sys.exc_info()[1])))

    def _disconnect(
        self, client: Any, _: Any, flags: DisconnectFlags, code: ReasonCode, __: Any
    ) -> None:
        innocent = flags.is_disconnect_packet_from_server and code.value in INNOCENT
        self._report(Lost(client.why or str(code), bool(client.why) or innocent))
        self.ended.set()  # [3]

    def _thread_ended(self, why: str) -> None:
        why = why or "the network thread has ended"
        self._report(Lost(why, innocent=True) if self._answered else Unreachable(why))
        self.ended.set()  # [3]

    def _publish(self, _: Any, __: Any, number: int, code: ReasonCode, ___: Any) -> None:
        self._report(Acknowledged(number, code.is_failure))

    def _subscribe(self, _: Any, __: Any, number: int, codes: list[ReasonCode], ___: Any) -> None:
        failed = [str(code) for code in codes if code.is_failure]
        self._report(Subscribed(number, failed[0] if failed else ""))

    def _incoming(self, incoming: Incoming) -> None:
        self._mailbox.put(incoming)  # [2]
        topic = self._subscriptions.of(incoming.topic)
        if flooding := self._flood.add(topic, incoming.came_s):
            self._report(Flooded(flooding))
