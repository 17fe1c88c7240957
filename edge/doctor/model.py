"""The model: the attested start, again and in this process."""

from __future__ import annotations

import msgspec

from edge import config as configs
from edge.config import Config
from edge.doctor.checks import Check, Findings
from edge.errors import ModelError
from edge.model.engine import describe, start


def check(config: Config) -> Check:
    """Prove what a start of the daemon would prove."""
    findings = Findings("model")
    try:
        engine = start(config.model)
    except ModelError as exc:
        findings.error(exc, "reinstall the model or its runtime")
        return findings.check()
    model = describe(engine)
    label = configs.thresholds(config.smoothing, engine.card.smoothing)
    findings.facts = {
        "name": model.name,
        "version": model.version,
        "sha256": model.sha256,
        "labels": len(model.labels),
        "runtime": model.runtime,
        "kind": model.kind,
        "xnnpack": model.xnnpack,
        "delegated_share": model.delegated_share,
        "left_out": list(model.left_out),
        "threads": model.threads,
        "golden": model.golden,
        "input_from": model.input_from,
        "background": list(model.background),
        "thresholds": msgspec.to_builtins(label),
        "head_sha256": model.head_sha256,
    }
    for warning in engine.warnings:
        findings.wrong("warning", warning, "see docs/models.md")
    head = f", head {model.head_sha256[:12]}" if model.head_sha256 else ""
    text = f"{model.name} {model.version} {model.sha256[:12]}{head}"
    findings.say(f"{text}, golden scores {model.golden}")
    findings.say(f"{model.runtime}, {model.kind}, XNNPACK {model.delegated_share:.0%} of the nodes")
    if model.left_out:
        findings.say("left to TFLite: " + ", ".join(sorted(set(model.left_out))))
    findings.say(f"label: {label.text()}")
    if model.background:
        findings.say("background: " + ", ".join(model.background))
    return findings.check()
