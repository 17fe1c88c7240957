"""The attested start, once more and in this process: model, runtime, delegate."""

from __future__ import annotations

from edge.config import ModelConfig
from edge.doctor.checks import Check, Findings
from edge.errors import ModelError
from edge.model import engine as engines


def check(config: ModelConfig) -> Check:
    """Prove what a start of the daemon would prove."""
    found = Findings("model")
    try:
        engine = engines.start(config)
        told = engines.describe(engine)
    except ModelError as exc:
        found.error(exc, "reinstall the model or its runtime")
        return found.check()
    found.facts = {
        "name": told.name,
        "version": told.version,
        "sha256": told.sha256,
        "labels": len(told.labels),
        "runtime": told.runtime,
        "kind": told.kind,
        "xnnpack": told.xnnpack,
        "delegated_share": told.delegated_share,
        "left_out": list(told.left_out),
        "threads": told.threads,
        "golden": told.golden,
        "input_from": told.input_from,
    }
    for warning in engine.warnings:
        found.wrong("warning", warning, "see docs/models.md")
    found.say(f"{told.name} {told.version} {told.sha256[:12]}, golden scores {told.golden}")
    found.say(f"{told.runtime}, {told.kind}, XNNPACK {told.delegated_share:.0%} of the nodes")
    if told.left_out:
        found.say("left to TFLite: " + ", ".join(sorted(set(told.left_out))))
    return found.check()
