"""The parts of the web process that decide who gets in, and how often. No server."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.cli import arguments
from edge.web.access import Names, is_loopback
from edge.web.answers import Refused
from edge.web.sessions import (
    ADDRESSES,
    IDLE_S,
    LONGEST_S,
    SESSIONS,
    Buckets,
    Sessions,
    network,
)
from tests.conftest import ROOT


def test_a_session_ends_when_it_is_not_used_and_in_the_end_anyway() -> None:
    """After twelve hours without a request; after a week with one every hour."""
    sessions = Sessions()
    name = sessions.open(0.0)
    assert sessions.valid(name, IDLE_S)
    assert not sessions.valid(name, IDLE_S * 2 + 1)
    assert not sessions.valid(name, 0.0)
    used = sessions.open(0.0)
    assert all(sessions.valid(used, hour * 3600.0) for hour in range(24 * 7))
    assert not sessions.valid(used, LONGEST_S + 1)


def test_sessions_are_bounded() -> None:
    """The one that was not used for longest goes."""
    sessions = Sessions()
    names = [sessions.open(0.0) for _ in range(SESSIONS)]
    assert len(set(names)) == SESSIONS
    assert sessions.valid(names[0], 1.0)
    sessions.open(2.0)
    assert sessions.valid(names[0], 3.0)
    assert not sessions.valid(names[1], 3.0)


def test_an_address_has_its_rate() -> None:
    """A burst, then so many a second; the wait that is told is long enough; others have theirs."""
    buckets = Buckets(per_second=0.5, burst=3)
    assert [buckets.take("192.0.2.1", 0.0) for _ in range(3)] == [0, 0, 0]
    assert buckets.take("192.0.2.1", 0.0) == 2.0
    assert buckets.take("192.0.2.2", 0.0) == 0
    assert buckets.take("192.0.2.1", 1.9) > 0
    assert buckets.take("192.0.2.1", 2.0) == 0
    assert buckets.take("192.0.2.3", 0.0, count=100) == 0
    assert buckets.take("192.0.2.3", 0.0) > 0


def test_an_owner_of_many_addresses_is_one() -> None:
    """An IPv6 network counts as one, IPv4 in IPv6 as IPv4; what is remembered is bounded."""
    assert network("2001:db8::1") == network("2001:db8::ffff:1")
    assert network("2001:db8::1") != network("2001:db8:0:1::1")
    assert network("::ffff:192.0.2.1") == network("192.0.2.1") == "192.0.2.1"
    buckets = Buckets(1.0, 1.0)
    for number in range(ADDRESSES * 2):
        buckets.take(f"10.0.{number // 256}.{number % 256}", 0.0)
    assert len(buckets._left) == ADDRESSES


@given(st.text(max_size=60))
def test_no_host_raises_anything_else(host: str) -> None:
    """It is allowed or refused with 421, whatever it is; a name in it is not enough."""
    try:
        Names(("camera.lan",)).check(host)
    except Refused as refused:
        allowed = False
        status = refused.status
    else:
        allowed, status = True, 0
    assert allowed or status == 421


@pytest.mark.parametrize(
    ("address", "own"),
    [
        ("127.0.0.1", True),
        ("127.3.2.1", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("", True),
        ("192.0.2.1", False),
        ("::ffff:192.0.2.1", False),
        ("fe80::1%eth0", False),
        ("0.0.0.0", False),
        ("localhost", False),
        ("unknown", False),
    ],
)
def test_this_machine_is_this_machine(address: str, own: bool) -> None:
    """Loopback addresses and a Unix socket; no name, and no other address."""
    assert is_loopback(address) is own


@pytest.mark.parametrize("unit", ["service", "socket"])
def test_the_units_start_what_there_is(unit: str) -> None:
    """The service's command line is one that the parser takes; the socket is this machine's."""
    text = (ROOT / f"deploy/systemd/edge-camera-web.{unit}").read_text()
    if unit == "socket":
        assert re.findall(r"^ListenStream=(.*)$", text, re.M) == ["127.0.0.1:8080"]
        return
    (command,) = re.findall(r"^ExecStart=/usr/bin/edge (.*)$", text, re.M)
    args = arguments.parser().parse_args(command.split())
    assert (args.command, args.host, args.idle) == ("web", "127.0.0.1", None)
