"""A child process in which an unproven model is tried: it may crash, hang or grow.

Rule 1: whatever the child does, the parent goes on; see child.
Rule 2: the child has limits of its own, and ends at them without its parent too.
Rule 3: the child answers with one JSON object: why the model is refused, or null.

Runs on the caller's thread. What the child does is in trial_child.
"""

from __future__ import annotations

import contextlib
import json
import signal
from pathlib import Path
from typing import Final

import msgspec

from edge.config import ModelConfig
from edge.errors import ModelError
from edge.frames import Seconds
from edge.model.child import Child
from edge.model.locate import Gives
from edge.model.trial_child import Refusal, Request

LIMIT_S: Final = 40.0
"""Longest trial. The model is loaded again after it: both fit into the 90 s of systemd's start."""
CODE: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]);"
    "from edge.model import trial_child; trial_child.main(sys.argv[2])"
)
SMALLER: Final = "use a smaller model"


class Trial:
    """One trial; begins at once.

    file    the model's
    sha256  of its file; another is refused
    gives   what the model must give
    """

    def __init__(
        self, config: ModelConfig, file: Path, sha256: str, gives: Gives = "scores"
    ) -> None:
        self._where, self._max_memory_bytes = str(file), config.max_memory_bytes
        request = Request(config, sha256, LIMIT_S, file.stat().st_size, gives)
        text = json.dumps(msgspec.to_builtins(request))  # a path may hold any bytes
        try:
            self._child = Child(CODE, text, LIMIT_S)
        except OSError as exc:
            reason = f"the model cannot be tried: {exc.strerror}"
            raise ModelError(reason, where=self._where) from exc

    def wait(self, timeout_s: Seconds) -> bool:
        """Return whether it is over, after ``timeout_s`` at the latest."""
        return self._child.wait(timeout_s)

    def check(self) -> None:
        """Return where the model has passed; once it is over. Raises ModelError."""
        status, answer, printed = self._child.end()
        if self._child.late or -status in (signal.SIGXCPU, signal.SIGALRM):
            reason = f"the model does not finish in {LIMIT_S:.0f} s"
            raise ModelError(reason, where=self._where, hint=SMALLER)
        if status == 0:
            with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                refusal = msgspec.json.decode(answer, type=Refusal | None)
                if refusal is not None:
                    raise ModelError(**msgspec.structs.asdict(refusal))
                return
        memory = f"{self._max_memory_bytes / 1e6:.0f} MB"
        if -status == signal.SIGKILL:
            reason = f"the model was killed, probably out of memory; its limit is {memory}"
            raise ModelError(reason, where=self._where, hint=SMALLER)
        if status < 0:
            raise ModelError(
                f"the model crashes its interpreter: {signal_name(-status)}",
                where=self._where,
                got=printed if -status == signal.SIGABRT else "",
                hint="restore the file or convert it again; if it needs more than"
                f" {memory}, raise `max_memory_bytes` in [model]",
            )
        reason = f"the trial of the model ended with status {status}"
        raise ModelError(reason, where=self._where, got=printed)

    def close(self) -> None:
        """End it if it still runs. Safe to call twice."""
        self._child.close()


def signal_name(number: int) -> str:
    """Return the name of a signal, as SIGKILL."""
    with contextlib.suppress(ValueError):
        return signal.Signals(number).name
    return signal.strsignal(number) or f"signal {number}"
