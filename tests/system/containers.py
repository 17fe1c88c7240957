"""Boot a Debian of this machine's own architecture in systemd-nspawn; what is written is forgotten.

Rule: this machine keeps its own cgroups. Where its first process is not systemd, the second
hierarchy is mounted in a mount namespace that ends with the container.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.system.machine import Machine

IN_A_GROUP: Final = (
    *("sh", "-c"),
    "mount -t cgroup2 none /sys/fs/cgroup; group=/sys/fs/cgroup/edge-test-$$; mkdir $group"
    ' && echo $$ >$group/cgroup.procs && "$@"; status=$?; echo $$ >/sys/fs/cgroup/cgroup.procs'
    "; find $group -depth -type d -exec rmdir {} +; exit $status",
    "-",
)
"""Runs what follows in a group of its own: containers that share one see each other's services."""


@contextlib.contextmanager
def container(name: str, root: Path) -> Iterator[Machine]:
    """Run ``root`` while the block lasts. Needs root, and a kernel that lets it mount."""
    with tempfile.TemporaryDirectory(prefix="edge-system-") as made:
        share = Path(made)
        console = share / "console"
        nspawn = [
            *("systemd-nspawn", "--quiet", "--register=no", "--link-journal=no"),
            *(f"--uuid={uuid.uuid4().hex}", "--hostname=edge-test", "--private-network"),
            *("-D", str(root), "--volatile=overlay", f"--bind={share}:/run/share", "--boot"),
        ]
        if not Path("/run/systemd/system").exists():
            nspawn.insert(1, "--keep-unit")
            nspawn = [*("unshare", "--mount", "--propagation=private"), *IN_A_GROUP, *nspawn]
        with console.open("wb") as out:
            process = subprocess.Popen(
                nspawn,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )

        try:
            machine = Machine(name, share / "shell", patience=1.0, enforces=False, console=console)
            booted(machine, process)
            controllers = machine.output("cat /sys/fs/cgroup/cgroup.controllers")
            machine.enforces = "memory" in controllers.split()
            yield machine
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(first_process(process.pid), signal.SIGKILL)
            process.wait()


def booted(machine: Machine, process: subprocess.Popen[bytes], timeout_s: float = 60.0) -> None:
    """Return once the machine has started everything; fail where it does not."""

    def running() -> bool:
        assert process.poll() is None, machine.console.read_text(errors="replace")
        try:
            state = machine.run("systemctl is-system-running", check=False).output.strip()
        except (OSError, AssertionError):  # its shell does not listen yet
            return False
        return state in ("running", "degraded")

    machine.wait_for("the end of the boot", running, timeout_s)


def first_process(pid: int) -> int:
    """Return the container's own process 1, below ``pid``; all others end with it."""
    while True:
        status = Path(f"/proc/{pid}/status").read_text()
        if len(status.partition("NSpid:")[2].splitlines()[0].split()) > 1:
            return pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if not children:
            raise ProcessLookupError(pid)
        pid = int(children[0])
