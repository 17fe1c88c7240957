"""A booted machine to install the package in: commands, files, a subscriber, conditions.

Rule 1: everything goes through one root shell, which the machine's own systemd starts for each
        connection; so no command of a test is a child of a tested process.
Rule 2: nothing sleeps for a fixed time: ``wait_for`` polls until a condition holds, or fails.

Knows neither systemd-nspawn nor QEMU: see containers.py and emulated.py.
"""

from __future__ import annotations

import base64
import json
import shlex
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

POLL_S: Final = 0.25
SEPARATOR: Final = b"\0status "


@dataclass(frozen=True, slots=True)
class Result:
    """A command's exit status and output."""

    status: int
    output: str


@dataclass(frozen=True, slots=True)
class Received:
    """One message as mosquitto_sub received it; ``at_s`` is by the machine's clock."""

    at_s: float
    topic: str
    retained: bool
    payload: str

    @property
    def kind(self) -> str:
        """The last level of the topic."""
        return self.topic.rpartition("/")[2]

    @property
    def body(self) -> Any:
        """The payload, decoded."""
        return json.loads(self.payload)


class Machine:
    """Commands in a booted machine.

    name      suite and architecture
    address   of its shell: a socket in this file system, or a port of this machine
    patience  a factor for time limits: how much slower than this machine it may be
    enforces  whether its kernel gives it the memory controller
    console   the file with its console output
    """

    def __init__(
        self,
        name: str,
        address: Path | int,
        *,
        patience: float,
        enforces: bool,
        console: Path,
    ) -> None:
        self.name, self.enforces, self.console = name, enforces, console
        self.patience = patience
        self._address = address

    def _connect(self) -> socket.socket:
        if isinstance(self._address, int):
            return socket.create_connection(("127.0.0.1", self._address))
        shell = socket.socket(socket.AF_UNIX)
        try:
            shell.connect(str(self._address))
        except OSError:
            shell.close()
            raise
        return shell

    def run(self, command: str, *, check: bool = True, timeout_s: float = 60.0) -> Result:
        """Run ``command`` in a shell; fail where it does and ``check`` is set."""
        with self._connect() as shell:
            shell.settimeout(timeout_s * self.patience)
            shell.sendall(_line(command))
            output = b"".join(iter(lambda: shell.recv(65536), b""))
        text, found, status = output.rpartition(SEPARATOR)
        assert found, f"{command}: the machine's shell has died: {output!r}"
        result = Result(int(status), text.decode(errors="replace"))
        assert result.status == 0 or not check, f"{command}: {result}"
        return result

    def output(self, command: str) -> str:
        """Return what ``command`` writes, stripped."""
        return self.run(command).output.strip()

    def put(self, path: str, content: bytes) -> None:
        """Write a file, and the missing folders of its path."""
        name = shlex.quote(path)
        write = f"mkdir -p $(dirname {name}) && head -c {len(content)} >{name}"
        with self._connect() as shell:
            shell.settimeout(60 * self.patience)
            shell.sendall(f"{write}; echo done; exit\n".encode() + content)
            answer = b"".join(iter(lambda: shell.recv(65536), b""))
        assert answer == b"done\n", (path, answer)

    def dial(self, host: str, port: int) -> socket.socket:
        """Return a connection to an address as the machine sees it, ended when that ends."""
        shell = self._connect()
        both = "{ cat <&3; kill $$; } & cat >&3; kill $!"
        shell.sendall(f"exec 2>/dev/null; exec 3<>/dev/tcp/{host}/{port}; {both}; exit\n".encode())
        return shell

    def show(self, *properties: str, unit: str = "edge-camera") -> dict[str, str]:
        """Return properties of a unit."""
        output = self.output(f"systemctl show {unit} -p {','.join(properties)}")
        return dict(line.split("=", 1) for line in output.splitlines())

    def wait_for(self, what: str, condition: Callable[[], object], timeout_s: float = 30.0) -> None:
        """Return once ``condition`` holds; fail after ``timeout_s`` times the patience."""
        until = time.monotonic() + timeout_s * self.patience
        while not condition():
            if time.monotonic() > until:
                raise AssertionError(f"{self.name}: timed out: {what}\n{self.evidence()}")
            time.sleep(POLL_S)

    def evidence(self) -> str:
        """Return the service's status and the end of the journal."""
        look = "systemctl status --no-pager -l 'edge-camera*'; journalctl -n 30 --no-pager"
        return self.run(look, check=False).output

    def subscribe(self, topic: str = "#") -> Subscriber:
        """Return a real subscriber that runs in the machine."""
        shell = self._connect()
        command = f"stdbuf -oL mosquitto_sub -q 1 -t '{topic}' -F '%U %r %t %p'"
        shell.sendall(f"exec {command} </dev/null\n".encode())
        return Subscriber(shell, self)


class Subscriber:
    """Stores the output of mosquitto_sub, which reconnects by itself."""

    def __init__(self, shell: socket.socket, machine: Machine) -> None:
        self._shell, self._machine = shell, machine
        self.messages: list[Received] = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        with self._shell.makefile("r", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                at, retained, topic, payload = line.rstrip("\n").split(" ", 3)
                self.messages.append(Received(float(at), topic, retained == "1", payload))

    def of(self, kind: str) -> list[Received]:
        """Return the messages of one topic."""
        return [message for message in list(self.messages) if message.kind == kind]

    def events(self, type: str) -> list[Any]:
        """Return the events of one type."""
        return [body for m in self.of("event") if (body := m.body)["type"] == type]

    def availability(self) -> list[str]:
        """Return the values of `availability`, oldest first."""
        return [message.payload for message in self.of("availability")]

    def wait_for_online(self) -> None:
        """Return once the device is online; forget the messages until then."""
        self.wait_for("online", lambda: self.availability()[-1:] == ["online"])
        self.messages.clear()

    def wait_for(self, what: str, condition: Callable[[], object], timeout_s: float = 30.0) -> None:
        """Return once ``condition`` holds; fail otherwise, with the newest messages."""
        try:
            self._machine.wait_for(what, condition, timeout_s)
        except AssertionError as exc:
            raise AssertionError(f"{exc}\n{self.messages[-4:]}") from None

    def close(self) -> None:
        """End it."""
        self._shell.shutdown(socket.SHUT_RDWR)
        self._shell.close()


def _line(command: str) -> bytes:
    """Return one line for the shell: it reads no further until ``command`` has ended."""
    line = base64.b64encode(command.encode()).decode()
    return (
        f"(eval \"$(echo {line} | base64 -d)\") </dev/null 2>&1; printf '\\0status %d' $?; exit\n"
    ).encode()
