"""A fleet of shell scripts: each host is a folder, where its ssh runs what a device would get."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from deploy import rollout
from deploy.bundle import FORMAT
from edge.model.signed import archive
from tests.test_deploy import ARCH, package, there

SSH = """
for one; do was=$host; host=$last; last=$one; done
[ "$host" != exit ] || exit 0
cd {hosts}/"$host" || exit 255
echo "$last" >>asked
[ ! -e away ] || {{ echo "no route to $host" >&2; exit 255; }}
PATH={bin}:$PATH exec sh -c "$last"
"""
"""Runs the command in the host's folder. `away`: it cannot be reached."""
RUN = 'while [ "$1" != python3 ]; do shift; done; exec "$@"'
DEVICE = """
shift; what=$1
[ ! -e instead ] || exec sh instead "$@"
case $what in
facts)
  [ ! -e mute ] || { echo '{"state": "active"}'; exit; }
  now=$(cat version); fps=30; [ "$now" = 1 ] || [ ! -e slow ] || fps=9
  sent=; [ "$now" = 1 ] || sent=$(cat sent 2>/dev/null)
  label=cat; [ "$now" = 1 ] || [ ! -e unlike ] || label=dog
  count=90; [ ! -e quiet ] || count=0
  bundle=; [ "$(cat model)" = old ] || bundle=$(cat bundle)
  echo "{\\"state\\": \\"active\\", \\"bundle\\": \\"$bundle\\",\
 \\"version\\": \\"$now\\", \\"package\\": \\"$sent\\",\
 \\"refused\\": \\"$(cat refused 2>/dev/null)\\", \\"model\\": \\"$(cat model)\\", \\"fps\\": $fps,\
 \\"restarts\\": 0, \\"p99_ms\\": 9.5, \\"online\\": true, \\"labels\\": {\\"$label\\": $count}}" ;;
back)
  [ ! -e cannot ] || { echo "1 is not healthy: so it is"; exit 70; }
  echo 1 >version; echo "gone back: 1 runs again"; exit 3 ;;
model)
  case $2 in
  add) echo "$4" >bundle; echo '{"name": "gate@1"}' ;;
  shadow) echo "{\\"state\\": \\"working\\", \\"agreement\\": $(cat agrees), \\"frames\\": 200}" ;;
  use)
    [ ! -e breaks ] || { touch mute; exit 255; }
    echo gate@1 >model
    [ ! -e sick ] || { echo '{"error": "no answer in time"}'; exit 74; }
    echo '{"in_use": "gate@1"}' ;;
  back)
    [ ! -e cannot ] || { echo '{"error": "the daemon gives no answer"}'; exit 74; }
    [ ! -e cannot_once ] || { rm cannot_once; echo '{"error": "try again"}'; exit 74; }
    echo old >model; echo '{"in_use": "old"}' ;;
  esac ;;
*)
  echo "installing 2 over 1"
  [ ! -e waits ] || { touch begun; while [ -e waits ]; do sleep 0.1; done; }
  [ ! -e sick ] || { echo "$2" >refused; echo "gone back: 1 runs again"; exit 3; }
  echo 2 >version; echo "$2" >sent
  [ ! -e breaks ] || exit 255
  echo "2 is healthy" ;;
esac
"""
"""The program on a device; files in its folder say what goes wrong with version 2. `instead` is a
script that runs in its place.
"""


MARKS = (
    *("away", "slow", "sick", "breaks", "cannot", "cannot_once", "waits", "unlike", "quiet"),
    "mute",
)


def signed(path: Path, name: str = "gate", version: str = "1", **more: Any) -> Path:
    """Write a bundle with a manifest, and a signature that no device verifies here."""
    manifest = {"format": FORMAT, "name": name, "version": version, **more}
    with path.open("wb") as out:
        archive.write(out, json.dumps(manifest).encode(), bytes(64), iter([("x", b"x")]))
    return path


class Fleet:
    """Hosts a to e, and the commands that reach them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.hosts = folder, folder / "hosts"
        programs = folder / "bin"
        programs.mkdir()
        there(folder, "ssh", SSH.format(hosts=self.hosts, bin=programs))
        for name, script in {
            "python3": DEVICE,
            "systemd-run": RUN,
            "systemctl": "exit 3",
            "id": "echo 0",
            "sudo": "exit 1",
        }.items():
            there(programs, name, script)
        for name in "abcde":
            (self.hosts / name).mkdir(parents=True)
            for file, text in {"version": "1", "model": "old", "agrees": "0.9"}.items():
                (self.hosts / name / file).write_text(f"{text}\n")
        (folder / "list.txt").write_text("a\nb\nc\nd\ne\n")
        (folder / "card").mkdir()
        (folder / "card" / "model.toml").write_text('name = "gate"\nversion = "1"\n')
        self.deb = package(folder, version="2", arch=ARCH)

    def set(self, name: str, *marks: str) -> None:
        """Make these things, and no others, go wrong with a host."""
        for mark in (*MARKS, "instead", "begun"):
            (self.hosts / name / mark).unlink(missing_ok=True)
        for mark in marks:
            (self.hosts / name / mark).touch()

    def answer(self, name: str, script: str) -> None:
        """Let a script answer whatever is asked of a host's program."""
        (self.hosts / name / "instead").write_text(script)

    def words(self, *more: str, what: str = "package") -> list[str]:
        """Return the arguments of a rollout of `package`, `model`, or a file of a model."""
        of = f"--deb={self.deb}"
        if what != "package":
            of = f"--model={self.folder / 'card' if what == 'model' else what}"
            what = "model"
        return [
            *(what, f"--hosts={self.folder}/list.txt", f"--ssh={self.folder}/ssh", of),
            *(f"--states={self.folder}/states", "--waves=1 2 100%", "--soak=0", *more),
        ]

    def run(self, *more: str, what: str = "package") -> int:
        """Roll out; return the exit status."""
        return rollout.main(self.words(*more, what=what))

    def states(self, name: str = "list-2") -> list[str]:
        """Return the state of each host in the file."""
        content = json.loads((self.folder / "states" / f"{name}.json").read_text())
        return [entry["state"] for entry in content["hosts"]]

    def why(self, host: str, name: str = "list-2") -> str:
        """Return why a host is in its state."""
        content = json.loads((self.folder / "states" / f"{name}.json").read_text())
        reasons: dict[str, str] = {entry["host"]: entry["why"] for entry in content["hosts"]}
        return reasons[host]

    def versions(self, file: str = "version") -> list[str]:
        """Return what each host has."""
        return [(self.hosts / name / file).read_text().strip() for name in "abcde"]

    def asked(self, clear: bool = True) -> str:
        """Return the hosts that have got a command, since the last call."""
        names = [name for name in "abcde" if (self.hosts / name / "asked").exists()]
        for name in names:
            (self.hosts / name / "asked").unlink()
        return "".join(names)
