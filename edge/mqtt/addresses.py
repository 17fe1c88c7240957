"""A TCP connection to one of the addresses of a name, in an order of its own each time.

The nodes of a cluster share one name. The system's resolver sorts its addresses the same way on
every device of a network (RFC 6724), so that a whole fleet would be on the first node; and a node
that takes a connection but does not serve would be tried for ever.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Sequence
from itertools import chain, zip_longest
from typing import Any, Final, TypeAlias

from edge.messages import Seconds

Place: TypeAlias = tuple[int, int, int, str, Any]
"""An address as getaddrinfo returns it; the first item is its family."""
TRIED: Final = 8
"""Most addresses of one attempt to connect."""


def order(places: Sequence[Place]) -> list[Place]:
    """Return the addresses to try, in order: at random, the families in turn.

    The resolver's preference between IPv6 and IPv4 stays. One of them that leads nowhere costs one
    timeout before the other is tried.
    """
    families: dict[int, list[Place]] = {}
    for place in places:
        families.setdefault(place[0], []).append(place)
    shuffled = [random.sample(family, len(family)) for family in families.values()]
    turns = chain.from_iterable(zip_longest(*shuffled))
    return [place for place in turns if place is not None][:TRIED]


def dial(host: str, port: int, timeout_s: Seconds) -> socket.socket:
    """Return a connection, within ``timeout_s`` for each address. Raises the last OSError."""
    last = OSError(f"{host} has no address")
    for family, kind, protocol, _, address in order(
        socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    ):
        plain = socket.socket(family, kind, protocol)
        try:
            plain.settimeout(timeout_s)
            plain.connect(address)
        except OSError as exc:
            plain.close()
            last = exc
        else:
            return plain
    raise last
