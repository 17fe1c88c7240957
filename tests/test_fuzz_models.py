"""Any bytes as a card, labels, metadata or head of a model: usable, or one ModelError."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edge import baseline
from edge.errors import ModelError
from edge.model import baselinefile, headfile, locate, metadata
from edge.model.card import Stated, TensorSpec
from edge.model.head import HeadScores
from edge.model.normalisation import contradiction, normalisation
from edge.model.preprocess import Preprocessor
from edge.observers.drift_watch import LONGER, Watch
from tests import heads
from tests.conftest import MODELS, ROOT
from tests.fuzz import corpus, fuzz, mutated

MODEL = (MODELS / "int8.tflite").read_bytes()
SHIPPED = (ROOT / "models" / "catdog" / "model.tflite").read_bytes()
PACKED = (ROOT / "tests" / "cases" / "models" / "meta_px" / "m.tflite").read_bytes()


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder for one model at a time."""
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


T = TypeVar("T")


def found(folder: Path, look: Callable[[], T]) -> T | None:
    """Return what is found, None for a refusal, which is one printable line that says where."""
    try:
        return look()
    except ModelError as exc:
        line = str(exc)
        assert line.isprintable()
        assert str(folder) in line
        return None


@pytest.mark.fuzz
@given(mutated(corpus("cards")))
@fuzz(300)
def test_any_bytes_as_a_card(folder: Path, content: bytes) -> None:
    """A card that is accepted can be printed, and its preprocessing is made or refused."""
    (folder / "m.tflite").write_bytes(MODEL)
    (folder / "labels.txt").unlink(missing_ok=True)
    (folder / "model.toml").write_bytes(content)
    taken = found(folder, lambda: locate.find(str(folder)))
    if taken is None:
        return
    assert all(0 < len(label) < 256 for label in taken.card.labels)
    background, advice = set(taken.card.background), taken.card.smoothing
    assert not background or background < set(taken.card.labels)
    assert advice is None or 0 <= advice.exit <= advice.enter <= 1
    for tensor in (
        TensorSpec((1, 32, 32, 3), np.dtype(np.int8), 1 / 255, -128),
        TensorSpec((1, 32, 32, 3), np.dtype(np.float32), 0.0, 0),
    ):
        with contextlib.suppress(ModelError):
            Preprocessor(taken.card.preprocessing, tensor)
            assert contradiction(taken.card.preprocessing, tensor, None).isprintable()


@pytest.mark.fuzz
@given(mutated(corpus("labels")))
@fuzz(300)
def test_any_bytes_as_labels(folder: Path, content: bytes) -> None:
    """Labels that are accepted are distinct, printable and short."""
    (folder / "model.toml").unlink(missing_ok=True)
    (folder / "m.tflite").write_bytes(MODEL)
    (folder / "labels.txt").write_bytes(content)
    taken = found(folder, lambda: locate.find(str(folder / "m.tflite")))
    if taken is not None:
        labels = taken.card.labels
        assert len(set(labels)) == len(labels) > 0
        assert not any(ord(c) < 32 or c == "\x7f" for label in labels for c in label)


@pytest.mark.fuzz
@given(mutated([PACKED[-200:], PACKED[-60:]]))
@fuzz(300)
def test_any_bytes_as_a_packed_list(folder: Path, tail: bytes) -> None:
    """The archive at a model's end comes from outside too."""
    for name in ("model.toml", "labels.txt"):
        (folder / name).unlink(missing_ok=True)
    (folder / "m.tflite").write_bytes(PACKED[:-200] + tail)
    found(folder, lambda: locate.find(str(folder / "m.tflite")))


def head_seeds() -> list[bytes]:
    """Return heads as they are written: stored and packed, with and without standardisation."""
    more = {"mean": np.zeros(8, np.float32), "std": np.ones(8, np.float32)}
    return [
        heads.npz({f"{k}.npy": heads.npy(v) for k, v in heads.arrays(**changes).items()}, method)
        for changes in ({}, more)
        for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    ]


@pytest.mark.fuzz
@given(mutated(head_seeds()))
@fuzz(1000)
@example(b"")
def test_any_bytes_as_a_head(folder: Path, content: bytes) -> None:
    """A head that is accepted gives probabilities, or says that it gives none."""
    file = folder / "h.npz"
    file.write_bytes(content)
    tensor = TensorSpec((1, 8), np.dtype(np.float32), 0.0, 0)
    head = found(folder, lambda: headfile.read(file, heads.checksum(file)))
    if head is None:
        return
    total = len(head.bias)
    scores = found(folder, lambda: HeadScores(head, tensor, total, "m"))
    if scores is None:
        return
    out = np.empty(total, np.float32)
    if scores.read(np.linspace(0, 6, 8, dtype=np.float32).reshape(1, 8), out):
        assert out.sum() == pytest.approx(1, abs=1e-3)
        assert 0 <= out.min() <= out.max() <= 1
    else:
        assert scores.fault()


