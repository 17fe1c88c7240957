"""The folder in which teaching works: the newest result, and one job at a time.

    teach/result.json     what was taught, and its report
    teach/job-XXXXXXXX/   a model, complete once result.json names it

Rule: a result is replaced by a later one only when that is complete. What a kill has left is
removed by the next holder of the lock.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import shutil
from pathlib import Path
from typing import Any, Final

import msgspec

from edge.cases.folder import Folder
from edge.errors import EdgeError

log = logging.getLogger(__name__)
FOLDER: Final = "teach"
RESULT: Final = "result.json"
JOB: Final = "job-"
RESULT_MAX: Final = 4_500_000


class Result(msgspec.Struct, frozen=True):
    """What was taught. job: the folder of its model, in that of all jobs."""

    job: str
    name: str
    version: str
    finished: float
    report: dict[str, Any]
    installed: str = ""


class Results:
    """The folder, in the state directory. Every method raises EdgeError."""

    def __init__(self, state: Path) -> None:
        self._path = state / FOLDER

    def model(self, result: Result) -> Path:
        """Return the folder of a result's model."""
        return self._path / result.job / "model"

    def read(self) -> Result | None:
        """Return the newest result; None where there is none."""
        try:
            folder = Folder.open(self._path)
        except OSError:
            return None
        try:
            result = msgspec.json.decode(folder.read(RESULT, RESULT_MAX), type=Result)
            if result.job.startswith(JOB) and "/" not in result.job and self.model(result).is_dir():
                return result
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            log.warning("%s is ignored: %s", self._path / RESULT, exc)
        finally:
            folder.close()
        return None

    def begin(self) -> tuple[Folder, str]:
        """Return the locked folder, and that of a new job; remove what others have left."""
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            state = Folder.open(self._path.parent.resolve())
            try:
                folder = state.sub(FOLDER, create=True)
            finally:
                state.close()
        except OSError as exc:
            raise self._fault(exc) from exc
        try:
            folder.lock(0.0)
            self._tidy()
            job = JOB + secrets.token_hex(4)
            folder.sub(job, create=True).close()
        except TimeoutError as exc:
            folder.close()
            raise EdgeError("another process teaches already", where=str(self._path)) from exc
        except OSError as exc:
            folder.close()
            raise self._fault(exc) from exc
        return folder, job

    def job(self, job: str) -> Path:
        """Return where a job puts its model."""
        return self._path / job / "model"

    def write(self, folder: Folder, result: Result) -> None:
        """Make a result the newest one; remove the others' models."""
        try:
            folder.write(RESULT, msgspec.json.encode(result))
            folder.sync()
        except OSError as exc:
            raise self._fault(exc) from exc
        self._tidy()

    def drop(self, job: str) -> None:
        """Remove what a job has made so far."""
        shutil.rmtree(self._path / job, ignore_errors=True)

    def _tidy(self) -> None:
        newest = self.read()
        with contextlib.suppress(OSError):
            for path in self._path.glob(f"{JOB}*"):
                if newest is None or path.name != newest.job:
                    shutil.rmtree(path, ignore_errors=True)

    def _fault(self, exc: OSError) -> EdgeError:
        return EdgeError(f"cannot be written: {exc.strerror or exc}", where=str(self._path))
