"""``make flash``: an image onto an SD card, by bmaptool, and read back.

    python3 -m deploy.sdcard.flash --device /dev/sdX [--image FILE] [--yes 1] [--force 1]
                                   [--serial S] [--csv FILE [--again NAME] [--count N|all]]

With --csv also the files of the next device of that file, card after card (series.py); without
it one SD card, from the image alone. steps.py has the steps.

Runs on Debian's own python3, without this project's packages. Exit status: refusal.py.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from deploy.runtime.pins import BuildError
from deploy.sdcard import steps
from deploy.sdcard.disks import Machine
from deploy.sdcard.series import series
from edge.text import escaped


def main(given: Sequence[str]) -> int:
    """Write SD cards; return the exit status, after one line where something is wrong."""
    args = arguments(given)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        if args.csv:
            series(args)
        else:
            flash(args)
    except BuildError as exc:
        print(escaped(f"flash: {exc}"), file=sys.stderr)
        return exc.status
    except KeyboardInterrupt:
        print("\nflash: interrupted; nothing was written", file=sys.stderr)
        return 130
    return 0


def arguments(given: Sequence[str]) -> argparse.Namespace:
    """Return the options; make passes those that are not set as empty."""
    parser = argparse.ArgumentParser(prog="make flash", allow_abbrev=False)
    for option in ("device", "image", "serial", "yes", "force", "csv", "again", "count"):
        parser.add_argument(f"--{option}", default="")
    return parser.parse_args(given)


def flash(args: argparse.Namespace, machine: Machine | None = None) -> None:
    """Write one SD card from the image alone. Raises FlashError."""
    machine = machine or Machine()
    path, disk = steps.device(args, machine)
    image = steps.chosen(args)
    steps.confirmed(path, disk, image, args, machine)
    steps.write(path, image)


def _interrupt(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