@pytest.mark.fuzz
@given(st.data())
@fuzz(1000)
def test_broken_records_of_a_head(folder: Path, data: st.DataObject) -> None:
    """The bytes that lead to the arrays, sizes and offsets among them: one line or a head."""
    content = bytearray(data.draw(st.sampled_from(head_seeds())))
    directory = content.index(b"PK\x01\x02")
    places = [*range(30), *range(directory, len(content))]
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.sampled_from(places))] = data.draw(st.integers(0, 255))
    file = folder / "h.npz"
    file.write_bytes(content)
    found(folder, lambda: headfile.read(file, heads.checksum(file)))


def test_the_heads_that_were_mutated_can_be_read(folder: Path) -> None:
    """Else the tests above would prove nothing."""
    for content in head_seeds():
        (folder / "h.npz").write_bytes(content)
        head = headfile.read(folder / "h.npz", heads.checksum(folder / "h.npz"))
        assert head.weights.tolist() == heads.weights().tolist()


def baseline_seeds() -> list[bytes]:
    """Return baselines with features and without, as they are written, and packed."""
    random = np.random.default_rng(1)
    figures = random.random((30, 8), np.float32)
    found = []
    for features in (None, random.random((30, 4), np.float32)):
        content = baseline.encode(baseline.build(figures, features))
        with np.load(io.BytesIO(content)) as arrays:
            packed = {f"{name}.npy": heads.npy(arrays[name]) for name in arrays}
        found += [content, heads.npz(packed)]
    return found


@pytest.mark.fuzz
@given(mutated(baseline_seeds()))
@fuzz(500)
@example(b"")
def test_any_bytes_as_a_baseline(folder: Path, content: bytes) -> None:
    """One that is accepted can be compared with."""
    file = folder / "b.npz"
    file.write_bytes(content)
    made = found(folder, lambda: baselinefile.read(file, heads.checksum(file), 4))
    if made is not None:
        watch = Watch(made)
        features = np.ones(4, np.float32)
        for _ in range(LONGER):
            watch.add(np.zeros(8, np.float32), features, False)
        assert isinstance(watch.is_far(), bool)


def test_the_baselines_that_were_mutated_can_be_read(folder: Path) -> None:
    """Else the test above would prove nothing."""
    for content in baseline_seeds():
        (folder / "b.npz").write_bytes(content)
        digest = heads.checksum(folder / "b.npz")
        assert baselinefile.read(folder / "b.npz", digest, 4).total == 30


def stated(content: bytes) -> Stated:
    """Return the metadata in ``content``."""
    file = os.memfd_create("model")
    try:
        os.write(file, content)
        return metadata.stated(file)
    finally:
        os.close(file)


def sane(said: Stated) -> None:
    """Fail where metadata are impossible."""
    assert len(said.mean) <= 4
    assert all(np.isfinite(value) for value in said.mean + said.std)
    assert all(value > 0 for value in said.std)
    assert said.size is None or all(1 <= side <= 2048 for side in said.size)
    tensor = TensorSpec((1, 8, 8, 3), np.dtype(np.float32), 0.0, 0)
    assert normalisation(tensor, said, None).source in ("metadata", "assumed")


@pytest.mark.fuzz
@given(mutated([PACKED]))
@fuzz(500)
@example(b"")
@example(b"\0" * 64)
@example(b"\xff" * 64)
def test_any_bytes_as_a_model_with_metadata(content: bytes) -> None:
    """Offsets that point anywhere count as no metadata; nothing is raised."""
    sane(stated(content))


@pytest.mark.fuzz
@given(st.data())
@fuzz(500)
def test_broken_offsets_in_the_metadata(data: st.DataObject) -> None:
    """The bytes that lead to the metadata, and theirs: where a random change is seldom."""
    content = bytearray(PACKED)
    heart = content.index(b"M001") - 4
    places = [*range(64), *range(heart, min(heart + 500, len(content)))]
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.sampled_from(places))
        content[at] = data.draw(st.integers(0, 255))
    sane(stated(bytes(content)))


def test_the_metadata_that_were_mutated_can_be_read() -> None:
    """Else the tests above would prove nothing."""
    assert stated(PACKED) == Stated((0.0,), (1.0,), None, "labels.txt")
    assert stated(SHIPPED).mean == (127.5,)
