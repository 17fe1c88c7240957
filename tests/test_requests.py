"""Requests as they arrive: what may be executed, and what becomes of everything else."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.contract import REQUESTS, Pause, Request
from edge.contract.encode import Wire
from edge.daemon import identity
from edge.daemon.commands import Commands, Pending, row
from edge.daemon.inbox import RATE, REMEMBERED, Inbox
from edge.daemon.rate import Throttle
from edge.messages import Incoming, Message
from tests.fuzz import fuzz


def ask(command: str, body: object = None, **more: object) -> Incoming:
    """Return a request."""
    payload = body if isinstance(body, bytes) else json.dumps({} if body is None else body).encode()
    more = {"came_s": 1.0, **more}
    return Incoming(f"edge/d/request/{command}", payload, **more)  # type: ignore[arg-type]


def error(incoming: Incoming) -> str:
    """Return why a request is refused."""
    command = Inbox().read(incoming, 1.0)
    assert command is not None
    assert command.body is None
    return command.error


def test_a_good_request_is_typed() -> None:
    """Defaults filled in, transaction kept; an empty payload is an empty request."""
    command = Inbox().read(ask("pause", {"seconds": 5, "transaction": "a"}), 1.0)
    assert command is not None
    assert (command.body, command.transaction) == (Pause("a", True, 5.0), "a")
    plain = Inbox().read(ask("ping", b""), 1.0)
    assert plain is not None
    assert plain.body == Request()


@pytest.mark.parametrize(
    ("command", "body", "words"),
    [
        ("nothing", {}, "unknown command: expected one of ping"),
        ("ping", b"{", "truncated"),
        ("ping", b"\xff", "malformed"),
        ("ping", b"[1]", "Expected `object`"),
        ("ping", b"[" * 10_000, ""),
        ("ping", b" " * 16_385, "expected at most 16384"),
        ("pause", {"seconds": 0}, "seconds"),
        ("pause", {"seconds": "long"}, "seconds"),
        ("set", {"smoothing": 3}, "smoothing"),
        ("set", {"mqtt": {"host": "evil"}}, "unknown field `mqtt`"),
        ("ping", {"transaction": "x" * 129}, "transaction"),
        ("ping", {"transaction": {}}, "transaction"),
    ],
)
def test_the_others_are_refused_in_one_line(command: str, body: object, words: str) -> None:
    """What was wrong is said."""
    told = error(ask(command, body))
    assert words in told
    assert told
    assert "\n" not in told


def test_a_refusal_names_the_transaction_where_it_can() -> None:
    """So that the asker knows which of its requests was wrong."""
    command = Inbox().read(ask("pause", {"seconds": -1, "transaction": 7}), 1.0)
    assert command is not None
    assert command.transaction == 7


def test_a_kept_request_is_ignored() -> None:
    """Nobody asks it now."""
    inbox = Inbox()
    assert inbox.read(ask("pause", {}, retained=True), 1.0) is None


def test_a_transaction_is_answered_once_and_the_answer_again() -> None:
    """Only with a transaction; only for the same command; the oldest is forgotten."""
    inbox, answer = Inbox(), Message("t", b"1", 1, False)
    for number in range(REMEMBERED + 1):
        command = inbox.read(
            ask("ping", {"transaction": number}, came_s=float(number)), float(number)
        )
        assert command is not None
        assert command.answered is None
        inbox.answered(command, answer)
    later = float(REMEMBERED + 9)
    again = [
        inbox.read(ask("ping", {"transaction": n}, came_s=later), later) for n in (REMEMBERED, 0)
    ]
    assert [one and one.answered for one in again] == [answer, None]
    other = inbox.read(ask("resume", {"transaction": REMEMBERED}, came_s=later), later)
    assert other is not None
    assert other.answered is None


def test_a_transaction_is_done_once_also_before_its_answer() -> None:
    """A reload that is delivered again while it is under way begins no other."""
    begun: list[Pending] = []

    def begin(_: Request) -> Pending:
        begun.append(Pending())
        return begun[-1]

    wire = Wire("edge/d", ("red",), "run", lambda: 0.0)
    commands = Commands(wire, {"reload": row(Request, begin)}, lambda: None)
    answers: list[Message] = []
    for transaction in (7, 7, 8, None, None):
        commands.execute(ask("reload", {"transaction": transaction}), 1.0, answers.append)
    assert (len(begun), answers) == (4, [])
    for pending in begun:
        pending.settle({}, "")
    commands.execute(ask("reload", {"transaction": 7}), 1.0, answers.append)
    told = [json.loads(answer.payload)["transaction"] for answer in answers]
    assert (len(begun), told) == (4, [7, 8, None, None, 7])


def test_too_many_are_refused_and_later_ones_are_not() -> None:
    """RATE at once; after a second again."""
    inbox = Inbox()
    answers = [inbox.read(ask("ping"), 1.0) for _ in range(RATE + 5)]
    assert sum(bool(one and one.error) for one in answers) == 5
    assert all("too many" in one.error for one in answers[RATE:] if one)
    fine = inbox.read(ask("ping"), 2.0)
    assert fine is not None
    assert not fine.error


@pytest.mark.fuzz
@fuzz(300)
@given(
    st.sampled_from([*REQUESTS, "", "x/y", "claim"]),
    st.one_of(
        st.binary(max_size=200),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
            lambda inner: (
                st.lists(inner, max_size=4)
                | st.dictionaries(
                    st.sampled_from(["transaction", "seconds", "smoothing", "persist", "x"]), inner
                )
            ),
            max_leaves=8,
        ).map(lambda value: json.dumps(value).encode()),
    ),
)
def test_no_payload_breaks_the_inbox(command: str, payload: bytes) -> None:
    """Whatever comes is a request or an error."""
    read = Inbox().read(Incoming(f"edge/d/request/{command}", payload, came_s=1.0), 1.0)
    assert read is not None
    assert (read.body is None) == bool(read.error)
    identity.read(Incoming("edge/d/claim", payload))


def test_a_request_that_waited_too_long_is_not_done() -> None:
    """The daemon was busy; whoever sent it has given up, or sends it again."""
    command = Inbox().read(ask("pause", {"transaction": 4}), 12.0)
    assert command is not None
    assert command.body is None
    assert "waited longer than 10 s" in command.error
    assert command.transaction == 4


@pytest.mark.parametrize("transaction", ["a", 5, None])
def test_a_request_that_was_cut_is_refused_by_its_length(transaction: str | int | None) -> None:
    """The length as it came; the transaction where it comes first, or can be read at all."""
    body = {"transaction": transaction, "x": "x" * 300_000}
    whole = json.dumps(body).encode()
    cut = ask("ping", whole[:1024], cut_bytes=len(whole) - 1024)
    command = Inbox().read(cut, 1.0)
    assert command is not None
    assert command.error == f"{len(whole)} bytes: expected at most 16384"
    assert command.transaction == transaction
    assert command.body is None


def test_a_cut_request_is_never_done() -> None:
    """Not even where its beginning is a request."""
    command = Inbox().read(ask("pause", b"{}" + b" " * 1022, cut_bytes=20_000), 1.0)
    assert command is not None
    assert command.body is None


def test_what_repeats_is_done_at_once_and_then_seldom() -> None:
    """The last time it is command for is done as well."""
    made = Throttle(1.0)
    assert not made.due(5.0)
    made.request()
    assert made.due(5.0)
    made.request()
    assert not made.due(5.5)
    assert made.due(6.0)
    assert not made.due(7.0)
