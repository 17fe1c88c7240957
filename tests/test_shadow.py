"""A shadow by itself: its counts, its share of a core, and candidates that do what none should."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from numpy.typing import NDArray

from edge.config import Config, ModelConfig, SmoothingConfig
from edge.contract import EventType, StageTimes
from edge.daemon import candidate as candidates
from edge.errors import ConfigError, EdgeError, ModelError
from edge.frames import Classified, Frame, FrameTimes, InvalidScores, Prediction
from edge.model import engine as engines
from edge.model.engine import Engine
from edge.observers.shadow import HANGS_NS, INVALID_MAX, Shadow
from edge.observers.shadow_parts import Loaded
from edge.observers.shadow_tally import PAIRS_MAX, Tally
from edge.observers.shadow_worker import Candidate, Configure, Worker
from edge.pipeline import smoothing as windows
from tests.conftest import WAIT_S, model_folder, wait_until

LABELS = ("red", "green", "blue")
S = 10**9


def test_agreement_is_of_the_last_hour_the_last_day_and_in_all() -> None:
    """Three frames that agree, two hours later one that does not, a day later another."""
    tally = Tally()
    for second in range(3):
        assert tally.add("red", "red", ("red", "red"), 100.0 + second)
    assert tally.hour(200.0).agreement == tally.total().agreement == 1.0
    assert not tally.add("red", "blue", ("red", None), 7300.0)
    assert (tally.hour(7300.0).frames, tally.hour(7300.0).agreement) == (1, 0.0)
    day = tally.day(7300.0)
    assert (day.frames, day.agreement, day.smoothed_agreement) == (4, 0.75, 0.75)
    assert not tally.add("blue", "red", None, 7300.0 + 86_400)
    assert tally.day(7300.0 + 86_400).frames == 1
    assert tally.hour(1e9).frames == tally.day(1e9).frames == 0
    assert tally.hour(1e9).agreement is None
    total = tally.total()
    assert (total.frames, total.agreement, total.smoothed_frames) == (5, 0.6, 4)
    assert total.smoothed_agreement == 0.75


def test_nothing_is_certain_on_both_sides_is_agreement() -> None:
    """A smoothed label that both lack is the same state."""
    tally = Tally()
    tally.add("red", "blue", (None, None), 1.0)
    assert tally.total().smoothed_agreement == 1.0


def test_confusion_has_the_most_frequent_pairs_and_counts_the_others() -> None:
    """Also where there are more pairs than are counted at all."""
    tally = Tally()
    for number in range(PAIRS_MAX + 50):
        tally.add("red", f"label {number}", None, 1.0)
    for _ in range(3):
        tally.add("red", "label 7", None, 1.0)
    tally.add("red", f"label {PAIRS_MAX + 49}", None, 1.0)
    table, left_out = tally.confusion(1)
    assert table == {"red": {"label 7": 4}}
    assert left_out == PAIRS_MAX + 50 - 1 + 1
    table, left_out = tally.confusion(10 * PAIRS_MAX)
    assert len(table["red"]) == PAIRS_MAX
    assert left_out == 51


class Scripted:
    """A candidate whose scores are given, one row for each frame; the last one is repeated."""

    def __init__(self, *rows: list[float] | Exception, labels: tuple[str, ...] = LABELS) -> None:
        self.labels, self._rows = labels, list(rows)
        self.scores: NDArray[np.float32] = np.zeros(len(labels), np.float32)
        self.seen: list[int] = []
        self.smoothed_by: list[SmoothingConfig] = []
        self.go_on = threading.Event()
        self.go_on.set()

    def configure(self, smoothing: SmoothingConfig) -> None:
        """Note the settings."""
        self.smoothed_by.append(smoothing)

    def process(self, frame: Frame) -> tuple[Prediction | InvalidScores, None, FrameTimes]:
        """Note a pixel of a frame and its number; give the next row, once it may."""
        self.seen.append(int(frame.pixels[0, 0, 0]) * 1000 + frame.sequence)
        self.go_on.wait(WAIT_S)
        row = self._rows.pop(0) if len(self._rows) > 1 else self._rows[0]
        if isinstance(row, Exception):
            raise row
        times = FrameTimes(1, 1, 1)
        if not row:
            return InvalidScores("3 of 3 values not finite"), None, times
        self.scores[:] = row
        return predicted(frame.sequence, self.labels[int(self.scores.argmax())]), None, times


def predicted(number: int, label: str | None, partial: bool = False) -> Prediction:
    """Return a prediction."""
    return Prediction(number, number * S, label, 0.9, (0.9, 0.1, 0.0), 0, partial)


class Loads:
    """What loads a candidate: at once, later, or never."""

    def __init__(self, *answers: Loaded | EdgeError | None) -> None:
        self._answers, self.closed = list(answers), 0

    def poll(self) -> Loaded | None:
        """Give the next answer."""
        answer = self._answers.pop(0) if self._answers else None
        if isinstance(answer, EdgeError):
            raise answer
        return answer

    def close(self) -> None:
        """Count it."""
        self.closed += 1


class Log:
    """Keeps events."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.lines: list[str] = []

    def log(self, type: EventType, line: str) -> None:
        """Keep a line."""
        self.lines.append(line)

    def add(self, type: EventType, line: str, **evidence: float | int | str) -> None:
        """Keep an event."""
        assert "\n" not in line
        self.events.append((type, evidence))


