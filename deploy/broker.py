"""A private mosquitto on a free loopback port, for the demo and the tests."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

START_S: Final = 20.0
PORTS: Final = range(20_000, 32_000)
"""Below those that Linux gives to connections: none takes the port of a stopped broker."""


class PrivateBroker:
    """Runs mosquitto while the block lasts; it can be killed and restarted on its port.

    options  lines of mosquitto.conf, instead of those that allow anonymous clients
    Raises RuntimeError if mosquitto is missing or does not listen within ``START_S``.
    """

    host = "127.0.0.1"

    def __init__(self, *options: str) -> None:
        self.port = free_port()
        self._options = options or ("allow_anonymous true",)
        self._folder = tempfile.TemporaryDirectory(prefix="edge-broker-")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """HOST:PORT."""
        return f"{self.host}:{self.port}"

    @property
    def pid(self) -> int:
        """Process id of the running mosquitto."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start mosquitto and wait until it listens."""
        program = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin")
        if program is None:
            raise RuntimeError("mosquitto is not installed; hint: apt install mosquitto")
        config = Path(self._folder.name) / "mosquitto.conf"
        lines = (f"listener {self.port} {self.host}", "user root", *self._options)
        config.write_text("".join(f"{line}\n" for line in lines))
        with (Path(self._folder.name) / "log").open("ab") as log:
            # Its own session: Ctrl-C in the terminal must not stop it before the daemon has
            # published "offline".
            self._process = subprocess.Popen(
                [program, "-c", str(config)], stdout=log, stderr=log, start_new_session=True
            )
        until = time.monotonic() + START_S
        while time.monotonic() < until and self._process.poll() is None:
            try:
                socket.create_connection((self.host, self.port), 0.2).close()
                return
            except OSError:
                time.sleep(0.02)
        self.stop()
        raise RuntimeError(f"mosquitto does not listen on port {self.port}")

    def stop(self) -> None:
        """Stop mosquitto; its retained messages are lost."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None

    def signal(self, number: int) -> None:
        """Send a signal to mosquitto."""
        if self._process is not None:
            self._process.send_signal(number)

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop, and remove its files."""
        self.stop()
        self._folder.cleanup()


_turns = itertools.count(os.getpid() * 509)


def free_port() -> int:
    """Return a loopback port that nothing listens on now.

    Each call returns another, and each process begins elsewhere: a broker that is stopped for a
    while keeps its port.
    """
    while True:
        with contextlib.suppress(OSError), socket.socket() as probe:
            port = PORTS[next(_turns) % len(PORTS)]
            probe.bind(("127.0.0.1", port))
            return port
