"""Commands and options of `edge`, and the config keys that they set. Imports nothing heavy."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from edge import __version__
from edge.cli import (
    arguments_cases,
    arguments_models,
    arguments_teach,
    arguments_tune,
    arguments_web,
    values,
)
from edge.messages import unbracketed
from edge.text import escaped

if TYPE_CHECKING:  # packaging reads the parser without the libraries that the config needs
    from edge.config import Tables

EXAMPLES: Final = {
    "run": "edge run --source /dev/video0 --broker localhost:1883",
    "check": "edge check --config /etc/edge-camera/edge.toml",
    "classify": "edge classify --json cat.jpg dog.jpg",
    "bench": "edge bench --threads 2 --frames 2000 --budget-ms 20",
    "tune": "edge tune --fps 15 --cpu 0.1 --out tuned.toml",
    "watch": "edge watch --broker localhost:1883",
    "purge": "edge purge --broker localhost wall-old",
    "teach": "edge teach pictures --name gate",
    "models": "edge models add build/gate",
    "doctor": "edge doctor --config /etc/edge-camera/edge.toml",
    "record": "edge record --seconds 60 --source /dev/video0 porch.edgerec",
    "replay": "edge replay --model old --model new --compare --allow 10 porch.edgerec",
    "cases": "edge cases sort 20260131T174501-250-4711 open",
    "web": "edge web --port 8080",
    "schema": "edge schema | jq .state",
}

RECORD_BYTES: Final = 1_000_000_000
"""Default limit of a recording."""


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one printable line, whatever was typed."""

    def error(self, message: str) -> NoReturn:
        """Print the error and end the process."""
        super().error(escaped(message))


