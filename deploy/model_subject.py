"""A model as what a rollout brings: `make rollout MODEL=DIR HOSTS=FILE`."""

from __future__ import annotations

import contextlib
import hashlib
import io
import shlex
import tarfile
import tomllib
from pathlib import Path
from typing import Final

from deploy import gates, remote
from deploy.facts import Facts
from deploy.gates import Limits, Wanted
from deploy.host import DeployError, Host
from deploy.subjects import Pin, look, step
from edge import files
from edge.text import escaped

BUNDLE_MAX_BYTES: Final = 550_000_000
FILES_MAX: Final = 100
SUFFIX: Final = ".edgemodel"
CARD: Final = "model.toml"
WANTED: Final = f"a folder with {CARD}, or a file NAME-VERSION{SUFFIX}"


class ModelSubject:
    """A model: a folder, or one file as `edge models add` takes it.

    shadow_s  first so long beside the model at work; 0: not
    """

    def __init__(self, path: str, sockets: Path, shadow_s: float, limits: Limits) -> None:
        given = Path(path)
        self._shadow_s, self._limits = shadow_s, limits
        if given.is_dir():
            self.slug, self._bundle = _card(given), sockets / "bundle.tar"
            pack(given, self._bundle)
        else:
            self.slug, self._bundle = _file(given), given
        with self._bundle.open("rb") as stream:
            self._sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        self.what, self._name = f"model {self.slug}", ""
        self._pin: Pin = lambda kind, digest: None

    def identity(self) -> dict[str, str]:
        """Return the bundle's checksum."""
        return {"bundle": self._sha256}

    def resume(self, identity: dict[str, str], pin: Pin) -> None:
        """Take the name that devices gave it; it is the same on all."""
        self._name, self._pin = identity.get("name", ""), pin

    def look(self, host: Host, seconds: float) -> Facts:
        """Return the device's facts."""
        return look(host, f"facts {seconds:g} {shlex.quote(self._name)}")

    def has(self, host: Host, facts: Facts) -> bool:
        """Return whether exactly this bundle is in use there."""
        if facts.bundle != self._sha256:
            return False
        self._pin("name", facts.model)
        self._name = facts.model
        return True

    def refused(self, host: Host, facts: Facts) -> bool:
        """Return whether it was in use and the daemon has taken it back."""
        return bool(facts.went_back)

    def wanted(self, host: Host) -> Wanted:
        """Return the model's name on a device."""
        return Wanted(model=self._name)

    def apply(self, host: Host) -> float | None:
        """Add it, run it as a shadow if that was asked for, use it."""
        to = f"bundle{self._bundle.suffix}"
        remote.send(host, self._bundle, to)
        added = step(host, f"model add {remote.FOLDER}/{to} {self._sha256}")
        name = str(added.get("name", ""))
        self._pin("name", name)
        self._name, agreement = name, None
        try:
            if self._shadow_s:
                agreement = self._shadow(host, name)
            step(host, f"model use {shlex.quote(name)}")
        except DeployError as exc:
            if exc.status != 69:
                with contextlib.suppress(DeployError):
                    self.back(host)
            raise
        return agreement

    def back(self, host: Host) -> None:
        """Use the model before, and remove this one."""
        if not step(host, f"model back {shlex.quote(self._name)}").get("removed"):
            text = f"{host.name}: {self._name} is not in use any more, but still installed"
            print(escaped(f"rollout: {text}"), flush=True)

    def _shadow(self, host: Host, name: str) -> float | None:
        figures = step(host, f"model shadow {shlex.quote(name)} {self._shadow_s:g}")
        if figures.get("state") == "at_work":
            return None
        share, frames = figures.get("agreement"), figures.get("frames")
        known = float(share) if isinstance(share, int | float) else None
        count = frames if isinstance(frames, int) else 0
        if wrong := gates.disagrees(known, count, self._limits):
            raise DeployError(74, wrong, where=host.name)
        return known


def _card(folder: Path) -> str:
    """Return NAME@VERSION of the card in a folder. Raises DeployError."""
    try:
        card = tomllib.loads(files.read_text(folder / CARD))
        name, version = card["name"], str(card.get("version", "") or 1)
    except (OSError, KeyError, tomllib.TOMLDecodeError, RecursionError) as exc:
        got = getattr(exc, "strerror", None) or str(exc)
        raise DeployError(
            65, "not a model's bundle", where=str(folder / CARD), expected=WANTED, got=got
        ) from None
    if not isinstance(name, str) or not name:
        raise DeployError(65, "not a model's bundle", where=str(folder / CARD), expected="a name")
    return f"{name}@{version}"


def _file(path: Path) -> str:
    """Return the name of a bundle in one file. Raises DeployError."""
    if not path.exists():
        raise DeployError(66, "no such bundle", where=str(path) or "MODEL", expected=WANTED)
    if not path.is_file() or path.suffix != SUFFIX or not path.stat().st_size:
        raise DeployError(65, "not a model's bundle", where=str(path), expected=WANTED)
    if (size := path.stat().st_size) > BUNDLE_MAX_BYTES:
        most = f"at most {BUNDLE_MAX_BYTES} bytes"
        raise DeployError(65, "too large", where=str(path), expected=most, got=str(size))
    return path.name.removesuffix(SUFFIX)


def pack(folder: Path, to: Path) -> None:
    """Write the files of a model's folder as a tar: the same files give the same bytes."""
    try:
        paths = sorted(folder.iterdir())
        size = sum(path.lstat().st_size for path in paths)
        if len(paths) > FILES_MAX or size > BUNDLE_MAX_BYTES:
            most = f"at most {FILES_MAX} files and {BUNDLE_MAX_BYTES} bytes"
            raise DeployError(65, "too large for a model", where=str(folder), expected=most)
        with tarfile.open(to, "w", format=tarfile.PAX_FORMAT) as archive:
            for path in paths:
                if path.is_symlink() or not path.is_file():
                    raise DeployError(65, "not a plain file of a model", where=str(path))
                member = tarfile.TarInfo(path.name)
                content = files.read(path, BUNDLE_MAX_BYTES)
                member.size, member.mode = len(content), 0o644
                archive.addfile(member, io.BytesIO(content))
    except OSError as exc:
        raise DeployError(66, exc.strerror or str(exc), where=str(folder)) from exc
