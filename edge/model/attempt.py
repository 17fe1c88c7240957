"""One model on its way into use: identified, and tried where it has not proven itself.

A model's file may come from anywhere, and an interpreter may crash, hang or grow at it. Only what
has passed once in a child process is loaded in this one; that is remembered, see proof.

Runs on the caller's thread, which never waits longer than it says. Identifying a model reads and
hashes its whole file, up to 512 MB: on a thread of its own [1], one at a time. The thread gets
frozen records and returns one.
"""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from edge import __version__, owner
from edge import config as configs
from edge.background import Call
from edge.config import ModelConfig
from edge.errors import ConfigError, ModelError, boundary
from edge.frames import Seconds
from edge.model import locate, proof, runtime
from edge.model.locate import Gives
from edge.model.trial import Trial

SHIPPED_SHA256: Final = {
    "catdog": "38fcf0de80a7e186a2b26d03dbd43c9692cbdc6a843e8781ae3ef95090d40c74",
    "catdog-large": "235a3ddf981f3f17b103e70cc8f6ed559e4bda94ddda1b505458f116838ece47",
    "features": "0fbcc0ae6160e237c9612f7085d250441ac089d2696c1a9950c35ccdd251f16b",
    "features-large": "1dbcb9c8d6289772b8416b66760410a652ee54f3939aeaf154c24f3d800d60b5",
}
"""Of each model that comes with this program; a test compares them with the files."""
POLL_S: Final = 0.2
"""Longest wait until a request to stop is noticed."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A model's file, and all that its behaviour depends on.

    sha256  of the file
    proof   a digest of the file, its card with the head's checksum, and what runs it
    shipped the file comes with this program, and nothing runs after it
    """

    path: Path
    sha256: str
    proof: str
    shipped: bool


@dataclass(frozen=True, slots=True)
class _Tested:
    """A trial that runs, and what it would prove."""

    proof: str
    trial: Trial


class Attempt:
    """One model on its way into use; begins at once.

    before  another attempt, which this one replaces; its trial continues if it proves the same
    gives   what the model must give
    """

    def __init__(
        self, config: ModelConfig, before: Attempt | None = None, gives: Gives = "scores"
    ) -> None:
        self._config, self._gives = config, gives
        self._folder = _proofs()
        self._identity: Identity | None = None
        self._identifying: Call[Identity] | None = None  # [1]
        self._earlier: Call[Identity] | None = None  # [1]
        self._tested: _Tested | None = None
        if before is not None:
            self._earlier = before._identifying or before._earlier
            self._tested, before._tested = before._tested, None
        try:
            self._identify(0.0)
        except BaseException:
            self.close()  # nobody else has the trial any more
            raise

    @property
    def sha256(self) -> str:
        """The checksum of the file; once ``wait`` has returned True."""
        return self._known().sha256

    @property
    def proof(self) -> str:
        """What the model proves; once ``wait`` has returned True."""
        return self._known().proof

    @property
    def hashing(self) -> bool:
        """Whether a file is still being read, on its thread; also after ``close``."""
        calls = (self._identifying, self._earlier)
        return any(call is not None and not call.wait(0.0) for call in calls)

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
        """Return whether there is nothing to wait for, after ``timeout_s`` at the latest.

        Raises ModelError where there is no such model.
        """
        if self._identity is None:
            if not self._identify(timeout_s):
                return False
            timeout_s = 0.0
        return self._tested is None or self._tested.trial.wait(timeout_s)

    def check(self) -> None:
        """Return where the model may be loaded; once ``wait`` has returned True. ModelError."""
        tested, self._tested = self._tested, None
        if tested is not None:
            tested.trial.check()
            proof.remember(tested.proof, self._folder)

    def close(self) -> None:
        """End the trial if it still runs. Safe to call twice."""
        if self._tested is not None:
            self._tested.trial.close()

    def _identify(self, timeout_s: Seconds) -> bool:
        """Go on with the identification; return whether it is over, and the trial has begun."""
        if self._identifying is None:
            if self._earlier is not None and not self._earlier.wait(timeout_s):
                return False
            config, gives, self._earlier = self._config, self._gives, None
            with boundary(ModelError, "the model cannot be used", config.path):
                self._identifying = Call(lambda: identify(config, gives), name="model")  # [1]
        if not self._identifying.wait(timeout_s):
            return False
        identity = self._identifying.result()
        self._begin_trial(identity)
        self._identity = identity  # not before: without its trial a model is not known
        return True

    def _begin_trial(self, identity: Identity) -> None:
        """Begin the trial that the model needs, or go on with one that proves the same."""
        if self._tested is not None:
            if self._tested.proof == identity.proof:
                return
            self.close()
            self._tested = None
        if identity.shipped or proof.known(identity.proof, self._folder):
            return
        with boundary(ModelError, "the model cannot be used", str(identity.path)):
            trial = Trial(self._config, identity.path, identity.sha256, self._gives)
        self._tested = _Tested(identity.proof, trial)

    def _known(self) -> Identity:
        if self._identity is None:
            raise RuntimeError("the model is not identified yet")
        return self._identity


def identify(config: ModelConfig, gives: Gives = "scores") -> Identity:
    """Return the model that ``config`` names; reads its whole file. Raises ModelError."""
    with boundary(ModelError, "the model cannot be used", config.path or "the shipped model"):
        file = locate.find(config.path, gives)
        digest = proof.digest(
            version=__version__,
            sha256=file.sha256,
            card=msgspec.to_builtins(file.card),
            given=sorted(file.given),
            runtime=runtime.runtime(),
            machine=platform.machine(),
            threads=threads(config),
            require_xnnpack=config.require_xnnpack,
            max_memory_bytes=config.max_memory_bytes,
        )
        shipped = file.sha256 in SHIPPED_SHA256.values() and file.card.head is None
        return Identity(file.path, file.sha256, digest, shipped)


def _proofs() -> Path | None:
    """Return the folder with the proofs; root takes none from another user, and leaves none."""
    state = configs.state_folder()
    if state is None:
        return proof.cache_folder()
    with contextlib.suppress(ConfigError, OSError):
        if os.geteuid() or owner.of(state) is None:
            return state
    return None


def threads(config: ModelConfig) -> int:
    """Return how many threads ``config`` gives the interpreter.

    Never more than cores: TFLite's threads spin for one that cannot run, up to a second an invoke.
    """
    cores = len(os.sched_getaffinity(0))
    return min(config.threads or cores, cores)
