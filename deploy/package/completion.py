"""Shell completion, made by shtab from the command line's parser.

    python3 -m deploy.package.completion bash|zsh

Runs on Debian's own python3, with its package python3-shtab.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import shtab

from deploy.package.manual import subparsers
from edge.cli import arguments

PATHS: Final = ("model", "password_file", "source")
"""Options whose value may be a path, beside those of type Path."""


def complete(shell: str) -> str:
    """Return the completion for ``shell``."""
    parser = arguments.parser()
    for command in subparsers(parser).values():
        for action in command._actions:
            if action.type is Path or action.dest in PATHS:
                action.complete = shtab.FILE  # type: ignore[attr-defined]
    return str(shtab.complete(parser, shell))


if __name__ == "__main__":
    sys.stdout.write(complete(sys.argv[1]))
