r"""Types of config keys whose text has a form: topics, user names, paths.

Every pattern ends in ``\Z``: ``$`` matches before a final newline too. An error quotes the
description as what it expected.
"""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta

TOPIC: Final = r"^(?!\$)[^+#/\x00-\x20]+(?:/[^+#/\x00-\x20]+)*\Z"
LOGIN: Final = r"^[^\x00-\x1f\x7f-\x9f]*\Z"
"""Brokers close the connection on control characters."""

Topic = Annotated[
    str,
    Meta(
        pattern=TOPIC,
        max_length=63,
        description="words with slashes between them; no space, + or #, no $ at the beginning",
    ),
]
Login = Annotated[
    str, Meta(pattern=LOGIN, max_length=1024, description="no control character, no newline")
]
"""A user name; MQTT allows 65,535 bytes."""
WebPath = Annotated[
    str,
    Meta(
        pattern=r"^/[!-~]*\Z",
        max_length=1024,
        description="a slash, then printable ASCII without spaces",
    ),
]
