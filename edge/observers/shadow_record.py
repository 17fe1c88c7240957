"""What is known of a shadow so far: as telemetry, as an event's evidence, as a line. Pure."""

from __future__ import annotations

from typing import Final, Literal, Protocol

from edge.contract import Evidence, ShadowFigures, StageTimes
from edge.observers.shadow_tally import Tally
from edge.observers.shadow_worker import Share

PAIRS: Final = 20
"""Pairs of labels in telemetry, the most frequent ones."""

State = Literal["loading", "working", "failed", "at_work"]


class Times(Protocol):
    """Keeps the newest durations."""

    def add(self, duration_ns: int) -> None:
        """Keep one."""

    def percentiles(self) -> StageTimes | None:
        """Return their percentiles in ms; None without any."""


class Record:
    """The figures of one shadow.

    model         the candidate, as the config or a request names it; once loaded, as its card does
    began_ns      when it began to work; None before
    over_ns       when it failed; None before
    memory_bytes  by which the process has grown with it, about
    """

    def __init__(self, model: str, times: Times) -> None:
        self.model, self.times = model, times
        self.state: State = "loading"
        self.reason = ""
        self.began_ns: int | None = None
        self.over_ns: int | None = None
        self.memory_bytes: int | None = None
        self.tally, self.share = Tally(), Share()
        self.invalid_total = self.kept_total = 0

    def figures(self, now_ns: int, pairs: int = PAIRS) -> ShadowFigures:
        """Return them as telemetry has them. pairs: of labels, at most."""
        if self.began_ns is None:
            return ShadowFigures(model=self.model, state=self.state, reason=self.reason)
        tally, now_s = self.tally, now_ns / 1e9
        lasts_ns = (self.over_ns or now_ns) - self.began_ns
        confusion, left_out = tally.confusion(pairs)
        return ShadowFigures(
            model=self.model,
            state=self.state,
            reason=self.reason,
            running_s=round(lasts_ns / 1e9, 1),
            frames_total=tally.frames + self.invalid_total,
            invalid_total=self.invalid_total,
            cpu_share=round(self.share.spent_ns / max(1, lasts_ns), 4),
            time_ms=self.times.percentiles(),
            memory_bytes=self.memory_bytes,
            hour=tally.hour(now_s),
            day=tally.day(now_s),
            total=tally.total(),
            confusion=confusion,
            confusion_left_out=left_out,
            kept_total=self.kept_total,
        )

    def evidence(self, now_ns: int) -> Evidence:
        """Return them as an event has them; what is not known is left out."""
        figures, total = self.figures(now_ns), self.tally.total()
        known = {
            "frames": figures.frames_total,
            "invalid": figures.invalid_total,
            "agreement": total.agreement,
            "smoothed_agreement": total.smoothed_agreement,
            "time_p50_ms": figures.time_ms.p50 if figures.time_ms else None,
            "cpu_share": figures.cpu_share,
            "running_s": figures.running_s,
        }
        return {"model": self.model, **{k: v for k, v in known.items() if v is not None}}

    def line(self) -> str:
        """Return the agreement in words."""
        total = self.tally.total()
        if total.agreement is None:
            return "no frame was compared"
        return f"{total.agreement:.1%} of {total.frames} frames agree"
