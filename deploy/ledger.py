"""The state of one rollout in a file: who has what, and why. A kill at any instant loses no line.

Rule 1: it is written whole beside itself and renamed, before and after a device is changed.
Rule 2: one process at a time: the file beside it is locked.
Rule 3: a state of something else, or one that is no state, is refused and never overwritten.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Literal, get_args

from deploy.errors import DeployError
from deploy.facts import plain, typed
from edge import files

FORMAT: Final = 1
MAX_BYTES: Final = 100_000_000
ENTRY_BYTES: Final = MAX_BYTES // 10_000
"""Of one device in the file, which has room for 10,000: a device chooses its own texts."""
LABEL_BYTES: Final = 40
"""Of a label in the file; of a longer one there is a checksum, by which it can be compared."""
FAULTS: Final = 6
"""Checks of `edge doctor` that are judged."""
CUT: Final = 64
"""Bytes in the file of each text of a device that says too much: a checksum is whole."""
HISTORY: Final = 20
"""Outcomes of a host that are kept, the newest."""
State = Literal[
    "waiting", "changing", "installed", "healthy", "failed", "back", "unreachable", "stuck"
]
"""failed: not changed, back by itself, or to be taken back; stuck: could not be taken back."""
STATES: Final = get_args(State)
TOO_LARGE: Final = (OverflowError, RecursionError)
TOUCHED: Final = ("changing", "installed", "stuck")
"""States in which a device may have the new one: it is looked at first."""


@dataclass(slots=True)
class Entry:
    """One device.

    mine     this rollout has changed it, so the way back is its own
    before   facts before the change; after: those that were judged, as JSON types
    at_s     wall clock of the change that was begun last; 0 where none was or it was taken back
    passed   its wave has passed as a whole
    """

    host: str
    wave: int = 0
    state: State = "waiting"
    why: str = ""
    mine: bool = False
    at_s: float = 0.0
    passed: bool = False
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None
    unknown: list[str] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)


class Ledger:
    """The state of one rollout. Its methods are called by several threads.

    what      of what it is: `edge-camera 0.3.0`, `model gate@2`
    identity  checksums by kind of device; one that is added later is kept
    """

    def __init__(self, path: Path, what: str, identity: dict[str, str]) -> None:
        self.path, self.what, self.identity = path, what, identity
        self.entries: dict[str, Entry] = {}
        self._lines: dict[str, str] = {}
        self._lock = threading.Lock()

    def read(self) -> bool:
        """Take over the state in the file; return whether there was one. Raises DeployError."""
        where = str(self.path)
        try:
            given = json.loads(files.read_text(self.path, MAX_BYTES))
            if given["format"] != FORMAT:
                raise ValueError("of another version")
            what, identity = str(given["what"]), dict(given["identity"])
            entries = [_entry(one) for one in given["hosts"]]
        except FileNotFoundError:
            return False
        except OSError as exc:
            raise DeployError(73, f"cannot be read: {exc.strerror}", where=where) from exc
        except (ValueError, KeyError, TypeError, AttributeError, *TOO_LARGE):
            hint = "move it away to begin from the start, or NAME=ANOTHER"
            raise DeployError(73, "not the state of a rollout", where=where, hint=hint) from None
        if what != self.what or any(
            identity.get(kind, digest) != digest for kind, digest in self.identity.items()
        ):
            hint = "NAME=ANOTHER keeps both; to begin from the start, move the file away"
            other = what if what != self.what else f"{what} with another checksum"
            raise DeployError(73, "the state of another rollout", where=where, got=other, hint=hint)
        self.identity = {**identity, **self.identity}
        self.entries = {entry.host: entry for entry in entries}
        return True

    def pin(self, kind: str, digest: str) -> None:
        """Record which file a kind of device gets. Raises DeployError for another one."""
        with self._lock:
            if self.identity.setdefault(kind, digest) == digest:
                return
        raise DeployError(
            73,
            f"for {kind} there is another file than when this began",
            where=str(self.path),
            hint="name the first one, DEB=FILE; or NAME=ANOTHER begins from the start",
        )

    def enter(self, waves: list[list[str]]) -> None:
        """Take the hosts of a plan; those of an older plan that are in none stay as they are."""
        for number, wave in enumerate(waves, 1):
            for host in wave:
                self.entries.setdefault(host, Entry(host)).wave = number
        self.write()

    def set(self, host: str, state: State, why: str = "", **more: Any) -> None:
        """Change one device's state, and write the file."""
        with self._lock:
            entry = self.entries[host]
            entry.state, entry.why = state, why
            for name, value in more.items():
                setattr(entry, name, value)
            entry.history.append({"at_s": round(time.time(), 1), "state": state, "why": why})
            del entry.history[:-HISTORY]
            _fit(entry)
            self._lines[host] = _line(entry)
            self._write()

    def write(self) -> None:
        """Write the file, whole, after entries were changed. Raises DeployError."""
        with self._lock:
            self._lines = {host: _line(entry) for host, entry in self.entries.items()}
            self._write()

    def _write(self) -> None:
        about = {"format": FORMAT, "what": self.what, "identity": self.identity}
        hosts = ",\n".join(self._lines.values())  # a line each, and only the changed one is new
        replace(self.path, f'{json.dumps(about)[:-1]}, "hosts": [\n{hosts}\n]}}\n')


