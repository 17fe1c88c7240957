"""What `edge record` and `edge replay` do."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Final

import msgspec

from edge import config as configs
from edge.cli import arguments
from edge.text import escaped

TOO_DIFFERENT: Final = 1


def record(args: argparse.Namespace) -> int:
    """Record what the model sees and says."""
    config = configs.load(args.config, arguments.overrides(args))
    from edge.cli import record

    report = record.run(config, args.file, args.seconds, args.max_bytes, args.lossless)
    megabytes = report.bytes / 1e6
    text = f"{args.file}: {report.frames} frames, {report.seconds:.1f} s, {megabytes:.1f} MB"
    text += f", {report.dropped} replaced before they were read; ended: {report.reason}"
    print(escaped(text))
    return 0


def replay(args: argparse.Namespace) -> int:
    """Classify a recording again; with `--compare`, end with 1 where too much differs."""
    config = configs.load(args.config, arguments.overrides(args))
    models = args.models or [config.model.path]
    if len(set(models)) != len(models):
        raise argparse.ArgumentTypeError("the same --model twice")
    from edge.cli import replay, replay_text

    player = replay.Player(args.file, config, models, recorded=args.config is None)
    try:
        if not args.compare:
            replay.show(player, print, args.json)
            return 0
        found = replay.compare(player)
    finally:
        player.close()
    for one in found:
        if args.json:
            print(json.dumps(msgspec.to_builtins(one)))
        else:
            for line in replay_text.comparison(one):
                print(line)
    worst = max(one.differ for one in found)
    if worst > args.allow:
        print(escaped(f"{worst} frames differ: expected at most {args.allow}"), file=sys.stderr)
        return TOO_DIFFERENT
    return 0
