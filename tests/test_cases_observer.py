"""Which frames are kept, as which picture, and what becomes of the frame path meanwhile."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edge.cases.store import Store
from edge.config import CasesConfig
from edge.contract import CasesFigures
from edge.errors import EdgeError
from edge.fingerprint import distance, fingerprint
from edge.frames import (
    Classified,
    Frame,
    FrameTimes,
    InvalidScores,
    LabelChange,
    PixelFormat,
    Prediction,
    View,
)
from edge.geometry import WHOLE
from edge.observers.cases import Cases, Model, picture
from edge.observers.cases import observer as observers
from edge.observers.cases.reasons import ORDER, Reasons
from tests.case_files import pixels
from tests.conftest import wait_until
from tests.loops import remount, tmpfs

LABELS = ("open", "closed", "ajar")
MODEL = Model("gate 1", "ab" * 32, LABELS)
SECOND = 10**9


def frame(number: int, mine: NDArray[np.uint8] | None = None) -> Frame:
    """Return a frame whose picture is that of its number, or another."""
    return Frame(number, number + 1, pixels(number) if mine is None else mine, "bgr")


def read(file: Path) -> NDArray[np.uint8]:
    """Return a picture that was kept."""
    return np.asarray(cv2.imread(str(file)), np.uint8)


def seen(
    number: int,
    scores: tuple[float, ...] = (0.9, 0.05, 0.05),
    label: str | None = "open",
    *,
    at_s: float | None = None,
    changed: bool = False,
    partial: bool = False,
    invalid: bool = False,
    of: Frame | None = None,
) -> Classified:
    """Return a classified frame, one each ten seconds unless ``at_s`` says when."""
    prediction: Prediction | InvalidScores = Prediction(
        number, number, label, 0.9, scores, 0, partial
    )
    if invalid:
        prediction = InvalidScores("NaN")
    change = LabelChange(number, "closed", label, 0, 0.9) if changed else None
    done_ns = int((10.0 * number if at_s is None else at_s) * SECOND)
    mine = np.array(scores, np.float32)
    times = FrameTimes(1, 1, 1)
    return Classified(of or frame(number), mine, prediction, None, change, times, done_ns)


def reasons(config: CasesConfig, frames: list[Classified]) -> list[str]:
    """Return the reason of each frame."""
    made = Reasons(config, LABELS)
    found = []
    for one in frames:
        found.append(made.of(one, requested=False))
        made.taken(found[-1], one.done_ns)
    return found


def test_no_reason_is_set_by_itself() -> None:
    """A key for each; off unless it is set."""
    assert not CasesConfig().enabled
    assert set(ORDER) - {"every"} <= set(CasesConfig.__struct_fields__)
    frames = [seen(n, (0.4, 0.3, 0.3), "closed", changed=True) for n in range(50)]
    assert set(reasons(CasesConfig(), frames)) == {""}


def test_a_low_margin_is_that_of_the_frame() -> None:
    """Its two best scores, wherever they stand; none where the model gave no scores."""
    config = CasesConfig(margin=0.2)
    frames = [
        seen(0, (0.5, 0.1, 0.4)),
        seen(1, (0.2, 0.2, 0.6)),
        seen(2, (0.4, 0.4, 0.2), invalid=True),
    ]
    assert reasons(config, frames) == ["margin", "", ""]


def test_a_frame_against_its_window() -> None:
    """Not while the window is uncertain or not full."""
    config = CasesConfig(window=True)
    shut = (0.1, 0.8, 0.1)
    frames = [
        seen(0),
        seen(1, shut),
        seen(2, shut, None),
        seen(3, shut, partial=True),
        seen(4, shut, "closed"),
    ]
    assert reasons(config, frames) == ["", "window", "", "", ""]


def test_flips_are_more_changes_than_that_in_so_long() -> None:
    """Then it counts again from none; changes that are slow enough are none."""
    config = CasesConfig(flips=2, flips_s=10)
    fast = [seen(n, at_s=n, changed=True) for n in range(7)]
    assert reasons(config, fast) == ["", "", "flips", "", "", "flips", ""]
    slow = [seen(n, at_s=5.01 * n, changed=True) for n in range(6)]
    assert set(reasons(config, slow)) == {""}


def test_the_control_share_is_random_and_repeatable() -> None:
    """About its share; the same with the same seed, whatever other reasons there are."""
    frames = [seen(n, (0.5, 0.5, 0.0) if n % 2 else (0.9, 0.1, 0.0)) for n in range(2000)]
    first = reasons(CasesConfig(control=0.05), frames)
    assert first == reasons(CasesConfig(control=0.05), frames)
    assert first != reasons(CasesConfig(control=0.05, seed=1), frames)
    assert 60 < first.count("control") < 140
    mixed = reasons(CasesConfig(control=0.05, margin=0.1), frames)
    assert list(mixed[::2]) == first[::2]


def test_one_in_so_many_seconds() -> None:
    """The first at once; also of frames without scores."""
    config = CasesConfig(every_s=25)
    frames = [seen(n, invalid=n == 3) for n in range(7)]
    assert reasons(config, frames) == ["every", "", "", "every", "", "", "every"]


def test_a_frame_has_the_first_reason_of_the_order() -> None:
    """Whatever else applies."""
    config = CasesConfig(flips=1, flips_s=100, window=True, margin=1.0, control=1.0, every_s=1)
    made = Reasons(config, LABELS)
    doubtful = (0.1, 0.8, 0.1)
    found = [
        made.of(seen(0, doubtful, changed=True), requested=True),
        made.of(seen(1, doubtful, changed=True), requested=False),
        made.of(seen(2, doubtful), requested=False),
        made.of(seen(3), requested=False),
    ]
    assert tuple(found) == ORDER[2:6]
    rest = Reasons(CasesConfig(control=1.0, every_s=1), LABELS)
    assert rest.of(seen(0), requested=False) == "control"


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Cases]]:
    """Return a function that makes the observer, ready for a frame."""
    made: list[Cases] = []

    def start(folder: Path = tmp_path / "cases", roi: Any = WHOLE, **config: Any) -> Cases:
        made.append(Cases(CasesConfig(**config), folder, MODEL, roi))
        idle(made[-1])
        return made[-1]

    yield start
    for one in made:
        idle(one)
        one.close()


def idle(cases: Cases) -> None:
    """Wait for the worker."""

    def done() -> bool:
        cases.tick()
        return cases._job is None

    wait_until(done)


def take(cases: Cases, *frames: Classified) -> CasesFigures:
    """Hand over frames, each once the worker has written the one before; return the figures."""
    for one in frames:
        cases.classified(one)
        idle(cases)
    return cases.figures()


def kept(folder: Path) -> list[dict[str, Any]]:
    """Return the side-cars there are, oldest first."""
    files = sorted(folder.glob("*.json"))
    assert [f.stem for f in files] == sorted(f.stem for f in folder.glob("*.jpg"))
    return [json.loads(file.read_text()) for file in files]


def test_a_case_is_what_the_contract_says(make: Callable[..., Cases], tmp_path: Path) -> None:
    """Every field of the side-car, in its order; the picture is the frame."""
    cases = make(margin=1.0, scores=2)
    before_s = time.time()
    take(cases, seen(7, (0.1, 0.3, 0.6), None))
    (sidecar,) = kept(tmp_path / "cases")
    assert list(sidecar) == [
        *("schema", "time", "sequence", "reason", "label", "scores", "model", "sha256"),
        "fingerprint",
    ]
    (file,) = (tmp_path / "cases").glob("*.jpg")
    picture = read(file)
    assert np.abs(picture.astype(int) - pixels(7)).mean() < 6
    assert before_s - 0.01 <= sidecar.pop("time") <= time.time()
    assert distance(int(sidecar.pop("fingerprint"), 16), fingerprint(picture)) <= 2
    assert sidecar == {
        "schema": 1,
        "sequence": 7,
        "reason": "margin",
        "label": None,
        "scores": {"ajar": 0.6, "closed": 0.3},
        "model": "gate 1",
        "sha256": "ab" * 32,
    }
    assert file.stem.endswith("-7")


def test_the_frames_memory_is_the_cameras_and_is_never_written(
    make: Callable[..., Cases], tmp_path: Path
) -> None:
    """What the camera does to it afterwards changes no case; the copy's memory is used again."""
    cases = make(margin=1.0, mask=((0.0, 0.0, 0.5, 0.5),))
    one = seen(1)
    mine = one.frame.pixels.copy()
    one.frame.pixels.flags.writeable = False
    cases.classified(one)
    one.frame.pixels.flags.writeable = True
    assert np.array_equal(one.frame.pixels, mine)
    one.frame.pixels[:] = 255
    idle(cases)
    copy = cases._pixels
    (file,) = (tmp_path / "cases").glob("*.jpg")
    assert np.abs(read(file)[26:, 34:].astype(int) - mine[26:, 34:]).mean() < 6
    take(cases, seen(2))
    assert cases._pixels is copy


