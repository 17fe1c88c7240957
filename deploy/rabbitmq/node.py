"""One RabbitMQ node in the root of root.sh, started, asked and killed. Needs root.

Raises RuntimeError, with what the node has logged, where it does not start.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Final

from deploy.rabbitmq.namespaces import run

START_S: Final = 120.0
ERLANG: Final = "+S 1:1 +SDio 1 +A 4 +sbwt none +sbwtdcpu none +sbwtdio none"
"""One scheduler a node, which sleeps when idle: several nodes share this machine's cores."""


class Node:
    """One node.

    name     its host, as the other nodes know it
    root     made by root.sh; /mnt in it is ``folder``
    folder   its files go into folder/name
    serving  where it accepts clients
    inside   command that runs another in the node's network
    more     variables of its environment
    """

    def __init__(
        self,
        name: str,
        root: Path,
        folder: Path,
        serving: tuple[str, int],
        inside: tuple[str, ...] = (),
        **more: str,
    ) -> None:
        self.name, self._root, self._serving, self._inside = name, root, serving, inside
        self._files = folder / name
        self._files.mkdir()
        cookie = self._files / ".erlang.cookie"
        cookie.write_text("E" * 20)
        cookie.chmod(0o400)
        home = f"/mnt/{name}"
        self._environment = {
            "HOME": home,
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG": "C.UTF-8",
            "RABBITMQ_NODENAME": f"rabbit@{name}",
            "RABBITMQ_MNESIA_BASE": f"{home}/db",
            "RABBITMQ_LOG_BASE": f"{home}/log",
            "RABBITMQ_PID_FILE": f"{home}/pid",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": ERLANG,
            "ERL_CRASH_DUMP_SECONDS": "0",
        } | more
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; return at once."""
        with (self._files / "output").open("ab") as log:
            self._process = subprocess.Popen(
                self._command("rabbitmq-server"), stdout=log, stderr=log, start_new_session=True
            )

    def wait(self) -> None:
        """Return when it serves."""
        until_s = time.monotonic() + START_S
        while not self.serves:
            if time.monotonic() > until_s:
                log = (self._files / "output").read_text(errors="replace")
                raise RuntimeError(f"{self.name} does not serve in {START_S:.0f} s: {log[-3000:]}")
            time.sleep(0.05)

    def _command(self, program: str, *arguments: str) -> list[str]:
        return [
            *(*self._inside, "chroot", str(self._root), "env", "-i"),
            *(f"{key}={value}" for key, value in self._environment.items()),
            *(f"/usr/lib/rabbitmq/bin/{program}", *arguments),
        ]

    def ctl(self, *arguments: str) -> str:
        """Return what rabbitmqctl says. Raises RuntimeError."""
        return run(*self._command("rabbitmqctl", *arguments))

    @property
    def pid(self) -> int:
        """The process id of its Erlang, 0 if it does not run."""
        try:
            number = int((self._files / "pid").read_text())
            program = Path(f"/proc/{number}/comm").read_text()
        except (OSError, ValueError):
            return 0
        return number if program.startswith("beam") else 0

    @property
    def serves(self) -> bool:
        """Whether it accepts connections."""
        try:
            socket.create_connection(self._serving, 1.0).close()
        except OSError:
            return False
        return True

    def kill(self, number: int = signal.SIGKILL) -> None:
        """End it with a signal, by default as a power cut would; return when it has ended."""
        if pid := self.pid:
            os.kill(pid, number)
        if self._process is not None:
            self._process.wait()
            self._process = None
