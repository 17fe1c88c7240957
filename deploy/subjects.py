"""What a rollout brings to a device, how devices are reached, and how the program there is run."""

from __future__ import annotations

import contextlib
import json
import shlex
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, Protocol

from deploy import remote
from deploy.errors import DeployError
from deploy.facts import Facts, typed
from deploy.gates import Wanted
from deploy.host import LOST, Host, connection, last_line, meet
from deploy.on_device.state import DOCTOR_S
from edge.text import escaped

NOTHING: Final = Path("/dev/null")
BUSY_POLL_S: Final = 3.0
MARGIN_S: Final = 300.0
"""For python3, ssh and a card that is slow, beside what a step takes by its own limits."""
Pin = Callable[[str, str], None]
"""Records which file a kind of device gets; raises DeployError for another one."""


class Subject(Protocol):
    """A package or a model. Every method raises DeployError, and runs on several threads.

    what     a few words with its version; `slug` is for a file's name
    goes_on  without its connection, a change may end after the device was looked at
    """

    what: str
    slug: str
    goes_on: bool

    def identity(self) -> dict[str, str]:
        """Return the checksums that are known before any device is."""

    def resume(self, identity: dict[str, str], pin: Pin) -> None:
        """Take what an earlier run has recorded, and what records more."""

    def look(self, host: Host, seconds: float) -> Facts:
        """Return what a device says of itself, after watching it for ``seconds``."""

    def has(self, host: Host, facts: Facts) -> bool:
        """Return whether the device has exactly this, proven by an earlier run."""

    def refused(self, host: Host, facts: Facts, before: Facts) -> bool:
        """Return whether the device has tried this, and gone back by itself."""

    def lacks(self, host: Host, facts: Facts, before: Facts) -> bool:
        """Return whether the device says that it does not have this: nothing is to take back."""

    def wanted(self, host: Host) -> Wanted:
        """Return what a device must have after the change."""

    def apply(self, host: Host) -> float | None:
        """Change the device; return a shadow's agreement, if there was one."""

    def back(self, host: Host) -> None:
        """Take the change back."""


class Reach:
    """Reaches devices over ssh, and sends the program that runs there.

    command  the ssh command; sockets: a folder of its own for its connections
    """

    def __init__(self, command: list[str], sockets: Path) -> None:
        self._command, self._sockets = command, sockets
        self._program = remote.program(sockets / remote.PROGRAM)

    @contextlib.contextmanager
    def __call__(self, name: str, patience_s: float = 0.0) -> Iterator[Host]:
        """Yield a device. Waits for a deploy that runs there, for so long. Raises DeployError."""
        until_s = time.monotonic() + patience_s
        with connection(self._command, self._sockets, name) as ssh:
            host = meet(name, ssh)
            while True:
                try:
                    remote.send(host, self._program, remote.PROGRAM)
                    break
                except DeployError as exc:
                    if exc.status != remote.BUSY or time.monotonic() > until_s:
                        raise
                    time.sleep(BUSY_POLL_S)
            yield host


def look(host: Host, seconds: float, name: str = "") -> Facts:
    """Return what the program on a device says of it, after ``seconds``. Raises DeployError.

    name  of the model that a rollout brings
    """
    # It watches once more where the daemon has gone in the middle.
    work_s = 2 * seconds + DOCTOR_S
    return typed(step(host, f"facts {seconds:g} {shlex.quote(name)}", work_s))


def step(host: Host, arguments: str, work_s: float) -> dict[str, Any]:
    """Run one part of the program on a device; return its answer. Raises DeployError.

    work_s  how long that part may take, by its own limits
    """
    command = f"python3 {remote.FOLDER}/{remote.PROGRAM} {arguments}"
    done = host.run(command, NOTHING, work_s + MARGIN_S)
    if done.returncode == LOST:
        raise DeployError(69, "the connection broke", where=host.name)
    try:
        answer = json.loads(done.stdout.strip().splitlines()[-1])
        error = str(answer.get("error", ""))
    except (ValueError, IndexError, AttributeError, RecursionError):
        got = last_line(done.stderr) or last_line(done.stdout) or "nothing"
        raise DeployError(71, "no answer", where=host.name, got=got) from None
    if done.returncode or error:
        raise DeployError(74, escaped(error, 600) or "refused", where=host.name)
    return dict(answer)
