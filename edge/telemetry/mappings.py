"""What the memory of a process is: its mappings by kind and by library, from /proc/PID/smaps.

Pure. ``private`` is what would be free if the process ended; ``shared`` are pages that others map,
too. Source: proc(5); Linux Documentation/filesystems/proc.rst. Which anonymous mappings are stacks
and arenas follows from how glibc makes them: a stack lies above a guard, an arena begins at a
multiple of 64 MB (32 bits: 1 MB) and is reserved in full.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["heap", "arenas", "stacks", "anonymous", "program", "library", "file", "kernel"]

ARENA_BYTES: Final = (67_108_864, 1_048_576)
"""The size of a malloc arena with 64 and with 32 bits. Source: glibc, HEAP_MAX_SIZE."""
GUARD_BYTES: Final = 65_536
"""A guard below a stack is one page: at most this large anywhere."""
HEADER: Final = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ \S+ *(.*)", re.ASCII)
FIELD: Final = re.compile(r"(\w+): +(\d+) kB", re.ASCII)


@dataclass(slots=True)
class Mapping:
    """One line of the table; bytes.

    name  of the library or file, empty for other kinds
    pss   shared pages are divided among those who map them
    """

    kind: Kind
    name: str
    private: int = 0
    shared: int = 0
    pss: int = 0
    swap: int = 0

    def add(self, values: dict[str, int]) -> None:
        """Add the fields of one mapping of smaps, in bytes."""
        self.private += values.get("Private_Clean", 0) + values.get("Private_Dirty", 0)
        self.shared += values.get("Shared_Clean", 0) + values.get("Shared_Dirty", 0)
        self.pss += values.get("Pss", 0)
        self.swap += values.get("Swap", 0)


@dataclass(slots=True)
class _Span:
    start: int = 0
    end: int = 0
    access: str = ""
    path: str = ""


def parse(lines: Iterable[str], program: str, is_64: bool = True) -> list[Mapping]:
    """Return the memory by kind and name, most private first; nothing is left out.

    lines    of smaps
    program  path of the interpreter
    """
    rows: dict[tuple[Kind, str], Mapping] = {}
    row, span, before = None, _Span(), _Span()
    values: dict[str, int] = {}
    for line in lines:
        if header := HEADER.fullmatch(line.rstrip("\n")):
            if row is not None:
                row.add(values)
            low, high, access, path = header.groups()
            before, span = span, _Span(int(low, 16), int(high, 16), access, path)
            kind, name = _kind(span, before, program, is_64)
            row, values = rows.setdefault((kind, name), Mapping(kind, name)), {}
        elif field := FIELD.match(line):
            values[field[1]] = int(field[2]) * 1024
    if row is not None:
        row.add(values)
    return sorted(rows.values(), key=lambda one: (-one.private, -one.pss, one.name))


def _kind(span: _Span, before: _Span, program: str, is_64: bool) -> tuple[Kind, str]:
    path = span.path.removesuffix(" (deleted)")
    if path.startswith("/"):
        if path == program:
            return "program", os.path.basename(path)
        name = os.path.basename(path)
        return ("library" if re.search(r"\.so(\.|\Z)", name) else "file"), name
    if path == "[heap]":
        return "heap", ""
    if path.startswith("[stack"):
        return "stacks", ""
    if path.startswith("[") and not path.startswith("[anon"):
        return "kernel", ""
    if span.start % ARENA_BYTES[not is_64] == 0 and span.access.startswith("rw"):
        return "arenas", ""
    guarded = before.end == span.start and before.access.startswith("---") and not before.path
    if guarded and before.end - before.start <= GUARD_BYTES and span.access.startswith("rw"):
        return "stacks", ""
    return "anonymous", ""
