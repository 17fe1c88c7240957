"""Models by request: list, use, roll back, remove, fetch; and the way back by itself.

Rule 1: a model is used only by the name of an installed one: no request names a file. What is
        fetched is added, signed and proven; another request uses it.
Rule 2: the choice is persisted before the model is proven, so that a fault at any instant ends in
        a state that a start can handle: a chosen model that does not start is taken back (see
        ``recovered``), and what a reload refuses is not chosen.
Rule 3: the choice before is kept; a rollback goes one step back.

The change itself is a reload: attested, between two frames, with `info`, discovery and thresholds.
"""

from __future__ import annotations

import logging
import time

import msgspec

from edge.config import persisted
from edge.config.persisted import Choice
from edge.contract import Model
from edge.daemon.commands import Answer, Pending
from edge.daemon.events import Events
from edge.daemon.fetching import Fetching
from edge.daemon.probation import STARTS_MAX, Probation
from edge.daemon.run import Run
from edge.daemon.takeover import Takeover
from edge.errors import ConfigError, ModelError
from edge.model import installed, store

log = logging.getLogger(__name__)


class Models:
    """Handles `model`. recovered: why the start has taken a choice back; empty if it has not."""

    def __init__(self, run: Run, takeover: Takeover, events: Events, recovered: str = "") -> None:
        self._run, self._takeover, self._events = run, takeover, events
        self._recovered: str = recovered
        self._fetching = Fetching(run, events)
        self._changing = False
        self._probation: Probation | None = None
        chosen = persisted.choice()
        if chosen is not None and chosen.until_s > time.time():
            left_s = chosen.until_s - time.time()  # more than it ever takes: a clock that was set
            self._probation = Probation(run, min(left_s, run.config.model.probation_s))

    def handle(self, request: Model) -> Answer | Pending:
        """List, use, roll back, remove or fetch."""
        if request.action == "fetch":
            return self._fetching.begin(request.url, request.sha256)
        if request.action == "list":
            return self._listing()
        if request.action == "remove":
            return self._remove(request.name)
        chosen = persisted.choice()
        if request.action == "rollback":
            if chosen is None:
                raise ConfigError("there is no model before this one", got=self._name())
            return self._change(_before(chosen), chosen, "by request")
        folder = installed.folder(request.name)
        if folder is None:
            raise installed.unknown(request.name, "model")
        path = folder.name  # gate@2 for gate: a version that is added later must not replace it
        if path == self._in_use():
            return {"model": self._name(), "changed": False}
        until_s = time.time() + self._run.config.model.probation_s
        new = Choice(path, self._in_use(), chosen is not None, until_s)
        return self._change(new, chosen, "by request")

    def tick(self) -> None:
        """Take back a model that does not do; end a probation that is over; go on with a fetch."""
        self._fetching.tick()
        if self._recovered:
            self._report_back(self._recovered)
            self._recovered = ""
        if self._probation is None or self._changing:
            return
        if self._probation.over:
            self._probation = None
            self._passed()
        elif fault := self._probation.fault():
            self._probation, chosen = None, persisted.choice()
            try:
                if chosen is not None:
                    self._change(_before(chosen), chosen, fault)
            except ConfigError as exc:
                log.error("%s stays, although %s: %s", self._name(), fault, exc)

    def close(self) -> None:
        """End a fetch that goes on."""
        self._fetching.close()

    def _change(self, new: Choice | None, old: Choice | None, why: str) -> Pending:
        """Persist a choice, and reload; the old one returns where that is refused."""
        if self._changing:
            raise ConfigError("another model is just being tried", hint="ask again")
        before = self._name()
        persisted.choose(new)

        def over(error: str) -> str:
            self._changing = False
            if not error and new is not None and self._run.config.model.path != new.path:
                error = f"{new.path} has no effect: model.path is set on the command line"
            if error:
                persisted.choose(old)
            elif why == "by request":
                probation_s = self._run.config.model.probation_s
                self._probation = Probation(self._run, probation_s) if new and new.until_s else None
                line = f"model {self._name()} instead of {before}"
                self._events.add("model_changed", line, model=self._name(), instead_of=before)
            else:
                self._report_back(f"{before}: {why}")
            return error

        self._changing = True
        self._takeover.then(over)
        try:
            return self._takeover.handle(Model())
        except ConfigError:
            self._changing = False
            persisted.choose(old)
            raise

    def _passed(self) -> None:
        """Persist that the model has proven itself, whatever the clock says at the next start."""
        chosen = persisted.choice()
        if chosen is not None and chosen.until_s:
            try:
                persisted.choose(msgspec.structs.replace(chosen, until_s=0.0))
            except ConfigError as exc:
                log.warning("%s", exc)

    def _report_back(self, why: str) -> None:
        line = f"model {self._name()} again: {why}"
        self._events.add("model_rolled_back", line, model=self._name(), reason=why)

    def _remove(self, reference: str) -> Answer:
        chosen = persisted.choice()
        if reference in (self._in_use(), chosen.before if chosen else ""):
            raise ModelError("is in use, or the one before", where=reference, hint="use another")
        installed.check_free(reference, self._run.config)
        store.remove(reference)
        return {"removed": reference}

    def _listing(self) -> Answer:
        chosen = persisted.choice()
        sizes = {one.reference: one.bytes for one in store.listing()}
        return {
            "in_use": self._in_use(),
            "before": chosen.before if chosen else None,
            "fetching": self._fetching.url or None,
            "models": [{"name": one, "bytes": sizes.get(one)} for one in installed.names()],
        }

    def _in_use(self) -> str:
        """Return the model at work: its name where it is an installed one, else its path."""
        folder = self._run.engine.folder
        return folder.name if folder.parent in installed.places() else self._run.config.model.path

    def _name(self) -> str:
        card = self._run.engine.card
        return f"{card.name} {card.version}".strip()


def _before(chosen: Choice) -> Choice | None:
    """Return the choice before; None where the config decided."""
    return Choice(chosen.before) if chosen.chosen else None


def started() -> str:
    """Count a start with a chosen model; return why it was taken back, empty where it was not."""
    chosen = persisted.choice()
    if chosen is None or chosen.until_s <= time.time():
        return ""
    starts = chosen.starts + 1
    if starts > STARTS_MAX:
        return back(f"{chosen.path}: the daemon has started {starts} times with it")
    persisted.choose(msgspec.structs.replace(chosen, starts=starts))
    return ""


def back(why: str) -> str:
    """Take the choice back at a start; return ``why``, empty where nothing was chosen."""
    chosen = persisted.choice()
    if chosen is None:
        return ""
    log.error("the model before is used again: %s", why)
    persisted.choose(_before(chosen))
    return why
