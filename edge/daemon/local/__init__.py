"""The local socket: what MQTT carries, for programs on the device; docs/local.md is the reference.

server.py      accepts clients, passes messages on, executes requests
frames.py      each frame's result, for those who subscribed
connection.py  one client: its lines, and what waits for it
place.py       the socket's file

Rule: nothing about a client, a file or a socket ends the daemon or delays a frame.
"""

from edge.daemon.local.server import Local

__all__ = ["Local"]
