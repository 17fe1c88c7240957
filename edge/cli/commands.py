"""What each command does, a function each; it imports what it needs, so that others start fast."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from edge import config as configs
from edge import owner
from edge.cli import arguments, recordings, watching
from edge.text import escaped

Prepared = tuple[Path | None, Callable[[], int]]
"""The folder that a command is about to change, None for none; and what is left to do."""
BAD_FILE: Final = 1
OVER_BUDGET: Final = 1


def run(args: argparse.Namespace) -> int:
    """Run the daemon until its source ends or a signal comes."""
    from edge.config import persisted

    overrides = arguments.overrides(args)
    configs.load(args.config, overrides)  # a wrong key is reported before heavy imports
    from edge.daemon.service import Service

    Service(lambda: configs.load(args.config, overrides, persisted.read())).run()
    return 0


def check(args: argparse.Namespace) -> int:
    """Print the effective config without secrets, and what the start proves."""
    from edge.config import persisted

    config = configs.load(args.config, settings=persisted.read())
    print(json.dumps(configs.redacted(config), indent=2))  # before heavy imports, as in `run`
    from edge.model.engine import input_text, start
    from edge.mqtt.access import Access

    Access(configs.broker(config.mqtt))  # reads certificates and password
    configs.source(config.camera)  # reads the password

    engine = start(config.model)
    facts = engine.classifier.facts
    rest = f", left to TFLite: {', '.join(facts.left_out)}" if facts.left_out else ""
    golden, head, second = engine.card.golden, engine.card.head, engine.second
    background = ", ".join(engine.card.background)
    label = configs.thresholds(config.smoothing, engine.card.smoothing).text()
    for line in (
        f"config   {args.config or 'defaults'}: valid",
        f"model    {engine.path}: sha256 {engine.sha256[:16]}, {len(engine.card.labels)} labels",
        *([f"second   {second.path}: sha256 {second.sha256[:16]}"] if second else []),
        *([f"head     {engine.folder / head.file}: sha256 {head.sha256[:16]}"] if head else []),
        f"runtime  {facts.runtime}, {facts.threads} threads, {facts.kind} layers",
        f"XNNPACK  {facts.delegated_share:.0%} of the nodes{rest}",
        "golden   " + (f"scores within {golden.tolerance}" if golden else "none in the card"),
        f"input    {input_text(engine)}",
        f"label    {label}" + (f"; background: {background}" if background else ""),
    ):
        print(escaped(line))
    return 0


def classify(args: argparse.Namespace) -> int:
    """Classify image files; an unreadable one is reported, and the others go on."""
    from edge.cli import classify

    config = configs.load(None, arguments.overrides(args))
    return 0 if classify.run(args.files, config.model, as_json=args.json) else BAD_FILE


def bench(args: argparse.Namespace) -> int:
    """Measure speed and memory of the pipeline on this machine, and print them."""
    from edge.cli import bench, bench_source

    tables = arguments.overrides(args)
    if not args.config:
        tables["camera"].setdefault("source", "synthetic")
    config = configs.load(args.config, tables)
    if args.memory is not None:
        return _memory(args, config)
    if args.capture:
        print(json.dumps(bench_source.run(config, args.capture)))
        return 0
    figures = bench.run(config, args.frames, args.naive)
    _draw(figures, stderr=args.json)
    if args.json:
        print(json.dumps(figures))
    p90_ms = figures["pipeline_ms"]["p90"]
    if args.budget_ms is not None and p90_ms > args.budget_ms:
        line = f"pipeline p90 {p90_ms} ms is over the budget of {args.budget_ms} ms"
        print(escaped(line), file=sys.stderr)
        return OVER_BUDGET
    return 0


def tune(args: argparse.Namespace) -> int:
    """Find the settings that meet a target, print them, and say whether they do."""
    from edge.cli.tune import command

    return command.run(args)


def _memory(args: argparse.Namespace, config: configs.Config) -> int:
    """Print what the memory of a running daemon is."""
    from edge.cli import bench_memory

    path = watching.daemon_socket(args.config, config) or configs.SERVICE_SOCKET
    figures = bench_memory.run(args.memory or bench_memory.listening(path))
    if args.json:
        print(json.dumps(figures))
    else:
        bench_memory.draw(figures)
    return 0


def _draw(figures: dict[str, Any], *, stderr: bool) -> None:
    """Print the figures of `bench` for people: a row for each stage, a line for each other."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    title = Text(escaped(f"{figures['model']}, ms per frame"))
    columns = ("p50", "p90", "p99", "max")
    table = Table("", *columns, title=title)
    for name, values in figures.items():
        if isinstance(values, dict):
            cells = (f"{values[column]:.3f}" if column in values else "" for column in columns)
            table.add_row(name.removesuffix("_ms"), *cells)
    console = Console(stderr=stderr)
    console.print(table)
    for name, value in figures.items():
        if not isinstance(value, dict):
            console.print(Text(escaped(f"{name:>22}  {value}")))


