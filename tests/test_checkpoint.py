"""A PyTorch checkpoint is read as arrays: nothing in it runs, nothing reads outside it."""

from __future__ import annotations

import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge.errors import ConfigError
from models import checkpoint

TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\n"
FLOAT = b"ctorch\nFloatStorage\n"


def number(value: int) -> bytes:
    """Return the operation that puts an int on the stack."""
    return b"J" + struct.pack("<i", value)


def text(value: str) -> bytes:
    """Return the operation that puts a text on the stack."""
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def numbers(*values: int) -> bytes:
    """Return the operations that put a tuple of ints on the stack."""
    return b"(" + b"".join(map(number, values)) + b"t"


def tensor(
    key: str, total: int, shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0
) -> bytes:
    """Return the operations of one tensor, as PyTorch writes them."""
    storage = b"(" + text("storage") + FLOAT + text(key) + text("cpu") + number(total) + b"NtQ"
    hooks = b"ccollections\nOrderedDict\n)R"
    view = number(offset) + numbers(*shape) + numbers(*strides)
    return TENSOR + b"(" + storage + view + b"\x89" + hooks + b"tR"


def whole(state: bytes, storages: dict[str, NDArray[np.float32]], first: Any = None) -> bytes:
    """Return a checkpoint whose fourth pickle is ``state``."""
    head = pickle.dumps(checkpoint.MAGIC if first is None else first, 2)
    head += pickle.dumps(checkpoint.PROTOCOL, 2)
    head += pickle.dumps({"protocol_version": 1001, "little_endian": True}, 2)
    values = b"".join(struct.pack("<q", v.size) + v.tobytes() for v in storages.values())
    keys = b"\x80\x02](" + b"".join(map(text, storages)) + b"e."
    return head + b"\x80\x02" + state + b"." + keys + values


def state(**tensors: bytes) -> bytes:
    """Return the operations of an ordered dict of tensors, with attributes of its own."""
    items = b"".join(text(name) + made for name, made in tensors.items())
    return b"ccollections\nOrderedDict\n)R(" + items + b"u}" + text("_metadata") + b"}sb"


VALUES = np.arange(24, dtype=np.float32)
GOOD = whole(
    state(a=tensor("1", 24, (2, 3, 4), (12, 4, 1)), b=tensor("2", 3, (2,), (1,), 1)),
    {"1": VALUES, "2": np.array([7, 8, 9], np.float32)},
)


def test_tensors_are_views_of_their_storages() -> None:
    """Shape, strides and offset, in another order than that of the memory too."""
    arrays = checkpoint.read(GOOD, "good.pth")
    assert arrays["a"].tolist() == VALUES.reshape(2, 3, 4).tolist()
    assert arrays["b"].tolist() == [8, 9]
    turned = whole(state(a=tensor("1", 24, (4, 6), (1, 4))), {"1": VALUES})
    assert checkpoint.read(turned, "x")["a"].tolist() == VALUES.reshape(6, 4).T.tolist()


class Malicious:
    """Unpickled by Python, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        """Say what to call."""
        return os.mkdir, (str(self.path),)


def test_a_pickle_that_calls_something_is_refused_and_not_run(tmp_path: Path) -> None:
    """In any of the five places; Python's own pickle would have made the folder."""
    evil = pickle.dumps(Malicious(tmp_path / "made"), 2)
    for content in (evil, GOOD[:21] + evil, whole(evil[2:-1], {}), evil + GOOD):
        with pytest.raises(ConfigError, match=r"not a PyTorch checkpoint .*import of posix mkdir"):
            checkpoint.read(content, "evil.pth")
    assert not (tmp_path / "made").exists()
    pickle.loads(evil)
    assert (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (whole(state(a=tensor("1", 24, (5, 5), (5, 1))), {"1": VALUES}), "outside its storage"),
        (whole(state(a=tensor("1", 24, (4,), (1,), 21)), {"1": VALUES}), "outside its storage"),
        (whole(state(a=tensor("1", 24, (4,), (-1,), 8)), {"1": VALUES}), "odd shape"),
        (whole(state(a=tensor("1", 24, (1 << 30, 1 << 30), (0, 0))), {"1": VALUES}), "larger"),
        (whole(state(a=tensor("1", 9, (3, 3), (3, 1))), {"1": VALUES}), "not of 9 values"),
        (whole(state(a=tensor("9", 24, (24,), (1,))), {"1": VALUES}), "1"),
        (whole(state(a=number(3)), {}), "int instead of"),
        (whole(b"]", {}), "list instead of dict"),
        (whole(state(), {}, first=7), "another format"),
        (whole(b"(" + number(1) * 100_001 + b"t", {}), "more than 100000 operations"),
        (b"PK\x03\x04 a newer format", "newline"),
        (b"", "exhausted"),
        (bytes(checkpoint.MAX_BYTES + 1), "bytes, more than"),
    ],
)
def test_what_is_no_checkpoint_of_tensors_is_one_line(content: bytes, reason: str) -> None:
    """Outside its values, larger than they are, of another type or format: refused by name."""
    with pytest.raises(ConfigError) as caught:
        checkpoint.read(content, "odd.pth")
    line = str(caught.value)
    assert "odd.pth" in line
    assert reason in line
    assert "\n" not in line


@given(st.integers(0, len(GOOD)), st.binary(max_size=6), st.integers(0, 6))
def test_no_change_of_a_checkpoint_does_anything_else(at: int, new: bytes, less: int) -> None:
    """Arrays no larger than the file, or a ConfigError."""
    content = GOOD[:at] + new + GOOD[at + less :]
    try:
        arrays = checkpoint.read(content, "changed.pth")
    except ConfigError:
        return
    assert sum(values.size for values in arrays.values()) <= len(content)
