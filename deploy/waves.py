"""Which hosts are changed together: a file of hosts and the sizes of waves. Knows no device.

    user@pi1            # a host on each line, as ssh takes it
    pi2

WAVES='1 5% 100%': first one host, then 5 % of all, then the rest; each wave has at least one host,
and a percentage is of all hosts in the file.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from deploy.errors import DeployError
from edge import files

FILE_MAX_BYTES: Final = 1_048_576
HOSTS_MAX: Final = 2_000
HOST_MAX: Final = 255
WAVES_MAX: Final = 20
DAY_S: Final = 86_400.0
PARALLEL_MAX: Final = 64
HOST: Final = re.compile(
    r"(?:[A-Za-z0-9_][A-Za-z0-9_.+-]*@)?[A-Za-z0-9_\[:][A-Za-z0-9_.:%\[\]-]*\Z"
)
"""USER@HOST or HOST: a name of ssh's configuration, a DNS name, an address. Never an option."""
SIZE: Final = re.compile(r"([0-9]{1,6})(%?)\Z")


def read_hosts(path: Path) -> list[str]:
    """Return the hosts in a file, in its order. Raises DeployError."""
    try:
        text = files.read_text(path, FILE_MAX_BYTES)
    except FileNotFoundError:
        hint = "HOSTS=FILE has a host on each line; HOST='pi1 pi2' names them"
        raise DeployError(66, "no such file of hosts", where=str(path), hint=hint) from None
    except OSError as exc:
        raise DeployError(65, f"cannot be read: {exc.strerror}", where=str(path)) from exc
    lines: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        host = line.partition("#")[0].strip()
        if not host:
            continue
        where = f"{path}: line {number}"
        if len(host) > HOST_MAX:
            what, want = "too long for a host", f"at most {HOST_MAX} characters"
            raise DeployError(65, what, where=where, expected=want, got=str(len(host)))
        if not HOST.match(host):
            want = "one host or user@host"
            raise DeployError(65, "not a host", where=where, expected=want, got=host)
        if host in lines:
            raise DeployError(65, f"{host} is in line {lines[host]} already", where=where)
        lines[host] = number
    if not lines:
        raise DeployError(65, "no host in it", where=str(path), hint="write a host on each line")
    if len(lines) > HOSTS_MAX:
        want = f"at most {HOSTS_MAX}"
        raise DeployError(65, "too many hosts", where=str(path), expected=want, got=str(len(lines)))
    return list(lines)


def sizes(text: str, hosts: int) -> list[int]:
    """Return how many hosts each wave of WAVES has. Raises DeployError."""
    wanted = "sizes such as '1 5% 100%'"
    words = text.split()
    if not 0 < len(words) <= WAVES_MAX:
        raise DeployError(
            64, "WAVES has no sizes, or too many", expected=wanted, got=text or "none"
        )
    return [_share("WAVES", word, hosts, wanted, least=1) for word in words]


def plan(hosts: Sequence[str], counts: Sequence[int]) -> tuple[list[list[str]], list[str]]:
    """Return the hosts of each wave, and those that are in none."""
    waves, begin = [], 0
    for count in counts:
        if wave := [*hosts[begin : begin + count]]:
            waves.append(wave)
        begin += count
    return waves, [*hosts[begin:]]


def failures(text: str, hosts: int) -> int:
    """Return how many hosts of a wave may fail: FAILURES, rounded down. Raises DeployError."""
    return _share("FAILURES", text, hosts, "a number or a percentage, such as 0 or 10%", least=0)


def _share(name: str, word: str, hosts: int, wanted: str, *, least: int) -> int:
    """Return a number of hosts from `3` or `5%`; a percentage of WAVES is rounded up."""
    match = SIZE.match(word)
    number = int(match[1]) if match else -1
    if number < least or (match and match[2] and number > 100):
        raise DeployError(64, f"{name} cannot be used", expected=wanted, got=word)
    if not (match and match[2]):
        return number
    share = hosts * number / 100
    return max(least, math.ceil(share) if least else math.floor(share))


def number(name: str, text: str, low: float, high: float) -> float:
    """Return a variable's number within its range. Raises DeployError."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not low <= value <= high:
        raise DeployError(
            64, f"{name} cannot be used", expected=f"{low:g} to {high:g}", got=text or "nothing"
        )
    return value


def whole(name: str, text: str, low: int, high: int) -> int:
    """Return a variable's whole number within its range. Raises DeployError."""
    value = number(name, text, low, high)
    if value != int(value):
        raise DeployError(64, f"{name} cannot be used", expected="a whole number", got=text)
    return int(value)
