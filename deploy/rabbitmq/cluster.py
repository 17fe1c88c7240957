"""Three RabbitMQ nodes with this folder's configuration, killed, restarted or cut off at will.

Runs inside the namespaces of namespaces.py. Each node is that of Debian 13, in the root of root.sh,
with TLS, logins and permissions as an operator copies them from here. Raises RuntimeError, with
what the node has logged, where one does not start.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Final, Self

from deploy.rabbitmq.definitions import Login, definitions
from deploy.rabbitmq.namespaces import NAME, NAMES, address, run

HERE: Final = Path(__file__).resolve().parent
PORT: Final = 8883
START_S: Final = 120.0
ERLANG: Final = "+S 1:1 +SDio 1 +A 4 +sbwt none +sbwtdcpu none +sbwtdio none"
"""One scheduler a node, which sleeps when idle: three nodes share this machine's cores."""
RULES: Final = """
table bridge cut {{
  chain forward {{
    type filter hook forward priority 0;
    {rules}
  }}
}}
"""


class Node:
    """One node. ``name``: its host; ``folder``: its files, /mnt in ``root``."""

    def __init__(self, name: str, root: Path, folder: Path) -> None:
        self.name, self._root, self._folder = name, root, folder
        (folder / name).mkdir()
        cookie = folder / name / ".erlang.cookie"
        cookie.write_text("E" * 20)
        cookie.chmod(0o400)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; return at once."""
        with (self._folder / f"{self.name}.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command("rabbitmq-server"), stdout=log, stderr=log, start_new_session=True
            )

    def _command(self, program: str, *arguments: str) -> list[str]:
        home = f"/mnt/{self.name}"
        environment = {
            "HOME": home,
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG": "C.UTF-8",
            "RABBITMQ_NODENAME": f"rabbit@{self.name}",
            "RABBITMQ_MNESIA_BASE": f"{home}/db",
            "RABBITMQ_LOG_BASE": f"{home}/log",
            "RABBITMQ_PID_FILE": f"{home}/pid",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": ERLANG,
            "ERL_CRASH_DUMP_SECONDS": "0",
        }
        return [
            *("ip", "netns", "exec", self.name, "chroot", str(self._root), "env", "-i"),
            *(f"{key}={value}" for key, value in environment.items()),
            *(f"/usr/lib/rabbitmq/bin/{program}", *arguments),
        ]

    def ctl(self, *arguments: str, program: str = "rabbitmqctl") -> str:
        """Return what rabbitmqctl says. Raises RuntimeError."""
        return run(*self._command(program, *arguments))

    @property
    def log(self) -> str:
        """What it has logged."""
        return (self._folder / f"{self.name}.log").read_text(errors="replace")

    @property
    def pid(self) -> int:
        """The process id of its Erlang, 0 if it does not run."""
        try:
            number = int((self._folder / self.name / "pid").read_text())
            program = Path(f"/proc/{number}/comm").read_text()
        except (OSError, ValueError):
            return 0
        return number if program.startswith("beam") else 0

    @property
    def serves(self) -> bool:
        """Whether it accepts MQTT connections."""
        try:
            socket.create_connection((address(self.name), PORT), 1.0).close()
        except OSError:
            return False
        return True

    def kill(self) -> None:
        """SIGKILL it, as a power cut would; return when it has ended."""
        if pid := self.pid:
            os.kill(pid, signal.SIGKILL)
        if self._process is not None:
            self._process.wait()


class Cluster:
    """Three nodes while the block lasts.

    root    made by root.sh
    folder  for their files
    logins  the users
    """

    host, port = NAME, PORT

    def __init__(self, root: Path, folder: Path, logins: list[Login]) -> None:
        self._root, self._folder = root, folder
        folder.mkdir()
        config = folder / "etc"
        config.mkdir()
        for name in ("rabbitmq.conf", "advanced.config", "enabled_plugins"):
            shutil.copy(HERE / name, config)
        (config / "definitions.json").write_text(json.dumps(definitions(logins)))
        self.ca_file = certificates(config / "certs")
        run("mount", "--bind", folder, root / "mnt")
        run("mount", "--bind", config, root / "etc/rabbitmq")
        (root / "etc/hosts").touch()
        run("mount", "--bind", "/etc/hosts", root / "etc/hosts")
        for shared in ("proc", "dev"):
            run("mount", "--rbind", f"/{shared}", root / shared)
        self.nodes = {name: Node(name, root, folder) for name in NAMES}

    def __enter__(self) -> Self:
        """Start all nodes; return when each of them serves."""
        for node in self.nodes.values():
            node.start()
        self.wait(*self.nodes.values())
        return self

    def __exit__(self, *_: object) -> None:
        """Kill them."""
        for node in self.nodes.values():
            node.kill()

    def wait(self, *nodes: Node) -> None:
        """Return when each of ``nodes`` serves."""
        until_s = time.monotonic() + START_S
        for node in nodes:
            while not node.serves:
                if time.monotonic() > until_s:
                    why = f"{node.name} does not serve after {START_S:.0f} s"
                    raise RuntimeError(f"{why}:\n{node.log[-3000:]}")
                time.sleep(0.2)

    def leader(self) -> Node:
        """Return the node that leads the most quorum queues."""
        listed = next(node for node in self.nodes.values() if node.serves).ctl(
            "list_queues", "--quiet", "--no-table-headers", "type", "leader"
        )
        leaders = [line.split("@")[-1] for line in listed.splitlines() if "quorum" in line]
        if not leaders:
            raise RuntimeError("no quorum queue has a leader")
        return self.nodes[max(set(leaders), key=leaders.count).strip()]

    def cut(self, node: Node) -> None:
        """Part ``node`` from the others; its devices still reach it."""
        rules = f'iifname "{node.name}" drop; oifname "{node.name}" drop;'
        file = self._folder / "cut.nft"
        file.write_text(RULES.format(rules=rules))
        run("chroot", self._root, "nft", "-f", "/mnt/cut.nft")

    def heal(self) -> None:
        """Join them again."""
        run("chroot", self._root, "nft", "delete", "table", "bridge", "cut")


def certificates(folder: Path) -> Path:
    """Write an authority, and a certificate of all nodes; return the authority's."""
    folder.mkdir()
    names = ",".join(f"DNS:{name}" for name in (NAME, *NAMES))
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    authority, broker = folder / "ca", folder / "broker"
    run(
        *("openssl", "req", "-x509", *curve, "-days", "2", "-subj", "/CN=load"),
        *("-out", f"{authority}.crt", "-keyout", f"{authority}.key"),
        *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),
    )
    (folder / "ext").write_text(f"subjectAltName={names},IP:127.0.0.1\n")
    run(
        *("openssl", "req", *curve, "-subj", f"/CN={NAME}"),
        *("-out", f"{broker}.csr", "-keyout", f"{broker}.key"),
    )
    run(
        *("openssl", "x509", "-req", "-in", f"{broker}.csr", "-CA", f"{authority}.crt"),
        *("-CAkey", f"{authority}.key", "-CAcreateserial", "-days", "2"),
        *("-extfile", folder / "ext", "-out", f"{broker}.crt"),
    )
    return Path(f"{authority}.crt")
