"""The units of the consumer and the exporter: accepted by systemd, hardened, with a command."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

from deploy.broker import free_port
from tests.conftest import ROOT
from tests.fleet.conftest import HINT, PYTHON

FOLDER: Final = ROOT / "deploy" / "fleet"
UNITS: Final = ("edge-fleet-consumer@.service", "edge-fleet-exporter.service")
STARTS: Final = {
    UNITS[0]: (78, "edge: --database: not a connection string"),
    UNITS[1]: (69, "broker cannot be reached"),
}


def analyze(*arguments: str | Path) -> str:
    """Return what systemd-analyze writes."""
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("LEFT OUT: units in systemd-analyze: it is not here")
    done = subprocess.run(
        [program, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize("name", UNITS)
def test_systemd_accepts_a_unit(name: str, tmp_path: Path) -> None:
    """`verify` has nothing to say, and `security` finds it well protected."""
    if not PYTHON.exists():
        pytest.skip(f"LEFT OUT: units of the fleet's programs: {PYTHON} is not there; {HINT}")
    unit = tmp_path / name.replace("@.", "@1.")
    unit.write_text((FOLDER / name).read_text().replace("/opt/edge/", f"{ROOT}/"))
    assert analyze("verify", "--man=no", "--recursive-errors=no", unit) == ""
    security = analyze("security", "--offline=true", "--no-pager", unit)
    figure = re.search(r"Overall exposure level for \S+: ([\d.]+)", security)
    assert figure, security
    assert float(figure[1]) <= 1.2, security


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_starts_its_program(name: str, tmp_path: Path) -> None:
    """Its command line is the program's; what is wrong in it is the program's line and status."""
    if not PYTHON.exists():
        pytest.skip(f"LEFT OUT: units of the fleet's programs: {PYTHON} is not there; {HINT}")
    config = tmp_path / "mqtt.toml"
    config.write_text(f'[mqtt]\nhost = "127.0.0.1"\nport = {free_port()}\n')
    text = (FOLDER / name).read_text()
    (line,) = re.findall(r"^ExecStart=(.*)$", text, re.M)
    line = line.replace("/opt/edge", str(ROOT)).replace("/etc/edge-fleet/mqtt.toml", str(config))
    command = shlex.split(line.replace("${DATABASE}", "nothing").replace("%i", "1"))
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env=dict(os.environ), check=False
    )
    status, message = STARTS[name]
    assert (done.returncode, message in done.stderr) == (status, True), done.stderr
    assert "RestartPreventExitStatus=78\n" in text
