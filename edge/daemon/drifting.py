"""Makes the observer of drift from config and model."""

from __future__ import annotations

from collections.abc import Callable

from edge.config import Config
from edge.daemon.events import Events
from edge.model.engine import Engine
from edge.model.learnt import Learnt
from edge.model.survey import Survey
from edge.observers.drift import Drift, Keep
from edge.observers.drift_learning import Learning


def observer(
    config: Config,
    engine: Engine,
    events: Events,
    drifted: Callable[[str], None],
    keep: Keep | None = None,
) -> Drift | None:
    """Return what watches the model; None where it is off."""
    drift = config.drift
    if not drift.enabled:
        return None
    learnt = Learnt(engine)
    taught = engine.baseline or Learning(learnt.read(), learnt.save)
    report = drifted if drift.rollback else lambda _: None
    return Drift(drift, Survey(engine), events, taught, report, keep)
