"""`make bench-peers`: loops, runtimes and whole programs side by side, in one run.

    python -m deploy.peers.measure [--rounds N] [--seconds S] [--only TABLE ...]
                                   [--write | --rewrite]

Everything is measured once in each round, each in a process of its own; the next round begins
elsewhere in the order. The tables go to stdout; --write puts them, the figures and the plot into
docs/ instead. --rewrite writes the document again from docs/performance.json, and measures nothing.
What cannot be measured here is a row that says why.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final, NoReturn

from deploy.peers import page, record, setting
from deploy.peers.tasks import TABLES, Task, tasks
from deploy.runtime.pins import BuildError
from edge.errors import EdgeError
from edge.text import escaped

USAGE: Final = 64
ROUNDS: Final = (1, 50)
SECONDS: Final = (0.1, 60.0)


class Parser(argparse.ArgumentParser):
    """Refuses in one line."""

    def error(self, message: str) -> NoReturn:
        """Raise BuildError."""
        raise BuildError(USAGE, message, where="ARGS", hint="make bench-peers ARGS=--help")


def arguments(words: list[str]) -> argparse.Namespace:
    """Return the options. Raises BuildError."""
    parser = Parser(prog="make bench-peers", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="medians of so many (5)")
    parser.add_argument(
        "--seconds", type=float, default=0.8, metavar="S", help="of each loop and runtime (0.8)"
    )
    parser.add_argument("--only", nargs="+", choices=TABLES, default=TABLES, metavar="TABLE",
                        help=", ".join(TABLES))  # fmt: skip
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--write", action="store_true", help="into docs/performance.*")
    choice.add_argument("--rewrite", action="store_true", help="the same from performance.json")
    args = parser.parse_args(words)
    for name, (low, high) in (("rounds", ROUNDS), ("seconds", SECONDS)):
        value = getattr(args, name)
        if not low <= value <= high:
            expected = f"{low:g} to {high:g}"
            raise BuildError(USAGE, "out of range", where=f"--{name}", expected=expected,
                             got=f"{value:g}")  # fmt: skip
    if args.write and {*args.only} != {*TABLES}:
        raise BuildError(
            USAGE, "--write with --only", where="ARGS", expected="one of them",
            hint="the document shows one run of everything",
        )  # fmt: skip
    return args


def run(todo: list[Task], rounds: int) -> dict[str, list[record.Row]]:
    """Return the rows of every table; what is refused once is not tried again."""
    found: dict[Task, list[dict[str, Any]]] = {task: [] for task in todo}
    begin = time.monotonic()
    for turn in range(rounds):
        first = turn * len(todo) // rounds
        for task in todo[first:] + todo[:first]:
            done = found[task]
            if turn % task.every == 0 and not (done and "refused" in done[-1]):
                done.append(task.run())
                if "refused" in done[-1]:
                    print(f"not measured: {' '.join(task.key)}: {escaped(done[-1]['refused'])}",
                          file=sys.stderr, flush=True)  # fmt: skip
        print(f"round {turn + 1} of {rounds}, {time.monotonic() - begin:.0f} s",
              file=sys.stderr, flush=True)  # fmt: skip
    tables: dict[str, list[record.Row]] = {}
    for task, done in found.items():
        tables.setdefault(task.table, []).append(record.row(task.key, done))
    return tables


def measured(args: argparse.Namespace) -> record.Record:
    """Measure."""
    before = os.getloadavg()[0]
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edge-peers-")))
        place = setting.prepare(folder)
        todo = tasks(place, folder, args.only, args.seconds, stack)
        tables = run(todo, args.rounds)
    load = round(before, 2), round(os.getloadavg()[0], 2)
    return record.Record(setting.machine(place, args.rounds, load), tables)


def main(words: list[str]) -> int:
    """Measure, or write again; return the exit status."""

    def stop(number: int, _: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)  # as Ctrl-C: nothing that was started stays
    try:
        args = arguments(words)
        result = record.read() if args.rewrite else measured(args)
        if args.write:
            record.write(result)
        if args.write or args.rewrite:
            page.write(result)
        else:
            print("\n".join(page.sections(result).values()))
    except BuildError as exc:
        print(exc, file=sys.stderr)
        return exc.status
    except EdgeError as exc:
        print(exc, file=sys.stderr)
        return exc.exit_status
    except (OSError, RuntimeError) as exc:
        print(" ".join(str(exc).split()), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
