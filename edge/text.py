"""Text from outside, made fit for a log, a terminal or an error line. Knows nothing else."""

from __future__ import annotations

from typing import Final

LONGEST: Final = 4000
"""Characters; longer text is cut, and says so."""


def escaped(text: str, longest: int = LONGEST) -> str:
    r"""Return ``text`` on one line, with nothing in it that a terminal obeys.

    What is not printable (control characters, newlines, ESC, marks of direction, lone surrogates,
    as ``str.isprintable`` has it) is written as Python writes it: ``\x1b``, ``\n``, ``\u202e``.
    Text that is printable comes back as it is.
    """
    if len(text) > longest:
        text = f"{text[:longest]}... ({len(text)} characters)"
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )
