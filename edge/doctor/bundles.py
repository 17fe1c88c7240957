"""Signed models: whether any can be added, where the config says that they should."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from edge.config import Config
from edge.doctor.checks import Check, Findings
from edge.errors import ModelError
from edge.model.signed import keys

ROOT: Final = "sudo edge doctor"
NONE: Final = "no signed model can be added, or fetched by request"


def check(config: Config) -> Check:
    """Judge the keys that are trusted."""
    findings, folder = Findings("bundles"), Path(config.bundles.keys)
    findings.facts = {
        "keys": [],
        "fetch": list(config.bundles.fetch),
        "signed_only": config.bundles.signed_only,
    }
    try:
        trusted = keys.trusted(folder)
    except ModelError as exc:
        if isinstance(exc.__cause__, PermissionError):
            findings.wrong("unknown", f"{folder}: only root can read it", ROOT)
        else:
            findings.wrong("warning", f"{exc.where}: {exc.what}: {NONE}", exc.hint)
        return findings.check()
    findings.facts["keys"] = [key.id for key in trusted]
    names = ", ".join(f"{key.name} ({key.id})" for key in trusted)
    findings.say(f"signed models are trusted by {names}")
    if config.bundles.fetch:
        findings.say(f"a request may fetch from {', '.join(config.bundles.fetch)}")
    return findings.check()