class Durations:
    """Keeps the newest durations."""

    def __init__(self) -> None:
        self.kept: list[int] = []

    def add(self, duration_ns: int) -> None:
        """Keep one."""
        self.kept.append(duration_ns)

    def percentiles(self) -> StageTimes | None:
        """Return the last one as all of them."""
        return StageTimes(*[self.kept[-1] / 1e6] * 4) if self.kept else None


class Bench:
    """A shadow with a clock of the test's own; ``frame`` is one turn of the daemon's loop.

    cost_ns  of the candidate's thread for each frame
    """

    def __init__(self, candidate: Scripted | None, **table: Any) -> None:
        self.now_ns, self.cpu_ns, self.cost_ns, self.readings = 1000 * S, 0, 0, 0
        self.log, self.durations = Log(), Durations()
        self.kept: list[tuple[int, int, str, str]] = []
        self.workers: list[Worker] = []
        self.config = self.configured(**{"every": 1, "cpu_share": 1.0, **table})
        self.why = "switched off"
        self.loads = Loads()
        if candidate is not None:
            loaded = Loaded("gate 2", candidate.labels, candidate, candidate.configure, 7)
            self.loads = Loads(loaded)
        self.number = 0
        self.shadow = self.make(self.loads).hold()
        self.shadow.tick()

    def configured(self, **table: Any) -> Config:
        """Return a config with this table."""
        return replace(Config(), shadow=replace(Config().shadow, model="gate", **table))

    def make(self, loads: Loads | None) -> Shadow:
        """Return a shadow that is loaded by ``loads``."""
        return Shadow(
            *("gate", LABELS, loads, lambda: self.config, self.log, self.durations),
            *(lambda: self.why, self.keep, lambda: self.now_ns, self.work),
        )

    def work(self, candidate: Candidate, configure: Configure) -> Worker:
        """Return a worker with the test's clocks."""
        self.workers.append(Worker(candidate, configure, lambda: self.now_ns, self.cpu))
        return self.workers[-1]

    def cpu(self) -> int:
        """Return the time of the candidate's thread: read before a frame and after it."""
        self.readings += 1
        if self.readings % 2 == 0:
            self.cpu_ns += self.cost_ns
        return self.cpu_ns

    def keep(self, reason: str, seen: Classified) -> None:
        """Note a frame that is to be kept, and what the model at work says of it."""
        label = LABELS[int(seen.scores.argmax())]
        self.kept.append((seen.frame.sequence, int(seen.frame.pixels[0, 0, 0]), label, reason))

    def frame(self, label: str = "red", wait: bool = True, scores: bool = True) -> None:
        """Give one frame, of which the model at work says ``label``, and wait for the outcome."""
        self.number += 1
        pixels = np.full((4, 4, 3), self.number % 200, np.uint8)
        row = np.array([label == one for one in LABELS], np.float32)
        prediction = predicted(self.number, label) if scores else InvalidScores("none")
        frame = Frame(self.number, self.number * S, pixels, "bgr")
        seen = Classified(frame, row, prediction, None, None, FrameTimes(0, 0, 0), self.now_ns)
        self.shadow.classified(seen)
        pixels[:], row[:] = 255, 0  # the next one's
        if wait and self.workers and self.workers[-1].began_ns is not None:
            assert self.workers[-1].wait(WAIT_S)
            self.shadow.tick()

    def named(self) -> list[str]:
        """Return the types of the events."""
        return [type for type, _ in self.log.events]


