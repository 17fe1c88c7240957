"""The child process that fetches a bundle for the daemon, which never waits for it.

Runs on the caller's thread. What the child does is in fetch_child.
"""

from __future__ import annotations

import contextlib
import json
import signal
from typing import Final

import msgspec

from edge.config import Config
from edge.errors import FetchError, ModelError
from edge.model.child import Child
from edge.model.signed.fetch_child import LIMIT_S, Done, Request
from edge.model.trial import signal_name

CODE: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]);"
    "from edge.model.signed import fetch_child; fetch_child.main(sys.argv[2])"
)
LATER_S: Final = 10.0
"""So long after its own limit the child is killed."""


class Fetch:
    """One fetch; begins at once. Raises FetchError where it cannot."""

    def __init__(self, config: Config, url: str, sha256: str) -> None:
        self.url = url
        request = Request(url, sha256, config.device.id, config.model, config.bundles)
        text = json.dumps(msgspec.to_builtins(request))
        try:
            self._child = Child(CODE, text, LIMIT_S + LATER_S)
        except OSError as exc:
            raise FetchError(f"cannot be fetched: {exc.strerror}", where=url) from exc

    def poll(self) -> Done | None:
        """Return what became of it; None while it goes on. Raises FetchError or ModelError."""
        if not self._child.wait(0.0):
            return None
        status, answer, printed = self._child.end()
        if self._child.late or -status == signal.SIGALRM:
            raise FetchError(f"takes longer than {LIMIT_S:.0f} s", where=self.url)
        if status == 0:
            with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
                return msgspec.json.decode(answer, type=Done)
        name = signal_name(-status) if status < 0 else f"status {status}"
        raise ModelError(f"the fetch ended with {name}", where=self.url, got=printed)

    def close(self) -> None:
        """End it if it still runs. Safe to call twice."""
        self._child.close()
