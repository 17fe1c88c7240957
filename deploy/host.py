"""A Pi that `make deploy` reaches over ssh: what it is, and how a command gets there."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.package.build import SUITES
from deploy.runtime.pins import BuildError

FACTS: Final = """
. /etc/os-release && dpkg --print-architecture && echo "${VERSION_CODENAME:-none}" && id -u &&
{ [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; } && echo root
"""
"""Asked of a host: architecture, codename of its release, user, and whether root can be had."""
RELEASES: Final = {suite: end for suite, (_, end) in SUITES.items()}
"""Codename -> how the versions of packages for it end."""
LOST: Final = 255
"""ssh's own status: no connection."""


class DeployError(BuildError):
    """A host could not be given the package; ``status`` is the exit status."""


@dataclass(frozen=True, slots=True)
class Host:
    """One device, and the command that reaches it.

    arch     Debian's name of its architecture
    release  how packages for its Debian are marked: `deb12`; its codename where there are none
    sudo     what comes before a command to have it run as root
    """

    name: str
    ssh: tuple[str, ...]
    arch: str = ""
    release: str = ""
    sudo: str = ""

    def run(self, script: str, given: Path) -> subprocess.CompletedProcess[str]:
        """Run a script there as root, with a file as its input."""
        command = [*self.ssh, self.name, f"{self.sudo}sh -c {shlex.quote(script)}"]
        with given.open("rb") as stream:
            return subprocess.run(
                command, stdin=stream, capture_output=True, text=True, check=False
            )


def words(command: str) -> list[str]:
    """Split the ssh command that was given. Raises DeployError."""
    try:
        split = shlex.split(command)
    except ValueError as exc:
        raise DeployError(64, f"SSH cannot be read: {exc}", got=command) from None
    if not split or shutil.which(split[0]) is None:
        raise DeployError(64, "SSH is no command that is here", got=command)
    return split


def meet(name: str, ssh: tuple[str, ...]) -> Host:
    """Ask a host what it is."""
    command = [*ssh, name, f"sh -c {shlex.quote(FACTS)}"]  # whatever that user's shell is
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    facts = done.stdout.split()
    if done.returncode == LOST:
        told = (done.stderr.strip().splitlines() or ["no connection"])[-1].strip()
        hint = f"what says `ssh {name} true`? keys, not passwords, are used"
        raise DeployError(69, "not reached", where=name, got=told, hint=hint)
    if len(facts) < 3:
        raise DeployError(65, "not a Debian", where=name, got=done.stderr.strip())
    if "root" not in facts:
        hint = f"let it use sudo without a password, or HOST=root@{name.rpartition('@')[2]}"
        raise DeployError(77, "no root there", where=name, hint=hint)
    release = RELEASES.get(facts[1], facts[1])
    return Host(name, ssh, facts[0], release, "" if facts[2] == "0" else "sudo -n ")