def parser() -> argparse.ArgumentParser:
    """Return the parser of every command."""
    top = _Parser(prog="edge", description="An always-on image classifier, published over MQTT.")
    top.add_argument("--version", action="version", version=f"edge {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, help: str) -> argparse.ArgumentParser:
        return commands.add_parser(
            name,
            help=help,
            description=help[0].upper() + help[1:] + ".",
            epilog=f"example: {EXAMPLES[name]}",
        )

    run = command("run", "run the daemon: classify a source, publish over MQTT")
    _config(run)
    _source(run)
    run.add_argument("--broker", metavar="HOST[:PORT]", help="MQTT broker")
    run.add_argument("--once", action="store_true", help="end when a file or folder ends")

    check = command("check", "print the effective config and prove what the start would prove")
    _config(check)

    classify = command("classify", "classify image files")
    classify.add_argument("files", nargs="+", metavar="FILE", type=Path)
    classify.add_argument("--json", action="store_true", help="print one JSON object for each file")
    _model(classify)

    bench = command("bench", "measure speed and memory on this machine")
    bench.add_argument("--json", action="store_true", help="print one line of JSON at the end")
    bench.add_argument(
        "--frames", type=values.frames, default=1000, help="frames to measure (default: 1000)"
    )
    bench.add_argument(
        "--budget-ms", type=values.duration, help="exit 1 if the pipeline's p90 is above it"
    )
    bench.add_argument(
        "--capture", type=values.duration, help="measure the source instead, for this many seconds"
    )
    bench.add_argument(
        "--memory",
        metavar="PROCESS",
        nargs="?",
        const=0,
        type=values.positive,
        help="show what a running daemon's memory is (default: the one at the local socket)",
    )
    bench.add_argument("--naive", action="store_true", help="measure a naive loop too, to compare")
    _config(bench)
    _source(bench)

    arguments_tune.add(command("tune", "find the settings that meet a target on this machine"))

    watch = command("watch", "show what a device publishes, live")
    _config(watch)
    _broker(watch)
    watch.add_argument(
        "--socket",
        metavar="PATH",
        type=Path,
        help="the local socket of a daemon (default: the service's, where one can connect)",
    )
    watch.add_argument("--device", default="+", type=values.device, help="one device only")
    watch.add_argument("--seconds", type=values.duration, help="end after this many seconds")

    purge = command("purge", "remove a device from the broker and from Home Assistant")
    _config(purge)
    purge.add_argument("device", type=values.one_device, help="the device's id")
    _broker(purge)

    doctor = command("doctor", "check whether this device is healthy, and if not, say why")
    doctor.add_argument(
        "--config", metavar="FILE", type=Path, help="edge.toml (default: the service's, if present)"
    )
    doctor.add_argument("--json", action="store_true", help="one JSON object")

    arguments_teach.add(command("teach", "teach a model with a folder of pictures for each class"))

    arguments_models.add(command("models", "list, add, remove and sign models"))

    _record(command("record", "record what the model sees and says, to replay it later"))
    _replay(command("replay", "classify a recording again, and compare models on it"))
    arguments_cases.add(command("cases", "list, sort, export and remove the frames that were kept"))
    arguments_web.add(command("web", "serve the page and the HTTP API of this device"))

    command("schema", "print the JSON Schema of every payload")
    return top


def _record(record: argparse.ArgumentParser) -> None:
    record.add_argument("file", metavar="FILE", type=Path, help="new file, ends in .edgerec")
    record.add_argument(
        "--seconds", type=values.duration, default=60.0, help="end after so many (default: 60)"
    )
    record.add_argument(
        "--max-bytes",
        type=values.positive,
        default=RECORD_BYTES,
        help=f"end before the file is larger (default: {RECORD_BYTES})",
    )
    record.add_argument(
        "--lossless", action="store_true", help="keep every pixel as it is: four times as large"
    )
    _config(record)
    _source(record)


def _replay(replay: argparse.ArgumentParser) -> None:
    replay.add_argument("file", metavar="FILE", type=Path, help="recording of `edge record`")
    replay.add_argument(
        "--model",
        dest="models",
        metavar="MODEL",
        action="append",
        help="model to replay it with; may be repeated (default: the config's)",
    )
    replay.add_argument(
        "--threads",
        type=values.positive,
        help="threads of each interpreter (default: one for each core)",
    )
    replay.add_argument(
        "--compare",
        action="store_true",
        help="compare two models, or the recording with one; exit 1 if they differ",
    )
    replay.add_argument(
        "--allow", type=values.count, default=0, help="frames that may differ (default: 0)"
    )
    replay.add_argument("--json", action="store_true", help="print JSON, one object on a line")
    _config(replay)


def overrides(args: argparse.Namespace) -> Tables:
    """Return the config keys that the command line sets, as tables."""
    tables: Tables = {"camera": {}, "model": {}, "mqtt": {}}
    if getattr(args, "source", None):
        tables["camera"]["source"] = args.source
    if getattr(args, "once", False):
        tables["camera"]["loop"] = False
    if getattr(args, "model", None):
        tables["model"]["path"] = args.model
    if getattr(args, "threads", None) is not None:
        tables["model"]["threads"] = args.threads
    if getattr(args, "broker", None):
        host, port = broker(args.broker)
        tables["mqtt"] |= {"host": host} | ({"port": port} if port else {})
    for key in ("username", "password_file"):
        if getattr(args, key, None) is not None:
            tables["mqtt"][key] = getattr(args, key)
    return tables


def broker(text: str) -> tuple[str, int]:
    """Return host and port of ``HOST[:PORT]`` or ``[V6][:PORT]``; port 0 where there is none."""
    if "@" in text or "://" in text:  # it may hold a password, which must not be printed
        raise argparse.ArgumentTypeError(
            "expected only HOST or HOST:PORT; user name and password file are options of their own"
        )
    host, colon, port = text.rpartition(":")
    if not colon or (host.count(":") and not host.endswith("]")):
        host, port = text, ""
    host = unbracketed(host)
    valid = not port or (port.isascii() and port.isdigit() and len(port) < 6)
    if not host or not valid or int(port or 1) not in range(1, 65536):
        raise argparse.ArgumentTypeError(f"expected HOST or HOST:PORT, got {text!r}")
    return host, int(port or 0)


def _config(command: argparse.ArgumentParser) -> None:
    command.add_argument("--config", metavar="FILE", type=Path, help="edge.toml")


def _model(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--model",
        metavar="MODEL",
        help="name of an installed model, .tflite file, or folder with model.toml",
    )
    command.add_argument(
        "--threads",
        type=values.positive,
        help="threads of the interpreter (default: one for each core)",
    )


def _source(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--source",
        help="auto, picamera2, /dev/videoN, rtsp://..., a video file, a folder, synthetic",
    )
    _model(command)


def _broker(command: argparse.ArgumentParser) -> None:
    command.add_argument("--broker", metavar="HOST[:PORT]", help="MQTT broker")
    command.add_argument("--username", help="user name at the broker")
    command.add_argument("--password-file", help="file with the password in its first line")
