"""The connection to the broker; only this folder imports paho.

publisher.py      decides what is sent and when, and what waits while the broker is away
outbox.py         the messages to send over one connection, and those not yet acknowledged
connection.py     the link: one connection after the other
lifecycle.py      the states of the link, and the event that leads from one to the next
session.py        one connection: paho's thread, and the events that it reports
subscriptions.py  the topics that are read, and those given up for a while
suspects.py       finds the message on which a broker repeatedly closes the connection
outage.py         the log lines about the broker, each only once in a while
client.py         paho's client, hardened against hostile brokers and messages
websocket.py      a reader of WebSocket frames that holds no frame
packets.py        MQTT packets as bytes
limits.py         the limits that a broker names in its CONNACK
mailbox.py        incoming messages in a queue, bounded in number and bytes
access.py         a client for one broker: protocol, transport, login, TLS
subscriber.py     incoming messages for `edge watch`; retained messages read and cleared
spool/            events on disk until the broker has acknowledged them
"""

from edge.mqtt.mailbox import Mailbox
from edge.mqtt.publisher import Publisher
from edge.mqtt.subscriber import clear, kept, subscribe

__all__ = ["Mailbox", "Publisher", "clear", "kept", "subscribe"]
