"""Entry point: configures logging, runs a command, turns errors into a line and a status."""

from __future__ import annotations

import argparse
import io
import logging
import os
import sys

from edge import cli, commands
from edge.errors import EdgeError


def main() -> int:
    """Run the command line; return the exit status."""
    parser = cli.parser()
    args = parser.parse_args()
    if isinstance(sys.stdout, io.TextIOWrapper):  # a file name may not be UTF-8
        sys.stdout.reconfigure(errors="backslashreplace")
    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stderr,
        format="%(message)s" if os.environ.get("JOURNAL_STREAM") else "%(asctime)s %(message)s",
        datefmt="%H:%M:%S",
    )
    try:
        return int(commands.COMMANDS[args.command](args))
    except EdgeError as exc:
        print(f"edge: {exc}", file=sys.stderr)
        return exc.exit_status
    except argparse.ArgumentTypeError as exc:
        parser.error(str(exc))
    except BrokenPipeError:  # the reader of stdout has gone, as with `| head`
        sys.stderr.close()
        return 0
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
