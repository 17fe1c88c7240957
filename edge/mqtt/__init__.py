"""The connection to the broker; only this folder imports paho.

link.py        one connection after the other
publisher.py   what goes over it when, and what waits
subscriber.py  for `edge watch`: messages as they come
"""

from edge.mqtt.publisher import Publisher
from edge.mqtt.subscriber import clear, subscribe

__all__ = ["Publisher", "clear", "subscribe"]