def colours(height: int = 40, width: int = 60) -> np.ndarray:
    """Return a BGR picture: blue, green / red, white."""
    made = np.zeros((height, width, 3), np.uint8)
    made[: height // 2, : width // 2] = (255, 0, 0)
    made[: height // 2, width // 2 :] = (0, 255, 0)
    made[height // 2 :, : width // 2] = (0, 0, 255)
    made[height // 2 :, width // 2 :] = 255
    return made


@pytest.mark.parametrize("format", ["bgr", "rgb", "gray", "yuyv", "i420", "nv12"])
@pytest.mark.parametrize("view", [View(), View(90), View(270, True, False, (0.0, 0.0, 1.0, 0.5))])
def test_the_picture_is_upright_and_masked_whatever_the_camera_gives(
    format: PixelFormat, view: View
) -> None:
    """No pixel of a masked part is left, in any format, size or orientation."""
    bgr = colours(64, 96)
    codes = {"rgb": cv2.COLOR_BGR2RGB, "gray": cv2.COLOR_BGR2GRAY, "i420": cv2.COLOR_BGR2YUV_I420}
    raw = bgr if format == "bgr" else cv2.cvtColor(bgr, codes.get(format, cv2.COLOR_BGR2YUV_I420))
    if format == "yuyv":
        yuv = cv2.cvtColor(bgr, cv2.COLOR_BGR2YUV)
        raw = np.stack([yuv[..., 0], np.where(np.arange(96) % 2, yuv[..., 2], yuv[..., 1])], 2)
    if format == "nv12":
        y, u, v = np.split(raw.ravel(), [64 * 96, 64 * 96 * 5 // 4])
        raw = np.concatenate([y, np.stack([u, v], 1).ravel()]).reshape(96, 96)
    given: NDArray[np.uint8] = np.ascontiguousarray(raw, np.uint8)
    mask = ((0.5, 0.0, 0.5, 1.0),)
    made = picture.make(Frame(1, 1, given.copy(), format, view), picture.masked(mask, view.roi), 40)
    assert max(made.shape[:2]) == 40
    assert made[:, made.shape[1] // 2 + 1 :].max() == 0  # that one mixes with its neighbour
    assert made[:, : made.shape[1] // 2 - 2].max(axis=2).min() > 20
    plain = picture.make(Frame(1, 1, given, format, view), (), 8192)
    expected = {0: (64, 96), 90: (96, 64), 270: (48, 64)}[view.rotation]
    assert plain.shape[:2] == expected


def test_a_mask_covers_the_same_place_whatever_part_is_used() -> None:
    """Its shares are of the whole upright picture, also where a camera cuts the part itself."""
    mask = ((0.25, 0.5, 0.25, 0.5), (0.9, 0.0, 0.1, 0.1))
    assert np.allclose(picture.masked(mask, WHOLE), mask)
    (part,) = picture.masked(mask, (0.0, 0.5, 0.5, 0.5))
    assert part == pytest.approx((0.5, 0.0, 0.5, 1.0))
    assert picture.masked(((0.0, 0.0, 0.1, 0.1),), (0.5, 0.5, 0.5, 0.5)) == ()
    whole, cut = colours(), colours()[:, 30:]
    half = ((0.5, 0.0, 0.25, 1.0),)
    made = picture.make(Frame(1, 1, whole, "bgr"), picture.masked(half, WHOLE), 999)
    cropped = picture.make(
        Frame(1, 1, np.ascontiguousarray(cut), "bgr"),
        picture.masked(half, (0.5, 0.0, 0.5, 1.0)),
        999,
    )
    assert not made[:, 30:45].any()
    assert not cropped[:, :15].any()
    assert made[:, 47:].all(axis=2).any()
    assert cropped[:, 17:].any()


def test_a_busy_worker_means_that_a_frame_is_missed(
    make: Callable[..., Cases], tmp_path: Path
) -> None:
    """The loop never waits, and nothing queues; one each so many seconds waits for its turn."""
    cases = make(margin=0.5, every_s=1.0, interval_s=0)
    lock = os.open(tmp_path / "cases", os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)  # as a command that sorts: the worker waits
    doubt = (0.4, 0.4, 0.2)
    for number in range(5):
        cases.classified(seen(number, doubt))
    assert cases.figures().missed_total == 4
    cases.classified(seen(9))
    assert cases.figures().missed_total == 4
    assert sum(thread.name == "cases" for thread in threading.enumerate()) == 1
    os.close(lock)
    idle(cases)
    take(cases, seen(10))
    assert [one["reason"] for one in kept(tmp_path / "cases")] == ["margin", "every"]


def test_limits_of_time(make: Callable[..., Cases], tmp_path: Path) -> None:
    """So long between two, so many an hour; after a restart, the hour's are remembered."""
    cases = make(margin=1.0, interval_s=5, per_hour=3)
    now_s = time.monotonic()
    frames = [seen(n, at_s=now_s + n) for n in range(10)]
    figures = take(cases, *frames)
    assert (figures.kept_total, figures.limited_total) == ({"margin": 2}, 8)
    figures = take(cases, *(seen(n, at_s=now_s + 10 * n) for n in (20, 21, 22)))
    assert (figures.kept_total, figures.limited_total) == ({"margin": 3}, 10)
    again = make(margin=1.0, per_hour=3)
    assert take(again, seen(30, at_s=now_s + 100)).limited_total == 1
    figures = take(again, seen(31, at_s=now_s + 3700))
    assert figures.kept_total == {"margin": 1}


def test_a_picture_like_one_there_is_is_not_kept_again(
    make: Callable[..., Cases], tmp_path: Path
) -> None:
    """Sensor noise makes no other picture; another best label does; a request does not ask."""
    cases = make(margin=1.0, request=True)
    noise = np.random.default_rng(1).normal(0, 4, pixels(1).shape)
    noisy = np.clip(pixels(1) + noise, 0, 255).astype(np.uint8)
    figures = take(cases, seen(1), seen(2, of=frame(2, noisy)))
    assert (figures.kept_total, figures.duplicates_total) == ({"margin": 1}, 1)
    take(cases, seen(3, (0.1, 0.9, 0.0), of=frame(3, noisy)), seen(4))
    cases.keep(lambda *_: None)
    figures = take(cases, seen(5, of=frame(5, noisy)))
    assert figures.kept_total == {"margin": 3, "request": 1}
    assert (figures.unsorted, figures.sorted) == (4, 0)
    size = sum(path.stat().st_size for path in (tmp_path / "cases").iterdir())
    assert figures.bytes == size


def test_another_observer_asks_for_a_frame(make: Callable[..., Cases], tmp_path: Path) -> None:
    """Its reason is a key of the config, and comes first: the frame has that one alone."""
    cases = make(drift=True, margin=1.0, interval_s=0)
    one = seen(1)
    cases.ask("shadow", one)  # not set
    cases.ask("bytes", one)  # no reason
    cases.ask("drift", one)
    cases.classified(one)
    idle(cases)
    cases.classified(one)  # still the same frame
    idle(cases)
    figures = take(cases, seen(2))
    assert [one["reason"] for one in kept(tmp_path / "cases")] == ["drift", "margin"]
    assert figures.kept_total == {"drift": 1, "margin": 1}


def test_a_request_gets_the_next_frame(make: Callable[..., Cases], tmp_path: Path) -> None:
    """One at a time; it is answered once the case is on the disk."""
    answers: list[tuple[Any, str]] = []
    cases = make(request=True, interval_s=3600)
    cases.keep(lambda answer, error: answers.append((answer, error)))
    with pytest.raises(EdgeError, match="another request is waiting"):
        cases.keep(lambda *_: None)
    take(cases, seen(1))
    ((answer, error),) = answers
    assert error == ""
    assert (tmp_path / "cases" / f"{answer['name']}.jpg").exists()
    take(cases, seen(2))
    assert len(kept(tmp_path / "cases")) == 1
    cases.keep(lambda answer, error: answers.append((answer, error)))
    cases.close()
    assert answers[1] == ({}, "cases was switched off meanwhile")
    with pytest.raises(EdgeError, match=r"set cases\.request"):
        make(margin=1.0).keep(lambda *_: None)


def test_a_request_without_frames_is_given_up(
    make: Callable[..., Cases], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A paused camera gives none."""
    monkeypatch.setattr(observers, "REQUEST_S", 0.0)
    answers: list[str] = []
    cases = make(request=True)
    cases.keep(lambda _, error: answers.append(error))
    cases.tick()
    assert answers == ["no frame came in 0 s"]


def test_a_disk_that_fails_is_one_warning_and_is_tried_again(
    make: Callable[..., Cases],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Read-only, then full of another's files, then good: two lines, and frames go on."""
    caplog.set_level(logging.INFO)
    now_s = time.monotonic() + 10
    one, two, three, four, five, six = (seen(n, at_s=now_s + 2 * n) for n in range(6))
    with tmpfs(tmp_path / "disk", "256k") as disk:
        cases = make(disk / "cases", margin=1.0, free_bytes=100_000)
        take(cases, one)
        remount(disk, "ro")
        figures = take(cases, two, three)
        assert (figures.errors_total, figures.missed_total) == (1, 1)
        monkeypatch.setattr(observers, "AGAIN_S", 0.0)
        cases._again_ns = 0
        take(cases, four)
        remount(disk, "rw")
        (disk / "filler").write_bytes(bytes(200_000))
        figures = take(cases, five)
        assert figures.errors_total == 3
        (disk / "filler").unlink()
        figures = take(cases, six)
        assert figures.kept_total == {"margin": 2}
    lines = [record.getMessage() for record in caplog.records]
    assert lines == [
        f"cases cannot be kept: {disk}/cases: Read-only file system; tried again every 60 s",
        f"cases are kept again in {disk}/cases",
    ]


def test_somebody_may_remove_the_folder(make: Callable[..., Cases], tmp_path: Path) -> None:
    """It is made again, and nothing is an error."""
    cases = make(margin=1.0)
    take(cases, seen(1))
    for path in (tmp_path / "cases").iterdir():
        path.unlink()
    (tmp_path / "cases").rmdir()
    figures = take(cases, seen(2))
    assert (figures.kept_total, figures.errors_total) == ({"margin": 2}, 0)
    assert (figures.unsorted, len(kept(tmp_path / "cases"))) == (1, 1)


def test_a_place_that_is_no_folder_is_an_error_of_the_disk(
    make: Callable[..., Cases], tmp_path: Path
) -> None:
    """A file, a link or a missing disk in its place ends nothing."""
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path)
    for name in ("file", "link", "file/below"):
        assert take(make(tmp_path / name, margin=1.0), seen(1)).missed_total == 1
    assert {path.name for path in tmp_path.iterdir()} == {"file", "link"}


def test_frames_without_a_reason_allocate_nothing_image_sized(make: Callable[..., Cases]) -> None:
    """And those that are left out neither."""
    cases = make(margin=0.1, window=True, flips=3, control=1e-9, interval_s=1e6)
    assert take(cases, seen(0, (0.5, 0.5, 0.0))).kept_total == {"margin": 1}
    copy = cases._pixels
    for number in range(1, 200):
        cases.classified(seen(number, (0.5, 0.5, 0.0)))
    assert cases._job is None
    assert cases._pixels is copy
    assert cases.figures().limited_total == 199


def test_the_store_of_the_observer_is_the_commands_store(
    make: Callable[..., Cases], tmp_path: Path
) -> None:
    """What is sorted meanwhile stays sorted, also beyond the cap."""
    cases = make(margin=1.0, interval_s=0)
    take(cases, *(seen(n) for n in range(3)))
    with Store(tmp_path / "cases", lock=True) as store:
        name = store.names("")[0]
        store.sort([name], "", "open")
    take(cases, seen(4))
    with Store(tmp_path / "cases") as store:
        assert store.where(name) == "open"
        assert len(store.names("")) == 3
