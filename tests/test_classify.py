"""`edge classify` over many pictures: on all cores, in order, no larger than is useful."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.pictures import picture
from edge.pictures.read import read_pixels
from tests.conftest import ROOT, WAIT_S, edge, wait_until

COLOURS = {"red": (0, 0, 200), "green": (0, 200, 0), "blue": (200, 0, 0)}
NAMES = list(COLOURS)


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """120 pictures of three colours; every tenth is no picture."""
    found = []
    for number in range(120):
        path = tmp_path / f"{number}.png"
        cv2.imwrite(str(path), np.full((40, 60, 3), COLOURS[NAMES[number % 3]], np.uint8))
        if number % 10 == 9:
            path.write_bytes(path.read_bytes()[:40])
        found.append(path)
    return found


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """The two ends of a terminal."""
    ends = pty.openpty()
    yield ends
    for end in ends:
        os.close(end)


def test_answers_come_in_the_order_given(rgb: Path, pictures: list[Path]) -> None:
    """Several interpreters work; each picture has its own answer, a bad one its reason."""
    done = edge("classify", "--json", "--model", rgb, *pictures)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1
    assert [one["path"] for one in found] == [str(path) for path in pictures]
    for number, one in enumerate(found):
        assert one.get("label", one.get("error")) == (
            "not a readable picture" if number % 10 == 9 else NAMES[number % 3]
        )


def test_one_and_many_give_the_same_scores(rgb: Path, pictures: list[Path]) -> None:
    """Whichever interpreter it was."""
    many = edge("classify", "--json", "--model", rgb, *pictures[:64]).stdout.splitlines()
    one = edge("classify", "--json", "--model", rgb, pictures[40]).stdout
    assert json.loads(many[40])["scores"] == json.loads(one)["scores"]


def test_a_reader_that_goes_ends_it(rgb: Path, pictures: list[Path]) -> None:
    """As with `| head`: status 0, nothing on stderr but the runtime's own."""
    command = [sys.executable, "-m", "edge", "classify", "--json", "--model", str(rgb)]
    process = subprocess.Popen(
        [*command, *map(str, pictures * 20)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
    )
    assert process.stdout
    assert process.stderr
    assert json.loads(process.stdout.readline())["label"] == "red"
    process.stdout.close()
    assert process.wait(WAIT_S) == 0
    assert b"Traceback" not in process.stderr.read()
    process.stderr.close()


def test_ctrl_c_ends_it(rgb: Path, pictures: list[Path], tmp_path: Path) -> None:
    """With status 130, whatever still waits."""
    out = tmp_path / "out"
    command = [sys.executable, "-m", "edge", "classify", "--json", "--model", str(rgb)]
    with out.open("wb") as file:
        process = subprocess.Popen(
            [*command, *map(str, pictures * 100)],
            stdout=file,
            stderr=subprocess.DEVNULL,
            cwd=ROOT,
        )
        wait_until(lambda: out.stat().st_size > 0)
        process.send_signal(signal.SIGINT)
        assert process.wait(WAIT_S) == 130
    assert len(out.read_text().splitlines()) < 12_000


def test_a_bar_is_drawn_where_it_does_not_meet_the_answers(
    rgb: Path, pictures: list[Path], terminal: tuple[int, int]
) -> None:
    """On stderr, a terminal, while stdout is a file; never among the answers."""
    ours, its = terminal
    process = subprocess.Popen(
        [sys.executable, "-m", "edge", "classify", "--model", str(rgb), *map(str, pictures)],
        stdout=subprocess.PIPE,
        stderr=its,
        cwd=ROOT,
    )
    drawn = bytearray()
    threading.Thread(target=lambda: _read(ours, drawn), daemon=True).start()
    answers, _ = process.communicate(timeout=WAIT_S)
    assert process.returncode == 1
    wait_until(lambda: b"/120" in drawn)
    assert len(answers.splitlines()) == 108
    assert b"\x1b" not in answers


def _read(descriptor: int, into: bytearray) -> None:
    with contextlib.suppress(OSError):  # closed
        while some := os.read(descriptor, 4096):
            into += some


def test_a_jpeg_is_decoded_no_larger_than_is_useful(tmp_path: Path) -> None:
    """Both sides keep as many pixels as the model's longer side, however EXIF turns it."""
    path = tmp_path / "wide.jpg"
    cv2.imwrite(str(path), np.zeros((700, 1700, 3), np.uint8))
    assert read_pixels(path).shape == (700, 1700, 3)
    assert read_pixels(path, useful=(160, 160)).shape == (175, 425, 3)
    assert read_pixels(path, useful=(160, 176)).shape == (350, 850, 3)
    assert read_pixels(path, useful=(1000, 1000)).shape == (700, 1700, 3)
    jpeg = path.read_bytes()
    tiff = b"II*\0" + struct.pack("<IHHHIII", 8, 1, 0x0112, 3, 1, 6, 0)
    segment = b"Exif\0\0" + tiff
    path.write_bytes(
        jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + jpeg[2:]
    )
    assert read_pixels(path, useful=(160, 160)).shape == (425, 175, 3)
    assert picture.beyond(np.frombuffer(b"no picture", np.uint8), (10, 10)) == 1


def test_a_png_is_decoded_whole(tmp_path: Path) -> None:
    """No decoder of it can do less."""
    path = tmp_path / "large.png"
    cv2.imwrite(str(path), np.zeros((800, 800, 3), np.uint8))
    assert read_pixels(path, useful=(100, 100)).shape == (800, 800, 3)