def purge(args: argparse.Namespace) -> int:
    """Remove a device from the broker and from Home Assistant."""
    from edge.cli import purge

    config = configs.load(args.config, arguments.overrides(args))
    broker, prefix = configs.broker(config.mqtt), config.homeassistant.prefix
    topics = purge.run(broker, config.mqtt.base_topic, args.device, prefix)
    for topic in topics:
        print(escaped(f"cleared {topic}"))
    if not topics:
        print(escaped(f"the broker retains nothing of {args.device}"), file=sys.stderr)
    return 0


def doctor(args: argparse.Namespace) -> int:
    """Print whether this device is healthy, and if not, why and what to do."""
    from edge.doctor import examine, report, shown, status

    logging.getLogger().setLevel(logging.ERROR)  # the checks say what matters
    checks = examine(args.config)
    if args.json:
        print(json.dumps(report(checks)))
    else:
        shown.draw(checks, status(checks))
    return status(checks)


def teach(args: argparse.Namespace) -> int:
    """Teach a model, and print how good it is."""
    if args.gently:
        from edge.cli import teach_progress

        teach_progress.gently()
    from edge.cli import teach

    figures = teach.run(args)
    if args.json:
        print(json.dumps(figures))
    else:
        print(escaped(f"model     {figures['model']}: {figures['name']} {figures['version']}"))
    return 0


def models(args: argparse.Namespace) -> Prepared:
    """List the models of this device, add one that has proven itself, remove or sign one."""
    from edge.cli import arguments_models, models

    arguments_models.check(args)
    return models.prepare(args)


def cases(args: argparse.Namespace) -> Prepared:
    """List, sort, export, import or remove cases."""
    from edge.cli import cases

    return cases.prepare(args)


def web(args: argparse.Namespace) -> Prepared:
    """Serve the page and the HTTP API, or change the password or a token."""
    from edge.web import command

    return command.prepare(args)


def schema(_: argparse.Namespace) -> int:
    """Print the JSON Schema of every payload."""
    from edge import contract

    print(json.dumps(contract.schema(), indent=2))
    return 0


COMMANDS: Final[dict[str, Callable[[argparse.Namespace], int]]] = {
    "run": run,
    "check": check,
    "classify": classify,
    "bench": bench,
    "tune": tune,
    "watch": watching.watch,
    "purge": purge,
    "doctor": doctor,
    "teach": teach,
    "record": recordings.record,
    "replay": recordings.replay,
    "schema": schema,
}
CHANGING: Final[dict[str, Callable[[argparse.Namespace], Prepared]]] = {
    "models": models,
    "cases": cases,
    "web": web,
}
"""Those that change the state directory of the service, which is another user's than root."""


def call(args: argparse.Namespace) -> int:
    """Run a command; return the exit status. Raises EdgeError.

    Of the commands in CHANGING, root does the first half, which opens what only root can read; the
    other half is done as the owner of the folder that is changed: see owner. The daemon itself
    (`run`) stays what it was started as, and `doctor` changes nothing.
    """
    if args.command not in CHANGING:
        return COMMANDS[args.command](args)
    place, work = CHANGING[args.command](args)
    if place is not None:
        owner.become(place)
    return work()
