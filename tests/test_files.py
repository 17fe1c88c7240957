"""Reading of users' files: whole or refused with a reason, never blocking."""

from __future__ import annotations

import os
import socket
import tracemalloc
from pathlib import Path

import pytest

from edge import files


def refusal(path: Path, max_bytes: int = 100) -> str:
    """Return the printable reason why ``path`` cannot be read as text."""
    with pytest.raises(OSError, match=r".") as caught:
        files.read_text(path, max_bytes)
    assert caught.value.strerror
    return caught.value.strerror


def test_a_file_at_the_limit_is_read_whole(tmp_path: Path) -> None:
    """The limit itself is still allowed."""
    (tmp_path / "file").write_bytes(b"x" * 100)
    assert files.read(tmp_path / "file", 100) == b"x" * 100


def test_a_file_over_the_limit_names_both_sizes(tmp_path: Path) -> None:
    """One byte more is refused."""
    (tmp_path / "file").write_bytes(b"x" * 101)
    assert refusal(tmp_path / "file") == "is too large: expected at most 100 bytes, got 101"


def test_a_sparse_file_costs_nothing(tmp_path: Path) -> None:
    """A file of 30 GB without content is refused by its size."""
    with (tmp_path / "file").open("wb") as file:
        file.truncate(30 * 10**9)
    assert "got 30000000000" in refusal(tmp_path / "file")


def test_a_file_that_is_longer_than_it_says_is_cut_off() -> None:
    """The kernel's own files claim to have no bytes."""
    assert "too large" in refusal(Path("/proc/self/maps"))


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    """A pipe without a writer would hold the reader for ever."""
    os.mkfifo(tmp_path / "pipe")
    assert refusal(tmp_path / "pipe") == "is a named pipe: expected a regular file"


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/full", "/dev/tty"])
def test_a_device_is_no_file(device: str) -> None:
    """/dev/zero never ends."""
    assert "regular file" in refusal(Path(device)) or device == "/dev/tty"


def test_a_socket_and_a_folder_are_no_files(tmp_path: Path) -> None:
    """The other kinds of entry that a folder may have."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        assert refusal(tmp_path / "socket")
    assert refusal(tmp_path) == "is a folder: expected a regular file"


@pytest.mark.parametrize("name", ["a\0b", "a\udfff\0"])
def test_a_name_that_no_file_can_have(name: str) -> None:
    """A NUL in a path is Python's ValueError elsewhere."""
    assert refusal(Path(name)) == "is not a file's name"


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    """Windows' editors write one."""
    (tmp_path / "file").write_bytes(b"\xef\xbb\xbfred\r\n")
    assert files.read_text(tmp_path / "file") == "red\r\n"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32"])
def test_another_encoding_is_named(tmp_path: Path, encoding: str) -> None:
    """UTF-16 is named as such, not as bytes that are not UTF-8."""
    mark = "\ufeff" if encoding.endswith("be") else ""
    (tmp_path / "file").write_bytes(f"{mark}red".encode(encoding))
    assert refusal(tmp_path / "file") == "is UTF-16 or UTF-32 text: save it as UTF-8"


def test_bytes_that_are_no_text_are_located(tmp_path: Path) -> None:
    """Latin-1 and worse."""
    (tmp_path / "file").write_bytes(b"gr\xfcn")
    assert refusal(tmp_path / "file") == "is not UTF-8: invalid start byte at byte 2"


def test_a_large_file_is_held_once(tmp_path: Path) -> None:
    """Never both in parts and as a whole."""
    (tmp_path / "file").write_bytes(bytes(20_000_000))
    tracemalloc.start()
    content = files.read(tmp_path / "file", 10**8)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(content) == 20_000_000
    assert peak < 30_000_000


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    """Nor written through a link in the place of its part; what an end has left there is gone."""
    path, part, other = tmp_path / "file", tmp_path / ".file.part", tmp_path / "other"
    other.write_text("mine")
    part.symlink_to(other)
    files.replace(path, b"one", 0o600)
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"one", 0o600)
    part.write_text("half of")
    files.replace(path, b"two")
    assert (path.read_bytes(), other.read_text(), part.exists()) == (b"two", "mine", False)
    part.mkdir()
    with pytest.raises(OSError, match=r"."):
        files.replace(path, b"three")
    assert path.read_bytes() == b"two"
