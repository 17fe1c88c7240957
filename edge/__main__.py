"""Entry point: takes the signals, runs a command, turns errors into a line and an exit status.

Rule 1: at its top this file imports nothing of weight; a signal that arrives before ``leave`` would
        find no handler.
Rule 2: ``main`` edits the environment before any thread is started: a library's `getenv` on
        another thread must never meet a `setenv`.
"""

from __future__ import annotations

import os
import sys

from edge.daemon import signals

TYPE_CHECKING = False  # typing itself is heavy
if TYPE_CHECKING:
    from typing import NoReturn


def main() -> int:
    """Run the command line; return the exit status."""
    import argparse
    import errno
    import io

    if sys.argv[1:2] == ["run"]:
        from edge import lean

        lean.begin()

    from edge.cli import arguments, commands
    from edge.daemon import logs
    from edge.errors import EdgeError

    os.environ.setdefault("OPENCV_LOG_LEVEL", "FATAL")  # read as cv2 is imported
    os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", "400000000")  # camera.max_pixels at most
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # silent: we report errors, once
    parser = arguments.parser()
    args = parser.parse_args()
    if isinstance(sys.stdout, io.TextIOWrapper):  # a file name may not be UTF-8
        sys.stdout.reconfigure(errors="backslashreplace")
    logs.configure()
    try:
        if args.command != "run":  # which reads them itself
            signals.give_back()
        status = commands.call(args)
        if sys.stdout is not None:
            sys.stdout.flush()
        return status
    except EdgeError as exc:
        logs.fail(exc)
        return exc.exit_status
    except argparse.ArgumentTypeError as exc:
        parser.error(str(exc))
    except BrokenPipeError:  # the reader of stdout has gone, as with `| head`
        sys.stderr.close()
        return 0
    except OSError as exc:
        if exc.errno != errno.ENOSPC or exc.filename:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # drops what is still buffered
        logs.fail(EdgeError(f"stdout cannot be written: {exc.strerror}"))
        return 74
    except KeyboardInterrupt:
        return 130


def leave() -> NoReturn:
    """Run the command line and end the process.

    A call into a driver or a server that hangs is left behind on its thread; if it returned while
    Python finalises, the process would abort.
    """
    signals.remember()
    status = main()

    import contextlib
    import logging
    import threading

    if any(thread.daemon for thread in threading.enumerate()):
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError, AttributeError):  # or there is no stream
                stream.flush()
        os._exit(status)
    sys.exit(status)


if __name__ == "__main__":
    leave()
