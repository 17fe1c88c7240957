"""``make deploy HOSTS=FILE`` and ``make rollout MODEL=DIR HOSTS=FILE``: in waves, with gates.

    python3 -m deploy.rollout package --hosts FILE [--deb FILE] ...
    python3 -m deploy.rollout model --model DIR|FILE --hosts FILE [--shadow S] ...

A wave is changed, some hosts at the same time, and soaks; each device's own figures, before and
after, are its gates. A wave that does not pass is taken back, and ends the run; the same command
continues where a run has ended. docs/rollout.md has the walk and the limits.

Runs on Debian's own python3, without this project's packages. Exit status: 0 all are healthy; 3
stopped, or some were taken back; 64 a variable; 65 not a file of hosts, a package or a bundle; 66
no such file; 69 some could not be reached, the others are healthy; 70 some could not be taken
back; 73 the state of another rollout, or it cannot be written; 75 another rollout with this state
runs; 130 interrupted. Never 1, which other programs use.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
import tempfile
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Final, TextIO

from deploy import remote, report, waves
from deploy.attempt import Attempt
from deploy.crew import Crew
from deploy.engine import Engine
from deploy.errors import DeployError
from deploy.host import Host, words
from deploy.ledger import Ledger, alone
from deploy.model_subject import ModelSubject
from deploy.pace import pace_of
from deploy.package_subject import PackageSubject
from deploy.subjects import Reach, Subject
from edge.text import escaped

STATES: Final = remote.DIST.parent / "rollout"
NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,99}\Z")
LOG_LINES: Final = 5_000
"""Of what the devices print, the newest."""
STOPPED, STUCK, AWAY, INTERRUPTED = 3, 70, 69, 130


def main(given: Sequence[str]) -> int:
    """Roll out; return the exit status."""
    args = parser().parse_args(given)
    verb = "deploy" if args.what == "package" else "rollout"

    def say(text: str) -> None:
        tell(f"{verb}: {text}", sys.stdout)

    try:
        return rollout(args, say)
    except DeployError as exc:
        tell(f"{verb}: {exc}", sys.stderr)
        return exc.status
    except KeyboardInterrupt:
        tell("", sys.stderr)
        line = "interrupted; what has begun on a device ends there; the same command continues"
        tell(f"{verb}: {line}", sys.stderr)
        return INTERRUPTED


def tell(text: str, stream: TextIO) -> None:
    """Print a line; where nobody reads any more, or the disk is full, nothing from then on."""
    try:
        print(escaped(text), file=stream, flush=True)
    except OSError:  # the state and the report have all of it
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def parser() -> argparse.ArgumentParser:
    """Return the parser; numbers are read later, into one line where they are none."""
    parser = argparse.ArgumentParser(prog="make deploy", allow_abbrev=False)
    parser.add_argument("what", choices=("package", "model"))
    for name, default in (
        *(("hosts", ""), ("host", ""), ("deb", ""), ("model", ""), ("ssh", "ssh"), ("name", "")),
        *(("waves", "1 5% 100%"), ("parallel", "4"), ("failures", "0"), ("soak", "60")),
        *(
            ("states", str(STATES)),
            ("look", "20"),
            ("timeout", "180"),
            ("shadow", "0"),
            ("gates", ""),
            ("back", "wave"),
        ),
    ):
        parser.add_argument(f"--{name}", default=default)
    return parser


def rollout(args: argparse.Namespace, say: report.Say) -> int:
    """Check everything that was given, then do it. Raises DeployError."""
    if args.host:
        raise DeployError(64, "HOST and HOSTS exclude each other", hint="HOSTS=FILE is for waves")
    if not args.hosts:
        raise DeployError(64, "no HOSTS given", hint="HOSTS=FILE, with a host on each line")
    hosts = waves.read_hosts(Path(args.hosts))
    pace = pace_of(args, len(hosts))
    plan, left = waves.plan(hosts, waves.sizes(args.waves, len(hosts)))
    timeout_s = waves.number("TIMEOUT", args.timeout, 1, waves.DAY_S)
    shadow_s = waves.number("SHADOW", args.shadow, 0, 7 * waves.DAY_S)
    ssh = words(args.ssh)
    with tempfile.TemporaryDirectory(prefix="edge-rollout-") as made:
        sockets = Path(made)
        log: deque[str] = deque(maxlen=LOG_LINES)

        def note(name: str, text: str) -> None:
            log.extend(escaped(f"{name}: {line}", 500) for line in text.splitlines() or [""])

        def noted(host: Host, text: str) -> None:
            note(host.name, text)

        subject: Subject
        if args.what == "package":
            subject = PackageSubject(args.deb, sockets, timeout_s, noted)
        elif args.model:
            subject = ModelSubject(args.model, sockets, shadow_s, pace.limits, say)
        else:
            raise DeployError(64, "no MODEL given", hint="MODEL=DIR, a folder with model.toml")
        path = Path(args.states) / f"{name_of(args, subject)}.json"
        with alone(path):
            ledger = Ledger(path, subject.what, subject.identity())
            if ledger.read():
                say(f"continues {path}")
            subject.resume(ledger.identity, ledger.pin)
            ledger.enter(plan)
            crew, reach = Crew(pace.parallel), Reach(ssh, sockets)
            attempt = Attempt(subject, ledger, reach, pace, crew, say, note)
            engine = Engine(attempt, crew, ledger, pace, say)
            why = "interrupted"
            try:
                why = engine.run(plan)
            except DeployError as exc:
                why = str(exc)
                raise
            finally:
                page = report.write(ledger, why, left, pace.limits, [*log])
                say(f"report: {page}")
            if left:
                say(f"in no wave, not touched: {' '.join(left)}")
            return status(ledger, plan, why)


def name_of(args: argparse.Namespace, subject: Subject) -> str:
    """Return the name of the state's file: NAME, or of the file of hosts and the version."""
    name = args.name or re.sub(r"[^A-Za-z0-9_.@+-]", "-", f"{Path(args.hosts).stem}-{subject.slug}")
    if not NAME.match(name):
        wanted = "letters, digits, `.`, `_`, `@`, `+` and `-`, at most 100"
        raise DeployError(64, "NAME cannot be used", expected=wanted, got=name)
    return name


def status(ledger: Ledger, plan: list[list[str]], why: str) -> int:
    """Return the exit status."""
    states = {ledger.entries[host].state for wave in plan for host in wave}
    if "stuck" in states:
        return STUCK
    if why or states - {"healthy", "unreachable"}:
        return STOPPED
    return AWAY if "unreachable" in states else 0


def interrupt(number: int, frame: FrameType | None) -> None:
    """Let SIGTERM end it as Ctrl-C does."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, interrupt)
    sys.exit(main(sys.argv[1:]))
