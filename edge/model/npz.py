"""Reads named float32 arrays from the bytes of an .npz, whatever these are.

Nothing that the file says is believed: a size is compared with the bytes that are there before
anything of that size is made, only plain float32 is taken, nothing is unpickled. NumPy's own reader
makes an array as large as the file says, and guesses at damaged headers, with warnings.
"""

from __future__ import annotations

import io
import math
import re
import struct
import zipfile
import zlib
from collections.abc import Collection
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from edge.errors import ModelError

Arrays = dict[str, NDArray[np.float32]]
WRITTEN: Final = ".npz, as numpy.savez writes it"
_END: Final = struct.Struct("<4s4H2IH")
"""A zip's last record, without a comment. Source: APPNOTE.TXT, 4.3.16."""
_DIRECTORY_MAX_BYTES: Final = 4_096
"""Of a zip's directory, all of which zipfile holds; that of five arrays has about 300."""
_LOCATOR_BYTES: Final = 20
"""Of the record before the last one in a zip of 64 bits; it would point to another directory."""
_BOUNDED: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""zipfile unpacks these up to a limit; bzip2 and LZMA without any."""
_MAGIC: Final = b"\x93NUMPY\x01\x00"
"""Source: numpy.lib.format, version 1.0."""
_HEADER: Final = re.compile(
    rb"\{'descr': '([^']{1,16})', 'fortran_order': (True|False),"
    rb" 'shape': \(([0-9]{1,7}),(?: ([0-9]{1,7}))?\), \} *\n\Z"
)


def read(content: bytes, names: Collection[str], max_bytes: int, where: str) -> Arrays:
    """Return the arrays in ``content`` by name, read only, of one or two dimensions each.

    names      that are allowed
    max_bytes  of all arrays, unpacked
    Raises ModelError.
    """
    _check_end(content, f"at most {len(names)}", where)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            unpacked = _unpacked(archive, names, max_bytes, where)
    except ModelError:
        raise
    except (zipfile.BadZipFile, zlib.error, EOFError) as exc:
        raise ModelError(f"the file is damaged: {exc}", where=where) from exc
    except (OSError, ValueError, RuntimeError, struct.error) as exc:  # encrypted, another method
        raise ModelError(f"the file cannot be read: {exc}", where=where, expected=WRITTEN) from exc
    return {name: _array(raw, name, where) for name, raw in unpacked.items()}


def _check_end(content: bytes, most: str, where: str) -> None:
    """Raise ModelError unless the bytes end as a zip that has a small directory."""
    at = len(content) - _END.size
    if at < 0:
        raise ModelError("not an .npz", where=where, expected=WRITTEN, got=f"{len(content)} bytes")
    magic, _, _, _, total, size, _, comment_bytes = _END.unpack_from(content, at)
    before = content[max(0, at - _LOCATOR_BYTES) : at]
    if magic != b"PK\x05\x06" or comment_bytes or before.startswith(b"PK\x06\x07"):
        raise ModelError("not an .npz", where=where, expected=WRITTEN)
    if size > _DIRECTORY_MAX_BYTES:
        raise ModelError("too many arrays", where=where, expected=most, got=str(total))


def _unpacked(
    archive: zipfile.ZipFile, names: Collection[str], max_bytes: int, where: str
) -> dict[str, bytes]:
    """Return the bytes of each array."""
    unpacked: dict[str, bytes] = {}
    left = max_bytes
    for entry in archive.infolist():
        name = entry.filename.removesuffix(".npy")
        if name not in names or name in unpacked:
            raise ModelError(
                "an array twice" if name in unpacked else "an unknown array",
                where=where,
                expected=", ".join(names),
                got=name[:60],
            )
        if entry.compress_type not in _BOUNDED:
            raise NotImplementedError(f"compression method {entry.compress_type}")
        with archive.open(entry) as file:
            unpacked[name] = file.read(left + 1)
        left -= len(unpacked[name])
        if left < 0:
            expected = f"at most {max_bytes} bytes together"
            raise ModelError("the arrays are too large", where=where, expected=expected)
    return unpacked


def _array(raw: bytes, name: str, where: str) -> NDArray[np.float32]:
    """Return the array in the .npy ``raw``."""
    begin = len(_MAGIC) + 2
    length = int.from_bytes(raw[len(_MAGIC) : begin], "little")
    header = _HEADER.match(raw[begin : begin + length]) if raw.startswith(_MAGIC) else None
    if header is None:
        raise ModelError(
            f"`{name}` is not a plain array",
            where=where,
            expected=".npy, version 1.0, of one or two dimensions",
        )
    if header[1] != b"<f4":
        got = header[1].decode("latin-1")
        raise ModelError(f"wrong type of `{name}`", where=where, expected="float32: <f4", got=got)
    shape = tuple(int(side) for side in header.groups()[2:] if side is not None)
    values, needed = raw[begin + length :], 4 * math.prod(shape)
    if needed == 0 or len(values) != needed:
        raise ModelError(
            f"`{name}` has not the values that it says",
            where=where,
            expected=f"{needed} bytes for {shape}, more than none",
            got=str(len(values)),
        )
    order: Literal["F", "C"] = "F" if header[2] == b"True" else "C"
    return np.frombuffer(values, np.dtype("<f4")).reshape(shape, order=order)
