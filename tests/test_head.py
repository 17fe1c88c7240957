"""The head: its arithmetic, and what of a file is taken for one."""

from __future__ import annotations

import struct
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import ModelError
from edge.model import headfile
from edge.model.card import TensorSpec
from edge.model.head import HeadScores
from edge.model.headfile import HEAD_MAX_BYTES, Head
from tests import heads

FLOAT = TensorSpec((1, heads.FEATURES), np.dtype(np.float32), 0.0, 0)


def read(path: Path) -> Head:
    """Return the head in a file whose checksum is right."""
    return headfile.read(path, heads.checksum(path))


def expected(head: Head, features: Any) -> Any:
    """Return the scores by the formula in the file's description."""
    logits = (features - head.mean.astype(float)) / head.std @ head.weights + head.bias
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()


@pytest.mark.parametrize("standardised", [False, True])
@pytest.mark.parametrize("fortran", [False, True])
@given(seed=st.integers(0, 2**32 - 1))
def test_scores_are_a_softmax_of_an_affine_map(
    standardised: bool, fortran: bool, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """With and without standardisation; for a float output, and for one of int8."""
    random = np.random.default_rng(seed)
    file = tmp_path_factory.mktemp("head") / "h.npz"
    weights = random.normal(0, 1, (heads.FEATURES, 3)).astype(np.float32)
    more: dict[str, Any] = {}
    if standardised:
        more["mean"] = random.normal(0, 3, heads.FEATURES).astype(np.float32)
        more["std"] = random.uniform(0.1, 5, heads.FEATURES).astype(np.float32)
    heads.save(
        file,
        weights=np.asfortranarray(weights) if fortran else weights,
        bias=random.normal(0, 1, 3).astype(np.float32),
        **more,
    )
    head = read(file)
    out = np.empty(3, np.float32)
    features = random.uniform(0, 6, (1, heads.FEATURES)).astype(np.float32)
    assert HeadScores(head, FLOAT, 3, "m").read(features, out)
    assert out == pytest.approx(expected(head, features[0].astype(float)), abs=1e-4)
    quantised = TensorSpec((1, heads.FEATURES), np.dtype(np.int8), 6 / 255, -128)
    values = random.integers(-128, 128, (1, heads.FEATURES)).astype(np.int8)
    assert HeadScores(head, quantised, 3, "m").read(values, out)
    real = quantised.scale * (values[0].astype(float) - quantised.zero_point)
    assert out == pytest.approx(expected(head, real), abs=1e-4)


def test_a_frame_allocates_nothing_of_its_size(tmp_path: Path) -> None:
    """Views and iterators only: 100 labels have weights of 512 kB, and 1,280 features 5 kB."""
    random = np.random.default_rng(1)
    weights = random.normal(0, 0.1, (1280, 100)).astype(np.float32)
    heads.save(tmp_path / "h.npz", weights=weights, bias=np.zeros(100, np.float32))
    output = TensorSpec((1, 1280), np.dtype(np.float32), 0.0, 0)
    scores = HeadScores(read(tmp_path / "h.npz"), output, 100, "m")
    features, out = np.ones((1, 1280), np.float32), np.empty(100, np.float32)
    scores.read(features, out)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(100):
            scores.read(features, out)
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - before < 4_000
    assert after - before < 1_000


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_features_that_are_not_finite_give_no_scores(value: float, tmp_path: Path) -> None:
    """Also where their weight is 0; what was there before stays, and the fault is named."""
    heads.save(tmp_path / "h.npz")
    scores = HeadScores(read(tmp_path / "h.npz"), FLOAT, 3, "m")
    features = np.ones((1, heads.FEATURES), np.float32)
    features[0, 7] = value
    out = np.full(3, 7, np.float32)
    assert not scores.read(features, out)
    assert out.tolist() == [7, 7, 7]
    assert not scores.finite
    assert scores.fault() == "3 of 3 values not finite"


F4 = np.float32


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": None}, "no array `weights`"),
        ({"bias": None}, "no array `bias`"),
        (
            {"more": np.zeros(3, F4)},
            "an unknown array: expected weights, bias, .*, got more",
        ),
        ({"mean": np.zeros(8, F4)}, "one of `mean` and `std`, not both"),
        ({"std": np.ones(8, F4)}, "one of `mean` and `std`, not both"),
        ({"mean": np.zeros(8, F4), "std": np.zeros(8, F4)}, "`std` must be above 0: got 0.0"),
        (
            {"mean": np.zeros(3, F4), "std": np.ones(8, F4)},
            r"`mean` does not fit.*got \(3,\)",
        ),
        ({"bias": np.zeros(8, F4)}, r"`bias` does not fit.*expected \(3,\), got \(8,\)"),
        ({"bias": np.zeros((3, 1), F4)}, r"`bias` does not fit.*expected \(3,\), got \(3, 1\)"),
        (
            {"weights": np.zeros(8, F4)},
            r"expected \(features, labels\).*got \(8,\)",
        ),
        ({"weights": np.zeros((8, 1), F4)}, r"at least 2 labels, got \(8, 1\)"),
        ({"weights": np.zeros((2, 4, 3), F4)}, "`weights` is not a plain array"),
        ({"weights": np.zeros((0, 3), F4)}, r"expected 0 bytes for \(0, 3\), more than none"),
        ({"bias": np.float32(1)}, "`bias` is not a plain array"),
        ({"bias": np.zeros(3)}, "wrong type of `bias`: expected float32: <f4, got <f8"),
        ({"bias": np.zeros(3, np.float16)}, "got <f2"),
        ({"bias": np.zeros(3, ">f4")}, "got >f4"),
        ({"bias": np.zeros(3, np.int32)}, "got <i4"),
        ({"bias": np.array([1, "x", None], object)}, r"wrong type of `bias`.*got \|O"),
        ({"bias": np.zeros(3, [("a", "<f4")])}, "`bias` is not a plain array"),
        ({"bias": np.array([0, 1, np.nan], F4)}, "not all values of the head's `bias` are finite"),
        ({"bias": np.array([0, 1, np.inf], F4)}, "not all values of the head's `bias` are finite"),
    ],
)
def test_arrays_that_are_no_head_are_refused(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    """Wrong names, shapes, types and values: one line with what was expected."""
    file = tmp_path / "h.npz"
    heads.save(file, **changes)
    with pytest.raises(ModelError, match=message) as caught:
        read(file)
    assert str(caught.value).startswith(f"{file}: ")


def test_weights_that_overflow_are_refused(tmp_path: Path) -> None:
    """Divided by a tiny deviation they are no float32 any more."""
    for tiny in (1e-9, 1e-39):
        heads.save(tmp_path / "h.npz", mean=np.zeros(8, F4), std=np.full(8, tiny, F4))
        with pytest.raises(ModelError, match=r"too large: expected `weights` / `std` of at most"):
            HeadScores(read(tmp_path / "h.npz"), FLOAT, 3, "m")


@pytest.mark.parametrize(
    ("output", "labels", "message"),
    [
        ((1, 9), 3, "does not fit the features that its network gives: expected 9, got 8"),
        ((1, 8), 2, "does not fit the labels that its card has: expected 2, got 3"),
        ((1, 2, 2, 2), 3, r"not pooled features: expected \(1, features\).*got \(1, 2, 2, 2\)"),
        ((), 3, r"not pooled features.*got \(\)"),
        ((1, 100_000), 3, "not pooled features"),
    ],
)
def test_a_head_must_fit_network_and_card(
    output: tuple[int, ...], labels: int, message: str, tmp_path: Path
) -> None:
    """Features are counted, and labels."""
    heads.save(tmp_path / "h.npz")
    with pytest.raises(ModelError, match=message):
        HeadScores(read(tmp_path / "h.npz"), TensorSpec(output, np.dtype(F4), 0.0, 0), labels, "m")


def test_pooled_features_may_keep_their_height_and_width(tmp_path: Path) -> None:
    """(1, 1, 1, F) is one row too."""
    heads.save(tmp_path / "h.npz")
    output = TensorSpec((1, 1, 1, 8), np.dtype(F4), 0.0, 0)
    scores = HeadScores(read(tmp_path / "h.npz"), output, 3, "m")
    assert scores.read(np.ones((1, 1, 1, 8), F4), np.empty(3, F4))


def claiming(shape: str) -> bytes:
    """Return an .npy of twelve bytes that says it has another shape."""
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(12)


GOOD = {f"{name}.npy": heads.npy(array) for name, array in heads.arrays().items()}


def test_a_packed_file_is_as_good(tmp_path: Path) -> None:
    """As numpy.savez_compressed writes it."""
    (tmp_path / "h.npz").write_bytes(heads.npz(GOOD))
    assert read(tmp_path / "h.npz").weights.tolist() == heads.weights().tolist()


def with_bias(content: bytes) -> bytes:
    """Return a head whose bias is these bytes."""
    return heads.npz({**GOOD, "bias.npy": content})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an .npz"),
        (b"PK\x05\x06", "not an .npz"),
        (heads.npy(heads.weights()), "not an .npz"),
        (heads.npz(GOOD) + b"\0", "not an .npz"),
        (heads.npz({}), "no array `weights`"),
        (
            heads.npz({**GOOD, "bias.npy": claiming("(3000000,)")}),
            "expected 12000000 bytes.*got 12",
        ),
        (
            heads.npz({**GOOD, "bias.npy": claiming("(9999999, 9999999)")}),
            "bytes for .9999999, 9999999",
        ),
        (with_bias(claiming("(0,)")), "expected 0 bytes"),
        (with_bias(claiming("(-3,)")), "not a plain array"),
        (with_bias(claiming("(3.0,)")), "not a plain array"),
        (
            heads.npz({**GOOD, "bias.npy": claiming("__import__('os').abort()")}),
            "not a plain array",
        ),
        (
            heads.npz({**GOOD, "bias.npy": heads.npy(np.zeros(3, F4))[:-1]}),
            "expected 12 bytes.*got 11",
        ),
        (with_bias(b"\x93NUMPY\x01\x00\xff\xff"), "not a plain array"),
        (heads.npz({**GOOD, "bias": heads.npy(np.zeros(3, F4))}), "an array twice"),
        (heads.npz({**GOOD, "../../etc/passwd": b"x"}), r"an unknown array.*passwd"),
        (
            heads.npz({f"{n}.npy": b"" for n in range(2000)}),
            "too many arrays.*at most 4, got 2000",
        ),
        (heads.npz(GOOD, zipfile.ZIP_BZIP2), "cannot be read: compression method 12"),
        (heads.npz(GOOD, zipfile.ZIP_LZMA), "cannot be read: compression method 14"),
        (
            heads.npz({**GOOD, "bias.npy": bytes(HEAD_MAX_BYTES + 1)}),
            "too large: expected at most 16777216",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bytes_that_are_no_head_are_refused(content: bytes, message: str, tmp_path: Path) -> None:
    """Zips that lie, bombs, foreign compressions: one line, and no memory taken for a claim."""
    (tmp_path / "h.npz").write_bytes(content)
    with pytest.raises(ModelError, match=message):
        read(tmp_path / "h.npz")


def test_an_encrypted_file_and_a_directory_elsewhere_are_refused(tmp_path: Path) -> None:
    """Flags and records that zipfile would follow."""
    encrypted = bytearray(heads.npz(GOOD, zipfile.ZIP_STORED))
    for magic, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        encrypted[encrypted.index(magic) + at] |= 1
    (tmp_path / "h.npz").write_bytes(encrypted)
    with pytest.raises(ModelError, match=r"cannot be read: .*password"):
        read(tmp_path / "h.npz")
    content = heads.npz(GOOD)
    locator = b"PK\x06\x07" + bytes(16)
    (tmp_path / "h.npz").write_bytes(content[:-22] + locator + content[-22:])
    with pytest.raises(ModelError, match=r"not an \.npz"):
        read(tmp_path / "h.npz")


def test_a_changed_or_too_large_file_is_refused(tmp_path: Path) -> None:
    """By its checksum; by its size before it is read."""
    file = tmp_path / "h.npz"
    digest = heads.save(file)
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(ModelError, match=r"not the one that its card describes.*expected sha256"):
        headfile.read(file, digest)
    with file.open("wb") as sparse:
        sparse.truncate(30 << 30)
    with pytest.raises(ModelError, match="cannot be read: is too large: expected at most 16777216"):
        headfile.read(file, digest)
    with pytest.raises(ModelError, match="cannot be read: No such file"):
        headfile.read(tmp_path / "none.npz", digest)
