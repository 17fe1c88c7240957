"""`edge record`: what the model sees and says, into a file. See docs/replay.md.

One thread of ours reads, classifies and hands over; recorder.py writes. Nothing is published, no
gate skips a frame and no observer runs.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from edge import __version__
from edge import config as configs
from edge.camera import spec as specs
from edge.camera.reconnect import Change, Recovery
from edge.camera.recording import pixels, records
from edge.camera.recording.writer import Writer
from edge.cli.judge import Judge
from edge.cli.recorder import Recorder
from edge.config import Config
from edge.daemon import events, signals
from edge.daemon.events import Events
from edge.errors import CameraError
from edge.frames import CameraMode, EndOfSource, Frame
from edge.messages import Message
from edge.model import engine as engines

POLL_S: Final = 0.2


class Report(NamedTuple):
    """What has been recorded. dropped: frames that were replaced before they were read."""

    reason: records.EndReason
    frames: int
    dropped: int
    seconds: float
    bytes: int


def run(config: Config, path: Path, seconds: float, max_bytes: int, lossless: bool) -> Report:
    """Record until ``seconds`` are over, a limit is reached, the source ends or a signal comes.

    Raises EdgeError; what had been recorded by then is whole, and closed.
    """
    camera = msgspec.structs.replace(config.camera, loop=False, required=True)
    config = msgspec.structs.replace(config, camera=camera)
    judge = Judge(config, engines.start(config.model))
    writer = Writer(path, _start(judge, lossless), max_bytes)
    signals.remember()  # from now on, Ctrl-C closes the file
    report = _Recording(judge, writer, lossless).run(seconds)
    if not report.frames:
        raise CameraError("no frame came: nothing was recorded", where=str(path))
    if report.reason == "disk":
        what = f"the disk is nearly full: ended after {report.frames} frames"
        raise CameraError(what, where=str(path), hint="what was recorded is whole")
    return report


def _start(judge: Judge, lossless: bool) -> records.Start:
    run = judge.run
    tables = configs.redacted(run.config)
    return records.Start(
        version=records.VERSION,
        edge=__version__,
        device=run.config.device.id,
        started=time.time(),
        monotonic_ns=time.monotonic_ns(),
        lossless=lossless,
        model=engines.describe(run.engine),
        smoothing=run.config.smoothing,
        thresholds=run.smoother.thresholds,
        config={name: tables[name] for name in ("camera", "model")},
    )


class _Recording:
    def __init__(self, judge: Judge, writer: Writer, lossless: bool) -> None:
        self._judge, self._run, self._writer = judge, judge.run, writer
        self._lossless = lossless
        self._recorder = Recorder(writer, lossless)
        self._changes: deque[Change] = deque()
        config = self._run.config.camera
        spec = specs.CameraSpec(config)  # in full size: other models may use more of it
        self._camera = Recovery(spec.open, specs.policy(config), self._changes.append)
        self._events = Events(judge.wire, self._event)
        self._pictures: object = None  # what decides the record `camera`
        self._first_ns: int | None = None
        self._last_ns = 0

    def run(self, seconds: float) -> Report:
        reason: records.EndReason = "fault"
        try:
            reason = self._frames(seconds)
        finally:
            self._camera.close()
            report = self._close(reason)
        if (fault := self._recorder.fault) is not None:
            what = f"cannot be written: {getattr(fault, 'strerror', None) or fault}"
            raise CameraError(what, where=str(self._writer.path)) from fault
        return report

    def _frames(self, seconds: float) -> records.EndReason:
        """Record frames; return why there are no more."""
        try:
            while not signals.stopped():
                if self._recorder.over:
                    return self._recorder.ended or "fault"
                frame = self._read()
                if frame is not None:
                    self._frame(frame)
                if self._first_ns and time.monotonic_ns() - self._first_ns >= seconds * 1e9:
                    return "seconds"
        except EndOfSource:
            return "source ended"
        return "stopped"

    def _read(self) -> Frame | None:
        try:
            return self._camera.read(POLL_S)
        finally:
            while self._changes:
                self._changed(self._changes.popleft())

    def _changed(self, change: Change) -> None:
        """Record an outage and its end, as the daemon would publish them."""
        if change.news:
            self._judge.ts = time.time()
            type, line, evidence = events.camera(change, self._run.sequence)
            self._events.add(type, line, **evidence)
        if change.state == "online" and self._run.frames_total:
            self._run.gap()
            self._recorder.add(records.Gap(), time.monotonic_ns())

    def _frame(self, frame: Frame) -> None:
        self._first_ns = self._first_ns or time.monotonic_ns()
        self._last_ns = max(self._last_ns, frame.captured_ns)
        part = pixels.part(frame)
        pictures = (self._camera.mode, part.format, part.width, part.height, part.view)
        if pictures != self._pictures:
            self._pictures = pictures
            self._recorder.add(self._source(part), self._last_ns)
        self._judge.ts = time.time()
        opinion, event = self._judge.frame(frame)
        seen = records.Seen(
            sequence=frame.sequence,
            captured_ns=self._last_ns,
            scores=opinion.scores,
            invalid=opinion.invalid,
            label=opinion.label,
            score=opinion.score,
            partial=opinion.partial,
        )
        self._recorder.frame(seen, part)
        if event is not None:
            self._event(event)

    def _event(self, message: Message) -> None:
        event = msgspec.json.decode(message.payload)
        self._recorder.add(records.Happened(event=event), time.monotonic_ns())

    def _source(self, part: pixels.Part) -> records.Source:
        config = self._run.config.camera
        asked = CameraMode("", config.source, config.width, config.height, config.fps, "")
        mode = self._camera.mode or asked
        return records.Source(
            mode=replace(mode, source=configs.without_credentials(mode.source)),
            width=part.width,
            height=part.height,
            format=pixels.stored(part, self._lossless),
            view=part.view,
        )

    def _close(self, reason: records.EndReason) -> Report:
        self._recorder.finish()
        reason = self._recorder.ended or ("fault" if self._recorder.fault else reason)
        frames, run = self._recorder.frames, self._run
        end = records.End(reason=reason, frames=frames, dropped=run.dropped_total)
        try:
            if frames:
                self._writer.close(end, time.monotonic_ns())
            else:
                self._writer.discard()
        except OSError as exc:
            self._recorder.fault = self._recorder.fault or exc
        first_ns = self._first_ns or self._last_ns
        seconds = round(max(0, self._last_ns - first_ns) / 1e9, 1)
        return Report(reason, frames, run.dropped_total, seconds, self._writer.bytes)
