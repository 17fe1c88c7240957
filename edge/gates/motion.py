"""The motion gate: skips frames that look like the last one that was classified.

Rule 1: it closes only at rest: every frame in the window, by itself, says what the label says, and
        so would the next one that looks the same. So no frame that it skips could change the label.
Rule 2: it compares with the frame that was classified last, not with the one before: what comes in
        slowly is seen too.
Rule 3: after motion it stays open until the window is uniform again; after a change of the light
        until the label has been confirmed.
Rule 4: whatever it sees, a frame is classified every ``max_skip_s``. If that one says something
        else than the label, the gate stays open until the label is decided.

It is an observer too: it learns from the frames that were classified. Runs on the loop's thread.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final, Protocol

from edge.config import AdaptiveConfig, SmoothingConfig, Thresholds
from edge.contract import MotionFigures
from edge.frames import Classified, Frame, InvalidScores
from edge.gates.change import Change

STILL: Final = "still"
"""The reason in telemetry."""
FOLLOWS_NS: Final = 500_000_000
"""Two frames further apart do not follow each other: what differs may be more than noise."""
SHARE_S: Final = 60.0
"""Time over which the share of skipped frames is averaged."""


class Smoothing(Protocol):
    """What it needs to know of the window: the settings in force, and whether it is full."""

    @property
    def settings(self) -> SmoothingConfig:
        """Another object once they have changed."""

    @property
    def thresholds(self) -> Thresholds:
        """Those in force."""

    @property
    def full(self) -> bool:
        """Whether the window has as many frames as it holds."""


class MotionGate:
    """Gate and observer of one model.

    labels     (C,) of the model
    smoothing  returns the window in force
    """

    name = "motion"

    def __init__(
        self,
        config: AdaptiveConfig,
        labels: tuple[str, ...],
        smoothing: Callable[[], Smoothing],
    ) -> None:
        self._max_skip_ns = round(config.max_skip_s * 1e9)
        self._index = {label: index for index, label in enumerate(labels)}
        self._smoothing = smoothing
        self._settings: SmoothingConfig | None = None
        self._change = Change()
        self._seen_ns: int | None = None  # the frame compared last
        self._classified_ns = 0  # and the one classified last
        self._left = 0  # frames until the gate may close
        self._agreeing = 0  # classified in a row, each of which alone says what the label says
        self._rest = 1  # so many are needed
        self._why = "first"
        self._looks: Counter[str] = Counter()
        self._skipped_total = 0
        self._share = 0.0

    def skip(self, frame: Frame) -> str:
        """Return STILL where the model would say the same as before; else an empty text."""
        now_ns, before_ns = frame.captured_ns, self._seen_ns
        follows = (
            before_ns is not None
            and before_ns == self._classified_ns
            and 0 <= now_ns - before_ns < FOLLOWS_NS
        )
        verdict = self._change.compare(frame, follows)
        self._seen_ns = now_ns
        self._why = why = self._reason(verdict, now_ns)
        if before_ns is not None:
            weight = min(1.0, max(0, now_ns - before_ns) / (SHARE_S * 1e9))
            self._share += weight * ((not why) - self._share)
        if why:
            self._looks[why] += 1
            return ""
        self._skipped_total += 1
        return STILL

    def classified(self, seen: Classified) -> None:
        """The frame that passed is the new reference; note whether it says what the label says."""
        if seen.frame.captured_ns != self._seen_ns:
            return  # it never came past the gate
        self._change.keep()
        self._classified_ns = self._seen_ns
        self._left -= 1
        agrees = self._agrees(seen)
        self._agreeing = self._agreeing + 1 if agrees else 0
        if self._why == "light" or not agrees:
            self._change.light_was(harmless=agrees)
        elif self._why == "time":
            self._change.light_lasts()

    def figures(self) -> MotionFigures:
        """Return its part of telemetry."""
        return MotionFigures(
            closed=not self._why,
            skipped_share=round(self._share, 3),
            skipped_total=self._skipped_total,
            classified_total=dict(self._looks),
            noise=round(self._change.noise, 2),
        )

    def close(self) -> None:
        """Release nothing."""

    def _reason(self, verdict: str, now_ns: int) -> str:
        """Return why this frame is to be classified; empty where it need not be."""
        smoothing = self._smoothing()
        if smoothing.settings is not self._settings:
            self._settings, self._rest = smoothing.settings, _rest(smoothing.settings)
            self._agreeing = 0
        if verdict in ("motion", "first"):
            self._left = self._rest
            return verdict
        if verdict == "light":
            self._left = max(self._left, smoothing.settings.hold_frames)
            return verdict
        if self._left > 0 or self._agreeing < self._rest or not smoothing.full:
            return "settling"
        since_ns = now_ns - self._classified_ns
        return "time" if not 0 <= since_ns < self._max_skip_ns else ""

    def _agrees(self, seen: Classified) -> bool:
        """Return whether the label would stay if all further frames were like this one."""
        prediction = seen.prediction
        if isinstance(prediction, InvalidScores) or prediction.partial or seen.change is not None:
            return False
        limits = self._smoothing().thresholds
        if prediction.label is None:
            return prediction.score < limits.enter and float(seen.scores.max()) < limits.enter
        score = float(seen.scores[self._index[prediction.label]])
        return prediction.score >= limits.exit and score >= limits.exit


def _rest(settings: SmoothingConfig) -> int:
    """Return after how many frames that say the same the window says nothing else any more.

    Of an exponential mean a seventh of what was before is left after ``window`` frames, a fiftieth
    after twice as many.
    """
    window = settings.window * (2 if settings.method == "exponential" else 1)
    return window + settings.hold_frames
