"""Sessions of people who have logged in, and limits by address. In memory, bounded; time is given.

Rule 1: beyond a limit on number, the oldest is dropped.
Rule 2: what is compared with a secret is a digest of it, so that no time tells how much was right.
"""

from __future__ import annotations

import hashlib
import ipaddress
import secrets
from collections import OrderedDict
from typing import Final

SESSIONS: Final = 64
IDLE_S: Final = 12 * 3600.0
LONGEST_S: Final = 7 * 86_400.0
ADDRESSES: Final = 1024


class Sessions:
    """Open sessions: the digest of a random id -> when it began, when it was last used."""

    def __init__(self) -> None:
        self._open: OrderedDict[bytes, tuple[float, float]] = OrderedDict()

    def open(self, now_s: float) -> str:
        """Return the id of a new session."""
        name = secrets.token_urlsafe(32)
        self._open[_digest(name)] = now_s, now_s
        if len(self._open) > SESSIONS:
            self._open.popitem(last=False)
        return name

    def valid(self, name: str, now_s: float) -> bool:
        """Return whether a session is open; it counts as used now."""
        key = _digest(name)
        times = self._open.get(key)
        if times is None:
            return False
        if now_s - times[0] > LONGEST_S or now_s - times[1] > IDLE_S:
            del self._open[key]
            return False
        self._open[key] = times[0], now_s
        self._open.move_to_end(key)
        return True

    def close(self, name: str) -> bool:
        """End a session; return whether it was open."""
        return self._open.pop(_digest(name), None) is not None

    def clear(self) -> None:
        """End every session."""
        self._open.clear()


class Buckets:
    """For each address ``per_second`` in the long run, ``burst`` at once; IPv6: each network."""

    def __init__(self, per_second: float, burst: float) -> None:
        self._per_second, self._burst = per_second, burst
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, address: str, now_s: float, count: float = 1) -> float:
        """Count ``count`` more; return 0, or after how many seconds that is within the limit."""
        key = network(address)
        left, then_s = self._left.get(key, (self._burst, now_s))
        left = min(self._burst, left + (now_s - then_s) * self._per_second)
        count = min(count, self._burst)
        wait_s = 0.0 if left >= count else (count - left) / self._per_second
        self._left[key] = left if wait_s else left - count, now_s
        self._left.move_to_end(key)
        if len(self._left) > ADDRESSES:
            self._left.popitem(last=False)
        return wait_s


def network(address: str) -> str:
    """Return what one owner has: an IPv4 address, the first 64 bits of an IPv6 address."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    mapped = getattr(ip, "ipv4_mapped", None)
    if mapped is not None:
        return str(mapped)
    return str(ipaddress.ip_network((ip, 64), strict=False)) if ip.version == 6 else str(ip)


def _digest(name: str) -> bytes:
    return hashlib.sha256(name.encode("utf-8", "replace")).digest()
