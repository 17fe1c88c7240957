"""TFLite metadata inside a model file: normalisation and size of the input, name of the labels.

The format is TensorFlow Lite's: a flatbuffer of its own in one of the model's buffers, named
TFLITE_METADATA. Only the few fields that are used are read, from any bytes: what does not fit
counts as absent.
Source: tensorflow/lite/schema/schema.fbs; metadata_schema.fbs of TFLite Support.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from edge.model.card import LARGEST_SIDE, Stated

NAME: Final = b"TFLITE_METADATA"
LARGEST: Final = 1_048_576
"""Bytes of the metadata; MediaPipe writes one kilobyte or two."""
_ENTRIES: Final = 256
"""Entries read of any list."""
_STRING: Final = 1024
"""Bytes read of any string."""

# Fields, by number: of Model, Metadata, Buffer (schema.fbs) ...
_BUFFERS, _METADATA = 4, 6
_ENTRY_NAME, _ENTRY_BUFFER, _BUFFER_DATA = 0, 1, 0
# ... of ModelMetadata, SubGraphMetadata, TensorMetadata and below (metadata_schema.fbs).
_SUBGRAPHS, _INPUTS, _OUTPUTS = 3, 2, 3
_CONTENT, _UNITS, _FILES = 3, 4, 6
_TYPE, _VALUE = 0, 1
_IMAGE_SIZE, _WIDTH, _HEIGHT = 1, 0, 1
_MEAN, _STD = 0, 1
_FILE_NAME, _FILE_TYPE, _FILE_LOCALE = 0, 2, 3
_IMAGE_PROPERTIES, _NORMALIZATION, _AXIS_LABELS = 2, 1, 2
"""Values of the unions' and the enumeration's types."""


def stated(file: int) -> Stated:
    """Return the metadata in the open model ``file``; never raises, whatever they hold."""
    size = os.fstat(file).st_size
    try:
        model = _Buffer(lambda count, at: os.pread(file, count, at), size)
        content = _embedded(model)
        if content is None:
            return Stated()
        inner = _Buffer(lambda count, at: content[at : at + count], len(content))
        graphs = inner.tables(inner.root(), _SUBGRAPHS)
        if not graphs:
            return Stated()
        return _read(inner, graphs[0])
    except ValueError:
        return Stated()


def _embedded(model: _Buffer) -> bytes | None:
    """Return the flatbuffer of the metadata."""
    root = model.root()
    for entry in model.tables(root, _METADATA):
        if model.string(entry, _ENTRY_NAME) == NAME:
            buffer = model.item(root, _BUFFERS, model.number(entry, _ENTRY_BUFFER, "I"))
            at, count = model.vector(buffer, _BUFFER_DATA)
            return model.take(at, count) if 0 < count <= LARGEST else None
    return None


def _read(inner: _Buffer, graph: int) -> Stated:
    """Return what is said of the first input and of the first output."""
    stated = Stated()
    for image in inner.tables(graph, _INPUTS)[:1]:
        mean, std = _normalisation(inner, image)
        stated = Stated(mean, std, _size(inner, image))
    for scores in inner.tables(graph, _OUTPUTS)[:1]:
        stated = replace(stated, labels=_labels(inner, scores))
    return stated


def _normalisation(inner: _Buffer, image: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and std, both empty where they cannot be those of pixels."""
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    for unit in inner.tables(image, _UNITS):
        if inner.number(unit, _TYPE, "B") == _NORMALIZATION:
            options = inner.table(unit, _VALUE)
            mean, std = inner.floats(options, _MEAN), inner.floats(options, _STD)
    fits = 1 <= len(mean) <= 4 and len(std) in (1, len(mean))
    if fits and all(abs(v) <= 1e3 for v in mean) and all(1e-2 <= v <= 1e3 for v in std):
        return mean, std
    return (), ()


def _labels(inner: _Buffer, scores: int) -> str:
    """Return the name of the file with the labels, one without a locale first."""
    name = ""
    for file in inner.tables(scores, _FILES):
        usable = inner.number(file, _FILE_TYPE, "B") == _AXIS_LABELS
        if usable and (not name or not inner.string(file, _FILE_LOCALE)):
            name = inner.string(file, _FILE_NAME).decode("utf-8", "replace")
    return name


def _size(inner: _Buffer, image: int) -> tuple[int, int] | None:
    """Return height and width of the input."""
    content = inner.table(image, _CONTENT)
    if not content or inner.number(content, _TYPE, "B") != _IMAGE_PROPERTIES:
        return None
    size = inner.table(inner.table(content, _VALUE), _IMAGE_SIZE)
    height, width = inner.number(size, _HEIGHT, "I"), inner.number(size, _WIDTH, "I")
    fits = 1 <= height <= LARGEST_SIDE and 1 <= width <= LARGEST_SIDE
    return (height, width) if fits else None


class _Buffer:
    """A flatbuffer, read field by field; an offset of 0 is an absent table.

    read  (count, offset) -> bytes
    Raises ValueError where an offset points outside.
    """

    def __init__(self, read: Callable[[int, int], bytes], size: int) -> None:
        self._read, self._size = read, size

    def take(self, at: int, count: int) -> bytes:
        """Return ``count`` bytes."""
        if at < 0 or count < 0 or at + count > self._size:
            raise ValueError("beyond the end")
        content = self._read(count, at)
        if len(content) != count:
            raise ValueError("beyond the end")
        return content

    def root(self) -> int:
        """Return the offset of the first table."""
        return self._unpack("I", 0)

    def number(self, table: int, field: int, kind: str) -> int:
        """Return an integer, its ``kind`` as in ``struct``."""
        at = self._field(table, field)
        return self._unpack(kind, at) if at else 0

    def table(self, table: int, field: int) -> int:
        """Return the offset of a table in a table."""
        at = self._field(table, field)
        return self._follow(at) if at else 0

    def vector(self, table: int, field: int) -> tuple[int, int]:
        """Return the offset and the length of a list."""
        at = self._field(table, field)
        if not at:
            return 0, 0
        at = self._follow(at)
        return at + 4, self._unpack("I", at)

    def item(self, table: int, field: int, index: int) -> int:
        """Return the offset of one table of a list."""
        at, count = self.vector(table, field)
        if index >= count:
            raise ValueError("no such entry")
        return self._follow(at + 4 * index)

    def tables(self, table: int, field: int) -> list[int]:
        """Return the offsets of the first tables of a list."""
        at, count = self.vector(table, field)
        return [self._follow(at + 4 * index) for index in range(min(count, _ENTRIES))]

    def string(self, table: int, field: int) -> bytes:
        """Return the first bytes of a string."""
        at, count = self.vector(table, field)
        return self.take(at, min(count, _STRING)) if at else b""

    def floats(self, table: int, field: int) -> tuple[float, ...]:
        """Return a list of float32; empty where it is longer than a picture has channels."""
        at, count = self.vector(table, field)
        return struct.unpack(f"<{count}f", self.take(at, 4 * count)) if 0 < count <= 4 else ()

    def _field(self, table: int, field: int) -> int:
        if not table:
            return 0
        places = table - self._unpack("i", table)
        slot = 4 + 2 * field
        if slot + 2 > self._unpack("H", places):
            return 0
        offset = self._unpack("H", places + slot)
        return table + offset if offset else 0

    def _follow(self, at: int) -> int:
        return at + self._unpack("I", at)

    def _unpack(self, kind: str, at: int) -> int:
        return int(struct.unpack(f"<{kind}", self.take(at, struct.calcsize(f"<{kind}")))[0])
