"""``make deploy``: the package onto Pis that run, one after the other, over ssh.

    python3 -m deploy.remote --hosts 'user@pi ...' [--deb FILE] [--ssh 'ssh -p 2222'] [--timeout S]

For each host: find out its Debian, send the matching package and the programs in on_device/,
which install it and go back where it is not healthy. The first failure ends the run; the hosts
after it are not changed. Keys, ports and known hosts come from the user's ssh configuration.

Runs on Debian's own python3, without this project's packages. Exit status: 0 all are healthy; 3
one has gone back; 64 no HOST, or no such ssh; 65 not a package for it; 66 no package; 69 cannot be
reached; 70 not healthy and could not go back; 71 an internal error on the host; 74 nothing was
changed; 75 another deploy is running there; 77 no root access. Never 1, which other programs use.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import shlex
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from deploy.host import LOST, RELEASES, DeployError, Host, meet, running, words
from deploy.on_device.rollout import BACK, FAULT, RETURNED
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
    parser.add_argument("--timeout", type=float, default=180.0)
    args = parser.parse_args(given)
    hosts, done, status = args.hosts.split(), [], 0
    try:
        if not hosts or any(name.startswith("-") for name in hosts):
            raise DeployError(
                64, "no HOST given", hint="HOST=user@pi, or HOST='pi1 pi2 pi3', or HOSTS=FILE"
            )
        ssh = words(args.ssh)
        with tempfile.TemporaryDirectory(prefix="edge-deploy-") as sockets:
            for name in hosts:
                done.append(name)
                deploy(name, args, ssh, Path(sockets))
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


def deploy(name: str, args: argparse.Namespace, command: list[str], sockets: Path) -> None:
    """Deploy the package to one host. Raises DeployError."""
    ssh = one_connection(command, sockets)
    try:
        host = meet(name, ssh)
        package = Path(args.deb) if args.deb else newest(DIST, host)
        fits(package, host)
        say(host, f"{host.arch}, {host.release}: sending {package.name}")
        rollout = program(sockets / PROGRAM)
        send(host, package, INCOMING)
        send(host, rollout, PROGRAM)
        install(host, package, args.timeout)
    finally:
        subprocess.run([*ssh, "-O", "exit", name], capture_output=True, check=False)


def one_connection(command: list[str], sockets: Path) -> tuple[str, ...]:
    """Return an ssh that uses one connection for all commands to a host.

    It closes after the last one (`ssh -O exit`), or a minute later.
    """
    shared = ("-o", "ControlMaster=auto", "-o", f"ControlPath={sockets}/%C")
    options = ("-o", "ControlPersist=60", "-o", "BatchMode=yes", "-o", "ConnectTimeout=20")
    return (*command, *shared, *options, "-o", "ServerAliveInterval=15")


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


def fits(package: Path, host: Host) -> None:
    """Raise DeployError unless ``package`` is one of ours for the host's kind of Debian."""
    if not package.is_file():
        raise DeployError(66, "no such package", where=str(package))
    query = ["dpkg-deb", "-f", str(package), "Package", "Architecture", "Version"]
    done = subprocess.run(query, capture_output=True, text=True, check=False)
    fields = dict(line.split(": ", 1) for line in done.stdout.splitlines())
    if fields.get("Package") != "edge-camera":
        raise DeployError(65, "not a package of edge-camera", where=str(package))
    if fields["Architecture"] != host.arch:
        error = f"{package.name} is for {fields['Architecture']}, the host is {host.arch}"
        raise DeployError(65, "wrong architecture", where=host.name, got=error)
    marked = re.search(r"~(deb\d+)", fields["Version"])
    if marked and marked[1] != host.release:
        error = f"{package.name} is for {marked[1]}, the host is {host.release}"
        raise DeployError(65, "wrong Debian", where=host.name, got=error)


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
    done = host.run(f"{busy}; {write}", path)
    if done.returncode == BUSY:
        raise DeployError(BUSY, "another deploy is running", where=host.name)
    error = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
    if done.returncode == LOST:
        raise DeployError(69, "the connection broke", where=host.name, got=error)
    if done.returncode:
        raise DeployError(74, f"{path.name} could not be sent", where=host.name, got=error)


def install(host: Host, package: Path, timeout_s: float, tell: Tell | None = None) -> None:
    """Run the program on the host, and print its lines as they come. Raises DeployError.

    tell  what is done with each line instead
    """
    digest = hashlib.sha256(package.read_bytes()).hexdigest()
    alone(host, f"{FOLDER}/{INCOMING} {digest} {timeout_s}", tell or say)


def back(host: Host, version: str, timeout_s: float, tell: Tell) -> None:
    """Let the host go back from ``version`` to its previous package. Raises DeployError."""
    try:
        alone(host, f"back {shlex.quote(version)} {timeout_s}", tell)
    except DeployError as exc:
        if exc.status != BACK:
            raise


def alone(host: Host, arguments: str, tell: Tell) -> None:
    """Run the program as the unit of which there is one. Raises DeployError for its outcome."""
    begin = f"systemd-run --quiet --collect --pipe --wait --unit={UNIT} --service-type=exec"
    command = [*host.ssh, host.name, f"{host.sudo}{begin} python3 {FOLDER}/{PROGRAM} {arguments}"]
    last = ""
    with running(command) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stdout:
            tell(host, last := line.strip())
        error = process.stderr.read().strip()
    status, reason = (
        process.returncode,
        (error.splitlines() or [f"status {process.returncode}"])[-1],
    )
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
