"""The spool: events on disk until the broker has acknowledged them, bounded and in order.

queue.py  the queue: numbers, bounds, events in memory while the disk fails
file.py   its database, opened, checked, read and written
rows.py   tells which rows are events; moves the others out of the way
"""

from edge.mqtt.spool.queue import IN_MEMORY, REMOVE_S, SYNC_S, Spool

__all__ = ["IN_MEMORY", "REMOVE_S", "SYNC_S", "Spool"]
