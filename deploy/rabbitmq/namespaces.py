"""A private network for three nodes: namespaces joined by a bridge, gone with the process.

Rule: nothing is left on this machine. ``enter`` starts the program again in namespaces of its own
(network, mounts, processes); the kernel ends every process in them with the first one.

    this program, 10.77.0.1 --- bridge --- edge1, 10.77.0.11
                                       +-- edge2, 10.77.0.12
                                       +-- edge3, 10.77.0.13
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

INSIDE: Final = "EDGE_NAMESPACES"
"""Set in the environment of a program in its namespaces."""
SCRIPT: Final = Path(__file__).resolve().parent / "root.sh"
NAMES: Final = ("edge1", "edge2", "edge3")
NAME: Final = "broker.example"
"""Resolves to all nodes."""
BRIDGE: Final = "10.77.0.1"


def address(name: str) -> str:
    """Return the address of a node."""
    return f"10.77.0.1{name[-1]}"


def enter() -> None:
    """Start this program again in namespaces of its own, unless it is in them. Needs root."""
    if os.environ.get(INSIDE):
        return
    root = [] if os.geteuid() == 0 else ["sudo", "--preserve-env"]
    separate = ("--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
    command = [*root, "unshare", *separate, "env", f"{INSIDE}=1"]
    os.execvp(command[0], [*command, sys.executable, *sys.orig_argv[1:]])


def make_root(folder: Path) -> None:
    """Make the nodes' Debian 13 in ``folder``, unless it is there. Raises RuntimeError."""
    if os.environ.get(INSIDE):
        return  # made before: there is no network here
    root = [] if os.geteuid() == 0 else ["sudo"]
    if subprocess.run([*root, SCRIPT, folder], check=False).returncode:
        raise RuntimeError(f"{folder}: no Debian 13 with RabbitMQ could be made")


def connect(folder: Path) -> None:
    """Join the nodes to each other and to this program; NAME and theirs resolve here.

    folder  for the hosts file
    """
    hosts = folder / "hosts"
    lines = ["127.0.0.1 localhost"]
    lines += [f"{address(name)} {name} {NAME}" for name in NAMES]
    hosts.write_text("".join(f"{line}\n" for line in lines))
    run("mount", "--bind", hosts, "/etc/hosts")
    run("mount", "-t", "tmpfs", "tmpfs", "/run")
    Path("/run/netns").mkdir()
    run("ip", "link", "set", "lo", "up")
    run("ip", "link", "add", "bridge0", "type", "bridge")
    run("ip", "addr", "add", f"{BRIDGE}/24", "dev", "bridge0")
    run("ip", "link", "set", "bridge0", "up")
    for name in NAMES:
        run("ip", "netns", "add", name)
        run("ip", "link", "add", name, "type", "veth", "peer", "eth0", "netns", name)
        run("ip", "link", "set", name, "master", "bridge0", "up")
        run("ip", "-n", name, "addr", "add", f"{address(name)}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            run("ip", "-n", name, "link", "set", device, "up")


def run(*command: str | Path) -> str:
    """Return the output of a command. Raises RuntimeError with its first line if it fails."""
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    if done.returncode:
        why = (done.stderr or done.stdout).strip().splitlines() or [f"status {done.returncode}"]
        raise RuntimeError(f"{' '.join(map(str, command))[-200:]}: {why[0]}")
    return done.stdout
