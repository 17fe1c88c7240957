"""Three RabbitMQ nodes with this folder's configuration, killed, restarted or cut off at will.

Runs inside the namespaces of namespaces.py. Each node is that of Debian 13, in the root of root.sh,
with TLS, logins and permissions as an operator copies them from here.
"""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Final, Self

from deploy.rabbitmq.definitions import Login, definitions
from deploy.rabbitmq.namespaces import NAME, NAMES, address, run
from deploy.rabbitmq.node import START_S, Node

HERE: Final = Path(__file__).resolve().parent
PORT: Final = 8883
RULES: Final = """
table bridge cut {{
  chain forward {{
    type filter hook forward priority 0;
    {rules}
  }}
}}
"""


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
        self.nodes = {
            name: Node(
                *(name, root, folder, (address(name), PORT)),
                inside=("ip", "netns", "exec", name),
            )
            for name in NAMES
        }

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
        for node in nodes:
            node.wait()

    def leader(self) -> Node:
        """Return the node that leads the most quorum queues, once one does.

        A node that has just started may serve clients, and not answer this yet.
        """
        columns = ("--quiet", "--no-table-headers", "type", "leader")
        until_s, why = time.monotonic() + START_S, "no node serves"
        while time.monotonic() < until_s:
            for node in self.nodes.values():
                try:
                    listed = node.ctl("list_queues", *columns) if node.serves else ""
                except RuntimeError as exc:
                    why = str(exc)
                    continue
                lines = [line.split("@")[-1] for line in listed.splitlines() if "quorum" in line]
                leaders = [name.strip() for name in lines if name.strip() in self.nodes]
                if leaders:
                    return self.nodes[max(set(leaders), key=leaders.count)]
            time.sleep(0.5)
        raise RuntimeError(f"no quorum queue has a leader: {why}")

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
