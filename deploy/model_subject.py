"""A model as what a rollout brings: `make rollout MODEL=DIR HOSTS=FILE`.

Its name is that of the bundle. What a device says of a name is compared with it, and never part of
a command.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deploy import bundle, gates, remote
from deploy.errors import DeployError
from deploy.facts import Facts, typed
from deploy.gates import Limits, Wanted
from deploy.host import Host
from deploy.on_device.model import LOADED_S, PROOF_S
from deploy.subjects import Pin, look, step
from edge.text import escaped


class ModelSubject:
    """A model: a folder, or one file as `edge models add` takes it.

    shadow_s  first so long beside the model at work; 0: not
    say       prints a line
    """

    goes_on = True  # the daemon proves a model and uses it whoever waits for the answer

    def __init__(
        self,
        path: str,
        sockets: Path,
        shadow_s: float,
        limits: Limits,
        say: Callable[[str], None],
    ) -> None:
        given, self._say = Path(path), say
        self._shadow_s, self._limits = shadow_s, limits
        if os.path.isdir(given):  # false also for a name that is too long
            self.slug, self._bundle = bundle.of_folder(given), sockets / "bundle.tar"
            bundle.pack(given, self._bundle)
        else:
            self.slug, self._bundle = bundle.of_file(given), given
        self.what, self._sha256 = f"model {self.slug}", remote.digest(self._bundle)

    def identity(self) -> dict[str, str]:
        """Return the bundle's checksum."""
        return {"bundle": self._sha256}

    def resume(self, identity: dict[str, str], pin: Pin) -> None:
        """Do nothing: every device gets the same file."""

    def look(self, host: Host, seconds: float) -> Facts:
        """Return the device's facts."""
        return look(host, seconds, self.slug)

    def has(self, host: Host, facts: Facts) -> bool:
        """Return whether exactly this bundle is in use there, under its own name."""
        return (facts.bundle, facts.model) == (self._sha256, self.slug)

    def refused(self, host: Host, facts: Facts, before: Facts) -> bool:
        """Return whether it was in use since and the daemon has taken it back."""
        return facts.went_back not in ("", before.went_back)

    def lacks(self, host: Host, facts: Facts, before: Facts) -> bool:
        """Return whether it says that it uses another model."""
        return facts.model not in ("", self.slug)

    def wanted(self, host: Host) -> Wanted:
        """Return the model's name."""
        return Wanted(model=self.slug)

    def apply(self, host: Host) -> float | None:
        """Add it, run it as a shadow if that was asked for, use it."""
        to = f"bundle{self._bundle.suffix}"
        remote.send(host, self._bundle, to)
        added = step(host, f"model add {remote.FOLDER}/{to} {self._sha256}", PROOF_S)
        try:
            if (name := str(added.get("name"))) != self.slug:
                what = "the model was added under another name"
                raise DeployError(
                    74, what, where=host.name, expected=self.slug, got=escaped(name, 100)
                )
            agreement = self._shadow(host) if self._shadow_s else None
            step(host, self._command("use"), PROOF_S)
        except DeployError as exc:
            if exc.status != 69:
                self._undo(host, exc)
            raise
        return agreement

    def back(self, host: Host) -> None:
        """Use the model before, and remove this one."""
        if not step(host, self._command("back"), PROOF_S).get("removed"):
            self._say(f"{host.name}: {self.slug} is not in use any more, but still installed")

    def _undo(self, host: Host, exc: DeployError) -> None:
        """Go back from a change that has failed. Raises DeployError: the new one may be in use."""
        try:
            self.back(host)
        except DeployError as other:
            why = f"{exc.line_at(host.name)}; could not go back: {other.line_at(host.name)}"
            raise DeployError(70, why, where=host.name) from exc

    def _command(self, what: str) -> str:
        return f"model {what} {shlex.quote(self.slug)}"

    def _shadow(self, host: Host) -> float | None:
        command = f"{self._command('shadow')} {self._shadow_s:g}"
        figures: dict[str, Any] = step(host, command, self._shadow_s + LOADED_S)
        if figures.get("state") == "at_work":
            return None
        known, frames = typed(figures).agreement, figures.get("frames")
        count = frames if isinstance(frames, int) else 0
        if wrong := gates.disagrees(known, count, self._limits):
            raise DeployError(74, wrong, where=host.name)
        return known
