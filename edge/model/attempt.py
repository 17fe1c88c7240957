"""Whether a model has proven itself, and the trial of one that has not, in steps.

A model's file may come from anywhere, and an interpreter may crash, hang or grow at it. Only what
has passed once in a child process is loaded in this one; that is remembered, see proof.

Composes card, classifier, proof and trial. Runs on the caller's thread.
"""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from edge import __version__, files
from edge import config as configs
from edge.config import ModelConfig
from edge.errors import ModelError, boundary
from edge.frames import Seconds
from edge.model import locate, proof, runtime
from edge.model.card import MODEL_MAX_BYTES
from edge.model.trial import Trial

SHIPPED_SHA256: Final = "e06db8d6e9389b549b7448e508986e1418ba3619f93528db278318498c2b0aa6"
"""Of the model that comes with this program; its tests prove it."""
POLL_S: Final = 0.2
"""Longest wait until somebody who wants to stop is seen."""


class Attempt:
    """One model on its way into use; its trial, where it needs one, begins at once.

    before  another that is given up; its trial goes on as this one's where it proves the same
    sha256  of its file
    proof   stands for the file, its card, and all that runs it
    Raises ModelError where there is no such model.
    """

    def __init__(self, config: ModelConfig, before: Attempt | None = None) -> None:
        self._trial: Trial | None = None
        self._folder = configs.state_folder() or proof.cache_folder()
        with boundary(ModelError, "the model cannot be used", config.path or "the shipped model"):
            found = locate.find(config.path)
            self.sha256 = found.sha256
            self.proof = proof.digest(
                version=__version__,
                sha256=self.sha256,
                card=msgspec.to_builtins(found.card),
                given=sorted(found.given),
                runtime=runtime.runtime(),
                machine=platform.machine(),
                threads=threads(config),
                require_xnnpack=config.require_xnnpack,
                max_memory_bytes=config.max_memory_bytes,
            )
            if before is not None and before.proof == self.proof:
                self._trial, before._trial = before._trial, None
            elif self.sha256 != SHIPPED_SHA256 and not proof.known(self.proof, self._folder):
                plain = msgspec.to_builtins(config)
                limit = config.max_memory_bytes
                self._trial = Trial(plain, str(found.path), limit, self.sha256)

    def run(self, stopped: Callable[[], bool] = lambda: False) -> bool:
        """Wait and check; return False where ``stopped`` says so first. Raises ModelError."""
        try:
            while not self.wait(POLL_S):
                if stopped():
                    return False
            if stopped():
                return False
            self.check()
        finally:
            self.close()
        return True

    def wait(self, timeout_s: Seconds) -> bool:
        """Return whether there is nothing to wait for, after ``timeout_s`` at the latest."""
        return self._trial is None or self._trial.wait(timeout_s)

    def check(self) -> None:
        """Return where the model may be loaded; once nothing is waited for. Raises ModelError."""
        trial, self._trial = self._trial, None
        if trial is not None:
            trial.check()
            proof.remember(self.proof, self._folder)

    def close(self) -> None:
        """End the trial, where it goes on. Safe to call twice."""
        if self._trial is not None:
            self._trial.close()


def threads(config: ModelConfig) -> int:
    """Return how many threads ``config`` gives the interpreter.

    Never more than cores: TFLite's threads spin for one that cannot run, up to a second an invoke.
    """
    cores = len(os.sched_getaffinity(0))
    return min(config.threads or cores, cores)


def content(path: Path, sha256: str) -> bytes:
    """Return what the model file holds, which must still be what was proven. Raises ModelError."""
    try:
        read = files.read(path, MODEL_MAX_BYTES)
    except OSError as exc:
        raise ModelError(f"the model cannot be read: {exc.strerror}", where=str(path)) from exc
    if hashlib.sha256(read).hexdigest() != sha256:
        what = "the model's file has changed while it was being proven"
        raise ModelError(what, where=str(path), hint="try again")
    return read
