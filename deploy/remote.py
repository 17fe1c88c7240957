"""``make deploy``: the package onto Pis that run, one after the other, over ssh.

    python3 -m deploy.remote --hosts 'user@pi ...' [--deb FILE] [--ssh 'ssh -p 2222'] [--timeout S]

For each host: find out its Debian, send the matching package and the programs in on_device/,
which install it and go back where it is not healthy. The first failure ends the run; the hosts
after it are not changed. Keys, ports and known hosts come from the user's ssh configuration.

Runs on Debian's own python3, without this project's packages. Exit status: 0 all are healthy; 3
one has gone back; 64 no HOST, or no such ssh; 65 not a package for it; 66 no package; 69 cannot be
reached, or a step there has not ended in time; 70 not healthy and could not go back; 71 an internal
error on the host, or too much output; 74 nothing was changed; 75 another deploy is running there;
77 no root access. Never 1, which other programs use.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from deploy import process
from deploy.errors import DeployError
from deploy.host import LOST, RELEASES, Host, connection, last_line, meet, words
from deploy.on_device.rollout import BACK, FAULT, RETURNED
from deploy.runtime.pins import sha256
from deploy.waves import DAY_S, number
from edge.text import escaped

HERE: Final = Path(__file__).resolve().parent
DIST: Final = HERE.parent / "build" / "dist"
FOLDER: Final = "/var/cache/edge-camera"
UNIT: Final = "edge-deploy"
PROGRAM: Final = "rollout.pyz"
INCOMING: Final = "incoming.deb"
"""The package's name on the host. With its own name, DEB=previous.deb would be overwritten."""
MAIN: Final = """
import sys
from deploy.on_device.program import main
sys.exit(main(sys.argv[1:]))
"""
BUSY: Final = 75
NEEDED: Final = {"Architecture", "Version"}
QUERY_S: Final = 60.0
SEND_S: Final = 120.0
"""Beside the time that a file takes."""
INSTALL_S: Final = 3600.0
"""Beside TIMEOUT: apt's lock, the previous version packed, two installations on an old SD card."""
EXISTS: Final = re.compile(rf"^Failed to start transient .*: Unit {UNIT}\.service .*already", re.M)
"""systemd-run's message that the unit exists; ssh has an "already exists" of its own."""
Tell = Callable[[Host, str], None]
"""Takes a line about a host."""
OUTCOMES: Final = {
    BACK: "went back to the previous package",
    FAULT: "internal error of the deploy, see above; going back was not finished",
    70: "not healthy",
    74: "nothing was changed",
}


def main(given: Sequence[str]) -> int:
    """Deploy; return the exit status, after a line for each host."""
    parser = argparse.ArgumentParser(prog="make deploy", allow_abbrev=False)
    parser.add_argument("--hosts", default="")
    parser.add_argument("--deb", default="")
    parser.add_argument("--ssh", default="ssh")
    parser.add_argument("--timeout", default="180")
    args = parser.parse_args(given)
    hosts, done, status = args.hosts.split(), [], 0
    try:
        if not hosts or any(name.startswith("-") for name in hosts):
            raise DeployError(
                64, "no HOST given", hint="HOST=user@pi, or HOST='pi1 pi2 pi3', or HOSTS=FILE"
            )
        ssh, timeout_s = words(args.ssh), number("TIMEOUT", args.timeout, 1, DAY_S)
        with tempfile.TemporaryDirectory(prefix="edge-deploy-") as sockets:
            for name in hosts:
                done.append(name)
                deploy(name, args.deb, timeout_s, ssh, Path(sockets))
    except DeployError as exc:
        print(escaped(f"deploy: {exc}"), file=sys.stderr)
        status = exc.status
    except KeyboardInterrupt:
        what = f"{done[-1]} completes it by itself" if done else "nothing was begun"
        print(file=sys.stderr)
        print(escaped(f"deploy: interrupted; {what}"), file=sys.stderr)
        status = 130
    if left := hosts[len(done) :]:
        print(escaped(f"deploy: not changed: {' '.join(left)}"), file=sys.stderr)
    return status


def deploy(name: str, deb: str, timeout_s: float, command: list[str], sockets: Path) -> None:
    """Deploy the package to one host. Raises DeployError."""
    with connection(command, sockets, name) as ssh:
        host = meet(name, ssh)
        package = Path(deb) if deb else newest(DIST, host)
        fits(package, host)
        say(host, f"{host.arch}, {host.release}: sending {package.name}")
        rollout = program(sockets / PROGRAM)
        send(host, package, INCOMING)
        send(host, rollout, PROGRAM)
        install(host, digest(package), timeout_s)


def newest(folder: Path, host: Host) -> Path:
    """Return the newest package for a host of this kind."""
    found = sorted(
        folder.glob(f"edge-camera_*~{host.release}_{host.arch}.deb"),
        key=lambda path: path.stat().st_mtime,
    )
    if not found:
        suite = "".join(f" SUITE={one}" for one, end in RELEASES.items() if end == host.release)
        raise DeployError(
            66,
            f"no edge-camera_*~{host.release}_{host.arch}.deb in {folder}",
            where=host.name,
            hint=f"run `make deb ARCH={host.arch}{suite}`, or name one: DEB=FILE",
        )
    return found[-1]


