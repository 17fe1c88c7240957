"""Escaping of text from outside: one printable line, which no terminal obeys."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.daemon.logs import OneLine
from edge.errors import CameraError, EdgeError
from edge.text import LONGEST, escaped


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("red", "red"),
        ("Türe – 猫 ✓", "Türe – 猫 ✓"),
        ("a\nb", "a\\nb"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\x9b31m", "\\x9b31m"),
        ("\u202ecod.exe", "\\u202ecod.exe"),
        ("\u2028", "\\u2028"),
        ("\ufefflabel", "\\ufefflabel"),
        ("\udc80", "\\udc80"),
        ("\0", "\\x00"),
        ("\U000e0001", "\\U000e0001"),
    ],
)
def test_what_a_terminal_would_obey_is_written_out(text: str, shown: str) -> None:
    """Control characters, directions, marks, halves of characters."""
    assert escaped(text) == shown


@given(st.text(st.characters(), max_size=300))
def test_any_text_becomes_one_printable_line(text: str) -> None:
    """For any characters."""
    assert escaped(text).isprintable()


def test_long_text_is_cut_and_says_so() -> None:
    """A name of a megabyte does not fill the journal."""
    assert len(escaped("x" * 10**6)) < LONGEST + 40
    assert escaped("x" * 10**6).endswith("... (1000000 characters)")


def test_an_error_is_one_line_whoever_named_what_is_in_it() -> None:
    """The whole, and each field, which others print again."""
    error = CameraError("no\nsuch", where="a\x1b[2J.jpg", expected="b\u202e", got="c\r", hint="d\0")
    assert str(error) == ("a\\x1b[2J.jpg: no such: expected b\\u202e, got c\\r; d\\x00")
    assert error.where == "a\\x1b[2J.jpg"
    assert str(EdgeError("plain")) == "plain"


def test_a_log_line_is_one_line() -> None:
    """Even if the caller did not escape its arguments."""
    record = logging.LogRecord("edge", logging.INFO, "", 0, "%s: gone", ("a\nb\x1b",), None)
    assert OneLine("%(message)s").format(record) == "a\\nb\\x1b: gone"
