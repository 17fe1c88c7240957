"""A PyTorch checkpoint as arrays, read without running it.

Such a file, as PyTorch wrote it before version 1.6, is five pickles and the tensors' values. A
pickle is a program. It is not run here: its operations are followed one by one. Those that make
numbers, texts, tuples, lists, dicts and tensors are known; any other is an error, whatever it would
do.

Pure: knows no network, no file and no PyTorch.
"""

from __future__ import annotations

import io
import math
import pickletools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.errors import ConfigError

MAGIC: Final = 0x1950A86A20F9469CFC6C
"""The first pickle of a file."""
PROTOCOL: Final = 1001
"""The second."""
MAX_BYTES: Final = 64_000_000
"""Of a file; a larger one is not read. That of EfficientNet-Lite2 has 25 million."""
MAX_OPERATIONS: Final = 100_000
"""Of a pickle; that of EfficientNet-Lite2 has 14 thousand."""
DTYPES: Final = {"torch FloatStorage": "<f4", "torch LongStorage": "<i8"}
TENSOR: Final = "torch._utils _rebuild_tensor_v2"
DICT: Final = "collections OrderedDict"


class _Name(str):
    """A name that a pickle imports; only the known ones, and nothing is imported."""


@dataclass(frozen=True, slots=True)
class _Storage:
    """Where a tensor's values are: ``count`` values of a dtype, stored under ``key``."""

    dtype: str
    key: str
    count: int


@dataclass(frozen=True, slots=True)
class _Tensor:
    """A view of a storage; offset and strides in values."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Machine:
    """What a pickle leaves on its stack, without anything being called."""

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def run(self, stream: io.BytesIO) -> Any:
        """Return what the pickle at the stream's position makes. Raises ValueError."""
        for count, (operation, argument, _) in enumerate(pickletools.genops(stream)):
            if count >= MAX_OPERATIONS:
                raise ValueError(f"more than {MAX_OPERATIONS} operations")
            if operation.name in _CONSTANTS:
                self._stack.append(_CONSTANTS[operation.name]())
            elif operation.name in _NUMBERS_AND_TEXTS:
                self._stack.append(argument)
            elif operation.name in _STEPS:
                _STEPS[operation.name](self, argument)
            elif operation.name not in ("PROTO", "STOP"):
                raise ValueError(f"operation {operation.name}")
        return self._stack.pop()

    def _mark(self, _: Any) -> None:
        self._marks.append(len(self._stack))

    def _to_mark(self) -> list[Any]:
        begin = self._marks.pop()
        items = self._stack[begin:]
        del self._stack[begin:]
        return items

    def _tuple(self, _: Any) -> None:
        self._stack.append(tuple(self._to_mark()))

    def _short_tuple(self, length: int) -> None:
        items = [self._stack.pop() for _ in range(length)]
        self._stack.append(tuple(reversed(items)))

    def _put(self, place: int) -> None:
        self._memo[place] = self._stack[-1]

    def _get(self, place: int) -> None:
        self._stack.append(self._memo[place])

    def _append(self, _: Any) -> None:
        items = self._to_mark()
        _a(list, self._stack[-1]).extend(items)

    def _set(self, items: list[Any]) -> None:
        pairs = zip(items[::2], items[1::2], strict=True)
        _a(dict, self._stack[-1]).update({_a(str, key): value for key, value in pairs})

    def _set_one(self, _: Any) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._set([key, value])

    def _name(self, name: str) -> None:
        if name not in (TENSOR, DICT, *DTYPES):
            raise ValueError(f"import of {name}")
        self._stack.append(_Name(name))

    def _storage(self, _: Any) -> None:
        kind, name, key, _place, count, _view = self._stack.pop()
        if kind != "storage" or not isinstance(name, _Name):
            raise ValueError("a reference that is no storage")
        self._stack.append(_Storage(DTYPES[name], _a(str, key), _a(int, count)))

    def _make(self, _: Any) -> None:
        arguments, name = self._stack.pop(), self._stack.pop()
        if not isinstance(name, _Name) or name not in (TENSOR, DICT):
            raise ValueError("a call of something else than a tensor or a dict")
        if name == DICT:
            if arguments != ():
                raise ValueError("a dict made with arguments")
            self._stack.append({})
            return
        storage, offset, shape, strides = arguments[:4]
        numbers = [_a(int, n) for n in (offset, *shape, *strides)]
        if min(numbers) < 0 or len(shape) != len(strides):
            raise ValueError("a tensor of odd shape")
        self._stack.append(_Tensor(_a(_Storage, storage), offset, shape, strides))

    def _drop(self, _: Any) -> None:
        self._stack.pop()