def replace(path: Path, text: str) -> None:
    """Write a file whole or not at all. Raises DeployError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.replace(path, text.encode())
    except OSError as exc:
        raise DeployError(73, f"cannot be written: {exc.strerror}", where=str(path)) from exc


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Be the only rollout with this state while the block lasts. Raises DeployError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.with_name(f".{path.name}.lock").open("w")
    except OSError as exc:
        raise DeployError(73, f"cannot be written: {exc.strerror}", where=str(path)) from exc
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DeployError(75, "another rollout with this state runs", where=str(path)) from None
        yield


def _fit(entry: Entry) -> None:
    """Leave out what is too much of one device: old outcomes first, then what it says of itself."""
    for facts in (entry.before, entry.after):
        if facts and isinstance(labels := facts.get("labels"), dict):
            facts["labels"] = {_label(name): count for name, count in labels.items()}
    while (over := len(_line(entry)) > ENTRY_BYTES) and len(entry.history) > 1:
        del entry.history[0]
    if not over:
        return
    entry.why = entry.history[-1]["why"] = _cut(entry.why, 4 * CUT)
    for name in ("before", "after"):
        if facts := getattr(entry, name):
            said = plain(typed(facts))
            some = {"faults": [_cut(one) for one in said["faults"]][:FAULTS]}
            texts = {key: _cut(text) for key, text in said.items() if isinstance(text, str)}
            setattr(entry, name, said | some | texts)


def _line(entry: Entry) -> str:
    return json.dumps(asdict(entry))


def _label(name: str) -> str:
    """Return a label, or a checksum of a long one; of what it returns: the same."""
    if len(json.dumps(name)) <= LABEL_BYTES:
        return name
    return hashlib.sha256(name.encode(errors="replace")).hexdigest()[:16]


def _cut(text: str, longest: int = CUT) -> str:
    text = text[:longest]
    while len(json.dumps(text)) > longest + 2:
        text = text[:-1]
    return text


def _entry(given: dict[str, Any]) -> Entry:
    """Return one device's state. Raises ValueError, TypeError."""
    entry = Entry(**{one.name: given[one.name] for one in fields(Entry) if one.name in given})
    plain = isinstance(entry.host, str) and isinstance(entry.why, str)
    plain = plain and isinstance(entry.wave, int) and isinstance(entry.unknown, list)
    maps = all(isinstance(one, dict | None) for one in (entry.before, entry.after))
    if entry.state not in STATES or not plain or not maps or not isinstance(entry.history, list):
        raise ValueError("not a device's state")
    entry.at_s, entry.mine = float(entry.at_s), bool(entry.mine)
    entry.passed = bool(given.get("passed", entry.state == "healthy"))
    if "passed" not in given and not entry.mine and entry.state in ("back", "failed"):
        entry.at_s = 0.0  # an earlier version let it stand
    return entry