def fields(package: Path) -> dict[str, str]:
    """Return Architecture and Version of a package of ours. Raises DeployError."""
    if not os.path.isfile(package):  # false also for a name that is too long
        raise DeployError(66, "no such package", where=str(package))
    query = ["dpkg-deb", "-f", str(package), "Package", "Architecture", "Version"]
    output = process.run(query, str(package), QUERY_S).stdout
    content = dict(line.split(": ", 1) for line in output.splitlines() if ": " in line)
    if content.pop("Package", "") != "edge-camera" or not content.keys() >= NEEDED:
        raise DeployError(65, "not a package of edge-camera", where=str(package))
    return content


def fits(package: Path, host: Host) -> None:
    """Raise DeployError unless ``package`` is one of ours for the host's kind of Debian."""
    content = fields(package)
    if content["Architecture"] != host.arch:
        error = f"{package.name} is for {content['Architecture']}, the host is {host.arch}"
        raise DeployError(65, "wrong architecture", where=host.name, got=error)
    marked = re.search(r"~(deb\d+)", content["Version"])
    if marked and marked[1] != host.release:
        error = f"{package.name} is for {marked[1]}, the host is {host.release}"
        raise DeployError(65, "wrong Debian", where=host.name, got=error)


def digest(path: Path) -> str:
    """Return the SHA-256 of a file that is sent. Raises DeployError."""
    try:
        return sha256(path)
    except OSError as exc:
        raise DeployError(66, exc.strerror or "cannot be read", where=str(path)) from exc


def program(path: Path) -> Path:
    """Write on_device/ and the modules of edge/ that it uses as one file that python3 runs."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.mkdir("deploy")
        archive.mkdir("deploy/on_device")
        for module in sorted((HERE / "on_device").glob("*.py")):
            archive.write(module, f"deploy/on_device/{module.name}")
        archive.mkdir("edge")
        archive.writestr("edge/__init__.py", "")
        archive.write(HERE.parent / "edge" / "text.py", "edge/text.py")
        archive.writestr("__main__.py", MAIN)
    return path


def send(host: Host, path: Path, to: str) -> None:
    """Copy a file to FOLDER on the host, which only root can read: a config will be in it."""
    name = f"{FOLDER}/{to}"
    busy = f"! systemctl --quiet is-active {UNIT} || exit {BUSY}"
    folder = f"mkdir -p {FOLDER} && chmod 700 {FOLDER}"
    write = f"{folder} && cat >{name}.part && mv {name}.part {name}"
    done = host.run(f"{busy}; {write}", path, SEND_S)
    if done.returncode == BUSY:
        raise DeployError(BUSY, "another deploy is running", where=host.name)
    error = last_line(done.stderr) or f"status {done.returncode}"
    if done.returncode == LOST:
        raise DeployError(69, "the connection broke", where=host.name, got=error)
    if done.returncode:
        raise DeployError(74, f"{path.name} could not be sent", where=host.name, got=error)


def install(host: Host, checksum: str, timeout_s: float, tell: Tell | None = None) -> None:
    """Run the program on the host, and print its lines as they come. Raises DeployError.

    checksum  SHA-256 that what was sent must have
    tell      what is done with each line instead
    """
    arguments = f"{FOLDER}/{INCOMING} {checksum} {timeout_s}"
    alone(host, arguments, timeout_s, tell or say)


def back(host: Host, version: str, timeout_s: float, tell: Tell) -> None:
    """Let the host go back from ``version`` to its previous package. Raises DeployError."""
    try:
        alone(host, f"back {shlex.quote(version)} {timeout_s}", timeout_s, tell)
    except DeployError as exc:
        if exc.status != BACK:
            raise


def alone(host: Host, arguments: str, timeout_s: float, tell: Tell) -> None:
    """Run the program as the unit of which there is one. Raises DeployError for its outcome."""
    begin = f"systemd-run --quiet --collect --pipe --wait --unit={UNIT} --service-type=exec"
    command = [*host.ssh, host.name, f"{host.sudo}{begin} python3 {FOLDER}/{PROGRAM} {arguments}"]
    last = ""

    def line(text: str) -> None:
        nonlocal last
        tell(host, last := text.strip())

    limit_s = INSTALL_S + 2 * timeout_s  # it may wait for a healthy one twice
    done = process.run(command, host.name, limit_s, line=line)
    status, error = done.returncode, done.stderr
    reason = last_line(error) or f"status {status}"
    if not status:
        return
    how = f"on the host, journalctl -t {UNIT} says how it ended"
    if status == LOST:
        raise DeployError(69, "the connection broke", where=host.name, hint=f"it continues; {how}")
    if EXISTS.search(error):
        raise DeployError(BUSY, "another deploy is running", where=host.name)
    if not last:  # systemd-run, sudo or python3 itself
        raise DeployError(74, "the deploy did not start", where=host.name, got=reason)
    if status not in OUTCOMES or (status == BACK and not last.startswith(RETURNED)):
        raise DeployError(70, "interrupted", where=host.name, got=reason, hint=how)
    raise DeployError(status, OUTCOMES[status], where=host.name)


def say(host: Host, text: str) -> None:
    """Print a line about a host."""
    print(escaped(f"deploy: {host.name}: {text}"), flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