_CONSTANTS: Final[dict[str, Callable[[], Any]]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
}
_NUMBERS_AND_TEXTS: Final = ("BININT", "BININT1", "BININT2", "LONG1", "BINUNICODE")
_STEPS: Final[dict[str, Callable[[_Machine, Any], None]]] = {
    "MARK": _Machine._mark,
    "TUPLE": _Machine._tuple,
    "TUPLE1": lambda machine, _: machine._short_tuple(1),
    "TUPLE2": lambda machine, _: machine._short_tuple(2),
    "BINPUT": _Machine._put,
    "LONG_BINPUT": _Machine._put,
    "BINGET": _Machine._get,
    "LONG_BINGET": _Machine._get,
    "APPENDS": _Machine._append,
    "SETITEM": _Machine._set_one,
    "SETITEMS": lambda machine, _: machine._set(machine._to_mark()),
    "GLOBAL": _Machine._name,
    "BINPERSID": _Machine._storage,
    "REDUCE": _Machine._make,
    "BUILD": _Machine._drop,  # attributes of the dict itself
}


def read(content: bytes, where: str) -> dict[str, NDArray[Any]]:
    """Return the tensors of a checkpoint, name -> values. Raises ConfigError.

    where  name of the file, for messages
    """
    try:
        if len(content) > MAX_BYTES:
            raise ValueError(f"{len(content)} bytes, more than {MAX_BYTES}")
        stream = io.BytesIO(content)
        if (_Machine().run(stream), _Machine().run(stream)) != (MAGIC, PROTOCOL):
            raise ValueError("another format")
        _Machine().run(stream)  # the writer's byte order and sizes: little-endian everywhere
        tensors = _a(dict, _Machine().run(stream))
        keys = _a(list, _Machine().run(stream))
        storages = {_a(_Tensor, tensor).storage for tensor in tensors.values()}
        values = dict(_values(stream, keys, {one.key: one for one in storages}))
        if sum(math.prod(tensor.shape) for tensor in tensors.values()) > len(content):
            raise ValueError("tensors larger than their values")
        return {name: _view(tensor, values[tensor.storage.key]) for name, tensor in tensors.items()}
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError) as exc:
        raise ConfigError(
            "not a PyTorch checkpoint of tensors alone",
            where=where,
            got=str(exc) or type(exc).__name__,
        ) from exc


def _values(
    stream: io.BytesIO, keys: list[Any], storages: dict[str, _Storage]
) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield each storage's values, in the order of the file."""
    for key in keys:
        storage = storages[key]
        if int.from_bytes(stream.read(8), "little") != storage.count:
            raise ValueError(f"storage {key} is not of {storage.count} values")
        dtype = np.dtype(storage.dtype)
        yield key, np.frombuffer(stream.read(storage.count * dtype.itemsize), dtype, storage.count)


def _view(tensor: _Tensor, values: NDArray[Any]) -> NDArray[Any]:
    """Return a copy of the values that ``tensor`` shows, none of them outside ``values``."""
    last = sum((n - 1) * step for n, step in zip(tensor.shape, tensor.strides, strict=True))
    if math.prod(tensor.shape) == 0 or tensor.offset + last >= len(values):
        raise ValueError("a tensor outside its storage")
    strides = [step * values.itemsize for step in tensor.strides]
    view = np.lib.stride_tricks.as_strided(values[tensor.offset :], tensor.shape, strides)
    return np.array(view, order="C")


def _a(kind: type[Any], value: Any) -> Any:
    """Return ``value``, which must be of that type."""
    if not isinstance(value, kind):
        raise ValueError(f"{type(value).__name__} instead of {kind.__name__}")
    return value
