"""Runs the commands of a build: a log, and an environment that does not change the output.

Knows neither what is built nor where its sources come from.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from deploy.runtime.pins import EPOCH, FULL, HERE, BuildError, no_space

ROOT = HERE.parents[1]


def logged(commands: Sequence[Sequence[str]], log: Path, folder: Path | None = None) -> None:
    """Run ``commands`` in ``folder``, one after the other; raise BuildError where one fails.

    log  what they print, overwritten
    """
    with log.open("w") as stream:
        for command in commands:
            done = subprocess.run(
                command,
                stdout=stream,
                stderr=subprocess.STDOUT,
                check=False,
                env=environment(),
                cwd=folder,
            )
            if done.returncode:
                stream.flush()
                lines = log.read_text(errors="replace").splitlines()
                if any(FULL in line for line in lines):
                    raise no_space(str(log.relative_to(ROOT)))
                errors = [line for line in lines if "rror:" in line]
                raise BuildError(
                    70,
                    f"{Path(command[0]).name} failed",
                    where=str(log.relative_to(ROOT)),
                    got=(errors or lines or [f"status {done.returncode}"])[0],
                )


def environment() -> dict[str, str]:
    """Return the environment without the variables that change the compilers' output."""
    changing = {"CFLAGS", "CXXFLAGS", "CPPFLAGS", "LDFLAGS", "CC", "CXX", "CPATH"}
    kept = {name: value for name, value in os.environ.items() if name not in changing}
    return {**kept, "SOURCE_DATE_EPOCH": str(epoch()), "LC_ALL": "C.UTF-8"}


def epoch() -> int:
    """Return the date of every file in a wheel, in seconds."""
    return int(os.environ.get("SOURCE_DATE_EPOCH") or EPOCH)
