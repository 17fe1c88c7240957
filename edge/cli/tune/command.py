"""What `edge tune` does, from its arguments to its exit status."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from edge import config as configs
from edge.cli.tune import answer as answers
from edge.cli.tune import machine, report, sources, trial
from edge.cli.tune.records import Target
from edge.cli.tune.search import Plan, Search
from edge.cli.tune.trial import Stop, Stopped
from edge.cli.watching import daemon_socket
from edge.config import persisted
from edge.errors import CameraError, EdgeError
from edge.telemetry import Thermometer
from edge.text import escaped

MET, NOT_MET, INTERRUPTED = 0, 1, 130
FPS_LEAST: Final = 1.0


def run(args: argparse.Namespace, proc: Path = machine.PROC, sys_: Path = machine.SYS) -> int:
    """Search, print, write; return the exit status. Raises EdgeError."""
    stop = Stop()
    stop.begin()
    path = args.config
    if path is None and configs.SERVICE_CONFIG.exists():
        path = configs.SERVICE_CONFIG
    config = configs.load(path, settings=persisted.read())
    if args.out:
        report.check(args.out)
    thermometer = Thermometer(sys_)
    if args.celsius is not None and thermometer.celsius() is None:
        raise EdgeError("this machine has no sensor of its temperature", where="--celsius")
    fps = args.fps or config.camera.fps
    if fps < FPS_LEAST:
        raise EdgeError(
            "too few frames to measure",
            where="camera.fps",
            expected=f"at least {FPS_LEAST:g} a second",
            got=f"{fps:g}",
            hint="give --fps",
        )
    target = Target(args.latency_ms or 1000 / fps, args.cpu, args.celsius)
    warnings = machine.warnings(proc, sys_)
    held = bool(machine.daemons(proc)) or sources.daemon_at(daemon_socket(path, config))
    begin_s = time.monotonic()
    source = sources.choose(config.camera, held)
    cores = tuple(sorted(os.sched_getaffinity(0)))
    notes = [source.note] if source.note else []
    plan = Plan(config, target, fps, args.minutes, source.scene, source.files, source.sizes, cores)
    for line in warnings:
        _say(f"warning: {line}")
    search = _search(plan, stop, thermometer)
    complete = False
    try:
        try:
            search.run()
        except CameraError as exc:
            if source.files or plan.scene != "source":
                raise
            source = sources.made_up(config.camera, str(exc))
            notes = [source.note]
            left = max(0.01, args.minutes - (time.monotonic() - begin_s) / 60)
            plan = replace(plan, scene=source.scene, minutes=left)
            search = _search(plan, stop, thermometer)
            search.run()
        complete = True
    except Stopped:
        pass
    if others := machine.others(search.measurements):
        warnings.append(others)
    return _end(args, answers.answer(search, plan, warnings, notes, complete))


def _search(plan: Plan, stop: Stop, thermometer: Thermometer) -> Search:
    return Search(plan, partial(trial.run, stop=stop), thermometer.celsius, _say)


def _end(args: argparse.Namespace, answer: answers.Answer) -> int:
    """Print and write an answer; return the exit status."""
    from edge.cli.tune import shown

    shown.draw(answer)
    written = args.out is not None and answer.complete
    if args.json:
        print(json.dumps(msgspec.to_builtins(answer)))
    elif not written:
        sys.stdout.write(answer.lines)
    if written:
        try:
            report.write(args.out, answer.lines)
        except EdgeError:
            if not args.json:
                sys.stdout.write(answer.lines)  # minutes of work
            raise
    if not answer.complete:
        return INTERRUPTED
    return MET if answer.meets else NOT_MET


def _say(line: str) -> None:
    print(escaped(line), file=sys.stderr, flush=True)