RED, GREEN = [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]


@pytest.fixture
def stuck() -> Iterator[Scripted]:
    """A candidate that hangs until the test is over."""
    candidate = Scripted(RED)
    candidate.go_on.clear()
    yield candidate
    candidate.go_on.set()


def test_one_frame_in_n_is_given_to_the_candidate_as_it_was() -> None:
    """Copied: the camera may overwrite it while the candidate is at it."""
    candidate = Scripted(RED)
    bench = Bench(candidate, every=3)
    for _ in range(7):
        bench.frame()
    assert candidate.seen == [3003, 6006]
    figures = bench.shadow.figures()
    assert (figures.state, figures.frames_total, figures.model) == ("working", 2, "gate 2")
    assert figures.memory_bytes == 7


def test_while_the_candidate_is_busy_frames_are_not_taken(stuck: Scripted) -> None:
    """None waits: the next one after that is a new one."""
    bench = Bench(stuck)
    for _ in range(5):
        bench.frame(wait=False)
    stuck.go_on.set()
    assert bench.workers[0].wait(WAIT_S)
    bench.frame()
    assert stuck.seen == [1001, 6006]


@pytest.mark.parametrize("threads", [1, 3])
def test_the_share_of_a_core_is_kept(threads: int) -> None:
    """A frame of 20 ms at a tenth of a core: five a second, whatever the camera's rate."""
    candidate = Scripted(RED)
    bench = Bench(candidate, cpu_share=0.1, threads=threads)
    step_ns, seconds = S // 100, 60
    bench.cost_ns = 20_000_000
    for _ in range(seconds * 100):
        bench.now_ns += step_ns
        bench.frame()
    figures = bench.shadow.figures()
    assert figures.frames_total == pytest.approx(seconds * 5 / threads, abs=2)
    assert figures.cpu_share == pytest.approx(0.1, abs=0.002)


def test_the_share_is_no_credit_for_later() -> None:
    """After a minute without frames there is one, not sixty at once."""
    bench = Bench(Scripted(RED), cpu_share=0.1)
    bench.cost_ns = 20_000_000
    for _ in range(2):
        bench.now_ns += 60 * S
        for _ in range(50):
            bench.frame()
    assert bench.shadow.figures().frames_total == 2


def test_the_stricter_of_the_two_limits_decides_and_both_can_change() -> None:
    """A `set` request is in force with the next frame; the counts go on."""
    bench = Bench(Scripted(RED), every=10, cpu_share=1.0)
    for _ in range(30):
        bench.frame()
    assert bench.shadow.figures().frames_total == 3
    bench.config = bench.configured(every=2)
    for _ in range(4):
        bench.frame()
    assert bench.shadow.figures().frames_total == 5


def test_the_two_are_compared_by_the_text_of_their_labels() -> None:
    """Permuted, they never agree; confusion says which is taken for which."""
    bench = Bench(Scripted(RED, GREEN, labels=("green", "red", "blue")))
    bench.frame("red")
    for _ in range(3):
        bench.frame("green")
    figures = bench.shadow.figures()
    assert figures.confusion == {"red": {"green": 1}, "green": {"red": 3}}
    assert figures.total is not None
    assert (figures.total.agreement, figures.total.smoothed_agreement) == (0.0, 0.0)
    assert bench.log.events[0] == (
        "shadow_began",
        {"model": "gate 2", "labels": 3, "labels_shared": 3, "memory_bytes": 7},
    )


def test_a_frame_without_scores_at_work_is_not_compared() -> None:
    """There is nothing to compare with."""
    candidate = Scripted(RED)
    bench = Bench(candidate)
    bench.frame(scores=False)
    assert candidate.seen == []


