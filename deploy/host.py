"""A Pi that `make deploy` reaches over ssh: its facts, and how to run a command on it."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from deploy.package.build import SUITES
from deploy.runtime.pins import BuildError

FACTS: Final = """
. /etc/os-release && dpkg --print-architecture && echo "${VERSION_CODENAME:-none}" && id -u &&
{ [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; } && echo root
"""
"""Prints architecture, codename of the release, user id, and `root` if root is available."""
RELEASES: Final = {suite: end for suite, (_, end) in SUITES.items()}
"""Codename -> the end of its packages' versions."""
LOST: Final = 255
"""ssh's exit status without a connection."""


class DeployError(BuildError):
    """The package could not be deployed to a host; ``status`` is the exit status."""

    def line_at(self, name: str) -> str:
        """Return the whole line, without the host's name at its beginning."""
        return str(self).removeprefix(f"{name}: ")


@dataclass(frozen=True, slots=True)
class Host:
    """One device, and the command that reaches it.

    arch     Debian's name of its architecture
    release  the mark of packages for its Debian: `deb12`; its codename where there are none
    sudo     the prefix that runs a command as root
    """

    name: str
    ssh: tuple[str, ...]
    arch: str = ""
    release: str = ""
    sudo: str = ""

    def run(self, script: str, given: Path) -> subprocess.CompletedProcess[str]:
        """Run a script on it as root, with a file as standard input."""
        command = [*self.ssh, self.name, f"{self.sudo}sh -c {shlex.quote(script)}"]
        with given.open("rb") as stream:
            return finished(command, stream)


RUNNING: Final[set[subprocess.Popen[str]]] = set()
"""The ssh processes of now, so that an interruption can end them."""
LOCK: Final = threading.Lock()
ENDING: Final = threading.Event()
"""Set by an interruption: from then on nothing more is begun on a device."""


@contextlib.contextmanager
def running(command: list[str], given: IO[bytes] | None = None) -> Iterator[subprocess.Popen[str]]:
    """Run a program while the block lasts, known to `end_all`. Waits for its end.

    In a session of its own: Ctrl-C reaches this process alone, which then ends the program.
    Raises DeployError after an interruption.
    """
    if ENDING.is_set():
        raise DeployError(69, "interrupted")
    with subprocess.Popen(
        command,
        stdin=given or subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:
        with LOCK:
            RUNNING.add(process)
        try:
            yield process
        except BaseException:
            end(process)
            raise
        finally:
            with LOCK:
                RUNNING.discard(process)


def finished(
    command: list[str], given: IO[bytes] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; return its output and status."""
    with running(command, given) as process:
        out, error = process.communicate()
    return subprocess.CompletedProcess(command, process.returncode, out, error)


def end_all() -> None:
    """End every program that runs now: what it began on a device goes on there."""
    ENDING.set()
    with LOCK:
        for process in RUNNING:
            end(process)


def end(process: subprocess.Popen[str]) -> None:
    """End a program and what it has started, such as ssh's proxy."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGTERM)


def words(command: str) -> list[str]:
    """Return the ssh command as words. Raises DeployError."""
    try:
        split = shlex.split(command)
    except ValueError as exc:
        raise DeployError(64, f"SSH cannot be parsed: {exc}", got=command) from None
    if not split or shutil.which(split[0]) is None:
        raise DeployError(64, "SSH is not an installed command", got=command)
    return split


def meet(name: str, ssh: tuple[str, ...]) -> Host:
    """Return a host with its facts. Raises DeployError."""
    command = [*ssh, name, f"sh -c {shlex.quote(FACTS)}"]  # the user's shell may be any
    done = finished(command)
    facts = done.stdout.split()
    if done.returncode == LOST:
        error = (done.stderr.strip().splitlines() or ["no connection"])[-1].strip()
        hint = f"try `ssh {name} true`; it must need no password"
        raise DeployError(69, "cannot be reached", where=name, got=error, hint=hint)
    if len(facts) < 3:
        raise DeployError(65, "not a Debian", where=name, got=done.stderr.strip())
    if "root" not in facts:
        hint = f"allow sudo without a password, or HOST=root@{name.rpartition('@')[2]}"
        raise DeployError(77, "no root access", where=name, hint=hint)
    release = RELEASES.get(facts[1], facts[1])
    return Host(name, ssh, facts[0], release, "" if facts[2] == "0" else "sudo -n ")
