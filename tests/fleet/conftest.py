"""A PostgreSQL and a Prometheus of the tests' own, and the fleet's programs as processes."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from deploy.broker import PrivateBroker, free_port
from tests.conftest import ROOT, WAIT_S, wait_until

PYTHON: Final = ROOT / ".venv-fleet" / "bin" / "python"
PROGRAMS: Final = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
HINT: Final = "`make test-fleet` installs it"
FAST: Final = "fsync=off", "shared_buffers=16MB", "max_connections=20", "listen_addresses="


class Postgres:
    """A cluster in a folder of its own, reached by its Unix socket alone; everybody may log in."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._bin = folder, PROGRAMS[-1]
        # It refuses root. The owner of its folder is the one that Debian's package makes.
        self._user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        if os.geteuid() == 0:
            shutil.chown(folder, self._user)
        self._run("initdb", "-D", folder / "data", "-U", "fleet", "-A", "trust", "-E", "UTF8", "-N")

    @property
    def conninfo(self) -> str:
        """libpq's connection string."""
        return f"host={self.folder} user=fleet dbname=postgres"

    def start(self) -> None:
        """Start, and wait until it answers."""
        options = " ".join(f"-c {one}" for one in (*FAST, f"unix_socket_directories={self.folder}"))
        self._control("start", "-w", "-l", self.folder / "log", "-o", options)

    def stop(self, how: str = "fast") -> None:
        """Stop; ``immediate`` is a crash."""
        self._control("stop", "-m", how)

    def psql(self, *arguments: str | Path) -> list[list[str]]:
        """Return the rows that psql prints, without an error."""
        command = ["psql", "-XAt", "-F", "\t", "-v", "ON_ERROR_STOP=1", "-d", self.conninfo]
        done = subprocess.run(
            [*command, *map(str, arguments)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return [line.split("\t") for line in done.stdout.splitlines()]

    def number(self, query: str) -> int:
        """Return the one number that a query gives."""
        return int(self.psql("-c", query)[0][0])

    def _control(self, verb: str, *more: str | Path) -> None:
        self._run("pg_ctl", verb, "-D", self.folder / "data", *more)

    def _run(self, program: str, *arguments: str | Path) -> None:
        command = [str(self._bin / program), *map(str, arguments)]
        with (self.folder / "out").open("ab") as out:  # a pipe would be inherited by the server
            user = self._user if os.geteuid() == 0 else None
            done = subprocess.run(
                command, stdout=out, stderr=out, user=user, group=user, cwd="/", check=False
            )
        assert done.returncode == 0, (self.folder / "out").read_text()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Postgres]:
    """One cluster for the tests of a file, with the tables of schema.sql; started."""
    if not PROGRAMS or not shutil.which("psql"):
        pytest.skip(f"LEFT OUT: a store in PostgreSQL: it is not here; {HINT}")
    folder = Path(tempfile.mkdtemp(prefix="edge-postgres-"))
    folder.chmod(0o755)
    running = Postgres(folder)
    running.start()
    try:
        yield running
    finally:
        with contextlib.suppress(AssertionError):
            running.stop("immediate")
        shutil.rmtree(folder)


@pytest.fixture
def postgres(cluster: Postgres) -> Postgres:
    """The cluster with empty tables, running."""
    if not (cluster.folder / "data" / "postmaster.pid").exists():  # a test that stopped it failed
        cluster.start()
    cluster.psql("-c", "DROP SCHEMA public CASCADE", "-c", "CREATE SCHEMA public")
    cluster.psql("-f", ROOT / "deploy" / "fleet" / "schema.sql")
    return cluster


class Program:
    """A program of deploy/fleet as a process."""

    def __init__(self, log: Path, module: str, *arguments: str | Path) -> None:
        self.log = log
        command = [str(PYTHON), "-m", f"deploy.fleet.{module}", *map(str, arguments)]
        with log.open("ab") as out:
            self.process = subprocess.Popen(command, cwd=ROOT, stderr=out, stdout=out)

    def wait_for_log(self, text: str) -> None:
        """Return once ``text`` is in the log; fail if the process ends without it."""

        def logged() -> bool:
            ended = self.process.poll() is not None
            content = self.log.read_text()
            assert text in content or not ended, content
            return text in content

        wait_until(logged, self.log.read_text)

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal; return the exit status."""
        self.process.send_signal(number)
        return self.process.wait(WAIT_S)


Start = Callable[..., Program]


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Start]:
    """Return a function that starts a program of deploy/fleet; none outlives the test."""
    if not PYTHON.exists():
        pytest.skip(f"LEFT OUT: the fleet's programs: {PYTHON.parent.parent} is not there; {HINT}")
    with contextlib.ExitStack() as stack:

        def start(module: str, *arguments: str | Path) -> Program:
            log = tmp_path / f"{module}-{len(list(tmp_path.glob('*.log')))}.log"
            running = Program(log, module, *arguments)
            stack.callback(running.process.wait)
            stack.callback(running.process.kill)
            return running

        yield start


@pytest.fixture
def many() -> Iterator[PrivateBroker]:
    """A mosquitto that keeps what waits for a consumer that is away."""
    with PrivateBroker("allow_anonymous true", "max_queued_messages 0") as running:
        yield running


def mqtt(folder: Path, broker: PrivateBroker, more: str = "") -> Path:
    """Return a config with the address of a broker."""
    path = folder / f"mqtt-{broker.port}.toml"
    path.write_text(f'[mqtt]\nhost = "{broker.host}"\nport = {broker.port}\n{more}')
    return path


class Prometheus:
    """A server on loopback with a configuration of the test's own."""

    def __init__(self, folder: Path, config: str) -> None:
        program = shutil.which("prometheus", path=os.environ.get("PROMETHEUS") or None)
        if program is None:
            pytest.skip(f"LEFT OUT: Prometheus: it is not here; {HINT}")
        folder.mkdir(exist_ok=True)
        (folder / "prometheus.yml").write_text(config)
        self.port, self.log = free_port(), folder / "log"
        command = [program, f"--config.file={folder}/prometheus.yml"]
        command += [f"--storage.tsdb.path={folder}/tsdb"]
        command += [f"--web.listen-address=127.0.0.1:{self.port}"]
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(command, stderr=out, stdout=out, cwd=folder)

    def ask(self, path: str, **query: str) -> Any:
        """Return what it answers."""
        text = urllib.parse.urlencode(query)
        address = f"http://127.0.0.1:{self.port}/api/v1/{path}?{text}"
        with urllib.request.urlopen(address, timeout=WAIT_S) as got:
            return json.load(got)["data"]

    def query(self, expression: str) -> list[Any]:
        """Return the series that an expression has now."""
        return list(self.ask("query", query=expression)["result"])

    def firing(self) -> set[tuple[str, str]]:
        """Return name and device of each alert that fires now."""
        alerts = self.ask("alerts")["alerts"]
        firing = [one["labels"] for one in alerts if one["state"] == "firing"]
        return {(one["alertname"], one.get("device", "")) for one in firing}
