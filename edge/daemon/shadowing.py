"""Makes the shadow of config and model, and keeps it through changes that do not concern it.

A reload makes every plug again. The shadow that has the same candidate beside the same model goes
on with all its counts; the plugs before and after hold it together for a moment.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import NamedTuple

from edge.config import Config
from edge.contract import StageTimes
from edge.daemon.candidate import Loading
from edge.daemon.run import Run
from edge.model import installed
from edge.model.card import ModelCard
from edge.model.engine import Engine
from edge.observers.publishing import EventLog
from edge.observers.shadow import Shadow
from edge.observers.shadow_parts import Keep
from edge.telemetry import LatencyRing
from edge.telemetry.latency import percentiles_ms


class _Of(NamedTuple):
    """What a shadow is of: the same again is the same shadow.

    file     of the candidate: path, inode, size and time of its card or its network
    sha256, card  of the model at work
    at_work  the candidate is the model at work
    """

    model: str
    threads: int
    file: tuple[object, ...]
    sha256: str
    card: ModelCard
    at_work: bool


class Shadowing:
    """The shadow of one run."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._alive: list[tuple[_Of, Shadow]] = []
        self._loading: Loading | None = None
        self.reason = ""
        """Why a shadow is about to end, where a request or its time is why."""

    @property
    def now(self) -> Shadow | None:
        """The one that is configured."""
        return self._alive[-1][1] if self._alive else None

    def observer(
        self, config: Config, engine: Engine, events: EventLog, keep: Keep | None = None
    ) -> Shadow | None:
        """Return the shadow for a config and a model; None where it is off. keep: as of Shadow."""
        if not config.shadow.model:
            return None
        of = _of(config, engine)
        for known, shadow in self._alive:
            if known == of and shadow.state != "failed":
                return shadow.hold()
        shadow = self._make(of, config, events, keep)
        self._alive.append((of, shadow))
        return shadow.hold()

    def _make(self, of: _Of, config: Config, events: EventLog, keep: Keep | None) -> Shadow:
        run, loading = self._run, None
        if not of.at_work:
            self._loading = loading = Loading(config, self._loading)
        shadow = Shadow(
            of.model,
            of.card.labels,
            loading,
            lambda: run.config,
            events,
            _Times(),
            lambda: self._ended(of, shadow),
            keep,
        )
        return shadow

    def _ended(self, of: _Of, shadow: Shadow) -> str:
        """Return why a shadow ends; empty where the daemon does."""
        self._alive = [known for known in self._alive if known[1] is not shadow]
        config, engine = self._run.config, self._run.engine
        if is_at_work(of.model, engine):
            return "promoted: it is the model at work"
        if not config.shadow.model:
            return self.reason or "switched off"
        if (config.shadow.model, config.shadow.threads) != (of.model, of.threads):
            return self.reason or "another shadow"
        if (engine.sha256, engine.card) != (of.sha256, of.card):
            return "another model is at work"
        return "its files have changed" if self._alive else ""


def is_at_work(model: str, engine: Engine) -> bool:
    """Return whether ``model``, a name or a path, is the one that classifies."""
    folder = engine.folder.resolve()
    return _place(model) in (folder, folder / installed.CARD, engine.path.resolve())


def _of(config: Config, engine: Engine) -> _Of:
    model, place = config.shadow.model, _place(config.shadow.model)
    file: tuple[object, ...] = (place,)
    with contextlib.suppress(OSError, ValueError):
        card = place / installed.CARD
        status = (card if card.is_file() else place).stat()
        file = (place, status.st_ino, status.st_size, status.st_mtime_ns)
    at_work = is_at_work(model, engine)
    return _Of(model, config.shadow.threads, file, engine.sha256, engine.card, at_work)


def _place(model: str) -> Path:
    """Return where a model is, if it is anywhere."""
    place = installed.folder(model) or Path(model)
    with contextlib.suppress(OSError, RuntimeError, ValueError):  # loading it says what is wrong
        return place.expanduser().resolve()
    return place


class _Times:
    """Durations, and their percentiles as telemetry has them."""

    def __init__(self) -> None:
        self._ring = LatencyRing()

    def add(self, duration_ns: int) -> None:
        """Keep one."""
        self._ring.add(duration_ns)

    def percentiles(self) -> StageTimes | None:
        """Return their percentiles in ms; None without any."""
        return percentiles_ms(self._ring) if self._ring.count else None
