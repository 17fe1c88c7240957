"""A Pi that `make deploy` reaches over ssh: its facts, and how to run a command on it."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy import process
from deploy.errors import DeployError
from deploy.package.build import SUITES
from edge.text import escaped

FACTS: Final = """
. /etc/os-release && dpkg --print-architecture && echo "${VERSION_CODENAME:-none}" && id -u &&
{ [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; } && echo root
"""
"""Prints architecture, codename of the release, user id, and `root` if root is available."""
RELEASES: Final = {suite: end for suite, (_, end) in SUITES.items()}
"""Codename -> the end of its packages' versions."""
LOST: Final = 255
"""ssh's exit status without a connection."""
MEET_S: Final = 120.0
"""For a connection, a login that asks a directory, and sudo."""
SLOWEST_BYTES_S: Final = 20_000
"""Of a file that is sent: one of 50 MB may take three quarters of an hour."""
CLOSE_S: Final = 20.0
"""For ssh to end its own connection."""
LINE: Final = 300
"""Characters of a device's line in one of ours."""
_WORD: Final = re.compile(r"[a-z0-9][a-z0-9.+-]{0,31}\Z")


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

    def run(self, script: str, given: Path, limit_s: float) -> subprocess.CompletedProcess[str]:
        """Run a script on it as root, with a file as standard input. Raises DeployError.

        limit_s  for the script, beside the time that the file may take
        """
        command = [*self.ssh, self.name, f"{self.sudo}sh -c {shlex.quote(script)}"]
        try:
            stream = given.open("rb")
        except OSError as exc:
            raise DeployError(66, exc.strerror or "cannot be read", where=str(given)) from exc
        with stream:
            limit_s += os.fstat(stream.fileno()).st_size / SLOWEST_BYTES_S
            return process.run(command, self.name, limit_s, stream)


def words(command: str) -> list[str]:
    """Return the ssh command as words. Raises DeployError."""
    try:
        split = shlex.split(command)
    except ValueError as exc:
        raise DeployError(64, f"SSH cannot be parsed: {exc}", got=command) from None
    if not split or shutil.which(split[0]) is None:
        raise DeployError(64, "SSH is not an installed command", got=command)
    return split


@contextlib.contextmanager
def connection(command: Sequence[str], sockets: Path, name: str) -> Iterator[tuple[str, ...]]:
    """Yield an ssh that uses one connection to a host for all commands, and close it at the end.

    It is opened by the first command; where nothing closes it, it ends a minute after the last.
    """
    shared = ("-o", "ControlMaster=auto", "-o", f"ControlPath={sockets}/%C")
    options = ("-o", "ControlPersist=60", "-o", "BatchMode=yes", "-o", "ConnectTimeout=20")
    ssh = (*command, *shared, *options, "-o", "ServerAliveInterval=15")
    try:
        yield ssh
    finally:
        nothing = subprocess.DEVNULL
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(
                [*ssh, "-O", "exit", name],
                stdin=nothing,
                stdout=nothing,
                stderr=nothing,
                check=False,
                timeout=CLOSE_S,
            )


def meet(name: str, ssh: tuple[str, ...]) -> Host:
    """Return a host with its facts. Raises DeployError."""
    command = [*ssh, name, f"sh -c {shlex.quote(FACTS)}"]  # the user's shell may be any
    done = process.run(command, name, MEET_S)
    arch, release, user, root, *_ = [*done.stdout.split(), "", "", "", ""]
    if done.returncode == LOST:
        error = last_line(done.stderr) or "no connection"
        hint = f"try `ssh {name} true`; it must need no password"
        raise DeployError(69, "cannot be reached", where=name, got=error, hint=hint)
    if not _WORD.match(arch) or not _WORD.match(release) or not user.isdecimal():
        got = last_line(done.stderr) or last_line(done.stdout)
        raise DeployError(65, "not a Debian", where=name, got=got)
    if root != "root":
        hint = f"allow sudo without a password, or HOST=root@{name.rpartition('@')[2]}"
        raise DeployError(77, "no root access", where=name, hint=hint)
    return Host(name, ssh, arch, RELEASES.get(release, release), "" if user == "0" else "sudo -n ")


def last_line(output: str) -> str:
    """Return the last line of an output, printable and short; empty where there is none."""
    lines = output.strip().splitlines()
    return escaped(lines[-1].strip(), LINE) if lines else ""
