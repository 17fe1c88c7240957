"""The room of cases: makes its observer, handles its requests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from edge import config as configs
from edge.cases import names
from edge.cases.listing import Filter, cases
from edge.cases.store import Store
from edge.config import Config
from edge.contract import CasesList, CasesPurge, CasesSort, Request
from edge.daemon.commands import Answer, Pending
from edge.errors import EdgeError
from edge.model.engine import Engine
from edge.observers.cases import Cases, Model

if TYPE_CHECKING:
    from edge.daemon.rooms import Outlet


def observer(config: Config, engine: Engine, _: Outlet) -> Cases | None:
    """Return the observer; None where no reason is set. Raises ConfigError without a folder."""
    if not config.cases.enabled:
        return None
    card = engine.card
    sha256 = card.head.sha256 if card.head else engine.sha256
    model = Model(f"{card.name} {card.version}".rstrip(), sha256, card.labels)
    return Cases(config.cases, configs.cases_path(config.cases), model, config.camera.roi)


def keep(plug: Cases, _: Request) -> Pending:
    """Handle `cases-keep`: the answer has the name of the case."""
    pending = Pending()
    plug.keep(lambda answer, error: pending.settle(answer, error))
    return pending


def listed(plug: Cases, request: CasesList) -> Pending:
    """Handle `cases-list`."""
    label = None if request.sorted is None else names.check_label(request.sorted)
    which = Filter(label, request.reason)

    def read() -> Answer:
        with Store(plug.folder) as store:
            older = (
                case
                for case in cases(store, which, newest_first=True)
                if request.before is None or case.name < request.before
            )
            rows = [_row(case.fields()) for case in islice(older, request.limit)]
            counts = {label or names.UNSORTED: len(store.names(label))
                      for label in ("", *store.labels())}  # fmt: skip
        return {"cases": rows, "counts": counts}

    return _errand(plug, read)


def sort(plug: Cases, request: CasesSort) -> Pending:
    """Handle `cases-sort`: all of them, or none."""
    label = names.check_label(request.label)

    def move() -> Answer:
        with Store(plug.folder, lock=True) as store:
            store.sort_all(request.names, label)
        return {"sorted": len(request.names)}

    return _errand(plug, move)


def purge(plug: Cases, request: CasesPurge) -> Pending:
    """Handle `cases-purge`."""

    def remove() -> Answer:
        with Store(plug.folder, lock=True) as store:
            labels = ("", *store.labels()) if request.which == "all" else ("",)
            return {"removed": sum(store.purge(label) for label in labels)}

    return _errand(plug, remove)


def _errand(plug: Cases, do: Callable[[], Answer]) -> Pending:
    """Do it on a thread of its own; faults of the folder become one line."""
    pending = Pending()

    def guarded() -> Answer:
        try:
            return do()
        except FileNotFoundError as exc:
            raise EdgeError("no cases yet", where=str(plug.folder)) from exc
        except OSError as exc:
            raise EdgeError(exc.strerror or str(exc), where=str(plug.folder)) from exc

    plug.errand.start(guarded, lambda answer, error: pending.settle(answer, error))
    return pending


def _row(fields: dict[str, Any]) -> dict[str, Any]:
    """Return what an answer has of a case: few bytes."""
    shown = ("name", "sorted", "time", "reason", "label")
    return {key: fields[key] for key in shown if key in fields}


REQUESTS: Final[Mapping[str, tuple[type[Request], Callable[[Any, Any], Pending]]]] = {
    "cases-keep": (Request, keep),
    "cases-list": (CasesList, listed),
    "cases-sort": (CasesSort, sort),
    "cases-purge": (CasesPurge, purge),
}
"""Command -> payload and handler."""
