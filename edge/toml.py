"""TOML becomes frozen structs; errors name file, key, expected, got and a hint.

Used for the config and for model cards; knows neither.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from edge import files
from edge.errors import EdgeError
from edge.text import escaped

T = TypeVar("T")
KEY_MAX: Final = 80
SHOWN_MAX: Final = 200
"""Characters of a key, and of a parser's message, in an error line."""
KEY_PARTS_MAX: Final = 32
_PART: Final = r"""(?:[\w-]++|"(?:[^"\\\n]|\\.)*+"|'[^'\n]*+')"""
_LONG_KEY: Final = re.compile(rf"(?<![\w\\-]){_PART}(?:[ \t]*+\.[ \t]*+{_PART}){{{KEY_PARTS_MAX}}}")
"""tomllib keeps every prefix of a dotted key: one of 400 kB would take 160 GB."""
_AT: Final = re.compile(r"^(?P<what>.*?)(?: - at `(?P<path>[^`]*)`)?$", re.DOTALL)
_UNKNOWN: Final = re.compile(r"unknown field `([^`]*)`")
_MISSING: Final = re.compile(r"missing required field `([^`]*)`")


def read(path: Path, error: type[EdgeError], file: int | None = None) -> dict[str, Any]:
    """Return the file's tables.

    file  its descriptor, where it is open; read from the beginning to the end
    Raises ``error`` where it is missing, no regular file, too large, or not TOML.
    """
    try:
        text = (
            files.read_text(path)
            if file is None
            else files.decoded(files.read_open(file, files.TEXT_MAX_BYTES))
        )
        if _LONG_KEY.search(text):
            raise ValueError(f"a key of more than {KEY_PARTS_MAX} parts")
        return tomllib.loads(text)
    except FileNotFoundError as exc:
        raise error("file not found", where=str(path), hint="check the path") from exc
    except OSError as exc:
        raise error(f"cannot be read: {exc.strerror}", where=str(path)) from exc
    except RecursionError as exc:
        raise error("not valid TOML: nested too deeply", where=str(path)) from exc
    except ValueError as exc:  # TOMLDecodeError is one; so is an integer of 5,000 digits
        reason = escaped(str(exc), SHOWN_MAX)
        raise error(f"not valid TOML: {reason}", where=str(path)) from exc


def convert(tables: dict[str, Any], into: type[T], where: str, error: type[EdgeError]) -> T:
    """Return ``tables`` as ``into``; raise ``error`` that names the key at fault.

    where  the file, or another source of the tables
    """
    try:
        result = msgspec.convert(tables, into)
    except msgspec.ValidationError as exc:
        raise _translate(str(exc), tables, into, where, error) from exc
    _check(msgspec.to_builtins(result), where, "", error)
    return result


def _check(value: Any, where: str, key: str, error: type[EdgeError]) -> None:
    """Raise ``error`` where a text holds a NUL: no name of a file or host can."""
    if isinstance(value, str) and "\0" in value:
        raise error("NUL character", where=f"{where}: {key}", got=_shown(value), hint="remove it")
    if isinstance(value, dict):
        for name, inner in value.items():
            _check(inner, where, f"{key}.{name}" if key else str(name), error)
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            _check(inner, where, f"{key}[{index}]", error)


def _translate(
    text: str, tables: dict[str, Any], into: type[Any], where: str, error: type[EdgeError]
) -> EdgeError:
    """Return msgspec's message as an error that names the key."""
    match = _AT.match(text)
    what = match["what"] if match else text
    steps = re.findall(r"[^.\[\]$]+|\[\d+\]", (match["path"] or "") if match else "")
    kind = _kind(into, steps)
    key = escaped(".".join(steps).replace(".[", "["), KEY_MAX)
    at = f"{where}: {key}" if key else where
    if unknown := _UNKNOWN.search(what):
        known = [field.encode_name for field in getattr(kind, "fields", ())]
        close = difflib.get_close_matches(unknown[1], known, n=1)
        return error(
            "unknown key",
            where=f"{where}: {key + '.' if key else ''}{escaped(unknown[1], KEY_MAX)}",
            expected="one of " + ", ".join(known) if known else "",
            hint=f"did you mean `{close[0]}`?" if close else "remove it",
        )
    if missing := _MISSING.search(what):
        return error(f"key `{missing[1]}` is missing", where=at, hint="add it")
    got = "" if steps[-1:] == ["password"] else _shown(_value(tables, steps))
    if expected := _expected(what, kind):
        return error("wrong value", where=at, expected=expected, got=got)
    return error(escaped(what, SHOWN_MAX), where=at, got=got)


def _value(tables: Any, steps: list[str]) -> Any:
    """Return the value at ``steps``; None where there is none: a key may look like a path."""
    value = tables
    for step in steps:
        try:
            value = value[int(step[1:-1])] if step.startswith("[") else value[step]
        except (KeyError, IndexError, TypeError, ValueError):
            return None
    return value


def _expected(what: str, kind: Any) -> str:
    """Return what ``kind`` expects, in words; empty where msgspec's message does not say."""
    if words := getattr(kind, "values", ()):
        return "one of " + ", ".join(map(str, words))
    if not what.startswith("Expected "):
        return ""
    expected = what.removeprefix("Expected ").split(", got")[0].replace("`", "")
    if "matching regex" in expected and isinstance(kind, msgspec.inspect.Metadata):
        return str((kind.extra_json_schema or {}).get("description", expected))
    return expected


def _kind(into: type[Any], steps: list[str]) -> Any:
    """Return the type at ``steps``, as msgspec.inspect describes it; None where there is none."""
    kind: Any = msgspec.inspect.type_info(into)
    for step in steps:
        fields = {field.encode_name: field.type for field in getattr(kind, "fields", ())}
        kind = fields.get(step)
        if isinstance(kind, msgspec.inspect.UnionType):  # with null, which TOML lacks
            kind = next(
                (t for t in kind.types if not isinstance(t, msgspec.inspect.NoneType)), None
            )
    return kind


def _shown(value: Any) -> str:
    try:
        text = f'"{value}"' if isinstance(value, str) else str(value)
    except ValueError:  # Python prints no integer of more than 4,300 digits
        return "a number too long to print"
    except RecursionError:
        return "tables within tables"
    return text if len(text) <= 60 else text[:57] + "..."
