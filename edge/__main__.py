"""Entry point: configures logging, runs a command, turns errors into a line and a status."""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import os
import sys
import threading
from typing import NoReturn

from edge import cli, commands, stderr, systemd
from edge.errors import EdgeError
from edge.text import escaped


def main() -> int:
    """Run the command line; return the exit status."""
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")  # read as cv2 is imported
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # silent: errors are told once, by us
    parser = cli.parser()
    args = parser.parse_args()
    if isinstance(sys.stdout, io.TextIOWrapper):  # a file name may not be UTF-8
        sys.stdout.reconfigure(errors="backslashreplace")
    _log()
    try:
        return int(commands.COMMANDS[args.command](args))
    except EdgeError as exc:
        _fail(exc)
        return exc.exit_status
    except argparse.ArgumentTypeError as exc:
        parser.error(str(exc))
    except BrokenPipeError:  # the reader of stdout has gone, as with `| head`
        sys.stderr.close()
        return 0
    except KeyboardInterrupt:
        return 130


class _OneLine(logging.Formatter):
    """Every record is one line, whoever named what is in it; a traceback follows as it is."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802, logging's name
        """Return the line of a record."""
        record.message = escaped(record.message)
        return super().formatMessage(record)


def _log() -> None:
    journal = systemd.journal()
    handler = journal or stderr.Handler(sys.stderr)
    form = "%(message)s" if journal or systemd.journaled() else "%(asctime)s %(message)s"
    handler.setFormatter(_OneLine(form, datefmt="%H:%M:%S"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def _fail(error: EdgeError) -> None:
    """Say why the process ends.

    To the journal through stderr: an entry sent to it by itself may come when the process is gone,
    and would belong to no unit then.
    """
    if systemd.journaled():
        stderr.write(f"<3>{error}\n".encode(errors="backslashreplace"))
        systemd.Notifier().status(str(error))
    else:
        stderr.write(f"edge: {error}\n".encode(errors="backslashreplace"))


def leave() -> NoReturn:
    """Run the command line and end the process.

    A call into a driver or a server that hangs is left behind on a thread of its own; were it to
    come back while Python takes itself apart, the process would abort.
    """
    status = main()
    if any(thread.daemon for thread in threading.enumerate()):
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(status)
    sys.exit(status)


if __name__ == "__main__":
    leave()
