"""Two daemons with one name: who yields, what is answered, what is reported."""

from __future__ import annotations

import json

import pytest

from edge.contract import Claim
from edge.daemon.identity import RATE, RIVALS, Identity, read, yields
from edge.errors import IdentityError
from edge.messages import Incoming, Message


def identity(run: str = "b") -> Identity:
    """Return a daemon's claim to the name."""
    return Identity("edge/wall", "wall", run, "Linux")


def claim(run: str, settled: bool) -> Incoming:
    """Return another daemon's claim, as it arrives."""
    message = identity(run).claim(settled)
    return Incoming(message.topic, message.payload)


def test_who_was_there_first_keeps_the_name() -> None:
    """A daemon at work never yields; of two beginners one does, and both agree on which."""
    for settled in (True, False):
        assert not yields("a", True, Claim("b", "m", settled))
    assert yields("a", False, Claim("b", "m", True))
    assert yields("b", False, Claim("a", "m", False))
    assert not yields("a", False, Claim("b", "m", False))


def test_a_beginner_ends_with_a_line_that_names_the_other() -> None:
    """Device, run, machine and what to do."""
    with pytest.raises(IdentityError) as caught:
        identity().judge(claim("a", settled=True), False, 1.0)
    assert str(caught.value) == (
        "device.id wall: another daemon has this device id: got run a on Linux;"
        " give each device an id of its own"
    )


def test_a_beginner_is_answered_by_who_has_the_name() -> None:
    """With a claim that makes it yield."""
    answer = identity().judge(claim("a", settled=False), True, 1.0)
    assert isinstance(answer, Message)
    assert answer.topic == "edge/wall/claim"
    assert json.loads(answer.payload) == {"run": "b", "machine": "Linux", "settled": True}


def test_another_that_has_published_is_reported_once() -> None:
    """Each of them; and no more than so many."""
    mine = identity()
    other = mine.judge(claim("x", settled=True), True, 1.0)
    assert isinstance(other, Claim)
    assert (other.run, other.machine) == ("x", "Linux")
    assert mine.judge(claim("x", settled=True), True, 2.0) is None
    found = [mine.judge(claim(f"x{n}", settled=True), True, 3.0 + n) for n in range(2 * RIVALS)]
    assert sum(one is not None for one in found) == RIVALS - 1


def test_its_own_claim_is_nothing() -> None:
    """It subscribes to the topic that it publishes to."""
    assert identity().judge(claim("b", settled=False), False, 1.0) is None


def test_a_flood_of_claims_is_not_read() -> None:
    """The rest is ignored."""
    mine = identity()
    found = [mine.judge(claim("a", settled=False), True, 1.0) for _ in range(RATE + 5)]
    assert sum(one is not None for one in found) == RATE


@pytest.mark.parametrize(
    "incoming",
    [
        Incoming("t", b'{"run": "a", "machine": "m", "settled": true}', retained=True),
        Incoming("t", b'{"run": "a", "machine": "m", "settled": true}', cut_bytes=1),
        Incoming("t", b'{"run": "", "machine": "m", "settled": true}'),
        Incoming("t", b"[" * 10_000),
        Incoming("t", b"\xff"),
    ],
)
def test_what_is_no_claim_is_ignored(incoming: Incoming) -> None:
    """Retained, cut, or anything else."""
    assert read(incoming) is None
