"""Events wait here until the broker has them: on disk, bounded, in order.

queue.py  the queue: numbers, bounds, what waits in memory while the disk takes nothing
file.py   its database, whoever wrote it: opened, judged, read, written
rows.py   what is an event among its rows, and what is moved out of the way
"""

from edge.mqtt.spool.queue import IN_MEMORY, REMOVE_S, SYNC_S, Spool

__all__ = ["IN_MEMORY", "REMOVE_S", "SYNC_S", "Spool"]
