"""The package as what a rollout brings: `make deploy HOSTS=FILE`."""

from __future__ import annotations

import shutil
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

from deploy import remote
from deploy.errors import DeployError
from deploy.facts import Facts
from deploy.gates import Wanted
from deploy.host import Host
from deploy.subjects import Pin, look


@dataclass(frozen=True, slots=True)
class Package:
    """A copy of a package as it was when it was chosen."""

    path: Path
    version: str
    sha256: str


class PackageSubject:
    """The package.

    deb     one for all, or the newest in build/dist for each kind of device
    folder  for copies of what is sent: `make deb` may write a file while it is
    """

    goes_on = False  # a host is not looked at before its unit has ended

    def __init__(self, deb: str, folder: Path, timeout_s: float, log: remote.Tell) -> None:
        self._deb, self._timeout_s, self._log = Path(deb) if deb else None, timeout_s, log
        self._folder, self._lock = folder, threading.Lock()
        self._chosen: dict[tuple[str, str], Package] = {}
        self._pin: Pin = lambda kind, digest: None
        path = self._deb or _newest()
        self.slug = _own(_version(path))
        self.what = f"edge-camera {self.slug}"

    def identity(self) -> dict[str, str]:
        """Return the checksum of a package that was named."""
        return {"deb": remote.digest(self._deb)} if self._deb else {}

    def resume(self, identity: dict[str, str], pin: Pin) -> None:
        """Pin what is sent from now on."""
        self._pin = pin

    def look(self, host: Host, seconds: float) -> Facts:
        """Return the device's facts."""
        return look(host, seconds)

    def has(self, host: Host, facts: Facts) -> bool:
        """Return whether it runs this package, found healthy when it was installed."""
        return bool(facts.package) and facts.package == self._package(host).sha256

    def refused(self, host: Host, facts: Facts, before: Facts) -> bool:
        """Return whether it has tried this package since, and it was not healthy."""
        return facts.refused not in ("", before.refused) and (
            facts.refused == self._package(host).sha256
        )

    def lacks(self, host: Host, facts: Facts, before: Facts) -> bool:
        """Return whether another version is installed completely, or what was there before."""
        if facts.installed not in ("", self._package(host).version):
            return True
        return (facts.installed, facts.package) == (before.installed, before.package)

    def wanted(self, host: Host) -> Wanted:
        """Return the version."""
        return Wanted(version=_own(self._package(host).version))

    def apply(self, host: Host) -> None:
        """Install it; the device goes back by itself where it is not healthy."""
        package = self._package(host)
        remote.send(host, package.path, remote.INCOMING)
        remote.install(host, package.sha256, self._timeout_s, self._log)

    def back(self, host: Host) -> None:
        """Install the device's previous package."""
        remote.back(host, self._package(host).version, self._timeout_s, self._log)

    def _package(self, host: Host) -> Package:
        """Return what a host of this kind gets, chosen once."""
        kind = host.release, host.arch
        with self._lock:
            if kind not in self._chosen:
                self._chosen[kind] = self._choose(host)
            return self._chosen[kind]

    def _choose(self, host: Host) -> Package:
        given = self._deb or remote.newest(remote.DIST, host)
        path = Path(tempfile.mkdtemp(dir=self._folder)) / given.name
        try:
            shutil.copyfile(given, path)
        except OSError as exc:
            raise DeployError(66, exc.strerror or "cannot be copied", where=str(given)) from exc
        remote.fits(path, host)
        package = Package(path, _version(path), remote.digest(path))
        if _own(package.version) != self.slug:
            got = f"{path.name}; the rollout is of {self.slug}"
            raise DeployError(65, "another version", where=host.name, got=got)
        self._pin("deb" if self._deb else f"{host.release}_{host.arch}", package.sha256)
        return package


def _newest() -> Path:
    """Return the newest package of any kind. Raises DeployError."""
    found = sorted(remote.DIST.glob("edge-camera_*.deb"), key=lambda path: path.stat().st_mtime)
    if not found:
        hint = "run `make deb`, or name one: DEB=FILE"
        raise DeployError(66, "no package of edge-camera", where=str(remote.DIST), hint=hint)
    return found[-1]


def _version(path: Path) -> str:
    """Return the version of a package of ours. Raises DeployError."""
    return remote.fields(path)["Version"]


def _own(version: str) -> str:
    """Return the version that the daemon publishes, of a package's: without Debian's ends."""
    return version.partition("~")[0].partition("-")[0]
