"""The connection to the broker; only this folder imports paho.

link.py        one connection after the other
publisher.py   what goes over it when, and what waits
subscriber.py  messages as they come, for `edge watch`; what the broker keeps
"""

from edge.mqtt.publisher import Publisher
from edge.mqtt.subscriber import clear, kept, subscribe

__all__ = ["Publisher", "clear", "kept", "subscribe"]
