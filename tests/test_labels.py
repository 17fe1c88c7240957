"""Lists of labels as people have them, and hostile ones."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from edge.errors import ModelError
from edge.model import labels, locate
from tests.conftest import MODELS, ROOT

RGB = ("red", "green", "blue")


def model(folder: Path, text: bytes | None = None) -> Path:
    """Return a model with ``text`` as the list beside it."""
    path = Path(shutil.copy(MODELS / "int8.tflite", folder))
    if text is not None:
        (folder / "labels.txt").write_bytes(text)
    return path


def packed(folder: Path, text: bytes, name: str = "labels.txt", method: int = 8) -> Path:
    """Return a model with ``text`` packed into it."""
    path = model(folder)
    with zipfile.ZipFile(path, "a", method) as archive:
        archive.writestr(name, text)
    return path


@pytest.mark.parametrize(
    "text",
    [
        b"red\ngreen\nblue",
        b"\xef\xbb\xbfred\ngreen\nblue\n",
        b"red\r\ngreen\r\nblue\r\n",
        b"red\rgreen\rblue",
        b"0 red\n1 green\n2 blue\n",
        b"\xef\xbb\xbf0 red\r\n1 green\r\n2 blue\r\n",
        b"2 blue\n0 red\n1 green\n",
        b"0  red\n1  green\n2  blue\n",
        b"0\tred\n1\tgreen\n2\tblue\n",
        b"0: red\n1: green\n2: blue\n",
        b"00 red\n01 green\n02 blue\n",
        b"\n  red  \n\n green\nblue\n\n",
    ],
)
def test_labels_are_read_as_they_are_written(text: bytes, tmp_path: Path) -> None:
    """Teachable Machine's and Coral's numbers, in any order; marks and line ends of any system."""
    assert locate.find(str(model(tmp_path, text))).card.labels == RGB
    (tmp_path / "labels.txt").unlink()
    assert locate.find(str(packed(tmp_path, text))).card.labels == RGB


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0\n1\n2\n", ("0", "1", "2")),
        ("1 crane\nred\nblue\n", ("1 crane", "red", "blue")),
        ("n01440764 tench\nn01443537 goldfish\n", ("n01440764 tench", "n01443537 goldfish")),
        ("7up\n8up\n", ("7up", "8up")),
        ("0 Class 1\n1 Class 2\n", ("Class 1", "Class 2")),
        ("a\u2028b\nc\x0cd\n", ("a b", "c d")),
    ],
)
def test_numbers_that_are_labels_stay(text: str, expected: tuple[str, ...]) -> None:
    """They are numbers only where every line begins with one, and text follows."""
    assert labels.read(text, "x") == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"0 red\n2 green\n3 blue\n", "numbers.*each of 0 to 2 once, got no 1"),
        (b"1 red\n2 green\n3 blue\n", "numbers.*each of 0 to 2 once, got no 0"),
        (b"0 red\n1 green\n1 blue\n", "numbers.*got 1 twice"),
        (b"0 red\n1 \n2 blue\n", "not empty: got no text for 1"),
        (b"red\ngreen\nred\n", "distinct.*`red` for 0 and 2"),
        ("red\ngreen\n".encode("utf-16"), "UTF-16.*save it as UTF-8"),
        ("red\ngreen\n".encode("utf-16-le"), r"label 0 holds a control character.*r\\x00e"),
        ("röt\n".encode("latin-1"), "not UTF-8"),
        (b"red\x1b[31m\ngreen\nblue\n", r"label 0 holds a control character: got red\\x1b\[31m"),
        (b"x" * 256 + b"\ngreen\nblue\n", "label 0 is too long: expected at most 255"),
        (b"\n" * 2_000_000, "too large"),
        (b"\xef\xbb\xbf\r\n", "model has no labels"),
    ],
)
def test_a_list_that_cannot_be_used_is_one_line(text: bytes, message: str, tmp_path: Path) -> None:
    """Gaps, repetitions, other encodings, control characters, invisible characters."""
    with pytest.raises(ModelError, match=message) as caught:
        locate.find(str(model(tmp_path, text)))
    assert "\n" not in str(caught.value)
    assert str(caught.value).isprintable()
    assert str(tmp_path) in str(caught.value)


def test_a_cards_labels_are_checked_as_well(tmp_path: Path) -> None:
    """TOML can escape any character."""
    path = model(tmp_path)
    (tmp_path / "model.toml").write_text(
        f'name = "x"\nfile = "{path.name}"\nlabels = ["a\\u001b[2J", "b", "c"]\n'
    )
    with pytest.raises(ModelError, match=r"label 0 holds a control character: got a\\x1b"):
        locate.find(str(tmp_path))


def test_labels_in_a_pipe_are_not_waited_for(tmp_path: Path) -> None:
    """Nor is a model."""
    path = model(tmp_path)
    os.mkfifo(tmp_path / "labels.txt")
    with pytest.raises(ModelError, match="labels cannot be read: is a named pipe"):
        locate.find(str(path))
    os.mkfifo(tmp_path / "n.tflite")
    with pytest.raises(ModelError, match="cannot be read: is a named pipe"):
        locate.find(str(tmp_path / "n.tflite"))


def test_the_list_that_the_metadata_name_is_used(tmp_path: Path) -> None:
    """A model may have more than one text in it."""
    path = Path(shutil.copy(ROOT / "models" / "catdog" / "model.tflite", tmp_path))
    assert locate.find(str(path)).card.labels == ("cat", "dog", "neither")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("a.txt", "read me\n")
    assert locate.find(str(path)).card.labels == ("cat", "dog", "neither")


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_packed_list_is_unpacked_to_a_limit(method: int, tmp_path: Path) -> None:
    """A few kilobytes that would be hundreds of megabytes: refused, in little memory."""
    path = model(tmp_path)
    with zipfile.ZipFile(path, "a", method) as archive, archive.open("labels.txt", "w") as entry:
        for _ in range(300):
            entry.write(b"\0" * 1_000_000)
    assert path.stat().st_size < 2_000_000
    code = (
        "import resource, sys; from edge.model import locate; from edge.errors import ModelError\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try: locate.find(sys.argv[1])\n"
        "except ModelError as exc: print(exc)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, cwd=ROOT, check=True
    )
    line, grown_kib = done.stdout.splitlines()
    too_long = "packed into the model are too long: expected at most 1048576 bytes"
    assert (too_long if method == zipfile.ZIP_DEFLATED else "compression method") in line
    assert int(grown_kib) < 30_000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({6: b"\x01"}, "cannot be read.*encrypted.*expected stored or deflated"),
        ({8: b"\x63"}, "cannot be read: compression method 99: expected stored or deflated"),
    ],
)
def test_an_archive_that_cannot_be_unpacked_is_one_line(
    change: dict[int, bytes], message: str, tmp_path: Path
) -> None:
    """Encrypted, of an unknown method: zipfile has an exception of its own for each."""
    path = packed(tmp_path, b"red\ngreen\nblue\n")
    content = bytearray(path.read_bytes())
    for offset, value in change.items():
        content[content.index(b"PK\x03\x04") + offset] = value[0]
        content[content.index(b"PK\x01\x02") + offset + 2] = value[0]
    path.write_bytes(content)
    with pytest.raises(ModelError, match=message):
        locate.find(str(path))


def test_a_damaged_archive_is_one_line(tmp_path: Path) -> None:
    """A wrong checksum, and a directory that points nowhere."""
    path = packed(tmp_path, b"red\ngreen\nblue\n", method=zipfile.ZIP_STORED)
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"red\ngreen", b"rad\ngreen"))
    with pytest.raises(ModelError, match=r"damaged.*CRC"):
        locate.find(str(path))
    path.write_bytes(whole.replace(b"PK\x03\x04", b"PK\x03\x05"))
    with pytest.raises(ModelError, match="damaged"):
        locate.find(str(path))


def test_labels_at_the_end_of_a_large_model_are_found(tmp_path: Path) -> None:
    """Only the last two megabytes are searched."""
    path = model(tmp_path)
    path.write_bytes(path.read_bytes() + b"\0" * 5_000_000)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("labels.txt", "red\ngreen\nblue\n")
    assert locate.find(str(path)).card.labels == RGB
