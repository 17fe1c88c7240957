"""The observer that notices when pictures or scores are others than when the model was taught.

Rule 1: a frame is measured where one is due, some hundreds in a window; the others cost a
        comparison.
Rule 2: what is known of a scene is forgotten where no frame came for longer than a window.
Rule 3: scores and features count against a model on probation; a change of light does not.

Knows no model: what measures a frame is given to it. Runs on the loop's thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from edge.baseline import OF_THE_MODEL, Baseline
from edge.config import DriftConfig
from edge.contract import DriftFigures
from edge.frames import Classified, InvalidScores
from edge.observers.drift_learning import ROWS, Learning
from edge.observers.drift_reasons import Notice, Reasons
from edge.observers.drift_watch import PLAIN, Watch
from edge.observers.drift_window import SAMPLES
from edge.observers.publishing import EventLog

Floats = NDArray[np.float32]

KEEP_NS: Final = 60 * 10**9
"""Between two frames that are asked to be kept."""


class Measure(Protocol):
    """Measures the frame that was classified last."""

    def figures(self, scores: Floats, out: Floats, /) -> None:
        """Write the figures of its picture and its scores into ``out``, (8,)."""

    def features(self) -> Floats | None:
        """Return its features, (F,); None where the model has no head."""


class Keep(Protocol):
    """Keeps a frame for people to look at."""

    def __call__(self, reason: str, seen: Classified, /) -> None:
        """Copy what is kept of ``seen``; never wait."""


class Drift:
    """Watches one model.

    taught    the model's baseline, or what learns one
    drifted   called with why scores or features drift, and with an empty text when they do no more
    keep      gets frames that are far outside; None: nobody keeps any
    """

    name = "drift"

    def __init__(
        self,
        config: DriftConfig,
        measure: Measure,
        events: EventLog,
        taught: Baseline | Learning,
        drifted: Callable[[str], None],
        keep: Keep | None = None,
    ) -> None:
        self._measure, self._events = measure, events
        self._drifted, self._keep = drifted, keep
        self._reasons = Reasons(config.enter, config.exit, round(config.event_interval_s * 1e9))
        self._window_ns = round(config.window_s * 1e9)
        self._learn_ns = round(config.learn_s * 1e9)
        self._values = np.zeros(PLAIN, np.float32)
        self._next_ns = self._last_ns = 0
        self._kept_ns = -KEEP_NS
        self._samples = self._kept_total = 0
        self._model_drifts = ""
        self._learning = taught if isinstance(taught, Learning) else None
        self._watch: Watch | None = None
        self._begin(taught.baseline() if isinstance(taught, Learning) else taught)

    def classified(self, seen: Classified) -> None:
        """Measure this frame if one is due."""
        now_ns = seen.done_ns
        if now_ns < self._next_ns or isinstance(seen.prediction, InvalidScores):
            return
        self._measure.figures(seen.scores, self._values)
        self._samples += 1
        if self._watch is not None:
            self._next_ns = now_ns + self._window_ns // SAMPLES
            self._compare(self._watch, seen)
        elif self._learning is not None:
            self._next_ns = now_ns + self._learn_ns // ROWS
            self._learning.add(self._values)
            self._begin(self._learning.baseline())
        self._last_ns = now_ns

    def figures(self) -> DriftFigures:
        """Return its part of telemetry."""
        reasons, leading = self._reasons, self._reasons.leading
        lasts_ns = self._last_ns - reasons.active.get(leading, self._last_ns)
        return DriftFigures(
            origin="bundle" if not self._learning else "device" if self._watch else "learning",
            learnt_share=round(self._learning.share, 3) if self._learning else 1.0,
            reason=leading,
            since_s=round(lasts_ns / 1e9, 1) if leading else None,
            psi=self._watch.psi() if self._watch else {},
            samples=self._samples,
            kept_total=self._kept_total,
            unsaid_total=reasons.unsaid_total,
        )

    def close(self) -> None:
        """End what has begun as an event: nobody watches any more."""
        self._say(self._reasons.end(self._last_ns))

    def _begin(self, taught: Baseline | None) -> None:
        """Compare from now on, if there is something to compare with."""
        self._watch = Watch(taught) if taught else None

    def _compare(self, watch: Watch, seen: Classified) -> None:
        now_ns = seen.done_ns
        if now_ns - self._last_ns > self._window_ns:
            watch.clear()
        features = self._measure.features() if watch.taught.mean is not None else None
        follows = any(reason not in OF_THE_MODEL for reason in self._reasons.active)
        watch.add(self._values, features, follows)
        if self._keep and now_ns - self._kept_ns >= KEEP_NS and watch.is_far():
            self._kept_ns = now_ns
            self._kept_total += 1
            self._keep("drift", seen)
        self._say(self._reasons.update(watch.reasons(), now_ns))
        of_the_model = next((r for r in OF_THE_MODEL if r in self._reasons.active), "")
        if of_the_model != self._model_drifts:
            self._model_drifts = of_the_model
            self._drifted(of_the_model)

    def _say(self, notice: Notice | None) -> None:
        if notice is None:
            return
        evidence = self._watch.evidence(notice.reason) if self._watch else {}
        if notice.type == "drift_ended":
            evidence = {"lasted_s": round(notice.lasted_s, 1), **evidence}
        words = "is over" if notice.type == "drift_ended" else "began"
        line = f"drift {words}: {notice.reason}"
        if "figure" in evidence:
            taught = f"{evidence['taught_low']} to {evidence['taught_high']}"
            line += f" ({evidence['figure']} {evidence['now']}, taught {taught})"
        self._events.add(notice.type, line, reason=notice.reason, **evidence)
