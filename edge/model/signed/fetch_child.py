"""The child's side of a fetch: takes its limits, reads, verifies, proves, adds, answers. See fetch.

A process of its own, in the daemon's sandbox; TLS and HTTP are imported here alone.
"""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Final, NoReturn

import msgspec

from edge.config import ModelConfig
from edge.config.bundles import BundlesConfig, is_below, split
from edge.errors import EdgeError, ModelError, boundary
from edge.model.card import MODEL_MAX_BYTES
from edge.model.trial_child import limit, limit_memory

LIMIT_S: Final = 720.0
"""Longest fetch: 600 s for the bytes, 40 s for the trial, and a second start of the model."""
MEMORY_BYTES: Final = 48_000_000
"""Of this process itself, beside the model that it proves: TLS, HTTP, the imports."""


class Request(msgspec.Struct, frozen=True):
    """What the daemon wants fetched. sha256: of the whole file, empty for any."""

    url: str
    sha256: str
    device: str
    model: ModelConfig
    bundles: BundlesConfig


class Done(msgspec.Struct, frozen=True):
    """What became of it. error: on one line; empty where the model was added."""

    name: str = ""
    bytes: int = 0
    serial: int = 0
    key: str = ""
    changed: bool = False
    error: str = ""


def main(text: str) -> NoReturn:
    """Do what the request ``text`` says; answer on stdout and end the process."""
    request = msgspec.convert(json.loads(text), Request)
    answer = os.dup(1)
    os.dup2(2, 1)  # where the interpreter prints to
    limit(LIMIT_S, MODEL_MAX_BYTES)
    try:
        with boundary(ModelError, "the model cannot be fetched", request.url):
            done = _fetch(request)
    except EdgeError as exc:
        done = Done(error=str(exc))
    os.write(answer, msgspec.json.encode(done))
    os._exit(0)  # without the interpreter's own clean-up, which may crash


def _fetch(request: Request) -> Done:
    from edge.model.signed import add, download, keys

    prefixes, memory = request.bundles.fetch, request.model.max_memory_bytes
    limit_memory(memory + MEMORY_BYTES + MODEL_MAX_BYTES)
    trusted = keys.trusted(Path(request.bundles.keys))  # before a server hears of it

    def allowed(url: str) -> bool:
        return is_below(split(url, "url"), prefixes)

    policy = add.Policy(request.model, trusted, request.device, request.sha256)
    source = download.opened(request.url, allowed, request.bundles.ca_file)
    added = add.add(source, request.url, policy)
    signal.alarm(0)
    return Done(added.name, added.bytes, added.serial, added.key, added.changed)
