"""The CSV of `make credentials`: what is accepted; every fault is a line with row and column."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from deploy.credentials import build, rows
from edge.errors import ConfigError

FAULTS = {
    "no header": (b"", "devices.csv: empty: expected a header"),
    "no row": (b"name\n", "devices.csv: no row below the header"),
    "unknown column": (b"name,colour\na,red\n", "row 1, column 2: unknown column: expected one of"),
    "a column twice": (b"name,host,name\na,b,c\n", "row 1, column 3: a column twice: got name"),
    "no name": (b"host\na\n", "row 1: no column name: got host"),
    "an empty name": (b"name,host\na,a\n,b\n", "row 3, column name: empty: expected a device id"),
    "a slash": (b"name\na/b\n", "row 2, column name: not a device id: expected letters"),
    "a topic's sign": (b"name\na\n+\n", "row 3, column name: not a device id"),
    "a dash first": (b"name\n-rf\n", "row 2, column name: not a device id"),
    "a newline in it": (b'name\n"a\nb"\n', "row 3, column name: a control character"),
    "NUL": (b"name\na\x00b\n", "devices.csv: row 2"),
    "a name twice": (b"name\na\nb\na\n", "row 4, column name: the same name as in row 2: got a"),
    "a host twice": (b"name,host\na,Porch\nb,porch\n", "row 3, column host: the same host as in"),
    "a host by default": (b"name\na_b\na-b\n", "row 3, column host: the same host as in row 2"),
    "a password twice": (
        b"name,password\na,hush hush\nb,hush hush\n",
        "row 3, column password: the same password as in row 2\n",
    ),
    "a user twice": (b"name,username\na,u\nb,u\n", "row 3, column username: the same username"),
    "a colon": (b"name,username\na,u:v\n", "row 2, column username: not a user name"),
    "a bad host": (b"name,host\na,a_b\n", "row 2, column host: not a host name: expected 1 to 63"),
    "a space": (b"name,host\na, b\n", "row 2, column host: begins or ends with a space: got  b"),
    "a long cell": (b"name,host\na," + b"b" * 2000 + b"\n", "row 2, column host: too long"),
    "too few cells": (b"name,host\na\n", "row 2: another number of cells than the header"),
    "too many cells": (b"name,password\na,b,c\n", "expected 2, got 3; put a cell with a comma"),
    "an open quote": (b'name,host\na,"b\n', "not CSV: unexpected end of data"),
    "a quote in a cell": (b'name,host\na,"b"c\n', "row 2: not CSV: "),
    "a cell of 200 kB": (b"name\n" + b"a" * 200_000 + b"\n", "row 2: not CSV: field larger"),
    "Latin-1": (b"name,wifi_ssid\na,b\nb,caf\xe9\n", "row 3: is not UTF-8; save it as CSV UTF-8"),
    "UTF-16": ("name\na\n".encode("utf-16"), "is UTF-16 or UTF-32 text: save it as UTF-8"),
    "a key alone": (b"name,key\na,b.key\n", "row 2, column cert: missing beside key"),
    "no such file": (
        b"name,cert,key\na,a.crt,a.key\n",
        "row 2, column cert: cannot be read: No such file or directory: got a.crt",
    ),
    "Wi-Fi without a country": (
        b"name,wifi_ssid\na,net\n",
        "row 2: wifi.country: a network without a country",
    ),
    "a short Wi-Fi password": (
        b"name,wifi_country,wifi_ssid,wifi_password\na,DE,net,hush\n",
        "row 2, column wifi_password: too short",
    ),
    "a country": (
        b"name,wifi_country,wifi_ssid\na,Germany,net\n",
        "row 2, column wifi_country: wrong value: expected two capital letters",
    ),
    "a camera": (
        b"name,camera\na,rtsp://me:hush@cam/1\n",
        "row 2, column camera: a login in an address",
    ),
    "a key for SSH": (b"name,ssh_key\na,-----BEGIN\n", "row 2, column ssh_key: not a public key"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_line_with_row_and_column(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], fault: str
) -> None:
    """Status 78, no credential made, and no secret in the line."""
    content, line = FAULTS[fault]
    path = tmp_path / "devices.csv"
    path.write_bytes(content)
    assert build.main(["--csv", str(path)]) == 78
    error = capsys.readouterr().err
    assert error.startswith(f"credentials: {path}")
    assert line in error
    assert len(error.splitlines()) == 1
    assert "hush" not in error
    assert not list(tmp_path.glob("*.credentials/broker/passwords"))


@pytest.mark.parametrize(
    "content",
    [
        b"name,host\nporch,a\nwall,b\n",
        b"\xef\xbb\xbfname,host\r\nporch,a\r\nwall,b\r\n",
        b'"name";"host"\r\n"porch";"a"\r\n;\r\n"wall";"b"\r\n',
        b"host,name\na,porch\n\n,\nb,wall",
        b" name , host \nporch,a\nwall,b\n",
    ],
)
def test_what_spreadsheets_write_is_read(tmp_path: Path, content: bytes) -> None:
    """Byte order mark, CRLF, semicolons, quotes, empty rows, columns in any order."""
    path = tmp_path / "devices.csv"
    path.write_bytes(content)
    loaded, same = rows.load(path)
    assert [(row.name, row.host) for row in loaded] == [("porch", "a"), ("wall", "b")]
    assert same == content


def test_the_number_of_rows_is_bounded(tmp_path: Path) -> None:
    """100,000 are read, one more is refused."""
    path = tmp_path / "devices.csv"
    names = "".join(f"camera-{number}\n" for number in range(rows.ROWS_MAX))
    path.write_text(f"name\n{names}")
    assert len(rows.load(path)[0]) == rows.ROWS_MAX
    path.write_text(f"name\n{names}one-more\n")
    with pytest.raises(ConfigError, match="too many rows: expected at most 100,000"):
        rows.load(path)


def test_no_bytes_end_it_otherwise(tmp_path: Path) -> None:
    """Rows of random pieces are read or refused."""
    pieces = [b"name", b"host", b"\n", b"\r", b",", b";", b'"', b"a", b"\xff", b"\0", b" ", b"\xc3"]
    path, random_ = tmp_path / "devices.csv", random.Random(25)
    refused = 0
    for _ in range(3000):
        path.write_bytes(
            b"name,host\n" + b"".join(random_.choices(pieces, k=random_.randint(1, 8)))
        )
        try:
            rows.load(path)
        except ConfigError as exc:
            assert len(str(exc).splitlines()) == 1  # noqa: PT017
            refused += 1
    assert 0 < refused < 3000


def test_a_pipe_is_not_waited_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nor is a folder read, or a file that is not there."""
    os.mkfifo(tmp_path / "pipe")
    for name, line in (
        ("pipe", "is a named pipe: expected a regular file"),
        (".", "is a folder"),
        ("none.csv", "file not found"),
    ):
        assert build.main(["--csv", str(tmp_path / name)]) == 78
        assert line in capsys.readouterr().err
    assert build.main([]) == 64
    assert "no CSV given; CSV=devices.csv" in capsys.readouterr().err
