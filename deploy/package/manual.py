"""The manual pages: edge(1) from the command line's parser, edge.toml(5) from deploy/edge.toml.

The frame around them is written by hand in deploy/package/*.in; it names no option and no key.
Source of the markup: man(7).
"""

from __future__ import annotations

import argparse
import datetime
from pathlib import Path
from typing import Final

from edge import __version__
from edge.cli import arguments

HERE: Final = Path(__file__).resolve().parent
CONFIG: Final = HERE.parent / "edge.toml"


def pages(epoch: int) -> dict[str, str]:
    """Return the pages: file name -> text.

    epoch  their date, seconds
    """
    day = datetime.datetime.fromtimestamp(epoch, datetime.UTC).strftime("%Y-%m-%d")
    generated = {"edge.1": commands(arguments.parser()), "edge.toml.5": literal(CONFIG.read_text())}
    return {
        name: (HERE / f"{name}.in")
        .read_text()
        .replace("@DATE@", day)
        .replace("@VERSION@", __version__)
        .replace("@GENERATED@\n", text)
        for name, text in generated.items()
    }


def subparsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return the parser of each command."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def commands(parser: argparse.ArgumentParser, above: str = "edge") -> str:
    """Return a subsection for each command: description, options, an example."""
    lines = []
    for name, one in subparsers(parser).items():
        lines += [f".SS {above} {name}", escaped(one.description or "")]
        for action in one._actions:
            if not isinstance(action, argparse._HelpAction | argparse._SubParsersAction):
                lines += [".TP", _call(action), escaped((action.help or "") % vars(action))]
        example = (one.epilog or "").removeprefix("example: ")
        lines += [".PP", "Example:", ".EX", escaped(example), ".EE"]
        if inner := commands(one, f"{above} {name}").strip():
            lines.append(inner)
    return "\n".join(lines) + "\n"


def literal(text: str) -> str:
    """Return ``text`` as a verbatim block."""
    return ".EX\n" + "".join(f"{escaped(line)}\n" for line in text.splitlines()) + ".EE\n"


def escaped(text: str) -> str:
    """Return ``text`` with its markup characters escaped."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("~", "\\(ti")
    return f"\\&{text}" if text[:1] in (".", "'") else text


def _call(action: argparse.Action) -> str:
    names = ", ".join(rf"\fB{escaped(name)}\fR" for name in action.option_strings)
    if action.nargs == 0:
        return names
    value = action.metavar or action.dest.upper()
    argument = rf"\fI{escaped(str(value))}\fR" + ("..." if action.nargs == "+" else "")
    return f"{names} {argument}".strip()
