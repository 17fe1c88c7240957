"""TOML into frozen structs, with errors that name file, key, expected, got and a mend.

Used by the config and the model card; knows neither.
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

T = TypeVar("T")

_AT: Final = re.compile(r"^(?P<what>.*?)(?: - at `(?P<path>[^`]*)`)?$", re.DOTALL)
_UNKNOWN: Final = re.compile(r"unknown field `([^`]*)`")
_MISSING: Final = re.compile(r"missing required field `([^`]*)`")


def read(path: Path, error: type[EdgeError]) -> dict[str, Any]:
    """Return the file's tables.

    Raises ``error`` where it is missing, no regular file, too large, or not TOML.
    """
    try:
        return tomllib.loads(files.read_text(path))
    except FileNotFoundError as exc:
        raise error("file not found", where=str(path), mend="check the path") from exc
    except OSError as exc:
        raise error(f"cannot be read: {exc.strerror}", where=str(path)) from exc
    except RecursionError as exc:
        raise error("not valid TOML: nested too deeply", where=str(path)) from exc
    except ValueError as exc:  # TOMLDecodeError is one; so is an integer of 5,000 digits
        raise error(f"not valid TOML: {exc}", where=str(path)) from exc


def convert(tables: dict[str, Any], into: type[T], where: str, error: type[EdgeError]) -> T:
    """Return ``tables`` as ``into``; raise ``error`` that names the key at fault.

    where  the file, or whatever else the tables came from
    """
    try:
        result = msgspec.convert(tables, into)
    except msgspec.ValidationError as exc:
        raise _translate(str(exc), tables, into, where, error) from exc
    _check(msgspec.to_builtins(result), where, "", error)
    return result


def _check(value: Any, where: str, key: str, error: type[EdgeError]) -> None:
    """Raise ``error`` where a text holds a NUL, which no file or host can have in its name."""
    if isinstance(value, str) and "\0" in value:
        raise error("NUL character", where=f"{where}: {key}", got=_shown(value), mend="remove it")
    if isinstance(value, dict):
        for name, inner in value.items():
            _check(inner, where, f"{key}.{name}" if key else str(name), error)
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            _check(inner, where, f"{key}[{index}]", error)


def _translate(
    text: str, tables: dict[str, Any], into: type[Any], where: str, error: type[EdgeError]
) -> EdgeError:
    match = _AT.match(text)
    what = match["what"] if match else text
    steps = re.findall(r"[^.\[\]$]+|\[\d+\]", (match["path"] or "") if match else "")
    value: Any = tables
    for step in steps:
        try:
            value = value[int(step[1:-1])] if step.startswith("[") else value[step]
        except (KeyError, IndexError, TypeError):
            value = None
            break
    key = ".".join(steps).replace(".[", "[")
    at = f"{where}: {key}" if key else where
    if found := _UNKNOWN.search(what):
        known = _fields(into, steps)
        close = difflib.get_close_matches(found[1], known, n=1)
        return error(
            "unknown key",
            where=f"{where}: {key + '.' if key else ''}{found[1]}",
            expected="one of " + ", ".join(known),
            mend=f"did you mean `{close[0]}`?" if close else "remove it",
        )
    if found := _MISSING.search(what):
        return error(f"key `{found[1]}` is missing", where=at, mend="add it")
    if what.startswith("Expected "):
        expected = what.removeprefix("Expected ").split(", got")[0].replace("`", "")
        return error("wrong value", where=at, expected=expected, got=_shown(value))
    return error(what, where=at, got=_shown(value))


def _fields(into: type[Any], steps: list[str]) -> list[str]:
    """Return the keys that the table at ``steps`` may have."""
    kind: Any = msgspec.inspect.type_info(into)
    for step in steps:
        if isinstance(kind, msgspec.inspect.StructType):
            kind = next(f.type for f in kind.fields if f.encode_name == step)
        if isinstance(kind, msgspec.inspect.UnionType):
            kind = next(t for t in kind.types if isinstance(t, msgspec.inspect.StructType))
    if isinstance(kind, msgspec.inspect.StructType):
        return [field.encode_name for field in kind.fields]
    return []


def _shown(value: Any) -> str:
    try:
        text = f'"{value}"' if isinstance(value, str) else str(value)
    except ValueError:  # more than 4,300 digits, as TOML's 0x... may have
        return "an integer of thousands of digits"
    return text if len(text) <= 60 else text[:57] + "..."