def test_disagreement_that_lasts_is_asked_to_be_kept_once() -> None:
    """The very frame, at the third in a row; again only after they have agreed."""
    bench = Bench(Scripted(GREEN), keep_frames=3)
    for label in ("red", "red", "green", "red", "red", "red", "red", "green", "red", "red", "red"):
        bench.frame(label)
    assert bench.kept == [(6, 6, "red", "shadow"), (11, 11, "red", "shadow")]
    assert bench.shadow.figures().kept_total == 2
    bench.config = bench.configured(every=1, keep_frames=0)
    for label in ("green", "red", "red", "red", "red"):
        bench.frame(label)
    assert len(bench.kept) == 2


def test_the_settings_of_the_window_reach_the_candidate() -> None:
    """Those in force when the frame was taken."""
    candidate = Scripted(RED)
    bench = Bench(candidate)
    bench.frame()
    other = replace(Config().smoothing, window=3)
    bench.config = replace(bench.config, smoothing=other)
    bench.frame()
    assert candidate.smoothed_by == [Config().smoothing, other]


@pytest.mark.parametrize("number", [1, 2, 5])
def test_a_candidate_that_raises_ends_the_shadow_alone(number: int) -> None:
    """At whichever frame: one event with its line; no frame is given to it any more."""
    rows: list[list[float] | Exception] = [RED] * (number - 1)
    candidate = Scripted(*rows, RuntimeError("tensor\n\x1b[31mlost"))
    bench = Bench(candidate)
    for _ in range(8):
        bench.frame()
    assert bench.named() == ["shadow_began", "shadow_failed"]
    evidence = bench.log.events[1][1]
    assert evidence["error"] == r"RuntimeError: tensor\n\x1b[31mlost"
    assert evidence["frames"] == number - 1
    assert len(candidate.seen) == number
    figures = bench.shadow.figures()
    assert (figures.state, figures.reason) == ("failed", evidence["error"])
    bench.shadow.close()
    assert len(bench.log.events) == 2


def test_frames_without_scores_are_counted_and_many_in_a_row_end_the_shadow() -> None:
    """One that is invalid now and then is no reason to end it."""
    rows: list[list[float] | Exception] = [[], RED, *[[] for _ in range(INVALID_MAX - 1)], RED, []]
    bench = Bench(Scripted(*rows))
    for _ in range(INVALID_MAX + 2):
        bench.frame()
    figures = bench.shadow.figures()
    assert (figures.state, figures.invalid_total) == ("working", INVALID_MAX)
    assert figures.total is not None
    assert figures.total.frames == 2
    for _ in range(INVALID_MAX + 10):
        bench.frame()
    assert bench.named() == ["shadow_began", "shadow_failed"]
    assert "100 frames in a row without scores: 3 of 3" in bench.log.events[1][1]["error"]


def test_a_candidate_that_hangs_is_left_behind(stuck: Scripted) -> None:
    """The loop never waits for it; after its time it is one event, and gets no other frame."""
    bench = Bench(stuck)
    for _ in range(100):
        bench.frame(wait=False)
        bench.shadow.tick()
    wait_until(lambda: stuck.seen == [1001])
    bench.now_ns += HANGS_NS
    bench.shadow.tick()
    assert bench.named() == ["shadow_began"]
    bench.now_ns += 1
    bench.shadow.tick()
    bench.shadow.tick()
    bench.frame(wait=False)
    assert bench.named() == ["shadow_began", "shadow_failed"]
    assert "no scores after 30 s" in bench.shadow.figures().reason
    assert stuck.seen == [1001]


def test_its_thread_ends_with_it() -> None:
    """Closed by the last who holds it; nobody waits for that."""
    before = set(threading.enumerate())
    bench = Bench(Scripted(RED))
    threads = set(threading.enumerate()) - before
    assert [thread.name for thread in threads] == ["shadow"]
    bench.frame()
    bench.shadow.hold()
    bench.shadow.close()
    assert bench.named() == ["shadow_began"]
    bench.shadow.close()
    wait_until(lambda: not any(thread.is_alive() for thread in threads))
    assert bench.named() == ["shadow_began", "shadow_ended"]
    evidence = bench.log.events[1][1]
    assert evidence["reason"] == "switched off"
    assert (evidence["frames"], evidence["agreement"]) == (1, 1.0)


