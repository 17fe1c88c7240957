"""`edge cases`: lists, sorts, exports, imports and removes the frames that were kept.

Works on the folder itself, while a daemon runs and while none does. What changes it is done as the
folder's owner, also where root began it: see owner. `export` reads, and writes elsewhere as root.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from edge import config as configs
from edge import files, owner
from edge.cases import archive, intake, names
from edge.cases.listing import Case, Filter, cases
from edge.cases.store import Store
from edge.cases.tidy import tidy
from edge.config import Config
from edge.errors import EdgeError
from edge.text import escaped


def prepare(args: argparse.Namespace) -> tuple[Path | None, Callable[[], int]]:
    """Open what only root can read; return the folder that is changed, and the rest. EdgeError."""
    config = _config(args)
    path = args.folder or configs.cases_path(config.cases, _state())
    if args.action == "import":
        with _faults(args.file, hint=""):
            args.opened = files.open_regular(args.file)

    def rest() -> int:
        with _faults(path):
            ACTIONS[args.action](args, path, config)
        return 0

    return path if args.action in CHANGING else None, rest


def _list(args: argparse.Namespace, path: Path, _: Config) -> None:
    label = None if args.label is None else names.check_label(args.label)
    which = Filter(label, args.reason, args.predicted, args.since, args.until)
    with Store(path) as store:
        for case in cases(store, which):
            if args.json:
                print(json.dumps(case.fields()))
            else:
                print(escaped(_line(case)))


def _show(args: argparse.Namespace, path: Path, _: Config) -> None:
    name = names.stem(args.name)
    with Store(path) as store:
        label = store.where(name)
        if label is None:
            raise EdgeError("no such case", where=str(path), got=name)
        picture, sidecar = store.picture(name, label), store.sidecar(name, label)
    fields = Case(name, label, picture, sidecar).fields()
    if args.json:
        print(json.dumps(fields))
        return
    fields["sorted"] = label or names.UNSORTED
    if sidecar:
        fields["time"] = _local(sidecar.time)
        fields["scores"] = ", ".join(f"{one} {score}" for one, score in sidecar.scores.items())
    else:
        fields["side-car"] = "missing or unreadable"
    for key, value in fields.items():
        print(escaped(f"{key:12} {'-' if value is None else value}"))


def _sort(args: argparse.Namespace, path: Path, _: Config) -> None:
    words = [*args.names, *([args.label] if args.label else [])]
    if not args.undo and len(words) < 2:
        raise EdgeError("no class", expected="NAME... LABEL, or --undo NAME...")
    label = "" if args.undo else names.check_label(words.pop())
    stems = list(dict.fromkeys(map(names.stem, words)))
    with Store(path, lock=True) as store:
        store.sort_all(stems, label)
    print(escaped(f"{_count(len(stems))} now {label or names.UNSORTED}"))


def _export(args: argparse.Namespace, path: Path, _: Config) -> None:
    with Store(path) as store:
        there = store.labels()
        labels = [names.check_label(label) for label in args.label or there]
        for label in labels:
            if label not in there:
                known = ", ".join(there) or "none yet: see `edge cases sort`"
                raise EdgeError(
                    "no such class", where=str(path), expected=known, got=label or names.UNSORTED
                )
        if not labels:
            raise EdgeError("nothing is sorted", where=str(path), hint="see `edge cases sort`")
        with _faults(args.file, hint="no such folder"):
            counts = archive.export(store, args.file, sorted(set(labels)))
    for label, count in counts.items():
        print(escaped(f"{label}: {_count(count)}"))


def _import(args: argparse.Namespace, path: Path, config: Config) -> None:
    with os.fdopen(args.opened, "rb") as opened, Store(path, create=True) as store:
        new, there = intake.take(store, opened, str(args.file), config.cases.bytes)
    print(escaped(f"{_count(new)} imported, {there} were there already"))


def _purge(args: argparse.Namespace, path: Path, _: Config) -> None:
    with Store(path, lock=True) as store:
        tidy(store)
        labels = ("", *store.labels()) if args.all else ("",)
        count = sum(store.purge(label) for label in labels)
    print(escaped(f"{_count(count)} removed"))


ACTIONS: Final[dict[str, Callable[[argparse.Namespace, Path, Config], None]]] = {
    "list": _list,
    "show": _show,
    "sort": _sort,
    "export": _export,
    "import": _import,
    "purge": _purge,
}
CHANGING: Final = ("sort", "import", "purge")


def _config(args: argparse.Namespace) -> Config:
    path = args.config
    if path is None and args.folder is None and configs.SERVICE_CONFIG.exists():
        path = configs.SERVICE_CONFIG
    return configs.load(path)


def _state() -> Path | None:
    """Return the service's state directory, where systemd has not named one."""
    there = os.path.lexists(configs.SERVICE_STATE)
    return configs.state_folder() or (configs.SERVICE_STATE if there else None)


@contextmanager
def _faults(path: Path, hint: str = "no frame was kept in it yet") -> Iterator[None]:
    """Turn what the system says of ``path`` into one line."""
    try:
        yield
    except BrokenPipeError:
        raise
    except FileNotFoundError as exc:
        raise EdgeError("not there", where=str(path), hint=hint) from exc
    except PermissionError as exc:
        root = os.geteuid() == 0 or owner.became()
        hint = "" if root else "use sudo: it belongs to the service"
        raise EdgeError(exc.strerror or str(exc), where=str(path), hint=hint) from exc
    except OSError as exc:
        raise EdgeError(exc.strerror or str(exc), where=str(path)) from exc


def _line(case: Case) -> str:
    """Return a case as a row: name, time, reason, window's label, frame's best label, class."""
    sidecar = case.sidecar
    moment = reason = window = best = "-"
    if sidecar:
        moment, reason = _local(sidecar.time), sidecar.reason
        window = sidecar.label or "uncertain"
        if scores := sidecar.scores:
            label = max(scores, key=lambda label: scores[label])
            best = f"{label} {scores[label]:.2f}"
    class_ = case.label or names.UNSORTED
    return f"{case.name:<28}  {moment:<19}  {reason:<8}  {window:<12}  {best:<16}  {class_}"


def _local(time_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time_s))


def _count(number: int) -> str:
    return f"{number} case" if number == 1 else f"{number} cases"
