"""``make deploy``: the package onto Pis that run, one after the other, over ssh.

    python3 -m deploy.remote --hosts 'user@pi ...' [--deb FILE] [--ssh 'ssh -p 2222'] [--timeout S]

Each: asks which Debian it is, sends the package for it and the programs in on_device/, which do
the rest there, and go back where the new package is not healthy. The first that fails ends it;
those after it are not touched. Keys, ports and known hosts are the business of the user's ssh
configuration.

Runs on Debian's own python3, without this project's packages. Exit status: 0 all are healthy; 3
one has gone back; 64 no HOST, or no such ssh; 65 not a package for it; 66 no package; 69 not
reached; 70 one is not healthy and could not go back; 71 an error there in between; 74 nothing was
changed; 75 another deploy is under way there; 77 no root there. Never 1, which so much else means.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from deploy.host import LOST, RELEASES, DeployError, Host, meet, words
from deploy.on_device.rollout import BACK, FAULT, RETURNED
from edge.text import escaped

HERE: Final = Path(__file__).resolve().parent
DIST: Final = HERE.parent / "build" / "dist"
FOLDER: Final = "/var/cache/edge-camera"
UNIT: Final = "edge-deploy"
PROGRAM: Final = "rollout.pyz"
INCOMING: Final = "incoming.deb"
"""The package's name there, never its own: DEB=previous.deb would overwrite the way back."""
MAIN: Final = """
import sys
from deploy.on_device.rollout import main
sys.exit(main(sys.argv[1:]))
"""
BUSY: Final = 75
EXISTS: Final = re.compile(rf"^Failed to start transient .*: Unit {UNIT}\.service .*already", re.M)
"""systemd-run's word that the unit is there; ssh has an "already exists" of its own."""
OUTCOMES: Final = {
    BACK: "the new package is taken back",
    FAULT: "an error of the deploy itself, told above; going back was not finished",
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
    asked = parser.parse_args(given)
    hosts, done, status = asked.hosts.split(), [], 0
    try:
        if not hosts or any(name.startswith("-") for name in hosts):
            raise DeployError(64, "no HOST given", hint="HOST=user@pi, or HOST='pi1 pi2 pi3'")
        ssh = words(asked.ssh)
        with tempfile.TemporaryDirectory(prefix="edge-deploy-") as sockets:
            for name in hosts:
                done.append(name)
                deploy(name, asked, ssh, Path(sockets))
    except DeployError as exc:
        print(escaped(f"deploy: {exc}"), file=sys.stderr)
        status = exc.status
    except KeyboardInterrupt:
        what = f"what was begun on {done[-1]} goes on there to its end" if done else "nothing begun"
        print(file=sys.stderr)
        print(escaped(f"deploy: interrupted; {what}"), file=sys.stderr)
        status = 130
    if left := hosts[len(done) :]:
        print(escaped(f"deploy: not touched: {' '.join(left)}"), file=sys.stderr)
    return status


def deploy(name: str, asked: argparse.Namespace, command: list[str], sockets: Path) -> None:
    """Give one host the package. Raises DeployError."""
    # One connection for all of it; it ends with the last command, or a minute later.
    shared = ("-o", "ControlMaster=auto", "-o", f"ControlPath={sockets}/%C")
    options = (*shared, "-o", "ControlPersist=60", "-o", "BatchMode=yes", "-o", "ConnectTimeout=20")
    ssh = (*command, *options)
    try:
        host = meet(name, ssh)
        package = Path(asked.deb) if asked.deb else newest(DIST, host)
        fits(package, host)
        say(host, f"{host.arch}, {host.release}: sending {package.name}")
        rollout = program(sockets / PROGRAM)
        send(host, package, INCOMING)
        send(host, rollout, PROGRAM)
        install(host, package, asked.timeout)
    finally:
        subprocess.run([*ssh, "-O", "exit", name], capture_output=True, check=False)


def newest(folder: Path, host: Host) -> Path:
    """Return the package that was built last for a host like this one."""
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
    """Raise DeployError where ``package`` is not one of ours for that architecture and Debian."""
    if not package.is_file():
        raise DeployError(66, "no such package", where=str(package))
    asked = ["dpkg-deb", "-f", str(package), "Package", "Architecture", "Version"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    fields = dict(line.split(": ", 1) for line in done.stdout.splitlines())
    if fields.get("Package") != "edge-camera":
        raise DeployError(65, "not a package of edge-camera", where=str(package))
    if fields["Architecture"] != host.arch:
        told = f"{package.name} is for {fields['Architecture']}, it is {host.arch}"
        raise DeployError(65, "another architecture", where=host.name, got=told)
    marked = re.search(r"~(deb\d+)", fields["Version"])
    if marked and marked[1] != host.release:
        told = f"{package.name} is for {marked[1]}, it is {host.release}"
        raise DeployError(65, "another Debian", where=host.name, got=told)


def program(path: Path) -> Path:
    """Write on_device/, and what it uses of edge/, as one file that python3 runs."""
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
    """Copy a file to FOLDER there, which holds the owner's config and is root's alone."""
    name = f"{FOLDER}/{to}"
    busy = f"! systemctl --quiet is-active {UNIT} || exit {BUSY}"
    folder = f"mkdir -p {FOLDER} && chmod 700 {FOLDER}"
    write = f"{folder} && cat >{name}.part && mv {name}.part {name}"
    done = host.run(f"{busy}; {write}", path)
    if done.returncode == BUSY:
        raise DeployError(BUSY, "another deploy is under way", where=host.name)
    if done.returncode:
        told = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        raise DeployError(74, f"{path.name} could not be sent", where=host.name, got=told)


def install(host: Host, package: Path, timeout_s: float) -> None:
    """Let the program do its work there, and show what it says as it says it."""
    digest = hashlib.sha256(package.read_bytes()).hexdigest()
    begin = f"systemd-run --quiet --collect --pipe --wait --unit={UNIT} --service-type=exec"
    script = f"{begin} python3 {FOLDER}/{PROGRAM} {FOLDER}/{INCOMING} {digest} {timeout_s}"
    command = [*host.ssh, host.name, f"{host.sudo}{script}"]
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        last = ""
        for line in process.stdout:
            say(host, last := line.strip())
        told = process.stderr.read().strip()
    status, reason = process.returncode, (told.splitlines() or [f"status {process.returncode}"])[-1]
    if not status:
        return
    how = f"journalctl -t {UNIT} there says how it ended"
    if status == LOST:
        raise DeployError(69, "the connection broke", where=host.name, hint=f"it goes on; {how}")
    if EXISTS.search(told):
        raise DeployError(BUSY, "another deploy is under way", where=host.name)
    if not last:  # systemd-run, sudo or python3 itself
        raise DeployError(74, "nothing was begun", where=host.name, got=reason)
    if status not in OUTCOMES or (status == BACK and not last.startswith(RETURNED)):
        raise DeployError(70, "broken off", where=host.name, got=reason, hint=how)
    raise DeployError(status, OUTCOMES[status], where=host.name)


def say(host: Host, text: str) -> None:
    """Show a line of a host's."""
    print(escaped(f"deploy: {host.name}: {text}"), flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
