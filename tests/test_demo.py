"""The demo clip: what it shows, where its pictures are from, what the shipped model says of it."""

from __future__ import annotations

import hashlib
import itertools
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deploy.broker import PrivateBroker
from deploy.demo import make_clip
from edge.model import locate
from tests.conftest import ROOT, Daemon, Listener

DEMO = ROOT / "deploy" / "demo"
CLIP = DEMO / "clip.mp4"
TRUTH = tomllib.loads((DEMO / "clip.toml").read_text())
SEGMENTS: list[dict[str, Any]] = TRUTH["segment"]
LABELS = ("cat", "dog", "neither")
CHANGE_MAX_FRAMES = 22
"""Frames after a cut within which the label changes. With a certain model it takes 11: those of the
window of 10 that bring its mean over `enter` = 0.75, and the hold of 3."""


def label_changes() -> list[tuple[str, int]]:
    """Return label and first frame of each run of segments with one label."""
    runs = itertools.groupby(SEGMENTS, key=lambda segment: str(segment["label"]))
    return [(label, int(next(segments)["first_frame"])) for label, segments in runs]


def test_the_clip_is_the_one_described() -> None:
    """clip.toml is what make_clip.py writes for this very file, which is small."""
    assert hashlib.sha256(CLIP.read_bytes()).hexdigest() == TRUTH["sha256"]
    assert make_clip.truth(CLIP) == (DEMO / "clip.toml").read_text()
    assert CLIP.stat().st_size < 1_100_000


def test_its_segments_follow_one_another() -> None:
    """Without a gap, from the first frame to the last; each label is its picture's."""
    frames = [
        frame
        for segment in SEGMENTS
        for frame in range(segment["first_frame"], segment["last_frame"] + 1)
    ]
    assert frames == list(range(TRUTH["frames"]))
    for segment in SEGMENTS:
        assert Path(segment["picture"]).name.startswith(f"{segment['label']}_")
        assert segment["last_frame"] + 1 - segment["first_frame"] > 2 * CHANGE_MAX_FRAMES


def test_it_shows_each_label_and_every_change() -> None:
    """A cat comes, is gone, and a dog takes its place; at its end the clip begins again."""
    labels = [segment["label"] for segment in SEGMENTS]
    assert set(labels) == set(LABELS)
    assert labels.count("neither") >= 4
    assert set(itertools.pairwise([*labels, labels[0]])) >= {
        *(("cat", "neither"), ("neither", "cat"), ("cat", "dog")),
        *(("dog", "neither"), ("neither", "dog"), ("dog", "cat")),
    }


def test_every_picture_has_its_origin() -> None:
    """Author, licence, checksum of the original and crop; and no picture is there unused."""
    sections = (DEMO / "ORIGIN.md").read_text().split("\n## ")[1:]
    pictures = {path.name for path in (DEMO / "pictures").iterdir()}
    assert pictures == {shot.picture for shot in make_clip.SHOTS}
    for picture in pictures:
        (section,) = (one for one in sections if picture in one.partition("\n")[0])
        assert re.search(r"^- Author", section, re.M), picture
        assert re.search(r"\bCC0 1\.0|\bCC BY(-SA)? \d\.0", section), picture
        assert re.search(r"`[0-9a-f]{64}`", section), picture
        assert re.search(r"^- Crop: ", section, re.M), picture


def test_the_shipped_model_names_every_segment(
    broker: PrivateBroker, listen: Callable[[], Listener], daemon: Callable[..., Daemon]
) -> None:
    """Each change once, soon after its cut; each segment ends under its own label."""
    card = locate.read(locate.shipped() / "model.toml")
    assert set(LABELS) <= set(card.labels), "the clip has scenes that the model has no label for"
    listener = listen()
    config = '[camera]\npace = "fast"\n'
    running = daemon("--source", CLIP, "--broker", broker.address, "--once", config=config)
    assert running.process.wait(120) == 0
    listener.wait_for(lambda: "offline" in listener.payloads("availability"))
    events = listener.payloads("event")
    changes = [(str(event["after"]), int(event["evidence"]["frame"])) for event in events]
    wrong = {
        segment["picture"]: label
        for segment in SEGMENTS
        if (label := label_at(changes, segment["last_frame"])) != segment["label"]
    }
    assert wrong == {}
    assert [label for label, _ in changes] == [label for label, _ in label_changes()]
    for (_, frame), (_, first) in zip(changes, label_changes(), strict=True):
        assert first <= frame < first + CHANGE_MAX_FRAMES


def label_at(changes: list[tuple[str, int]], frame: int) -> str:
    """Return the label in force at a frame, empty before the first."""
    return next((label for label, since in reversed(changes) if since <= frame), "")
