"""Text from outside, escaped for a log, a terminal or an error line."""

from __future__ import annotations

from typing import Final

LONGEST: Final = 4000
"""Characters; longer text is cut, and says so."""


def escaped(text: str, longest: int = LONGEST) -> str:
    r"""Return ``text`` on one line, without anything that controls a terminal.

    Characters that ``str.isprintable`` excludes (control characters, newlines, ESC, marks of
    direction, lone surrogates) become Python's escapes: ``\x1b``, ``\n``, ``\u202e``. Printable
    text is returned unchanged.
    """
    if len(text) > longest:
        text = f"{text[:longest]}... ({len(text)} characters)"
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )
