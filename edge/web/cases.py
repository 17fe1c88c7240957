"""The addresses of cases: listed, sorted, undone, deleted; and of their classes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Annotated, Final

from fastapi import Request
from msgspec import Meta
from starlette.responses import Response

from edge.cases import classes, names
from edge.cases.listing import Filter
from edge.cases.store import Store
from edge.errors import EdgeError
from edge.text import escaped
from edge.web import case_changes as changes
from edge.web import described
from edge.web.answers import Refused, answer
from edge.web.case_changes import Class, Counts, Delete, Rename, Sort, Sorted, Token, Undone
from edge.web.case_rows import Query, Rows, rows
from edge.web.described import parameter
from edge.web.guard import Rule
from edge.web.place import Place
from edge.web.routes import Handler, Route
from edge.web.undo import Undo
from edge.web.work import Work

log = logging.getLogger("edge.web.audit")
LIMIT, LIMIT_MAX = 60, 500
BODY_BYTES: Final = 300_000
"""Of as many names as one request may have."""
LAST_S: Final = 253_402_300_799.0
FAULTS: Final = (404, 409, 503)
Share = Annotated[float, Meta(ge=0, le=1)]
Moment = Annotated[float, Meta(ge=0, le=LAST_S)]


class Cases:
    """The handlers."""

    def __init__(self, place: Place, work: Work) -> None:
        self._place, self._work = place, work
        self._undo = Undo()

    def routes(self) -> list[Route]:
        """Return the addresses."""
        query = (
            parameter("class", str, "a class, or `unsorted`; all without it"),
            parameter("reason", str, "why they were kept"),
            parameter("label", str, "the window's label when they were kept"),
            parameter("min_score", Share, "the frame's best score is at least"),
            parameter("max_score", Share, "the frame's best score is at most"),
            parameter("since", Moment, "taken then or later, seconds since 1970"),
            parameter("until", Moment, "taken before"),
            parameter("before", str, "the `next` of the page before"),
            parameter("limit", Annotated[int, Meta(ge=1, le=LIMIT_MAX)], f"default {LIMIT}"),
        )
        deleted = changes.Deleted
        return [
            Route(
                *("/api/cases", "GET", self.listing, "Cases, newest first"),
                *(described.gives(Rows), FAULTS, None, query),
            ),
            Route(
                *("/api/classes", "GET", self.counts, "Classes, and how many cases they have"),
                *(described.gives(Counts), FAULTS),
            ),
            _change("/api/cases/sort", self.sort, "Sort cases into a class", Sort, Sorted),
            _change("/api/cases/undo", self.undo, "Undo a sorting", Token, Undone),
            _change("/api/cases/delete", self.delete, "Delete cases for good", Delete, deleted),
            _change("/api/classes", self.add_class, "Make a class", Class, Counts),
            _change("/api/classes/rename", self.rename, "Rename a class", Rename, Counts),
            _change("/api/classes/delete", self.remove, "Delete an empty class", Class, Counts),
        ]

    async def listing(self, request: Request) -> Response:
        """Return a page of cases."""
        asked = request.query_params
        which = Filter(
            label=label(asked["class"]) if asked.get("class") else None,
            reason=asked.get("reason") or None,
            predicted=asked.get("label") or None,
            since_s=described.number(request, "since", None, 0, LAST_S),
            until_s=described.number(request, "until", None, 0, LAST_S),
        )
        query = Query(
            which,
            described.number(request, "min_score", None, 0, 1),
            described.number(request, "max_score", None, 0, 1),
            asked.get("before", "")[: names.NAME_MAX_BYTES],
            described.integer(request, "limit", LIMIT, 1, LIMIT_MAX),
        )
        return answer(await self._work.do(lambda: rows(self._place.cases(), query)))

    async def counts(self, _: Request) -> Response:
        """Return the classes."""
        return answer(await self._work.do(lambda: changes.counts(self._place.cases())))

    async def sort(self, request: Request) -> Response:
        """Sort cases into a class; those that are not there any more are left out."""
        body = described.body(request, Sort)
        to = "" if body.label is None else label(body.label)
        moves, missing, error = await self._work.do(
            lambda: changes.sort(self._place.cases(), body.names, to)
        )
        _audit(request, f"{len(moves)} sorted into {to or names.UNSORTED}")
        undo = self._undo.keep(moves) if moves else ""
        return answer(Sorted(len(moves), missing, undo, escaped(error)))

    async def undo(self, request: Request) -> Response:
        """Put cases back where they were, unless somebody has sorted them again."""
        token = described.body(request, Token).undo
        moves = self._undo.moves(token)
        if moves is None:
            raise Refused(404, "there is nothing to undo any more")
        missing = await self._work.do(lambda: changes.restore(self._place.cases(), moves))
        self._undo.forget(token)
        _audit(request, f"{len(moves) - len(missing)} put back")
        return answer(Undone(len(moves) - len(missing), missing))

    async def delete(self, request: Request) -> Response:
        """Delete cases for good."""
        wanted = described.body(request, Delete).names
        done = await self._work.do(lambda: changes.delete(self._place.cases(), wanted))
        _audit(request, f"{done.deleted} deleted")
        return answer(done)

    async def add_class(self, request: Request) -> Response:
        """Make a class."""
        name = described.body(request, Class).name
        label(name)
        return await self._change(request, f"class {name}", lambda s: classes.add(s, name), True)

    async def rename(self, request: Request) -> Response:
        """Rename a class."""
        body = described.body(request, Rename)
        label(body.to)
        text = f"class {body.name} renamed {body.to}"
        return await self._change(request, text, lambda s: classes.rename(s, body.name, body.to))

    async def remove(self, request: Request) -> Response:
        """Delete an empty class."""
        name = described.body(request, Class).name
        text = f"class {name} deleted"
        return await self._change(request, text, lambda s: classes.remove(s, name))

    async def _change(
        self, request: Request, text: str, how: Callable[[Store], None], create: bool = False
    ) -> Response:
        place = self._place
        counts = await self._work.do(lambda: changes.change(place.cases(), how, create))
        _audit(request, text)
        return answer(counts)


def label(text: str) -> str:
    """Return the class that a request names, empty for unsorted. Raises Refused, 400."""
    try:
        return names.check_label(text)
    except EdgeError as exc:
        raise Refused(400, exc) from exc
    except UnicodeEncodeError as exc:
        raise Refused(400, "class: not text") from exc


def _change(path: str, handler: Handler, summary: str, takes: type, gives: type) -> Route:
    """Return an address that changes something."""
    body, given = described.takes(takes), described.gives(gives)
    return Route(path, "POST", handler, summary, given, FAULTS, body, rule=Rule(body=BODY_BYTES))


def _audit(request: Request, text: str) -> None:
    log.info("audit: cases: %s, by %s", escaped(text), described.caller(request))
