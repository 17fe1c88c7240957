"""`edge replay`: a recording through one model or several, compared or not. See docs/replay.md.

Rule 1: no clock is read: the same file, models and config print the same bytes.
Rule 2: every frame is classified once by each model, in order; one is in memory at a time.
Rule 3: stdout has what was found, stderr what is doubtful of the file.

Runs on the caller's thread.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from edge.camera.recording import records
from edge.camera.recording.reader import Item, Reader, Recorded
from edge.cli import replay_text
from edge.cli.compare import Comparer, Comparison, Side
from edge.cli.judge import Judge, Opinion
from edge.config import Config
from edge.errors import CameraError
from edge.messages import Message
from edge.model import engine as engines

log = logging.getLogger(__name__)
RECORDING: Final = "recording"
"""The name of what the recording itself says."""
Print = Callable[[str], None]


class Player:
    """A recording, and the models that it is played to.

    config    its [smoothing] counts, unless ``recorded``: then the recording's own does
    models    names or paths, as for ``model.path``
    Raises EdgeError.
    """

    def __init__(self, path: Path, config: Config, models: Sequence[str], recorded: bool) -> None:
        self._where = str(path)
        self._reader = Reader(path, config.camera.max_pixels)
        self.start = start = self._reader.start
        if recorded:
            start.smoothing.check(f"{path}: smoothing")
            config = msgspec.structs.replace(config, smoothing=start.smoothing)
        self.judges: dict[str, Judge] = {}
        for model in models:
            own = model == config.model.path
            engine = engines.start(config.model if own else config.model.alone(model))
            name = model if len(models) > 1 else engine.card.name
            self.judges[name] = Judge(config, engine, "replay")
        self._first_ns: int | None = None

    def play(
        self,
        seen: Callable[[int, float, dict[str, tuple[Opinion, Message | None]]], None],
        happened: Callable[[dict[str, Any]], None],
    ) -> None:
        """Call ``seen`` for each frame, and ``happened`` for each other recorded event.

        seen  number, seconds since the first frame, and what each of the models and the recording
              say; the recording's has no event
        """
        frames = 0
        for item in self._reader:
            if isinstance(item, Recorded):
                frames += 1
                seen(*self._frame(item))
            else:
                self._other(item, happened)
        if not frames:
            raise CameraError("holds no frame", reason="corrupt", where=self._where)
        if not self._reader.whole:
            log.warning("%s: was cut after %d frames: not closed", self._where, frames)

    def close(self) -> None:
        """Close the file."""
        self._reader.close()

    def _frame(
        self, item: Recorded
    ) -> tuple[int, float, dict[str, tuple[Opinion, Message | None]]]:
        frame, was = self._reader.frame(item), item.seen
        if self._first_ns is None:
            self._first_ns = was.captured_ns
        said = Opinion(was.label, was.score, was.partial, was.scores, was.invalid)
        opinions: dict[str, tuple[Opinion, Message | None]] = {RECORDING: (said, None)}
        ts = self.start.started + (was.captured_ns - self.start.monotonic_ns) / 1e9
        for name, judge in self.judges.items():
            judge.ts = ts
            opinions[name] = judge.frame(frame)
        at_s = round((was.captured_ns - self._first_ns) / 1e9, 3)
        return was.sequence, at_s, opinions

    def _other(self, item: Item, happened: Callable[[dict[str, Any]], None]) -> None:
        if isinstance(item, records.Gap):
            for judge in self.judges.values():
                judge.run.gap()
        elif isinstance(item, records.Happened) and item.event.get("type") != "label_changed":
            happened(item.event)


def show(player: Player, print: Print, as_json: bool) -> None:
    """Print every event that each model gives, and a summary of each."""
    labels: dict[str, Counter[str | None]] = {name: Counter() for name in player.judges}
    changes: Counter[str] = Counter()
    frames, end_s = 0, 0.0

    def seen(number: int, at_s: float, opinions: dict[str, tuple[Opinion, Message | None]]) -> None:
        nonlocal frames, end_s
        frames, end_s = frames + 1, at_s
        for name in player.judges:
            opinion, message = opinions[name]
            labels[name][opinion.label] += 1
            if message is not None:
                changes[name] += 1
                event = json.loads(message.payload)
                if as_json:
                    print(json.dumps({"model": name, "at_s": at_s, "event": event}))
                else:
                    print(replay_text.event(name, number, at_s, event))

    def happened(event: dict[str, Any]) -> None:
        if as_json:
            print(json.dumps({"model": RECORDING, "event": event}))
        else:
            print(replay_text.recorded(event))

    player.play(seen, happened)
    for name, judge in player.judges.items():
        uncertain = labels[name].pop(None, 0)
        ordered = sorted(labels[name].items(), key=lambda item: (-item[1], item[0] or ""))
        summary = {
            "model": name,
            "sha256": judge.run.engine.sha256,
            "frames": frames,
            "seconds": end_s,
            "label_changes": changes[name],
            "invalid_scores": judge.run.invalid_scores_total,
            "uncertain": uncertain,
            "labels": dict(ordered),
        }
        print(json.dumps(summary) if as_json else replay_text.summary(summary))


def compare(player: Player) -> list[Comparison]:
    """Return the recording against the one model, or the first model against each other one."""
    labels = {name: judge.wire.labels for name, judge in player.judges.items()}
    if len(labels) == 1:
        labels = {RECORDING: player.start.model.labels, **labels}
    first, *others = labels
    pairs = {
        name: Comparer(Side(first, labels[first]), Side(name, labels[name])) for name in others
    }

    def seen(number: int, at_s: float, opinions: dict[str, tuple[Opinion, Message | None]]) -> None:
        for name, comparer in pairs.items():
            comparer.add(number, at_s, opinions[first][0], opinions[name][0])

    player.play(seen, lambda _: None)
    return [comparer.result() for comparer in pairs.values()]
