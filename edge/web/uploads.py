"""Pictures out of a request's body: a form with files, or the body itself. Bounded.

The form is read by python-multipart from a body that is whole already: it gets the first boundary
at once, and nothing after the last. Versions before 0.0.18 take a byte at a time before and after
(CVE-2024-53981); the header of the request is read by the standard library (CVE-2024-24762).
"""

from __future__ import annotations

import importlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message
from typing import Any, Final

from edge.web.answers import Refused

FILES: Final = 32
FILE_MAX: Final = 8_000_000
"""Pictures of a request; bytes of one."""
BODY_MAX: Final = 24_000_000
HEADERS_MAX: Final = 2048
"""Bytes of the headers of one part."""
TEXT_MAX: Final = 512
"""Of the text of another field, about; of a file's name, characters."""
PARTS: Final = 64
PARSE_S: Final = 5.0
CHUNK: Final = 262_144
FORM: Final = "multipart/form-data"
PLAIN: Final = ("application/octet-stream", "")
File = bytearray | Refused
"""A picture's bytes, or why they were not taken."""


class _End(Exception):
    """The last boundary."""


def kind(content_type: str) -> tuple[str, bytes]:
    """Return the type of a body and its boundary. Raises Refused, 415."""
    message = Message()
    message["content-type"] = content_type[:500]
    main = message.get_content_type() if content_type else ""
    boundary = message.get_param("boundary", "")
    if main == FORM:
        if not isinstance(boundary, str) or not 1 <= len(boundary) <= 70 or not boundary.isascii():
            raise Refused(400, "multipart/form-data without a boundary of 1 to 70 characters")
        return main, boundary.encode()
    if main in PLAIN or main.startswith("image/"):
        return main, b""
    raise Refused(415, f"expected {FORM}, image/* or application/octet-stream, got {main}")


def files(body: bytearray, boundary: bytes) -> list[File]:
    """Return the files of a form's field ``file``, in order; see ``form``."""
    return form(body, boundary).files


@dataclass(frozen=True, slots=True)
class Form:
    """A form. files, names: of the field ``file``, in order; fields: texts that were wanted."""

    files: list[File]
    names: list[str]
    fields: dict[str, str]


def form(body: bytearray, boundary: bytes, fields: tuple[str, ...] = ()) -> Form:
    """Return a form's files and the text of some other fields; ``body`` is empty after that.

    Takes up to PARSE_S: not for the loop's thread. Raises Refused, 400 or 413.
    """
    form = _Form(fields)
    until_s = time.monotonic() + PARSE_S
    try:
        if not body.startswith(b"--" + boundary):
            raise Refused(400, "the form does not begin with its boundary")
        parser = _parser()(boundary, form.callbacks())
        for begin in range(0, len(body), CHUNK):
            parser.write(bytes(body[begin : begin + CHUNK]))
            if time.monotonic() > until_s:
                raise Refused(400, "the form takes too long to read")
    except _End:
        body.clear()
        return form.taken()
    except Refused:
        raise
    except Exception as exc:  # python-multipart has several, by version
        raise Refused(400, f"not a form: {exc}") from exc
    raise Refused(400, "the form ends before its last boundary")


class _Form:
    """What the parser says of a form; keeps the files, and texts of ``fields``."""

    def __init__(self, fields: tuple[str, ...]) -> None:
        self._files: list[File] = []
        self._names: list[str] = []
        self._fields, self._texts = fields, dict[str, bytearray]()
        self._text: bytearray | None = None
        self._parts = 0
        self._key = self._value = b""
        self._headers_bytes = 0
        self._disposition = ""
        self._file: bytearray | None = None

    def callbacks(self) -> dict[str, Callable[..., Any]]:
        """Return the functions that the parser calls."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._content,
            "on_part_end": self._part_end,
            "on_end": self._end,
        }

    def taken(self) -> Form:
        """Return the form. Raises Refused without any file."""
        if not self._files:
            raise Refused(400, "no file: expected the form's field `file`, once or several times")
        texts = {name: text.decode("utf-8", "replace") for name, text in self._texts.items()}
        return Form(self._files, self._names, texts)

    def _begin(self) -> None:
        self._parts += 1
        self._headers_bytes, self._disposition = 0, ""
        self._key = self._value = b""
        self._file = self._text = None
        if self._parts > PARTS:
            raise Refused(413, f"too many parts: at most {PARTS}")

    def _header_field(self, content: bytes, begin: int, end: int) -> None:
        self._count(end - begin)
        self._key += content[begin:end]

    def _header_value(self, content: bytes, begin: int, end: int) -> None:
        self._count(end - begin)
        self._value += content[begin:end]

    def _count(self, size: int) -> None:
        self._headers_bytes += size
        if self._headers_bytes > HEADERS_MAX:
            raise Refused(400, f"headers of a part too long: at most {HEADERS_MAX} bytes")

    def _header_end(self) -> None:
        if self._key.lower() == b"content-disposition":
            self._disposition = self._value.decode("latin-1")
        self._key = self._value = b""

    def _headers_finished(self) -> None:
        message = Message()
        message["content-disposition"] = self._disposition.replace("\r", "").replace("\n", "")
        name = message.get_param("name", header="content-disposition")
        if name != "file":
            if name in self._fields:
                self._text = self._texts.setdefault(str(name), bytearray())
            return
        if len(self._files) >= FILES:
            raise Refused(413, f"too many files: at most {FILES}")
        self._file = bytearray()
        self._names.append(_text(message.get_filename("")))

    def _content(self, content: bytes, begin: int, end: int) -> None:
        if self._file is not None and len(self._file) <= FILE_MAX:
            self._file += content[begin:end]
        if self._text is not None and len(self._text) <= TEXT_MAX:
            self._text += content[begin:end][:TEXT_MAX]

    def _part_end(self) -> None:
        if self._file is not None:
            self._files.append(checked(self._file))

    def _end(self) -> None:
        raise _End


def _text(latin: str) -> str:
    """Return a file's name, which browsers send as UTF-8."""
    return latin.encode("latin-1", "replace").decode("utf-8", "replace")[:TEXT_MAX]


def checked(file: bytearray) -> File:
    """Return a file, or why it is not taken."""
    if not file:
        return Refused(400, "empty")
    if len(file) > FILE_MAX:
        return Refused(413, f"too large: expected at most {FILE_MAX} bytes")
    return file


def _parser() -> Any:
    """Return python-multipart's parser, whose package was renamed in version 0.0.13."""
    for name in ("python_multipart", "multipart"):
        try:
            module = importlib.import_module(f"{name}.multipart")
        except ImportError:
            continue
        logging.getLogger(f"{name}.multipart").setLevel(logging.CRITICAL)
        return module.MultipartParser
    raise Refused(500, "python-multipart is not installed")
