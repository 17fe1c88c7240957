"""How a rollout goes on: its numbers, as the command gives them."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

from deploy import gates, waves
from deploy.errors import DeployError
from deploy.gates import Limits


@dataclass(frozen=True, slots=True)
class Pace:
    """How a rollout goes on.

    parallel   hosts at the same time
    failures   wave's number of hosts -> how many of them may fail
    soak_s     from the last change of a wave to its gates
    look_s     how long each device is watched, before and after
    patience_s  how long to wait for a deploy that an interruption has left running
    back_all   on a stop, earlier waves go back too
    """

    parallel: int
    failures: Callable[[int], int]
    soak_s: float
    look_s: float
    patience_s: float
    limits: Limits
    back_all: bool = False


def pace_of(args: argparse.Namespace, hosts: int) -> Pace:
    """Return how the rollout goes on. Raises DeployError."""
    waves.failures(args.failures, hosts)
    if args.back not in ("wave", "all"):
        raise DeployError(64, "BACK cannot be used", expected="wave or all", got=args.back)
    return Pace(
        parallel=waves.whole("PARALLEL", args.parallel, 1, waves.PARALLEL_MAX),
        failures=lambda size: waves.failures(args.failures, size),
        soak_s=waves.number("SOAK", args.soak, 0, waves.DAY_S),
        look_s=waves.number("LOOK", args.look, 1, 600),
        patience_s=waves.number("TIMEOUT", args.timeout, 1, waves.DAY_S) * 2,
        limits=gates.limits(args.gates),
        back_all=args.back == "all",
    )
