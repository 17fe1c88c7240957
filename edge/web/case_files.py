"""The addresses of pictures: shown, uploaded, and all sorted ones as an archive."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import urllib.parse
from collections.abc import AsyncIterator, Generator
from typing import Annotated, Final

from fastapi import Request
from msgspec import Meta
from starlette.responses import Response, StreamingResponse

from edge.cases import archive, names
from edge.cases.store import Store
from edge.errors import EdgeError
from edge.text import escaped
from edge.web import described, schemas, uploads
from edge.web.answers import Refused, answer, too_many
from edge.web.case_changes import Added
from edge.web.cases import label
from edge.web.guard import Rule
from edge.web.place import Place
from edge.web.routes import Route, Schema
from edge.web.thumbnails import WIDTH_MAX, WIDTH_MIN, Thumbnails
from edge.web.uploads import BODY_MAX
from edge.web.work import Work

log = logging.getLogger("edge.web.audit")
FAULTS: Final = (404, 409, 503)
NO_COPY: Final = {"Cache-Control": "private, no-cache"}
"""A browser may keep a picture, and asks each time whether it is still there."""
Width = Annotated[int, Meta(ge=WIDTH_MIN, le=WIDTH_MAX)]
UPLOAD: Final[Schema] = {
    "required": True,
    "description": f"At most {BODY_MAX} bytes; {uploads.FILES} files of {uploads.FILE_MAX} bytes.",
    "content": {
        uploads.FORM: {
            "schema": {
                "type": "object",
                "required": ["file"],
                "properties": {
                    "file": {"type": "array", "minItems": 1, "items": schemas.BINARY},
                    "class": {"type": "string", "description": "without it: unsorted"},
                },
            }
        }
    },
}


class CaseFiles:
    """The handlers."""

    def __init__(self, place: Place, work: Work) -> None:
        self._place, self._work = place, work
        self._thumbnails = Thumbnails()
        self._exporting = self._uploading = False

    def routes(self) -> list[Route]:
        """Return the addresses."""
        name = described.parameter("name", str, "of the case", where="path")
        width = described.parameter("width", Width, "in pixels, at most; without it: as it is")
        wanted = described.parameter("class", str, "that class alone; without it: all")
        return [
            Route(
                *("/api/cases/{name}.jpg", "GET", self.picture, "The picture of a case"),
                *({"image/jpeg": schemas.BINARY}, FAULTS, None, (name, width)),
            ),
            Route(
                *("/api/cases/upload", "POST", self.upload, "Pictures become cases"),
                *(described.gives(Added), (*FAULTS, 415), UPLOAD),
                rule=Rule(body=BODY_MAX),
            ),
            Route(
                *("/api/cases/export.tar", "GET", self.export, "Sorted cases, a folder a class"),
                *({"application/x-tar": schemas.BINARY}, FAULTS, None, (wanted,)),
            ),
        ]

    async def picture(self, request: Request) -> Response:
        """Return a picture, or that the reader has it already."""
        name = request.path_params["name"]
        width = described.integer(request, "width", None, WIDTH_MIN, WIDTH_MAX)
        if not names.is_name(name):
            raise Refused(404, "no such case")
        known = request.headers.get("if-none-match", "")
        place, thumbnails = self._place, self._thumbnails
        made = await self._work.do(lambda: thumbnails.get(place.cases(), name, width, known))
        headers = {"ETag": made.tag, **NO_COPY}
        if not made.content:
            return Response(status_code=304, headers=headers)
        return Response(made.content, media_type="image/jpeg", headers=headers)

    async def upload(self, request: Request) -> Response:
        """Add pictures to a class; one upload at a time."""
        kind, boundary = uploads.kind(request.headers.get("content-type", ""))
        if not boundary:
            raise Refused(415, f"expected {uploads.FORM}, got {kind or 'nothing'}")
        if self._uploading:
            raise too_many("another upload is under way", 1.0)
        self._uploading = True
        try:
            form = await asyncio.to_thread(
                uploads.form, request.scope["edge.body"], boundary, ("class",)
            )
            wanted = form.fields.get("class", "")
            to = label(wanted) if wanted else ""
            added = await self._work.do(lambda: self._take(form, to))
        finally:
            self._uploading = False
        text = f"{added.added} uploaded into {to or names.UNSORTED}, {len(added.skipped)} not"
        log.info("audit: cases: %s, by %s", escaped(text), described.caller(request))
        return answer(added)

    def _take(self, form: uploads.Form, to: str) -> Added:
        from edge.web import uploaded  # OpenCV, which a page that only looks does not need

        config = self._place.load().cases
        files = list(zip(form.names, form.files, strict=True))
        return uploaded.take(self._place.cases(), config, files, to)

    async def export(self, request: Request) -> Response:
        """Return an archive of what is sorted, one at a time."""
        wanted = request.query_params.get("class", "")
        only = label(wanted) if wanted else ""
        if wanted and not only:
            raise Refused(400, "class: expected a class of sorted cases")
        if self._exporting:
            raise too_many("another export is under way", 5.0)
        labels = await self._work.do(lambda: self._labels(only))
        file = urllib.parse.quote(f"{only or 'cases'}.tar", safe="")
        headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{file}"}
        log.info("audit: cases: exported %s, by %s", escaped(", ".join(labels)), _who(request))
        return StreamingResponse(
            self._stream(labels), media_type="application/x-tar", headers=headers
        )

    def _labels(self, only: str) -> list[str]:
        folder = self._place.cases()
        with Store(folder) as store:
            there = [one for one in store.labels() if store.names(one)]
        if not there:
            raise EdgeError("nothing is sorted yet")
        if only and only not in there:
            raise EdgeError("no such class, or no case in it", got=only)
        return [only] if only else there

    async def _stream(self, labels: list[str]) -> AsyncIterator[bytes]:
        """Yield the archive. Where the disk fails the answer is cut, which a reader sees."""
        if self._exporting:  # another has begun since ``export`` looked
            raise OSError("another export is under way")
        self._exporting = True
        parts = self._parts(labels)
        try:
            while part := await self._work.do(lambda: next(parts, b"")):
                yield part
        finally:
            self._exporting = False
            with contextlib.suppress(ValueError):  # it runs, and ends once it is forgotten
                parts.close()

    def _parts(self, labels: list[str]) -> Generator[bytes, None, None]:
        with Store(self._place.cases()) as store:
            yield from archive.stream(store, labels)


def _who(request: Request) -> str:
    return str(described.caller(request))
