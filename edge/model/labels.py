"""The labels of a model without a card: from a file beside it, or packed into it.

One label a line, in the order of the output's values; or numbered, as Teachable Machine and Coral
write them (``0 red``), then in the order of the numbers. UTF-8, with or without a byte order mark.
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from pathlib import Path
from typing import BinaryIO, Final

from edge import files
from edge.errors import ModelError

LONGEST: Final = 255
"""Characters of a label: Home Assistant accepts no longer state."""
_TAIL: Final = 2 * files.TEXT_MAX_BYTES
"""Bytes at the end of a model that are searched for packed files."""
_BOUNDED: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""zipfile unpacks these up to a limit; bzip2 and LZMA without any."""
_NUMBERED: Final = re.compile(r"([0-9]{1,6})(?:[:,]?\s+(.*))?\Z", re.DOTALL)
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_QUOTED: Final = 60
"""Characters of a label, or of a file's name, that an error quotes."""


def beside(path: Path) -> tuple[str, ...]:
    """Return the labels in the text file ``path``. Raises ModelError."""
    try:
        return read(files.read_text(path), str(path))
    except OSError as exc:
        raise ModelError(f"labels cannot be read: {exc.strerror}", where=str(path)) from exc


def packed(file: BinaryIO, name: str, where: str) -> tuple[str, ...]:
    """Return the labels in the zip archive that TFLite metadata append to a model.

    name  of the file in it; where it is empty or absent, the first text file is read
    Empty where there is no archive, or no text file in it. Raises ModelError.
    """
    end = file.seek(0, io.SEEK_END)
    file.seek(max(0, end - _TAIL))
    tail = io.BytesIO(file.read(_TAIL))
    try:
        if not zipfile.is_zipfile(tail):
            return ()
        with zipfile.ZipFile(tail) as archive:
            texts = [entry for entry in archive.infolist() if entry.filename.endswith(".txt")]
            texts.sort(key=lambda entry: entry.filename != name)
            if not texts:
                return ()
            where = f"{where}: {texts[0].filename[:_QUOTED]}"
            if texts[0].compress_type not in _BOUNDED:
                raise NotImplementedError(f"compression method {texts[0].compress_type}")
            with archive.open(texts[0]) as text:
                content = text.read(files.TEXT_MAX_BYTES + 1)
    except (zipfile.BadZipFile, zlib.error, EOFError) as exc:
        raise ModelError(f"labels packed into the model are damaged: {exc}", where=where) from exc
    except (OSError, ValueError, RuntimeError) as exc:  # encrypted, an unknown compression
        raise ModelError(
            f"labels packed into the model cannot be read: {exc}",
            where=where,
            expected="stored or deflated, without a password",
        ) from exc
    if len(content) > files.TEXT_MAX_BYTES:
        raise ModelError(
            "labels packed into the model are too long",
            where=where,
            expected=f"at most {files.TEXT_MAX_BYTES} bytes",
        )
    try:
        return read(files.decoded(content), where)
    except OSError as exc:
        raise ModelError(f"the list of labels {exc.strerror}", where=where) from exc


def read(text: str, where: str) -> tuple[str, ...]:
    """Return the labels in ``text``, in the order of the output's values. Raises ModelError.

    White space around a label is removed, and is one blank within it; empty lines are skipped.
    """
    lines = [" ".join(line.split()) for line in re.split(r"\r\n?|\n", text)]
    lines = [line for line in lines if line]
    numbered = [match for line in lines if (match := _NUMBERED.match(line))]
    if len(numbered) < len(lines) or not any(match[2] for match in numbered):
        return tuple(lines)
    return _in_order([(int(match[1]), match[2] or "") for match in numbered], where)


def _in_order(numbered: list[tuple[int, str]], where: str) -> tuple[str, ...]:
    """Return the labels by their numbers, which must be 0, 1, 2 ... each once."""
    labels: dict[int, str] = {}
    for number, label in numbered:
        if number in labels:
            raise _misnumbered(where, f"{number} twice", len(numbered))
        labels[number] = label
    for number in range(len(labels)):
        if number not in labels:
            raise _misnumbered(where, f"no {number}", len(numbered))
    return tuple(labels[number] for number in range(len(labels)))


def check(labels: tuple[str, ...], where: str) -> None:
    """Raise ModelError unless every label is printable, and distinct from the others."""
    for number, label in enumerate(labels):
        if label != label.strip():
            raise ModelError(
                f"label {number} begins or ends with white space",
                where=where,
                got=f"`{label[:_QUOTED]}`",
                hint="remove it",
            )
        if _CONTROL.search(label):
            raise ModelError(
                f"label {number} holds a control character",
                where=where,
                got=label[:_QUOTED],
                hint="save the labels as plain UTF-8 text, one a line",
            )
        if len(label) > LONGEST:
            raise ModelError(
                f"label {number} is too long",
                where=where,
                expected=f"at most {LONGEST} characters",
                got=f"{len(label)}: {label[:_QUOTED]}...",
            )
    if len(set(labels)) != len(labels) or not all(labels):
        raise ModelError(
            "labels must be distinct and not empty",
            where=where,
            got=_fault(labels),
            hint="make equal ones distinct, as `crane (bird)` and `crane (machine)`",
        )


def _fault(labels: tuple[str, ...]) -> str:
    """Return the first label that is empty or not distinct, in words."""
    first: dict[str, int] = {}
    for number, label in enumerate(labels):
        if not label:
            return f"no text for {number}"
        if label in first:
            return f"`{label[:_QUOTED]}` for {first[label]} and {number}"
        first[label] = number
    return ""


def _misnumbered(where: str, got: str, total: int) -> ModelError:
    return ModelError(
        "the numbers of the labels do not fit",
        where=where,
        expected=f"each of 0 to {total - 1} once",
        got=got,
        hint="if the numbers are part of the labels, list the labels in a model.toml",
    )
