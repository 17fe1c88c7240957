"""A Debian of this machine's architecture, booted in systemd-nspawn; nothing written is kept.

Rule: this machine's own cgroups are not changed. Where its first process is not systemd, the second
hierarchy is mounted in a mount namespace that ends with the container.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.system.machine import Machine

CERTIFICATES: Final = Path("/etc/ssl/certs/ca-certificates.crt")
IN_A_GROUP: Final = (
    *("sh", "-c"),
    "[ -s /etc/machine-id ] || { touch /etc/machine-id && mount --bind $1 /etc/machine-id; }; shift"
    "; mount -t cgroup2 none /sys/fs/cgroup; group=/sys/fs/cgroup/edge-test-$$; mkdir $group"
    ' && echo $$ >$group/cgroup.procs && "$@"; status=$?; echo $$ >/sys/fs/cgroup/cgroup.procs'
    "; find $group -depth -type d -exec rmdir {} +; exit $status",
    "-",
)
"""Runs the command that follows in a cgroup of its own: containers that share one affect each
other. The first argument is a file with a machine-id, which systemd-nspawn requires.
"""


@contextlib.contextmanager
def container(name: str, root: Path, *, network: bool = False) -> Iterator[Machine]:
    """Run ``root`` while the block lasts. Needs root, and a kernel that lets it mount.

    network  whether it reaches this machine's network; nothing there reaches it
    """
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
            mine = share / "machine-id"
            mine.write_text(f"{uuid.uuid4().hex}\n")
            alone = ("unshare", "--mount", "--propagation=private")
            nspawn = [*alone, *IN_A_GROUP, str(mine), *nspawn]
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
            with connected(machine, process.pid) if network else contextlib.nullcontext():
                yield machine
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(first_process(process.pid), signal.SIGKILL)
            process.wait()


@contextlib.contextmanager
def connected(machine: Machine, pid: int) -> Iterator[None]:
    """Give the container below ``pid`` a network while the block lasts, and pip this machine's."""
    ready, written = os.pipe()
    slirp = [
        *("slirp4netns", "--configure", "--mtu=65520", "--disable-host-loopback"),
        *(f"--ready-fd={written}", str(first_process(pid)), "tap0"),
    ]
    process = subprocess.Popen(
        slirp, pass_fds=(written,), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    os.close(written)
    try:
        assert os.read(ready, 1) == b"1", "slirp4netns has ended"
        machine.put("/etc/resolv.conf", b"nameserver 10.0.2.3\n")
        machine.put("/etc/test-ca.crt", CERTIFICATES.read_bytes())
        index = subprocess.run(
            [sys.executable, "-m", "pip", "config", "get", "global.index-url"],
            capture_output=True,
            text=True,
            check=False,
        ).stdout.strip()
        index = f"index-url = {index}\n" if index else ""
        machine.put("/etc/pip.conf", f"[global]\ncert = /etc/test-ca.crt\n{index}".encode())
        yield
    finally:
        os.close(ready)
        process.terminate()
        process.wait()


def booted(machine: Machine, process: subprocess.Popen[bytes], timeout_s: float = 60.0) -> None:
    """Return once the machine has booted; fail where it does not."""

    def running() -> bool:
        assert process.poll() is None, machine.console.read_text(errors="replace")
        try:
            state = machine.run("systemctl is-system-running", check=False).output.strip()
        except (OSError, AssertionError):  # its shell is not listening yet
            return False
        return state in ("running", "degraded")

    machine.wait_for("the end of the boot", running, timeout_s)


def first_process(pid: int) -> int:
    """Return the container's process 1, below ``pid``; all others end with it."""
    while True:
        status = Path(f"/proc/{pid}/status").read_text()
        if len(status.partition("NSpid:")[2].splitlines()[0].split()) > 1:
            return pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if not children:
            raise ProcessLookupError(pid)
        pid = int(children[0])
