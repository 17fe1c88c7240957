"""The connection to the broker; only this folder imports paho.

publisher.py      what goes to the broker when, and what waits while it is away
outbox.py         what is to be sent over one connection, and what of it is underway
link.py           one connection after the other
subscriptions.py  what is read of a broker, and what is given up for a while
suspects.py       finds the message on which a broker hangs up again and again
outage.py         what is logged about the broker, and how seldom
client.py         paho's client, made to withstand what brokers and strangers send
websocket.py      WebSocket frames read as they come
packets.py        MQTT packets as bytes
limits.py         what a broker allows, as its CONNACK says
mailbox.py        messages that have come, bounded in number and bytes
access.py         a client for one broker: protocol, transport, login, TLS
subscriber.py     messages as they come, for `edge watch`; what the broker keeps
"""

from edge.mqtt.mailbox import Mailbox
from edge.mqtt.publisher import Publisher
from edge.mqtt.subscriber import clear, kept, subscribe

__all__ = ["Mailbox", "Publisher", "clear", "kept", "subscribe"]
