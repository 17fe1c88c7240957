r"""The CSV with one device a row, read and checked: rows, columns, duplicates.

Rule 1: every fault is one line that names row and column (ConfigError, 78); rows are counted as
        spreadsheets do, the header is row 1.
Rule 2: a line never quotes a cell of SECRETS.

UTF-8, with a byte order mark or not; commas, or semicolons where the header has no comma; LF or
CRLF. Knows neither credentials nor images.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge import files
from edge.errors import ConfigError

COLUMNS: Final = {
    "name": "device id; the MQTT user name and the common name of its certificate",
    "host": "host name; empty: the name, with - for _",
    "username": "MQTT user name; empty: the name",
    "password": "MQTT password; empty: one is made",
    "cert": "file with the device's certificate, PEM; empty: one is made",
    "key": "file with its key, PEM",
    "wifi_country": "two letters",
    "wifi_ssid": "Wi-Fi network",
    "wifi_password": "its password",
    "camera": "the camera's source, as camera.source",
    "camera_username": "login of a network stream",
    "camera_password": "its password",
    "ssh_key": "a public key, beside those of CONFIG",
}
"""Column -> what it holds; all but `name` may be missing."""
SECRETS: Final = frozenset({"password", "wifi_password", "camera_password"})
ROWS_MAX: Final = 100_000
CSV_MAX_BYTES: Final = 64 << 20
CELL_MAX: Final = 1024
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
"""A device id that the shipped ACL can use as a level of a topic."""
USER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,62}")
"""No colon: it ends the name in mosquitto's file of passwords."""
CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class Row:
    """One device; ``where`` is the file and the row, cells that are empty are missing."""

    where: str
    number: int
    cells: dict[str, str]

    @property
    def name(self) -> str:
        """The device id."""
        return self.cells["name"]

    @property
    def host(self) -> str:
        """The host name."""
        return self.cells.get("host") or self.name.replace("_", "-").strip("-")

    @property
    def username(self) -> str:
        """The MQTT user name."""
        return self.cells.get("username") or self.name

    def fault(self, what: str, column: str, *, expected: str = "", hint: str = "") -> ConfigError:
        """Return the error for one cell."""
        got = "" if column in SECRETS else self.cells.get(column, "")
        where = f"{self.where}, column {column}"
        return ConfigError(what, where=where, expected=expected, got=got[:80], hint=hint)


def load(path: Path) -> tuple[list[Row], bytes]:
    """Return the rows of ``path``, checked, and its bytes. Raises ConfigError."""
    where = str(path)
    try:
        content = files.read(path, CSV_MAX_BYTES)
    except FileNotFoundError as exc:
        raise ConfigError("file not found", where=where, hint="check the path") from exc
    except OSError as exc:
        raise ConfigError(f"cannot be read: {exc.strerror}", where=where) from exc
    rows: list[Row] = []
    first: dict[tuple[str, str], Row] = {}
    for row in _rows(_text(content, where), where):
        _check(row)
        for column, text in _unique(row):
            other = first.setdefault((column, text), row)
            if other is not row:
                raise row.fault(f"the same {column} as in row {other.number}", column)
        rows.append(row)
        if len(rows) > ROWS_MAX:
            raise ConfigError("too many rows", where=where, expected=f"at most {ROWS_MAX:,}")
    if not rows:
        raise ConfigError("no row below the header", where=where, expected="one for each device")
    return rows, content


def _text(content: bytes, where: str) -> str:
    try:
        return files.decoded(content)
    except OSError as exc:
        cause = exc.__cause__
        if isinstance(cause, UnicodeDecodeError):
            row = content.count(b"\n", 0, cause.start) + 1
            raise ConfigError(
                "is not UTF-8", where=f"{where}: row {row}", hint="save it as CSV UTF-8"
            ) from exc
        raise ConfigError(str(exc.strerror), where=where) from exc


def _rows(text: str, where: str) -> Iterator[Row]:
    """Yield the rows below the header; rows without content are left out."""
    head = text.partition("\n")[0]
    delimiter = ";" if ";" in head and "," not in head else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    columns: list[str] = []
    try:
        for cells in reader:
            here = f"{where}: row {reader.line_num}"
            if not any(cells):
                continue
            if not columns:
                columns = _header([cell.strip() for cell in cells], here)
            elif len(cells) != len(columns):
                raise ConfigError(
                    "another number of cells than the header",
                    where=here,
                    expected=str(len(columns)),
                    got=str(len(cells)),
                    hint="put a cell with a comma into double quotes",
                )
            else:
                pairs = zip(columns, cells, strict=True)
                yield Row(here, reader.line_num, {column: cell for column, cell in pairs if cell})
    except csv.Error as exc:
        raise ConfigError(
            f"not CSV: {exc}", where=f"{where}: row {reader.line_num}", hint="check its quotes"
        ) from exc
    if not columns:
        raise ConfigError("empty", where=where, expected="a header with the column name")


def _header(columns: list[str], where: str) -> list[str]:
    for number, column in enumerate(columns, 1):
        if column not in COLUMNS:
            raise ConfigError(
                "unknown column",
                where=f"{where}, column {number}",
                expected=f"one of {', '.join(COLUMNS)}",
                got=column[:80],
            )
        if column in columns[: number - 1]:
            raise ConfigError("a column twice", where=f"{where}, column {number}", got=column)
    if "name" not in columns:
        raise ConfigError("no column name", where=where, got=", ".join(columns))
    return columns


def _check(row: Row) -> None:
    for column, text in row.cells.items():
        if len(text) > CELL_MAX:
            raise row.fault("too long", column, expected=f"at most {CELL_MAX} characters")
        if CONTROL.search(text):
            raise row.fault("a control character or a newline", column)
        if text != text.strip():
            raise row.fault("begins or ends with a space", column)
    if "name" not in row.cells:
        raise row.fault("empty", "name", expected="a device id")
    if not NAME.fullmatch(row.name):
        expected = "letters, digits, _ and -, at most 63, a letter or digit first"
        raise row.fault("not a device id", "name", expected=expected)
    if not USER.fullmatch(row.username):
        raise row.fault("not a user name", "username", expected="letters, digits, and _.@-")
    for column, needed in (("cert", "key"), ("key", "cert"), ("wifi_password", "wifi_ssid")):
        if column in row.cells and needed not in row.cells:
            raise row.fault(f"missing beside {column}", needed)
    if "password" in row.cells and "cert" in row.cells:
        raise row.fault("a password beside a certificate", "password", expected="one of the two")


def _unique(row: Row) -> Iterator[tuple[str, str]]:
    """Yield what no two rows may share: names, and each device's credential."""
    yield "name", row.name
    yield "host", row.host.casefold()
    yield "username", row.username
    for column in ("password", "cert", "key"):
        if column in row.cells:
            yield column, row.cells[column]