def test_at_the_end_of_the_daemon_there_is_a_line_and_no_event() -> None:
    """The broker has been left already."""
    bench = Bench(Scripted(RED))
    bench.frame()
    bench.why = ""
    bench.shadow.close()
    assert bench.named() == ["shadow_began"]
    assert bench.log.lines == ["shadow gate 2 ended: the daemon ends; 100.0% of 1 frames agree"]


def test_while_it_is_loaded_nothing_is_taken_and_a_refusal_is_one_event() -> None:
    """Until then telemetry says `loading`; closed meanwhile, it says nothing more."""
    bench = Bench(None)
    bench.frame()
    assert bench.shadow.figures().state == "loading"
    bench.shadow.close()
    assert (bench.loads.closed, bench.named()) == (1, [])
    refused = Loads(None, ModelError("the model was refused", where="gate"))
    bench.shadow = bench.make(refused).hold()
    for _ in range(4):
        bench.shadow.tick()
    assert bench.named() == ["shadow_failed"]
    assert bench.log.events[0][1]["error"] == "gate: the model was refused"
    assert refused.closed == 1


def test_the_model_at_work_is_not_compared_with_itself() -> None:
    """Telemetry says why."""
    bench = Bench(None)
    bench.shadow = bench.make(None).hold()
    bench.shadow.tick()
    bench.frame()
    figures = bench.shadow.figures()
    assert (figures.state, figures.reason) == ("at_work", "it is the model at work")
    bench.shadow.close()
    assert bench.named() == []


def of(model: Path) -> Config:
    """Return a config with this candidate."""
    return replace(Config(), shadow=replace(Config().shadow, model=str(model)))


def test_a_candidate_deleted_during_its_trial_is_refused(tmp_path: Path) -> None:
    """In one line, at whichever step it is missing."""
    folder = model_folder(tmp_path / "gone", version='"deleted"')
    loading = candidates.Loading(of(folder))
    assert loading.poll() is None
    (folder / "uint8io.tflite").unlink()
    with pytest.raises(ModelError) as raised:
        wait_until(lambda: loading.poll() is not None)
    assert "\n" not in str(raised.value)
    loading.close()


def test_a_window_too_large_for_the_candidates_labels_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model at work may have fewer labels; its window is not the candidate's."""
    folder = model_folder(tmp_path / "gate")
    loading = candidates.Loading(of(folder))
    found: list[Loaded] = []

    def is_loaded() -> bool:
        loaded = loading.poll()
        found.extend([loaded] if loaded else [])
        return bool(found)

    wait_until(is_loaded)
    one = found[0]
    assert (one.name, one.labels) == ("uint8io", LABELS)
    assert one.memory_bytes >= (folder / "uint8io.tflite").stat().st_size
    frame = Frame(1, S, np.zeros((8, 8, 3), np.uint8), "bgr")
    prediction = one.candidate.process(frame)[0]
    assert isinstance(prediction, Prediction)
    assert prediction.partial
    monkeypatch.setattr(windows, "VALUES_MAX", 20)
    with pytest.raises(ConfigError, match="the window is too large for so many labels"):
        one.configure(replace(Config().smoothing, window=7))
    one.configure(replace(Config().smoothing, window=6))
    candidate = weakref.ref(one.candidate)
    del one
    found.clear()
    gc.collect()
    assert candidate() is None, "what has loaded it must not keep it in memory"


def test_one_candidate_is_loaded_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many are requested: a load cannot be stopped, and the last one waits for its end."""
    model = model_folder(tmp_path / "gate")
    wait, load = threading.Event(), engines.load
    begun: list[str] = []

    def slow(config: ModelConfig, sha256: str) -> Engine:
        begun.append(config.path)
        assert wait.wait(WAIT_S)
        return load(config, sha256)

    monkeypatch.setattr(engines, "load", slow)
    loading = candidates.Loading(of(model))
    wait_until(lambda: loading.poll() is None and bool(begun))
    for _ in range(2000):
        loading.close()
        loading = candidates.Loading(of(model), loading)
        assert loading.poll() is None
    assert len(begun) == 1
    wait.set()
    wait_until(lambda: loading.poll() is not None)
    assert len(begun) == 2
