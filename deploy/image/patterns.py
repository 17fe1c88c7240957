r"""The patterns of texts in CONFIG.

Each text becomes part of a file where a newline would begin another line, as in sudoers: every
pattern ends in ``\Z``, since ``$`` also matches before a newline. An error prints the description
as what was expected.
"""

from __future__ import annotations

import re
from typing import Annotated, Final

from msgspec import Meta

from edge.config.patterns import LOGIN

Name = Annotated[
    str,
    Meta(
        pattern=r"^[a-z_][a-z0-9_-]{0,31}\Z",
        description="1 to 32 of a-z, 0-9, _ and -, a letter or _ first",
    ),
]
Country = Annotated[
    str, Meta(pattern=r"^[A-Z]{2}\Z", description='two capital letters, such as "DE"')
]
Zone = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9_+-]+(?:/[A-Za-z0-9_+-]+)*\Z",
        description='a zone\'s name, such as "Europe/Berlin"',
    ),
]
NetworkName = Annotated[
    str, Meta(pattern=LOGIN, max_length=32, description="a name without control characters")
]
Secret = Annotated[
    str, Meta(pattern=LOGIN, max_length=1024, description="one line without control characters")
]
Passphrase = Annotated[
    str, Meta(pattern=LOGIN, max_length=63, description="one line without control characters")
]
KEY: Final = re.compile(
    r"(?:sk-)?(?:ssh-(?:ed25519|rsa)|ecdsa-sha2-nistp\d+)(?:@openssh\.com)?"
    r" [A-Za-z0-9+/]+=*(?: [^\x00-\x1f\x7f-\x9f]*)?"
)
HOST_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
"""One label of a name. Source: RFC 1123, 2.1."""
