"""Changes keys of a TOML file and leaves everything else in it as it is: comments, order, spaces.

Only what can be changed safely is: the new text is parsed, and must be the old tables with the
changes over them, and nothing else. Where it is not (an inline table, a dotted key, a value of
several lines) the file is left to its owner. Pure.
"""

from __future__ import annotations

import json
import re
import tomllib
from typing import Any, Final

from edge.config import Tables, over
from edge.errors import ConfigError

_HEADER: Final = re.compile(r"[ \t]*\[[ \t]*([A-Za-z0-9_-]+)[ \t]*\][ \t]*(#.*)?$")
_ANY_HEADER: Final = re.compile(r"[ \t]*\[")
_KEY: Final = re.compile(r"([ \t]*)([A-Za-z0-9_-]+)([ \t]*=[ \t]*)(.*)$")
_COMMENT: Final = re.compile(
    r"""(?P<value>(?:"(?:[^"\\]|\\.)*"|'[^']*'|[^"'#])*)(?P<comment>#.*)?$"""
)


def changed(text: str, tables: Tables, where: str) -> str:
    """Return ``text`` with the keys of ``tables``; None: the key is removed.

    Raises ConfigError where the file has a form that this cannot change.
    """
    newline = "\r\n" if "\r\n" in text else "\n"
    lines = [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]
    for table, keys in tables.items():
        for key, value in keys.items():
            _set(lines, table, key, value)
    result = newline.join(lines) + newline
    _check(text, result, tables, where)
    return result


def _set(lines: list[str], table: str, key: str, value: Any) -> None:
    begin, end = _table(lines, table)
    if begin < 0:
        if value is None:
            return
        lines += [*([""] if lines and lines[-1].strip() else []), f"[{table}]"]
        begin, end = len(lines), len(lines)
    for number in range(begin, end):
        match = _KEY.match(lines[number])
        if match and match[2] == key:
            if value is None:
                del lines[number]
            else:
                lines[number] = f"{match[1]}{key}{match[3]}{_text(value)}{_comment(match[4])}"
            return
    if value is not None:
        while end > begin and not lines[end - 1].strip():
            end -= 1
        lines.insert(end, f"{key} = {_text(value)}")


def _table(lines: list[str], table: str) -> tuple[int, int]:
    """Return the first line after a table's header and the line after its last; -1: no table."""
    begin = -1
    for number, line in enumerate(lines):
        if begin >= 0 and _ANY_HEADER.match(line) and "=" not in line.partition("[")[0]:
            return begin, number
        header = _HEADER.match(line)
        if header and header[1] == table:
            begin = number + 1
    return begin, len(lines)


def _comment(rest: str) -> str:
    """Return the comment after a value, with the spaces before it."""
    match = _COMMENT.match(rest)
    if not match or not match["comment"]:
        return ""
    spaces = len(match["value"]) - len(match["value"].rstrip())
    return " " * max(1, spaces) + match["comment"]


def _text(value: Any) -> str:
    """Return a value as TOML has it: JSON's form is TOML's, of all that a config holds."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_text, value))}]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return json.dumps(value)


def _check(before: str, after: str, tables: Tables, where: str) -> None:
    expected = over(tomllib.loads(before), tables)
    for table, keys in tables.items():
        for key, value in keys.items():
            if value is None:
                expected.get(table, {}).pop(key, None)
    try:
        found: Any = tomllib.loads(after)
    except (ValueError, RecursionError):
        found = None
    if found is None or _filled(found) != _filled(expected):
        names = ", ".join(f"{table}.{key}" for table, keys in tables.items() for key in keys)
        raise ConfigError(
            "the file has a form that cannot be changed here",
            where=where,
            expected="one key on a line, below the header of its table",
            got=names,
            hint="change it in the file",
        )


def _filled(tables: dict[str, Any]) -> dict[str, Any]:
    return {name: table for name, table in tables.items() if table != {}}
