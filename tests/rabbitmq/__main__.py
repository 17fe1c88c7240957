"""Runs tests of MQTT with RabbitMQ in the place of mosquitto: what differs is in docs/brokers.md.

    .venv/bin/python -m tests.rabbitmq [PYTEST_ARGUMENT ...]

Needs root. Everything runs in namespaces that end with it. A test that gives mosquitto options of
its own is skipped: those are mosquitto's.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from deploy.rabbitmq.namespaces import INSIDE, enter, make_root, run
from tests.rabbitmq.broker import FOLDER, ROOT

DIFFERENT: Final = (
    "tests/test_fleet.py::test_the_others_are_seen_by_the_page",
    "tests/test_fleet.py::test_a_hostile_neighbour_is_bounded",
    "tests/test_fleet_reader.py::test_one_connection_serves_all_who_wait",
)
"""The page's list of other devices is made of retained messages, by filters with wildcards."""


def main(arguments: list[str]) -> int:
    """Run pytest in namespaces of its own."""
    make_root(ROOT.parent)
    enter()
    with tempfile.TemporaryDirectory(prefix="edge-rabbitmq-") as made:
        folder = Path(made)
        (folder / "enabled_plugins").write_text("[rabbitmq_mqtt].\n")
        (folder / "hosts").write_text("127.0.0.1 localhost\n")
        run("ip", "link", "set", "lo", "up")
        run("mount", "--bind", folder, ROOT / "mnt")
        (ROOT / "etc/hosts").touch()
        for place in (ROOT / "etc/hosts", Path("/etc/hosts")):
            run("mount", "--bind", folder / "hosts", place)
        for shared in ("proc", "dev"):
            run("mount", "--rbind", f"/{shared}", ROOT / shared)
        print(f"rabbitmq: LEFT OUT, RabbitMQ cannot do it: {' '.join(DIFFERENT)}", file=sys.stderr)
        command = [sys.executable, "-m", "pytest", *arguments]
        command += [f"--deselect={test}" for test in DIFFERENT]
        environment = {**os.environ, FOLDER: made}
        del environment[INSIDE]
        status = subprocess.run(command, check=False, env=environment).returncode
        for place in (ROOT / "mnt", ROOT / "etc/hosts", Path("/etc/hosts")):  # or it is busy
            while not subprocess.run(["umount", "-l", place], capture_output=True).returncode:
                pass
        return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
