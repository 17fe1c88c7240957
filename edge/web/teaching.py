"""The addresses of teaching: one job at a time, its progress, its report, and the model it made."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from pathlib import PurePosixPath
from typing import Annotated, Any, Final, Literal

import msgspec
from fastapi import Request
from msgspec import Meta
from starlette.responses import Response

from edge.cases import names
from edge.cases.folder import Folder
from edge.cases.names import SORTED
from edge.errors import EdgeError
from edge.text import escaped
from edge.web import described
from edge.web.answers import Refused, answer
from edge.web.cases import label
from edge.web.guard import Activity
from edge.web.place import Place
from edge.web.routes import Route
from edge.web.teach_job import Job
from edge.web.teach_results import Result, Results
from edge.web.work import Work

log = logging.getLogger("edge.web.audit")
FAULTS: Final = (404, 409, 503)
Label = Annotated[str, Meta(min_length=1, max_length=names.NAME_MAX_BYTES)]


class Teach(msgspec.Struct, forbid_unknown_fields=True):
    """What to teach.

    name        of the model
    features    the backbone: small and fast, or large and more accurate
    background  classes in which nothing of interest is there
    """

    name: Annotated[str, Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9_.-]{0,39}\Z")]
    features: Literal["features", "features-large"] = "features"
    background: Annotated[list[Label], Meta(max_length=50)] = []


class Taught(msgspec.Struct):
    """How far teaching is.

    progress   0 to 1, about; line: what is being done
    error      why the last job failed
    report     of the newest job that did not fail, while none runs
    name, version  of its model; installed: what that is called among the device's models
    """

    state: Literal["idle", "running", "done", "failed"]
    progress: float
    line: str
    report: dict[str, Any] | None
    error: str
    name: str | None
    version: str | None
    installed: str | None


class Installed(msgspec.Struct):
    """A model that was added. model: NAME@VERSION, for the requests `model` and `shadow`."""

    model: str


class Done(msgspec.Struct):
    """It was done."""

    ok: bool


class Teaching:
    """The handlers, and the job."""

    def __init__(self, place: Place, work: Work, activity: Activity) -> None:
        self._place, self._work, self._activity = place, work, activity
        self._results = Results(place.state)
        self._job: Job | None = None
        self._task: asyncio.Task[None] | None = None
        self._error = ""

    def routes(self) -> list[Route]:
        """Return the addresses."""
        taught = described.gives(Taught)
        return [
            Route("/api/teach", "GET", self.state, "How far teaching is", taught, FAULTS),
            Route(
                *("/api/teach", "POST", self.begin, "Teach a model with the sorted cases"),
                *(taught, FAULTS, described.takes(Teach)),
            ),
            Route(
                *("/api/teach/cancel", "POST", self.cancel, "Stop teaching"),
                *(described.gives(Done), FAULTS),
            ),
            Route(
                *("/api/teach/install", "POST", self.install, "Add what was taught to the models"),
                *(described.gives(Installed), FAULTS),
            ),
        ]

    async def state(self, _: Request) -> Response:
        """Return how far it is."""
        return answer(await self._state())

    async def begin(self, request: Request) -> Response:
        """Begin a job."""
        body = described.body(request, Teach)
        for background in body.background:
            label(background)
        if self._job is not None:
            raise Refused(409, "a model is being taught already")
        self._job = job = Job()
        try:
            folder, name = await self._work.do(self._results.begin)
        except BaseException:
            self._job = None
            raise
        self._error = ""
        self._task = asyncio.create_task(self._teach(job, body, folder, name))
        log.info("audit: teach %s, by %s", escaped(body.name), described.caller(request))
        return answer(await self._state())

    async def cancel(self, request: Request) -> Response:
        """Kill the job; what was taught before is there again."""
        job, task = self._job, self._task
        if job is None or task is None:
            raise Refused(409, "nothing is being taught")
        job.cancel()
        await asyncio.wait([task])
        log.info("audit: teach: cancelled, by %s", described.caller(request))
        return answer(Done(True))

    async def install(self, request: Request) -> Response:
        """Add the newest result to the models of this device."""
        if self._job is not None:
            raise Refused(409, "a model is being taught")
        reference = await self._work.do(self._install)
        log.info("audit: teach: %s installed, by %s", reference, described.caller(request))
        return answer(Installed(reference))

    def close(self) -> None:
        """Kill the job."""
        if self._job is not None:
            self._job.cancel()

    async def _teach(self, job: Job, body: Teach, folder: Folder, name: str) -> None:
        with contextlib.ExitStack() as stack:
            stack.callback(folder.close)
            stack.enter_context(self._activity.request())  # the server does not end as idle
            try:
                report = await job.run(
                    self._arguments(body, name), self._place.state, folder.descriptor
                )
                result = self._result(name, report)
                await self._work.do(lambda: self._results.write(folder, result))
            except (EdgeError, Refused, OSError) as exc:
                self._error = "" if job.cancelled else str(exc)
            except Exception as exc:
                log.exception("teaching failed")
                self._error = f"teaching failed: {type(exc).__name__}"
            else:
                name = ""
            finally:
                self._job = None
            if name:
                await self._work.do(lambda: self._results.drop(name))

    def _arguments(self, body: Teach, job: str) -> list[str]:
        return [
            str(self._place.cases() / SORTED),
            f"--name={body.name}",
            f"--features={body.features}",
            f"--out={self._results.job(job)}",
            *(f"--background={one}" for one in body.background),
        ]

    def _result(self, job: str, report: dict[str, Any]) -> Result:
        try:
            name, version = str(report.pop("name")), str(report.pop("version"))
            del report["model"]
            for kind in ("suspects", "wrong", "unread"):
                for row in report[kind]:
                    row["case"] = _case(row["picture"])
        except (KeyError, TypeError) as exc:
            raise EdgeError(f"the report has no {exc}") from exc
        return Result(job, name, version, round(time.time(), 3), report)

    def _install(self) -> str:
        from edge.model import store, workspace  # which imports NumPy

        result = self._results.read()
        if result is None:
            raise EdgeError("nothing was taught yet")
        store.check_signed_only(self._place.load(), result.name)
        workspace.tidy()
        added = store.add(self._results.model(result), result.name, result.version)
        folder, job = self._results.begin()
        try:
            self._results.drop(job)
            self._results.write(folder, msgspec.structs.replace(result, installed=added.reference))
        finally:
            folder.close()
        return added.reference

    async def _state(self) -> Taught:
        job = self._job
        if job is not None:
            return Taught("running", job.share, job.line, None, "", None, None, None)
        result, error = await self._work.do(self._results.read), self._error
        if result is None:
            return Taught("failed" if error else "idle", 0.0, "", None, error, None, None, None)
        newest = (result.report, error, result.name, result.version, result.installed or None)
        return Taught("failed" if error else "done", 0.0 if error else 1.0, "", *newest)


def _case(picture: str) -> str | None:
    """Return the case whose picture it is; None for a file that is none."""
    path = PurePosixPath(picture)
    plain = len(path.parts) == 2 and path.suffix == names.PICTURE and names.is_name(path.stem)
    return path.stem if plain else None
