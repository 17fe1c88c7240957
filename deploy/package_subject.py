"""The package as what a rollout brings: `make deploy HOSTS=FILE`."""

from __future__ import annotations

from pathlib import Path

from deploy import remote
from deploy.errors import DeployError
from deploy.facts import Facts
from deploy.gates import Wanted
from deploy.host import Host
from deploy.subjects import Pin, look


class PackageSubject:
    """The package. deb: one for all, or the newest in build/dist for each kind of device."""

    def __init__(self, deb: str, timeout_s: float, log: remote.Tell) -> None:
        self._deb, self._timeout_s, self._log = Path(deb) if deb else None, timeout_s, log
        self._digests: dict[Path, str] = {}
        self._pin: Pin = lambda kind, digest: None
        path = self._deb or _newest()
        self.slug = _own(_version(path))
        self.what = f"edge-camera {self.slug}"

    def identity(self) -> dict[str, str]:
        """Return the checksum of a package that was named."""
        return {"deb": self._digest(self._deb)} if self._deb else {}

    def resume(self, identity: dict[str, str], pin: Pin) -> None:
        """Pin what is sent from now on."""
        self._pin = pin

    def look(self, host: Host, seconds: float) -> Facts:
        """Return the device's facts."""
        return look(host, seconds)

    def has(self, host: Host, facts: Facts) -> bool:
        """Return whether it runs this package, found healthy when it was installed."""
        return bool(facts.package) and facts.package == self._digest(self._package(host))

    def refused(self, host: Host, facts: Facts) -> bool:
        """Return whether it has tried this package last, and it was not healthy."""
        return bool(facts.refused) and facts.refused == self._digest(self._package(host))

    def lacks(self, host: Host, facts: Facts, before: Facts) -> bool:
        """Return whether another version is installed completely, or what was there before."""
        if facts.installed not in ("", _version(self._package(host))):
            return True
        return (facts.installed, facts.package) == (before.installed, before.package)

    def wanted(self, host: Host) -> Wanted:
        """Return the version."""
        return Wanted(version=_own(_version(self._package(host))))

    def apply(self, host: Host) -> None:
        """Install it; the device goes back by itself where it is not healthy."""
        package = self._package(host)
        remote.send(host, package, remote.INCOMING)
        remote.install(host, package, self._timeout_s, self._log)

    def back(self, host: Host) -> None:
        """Install the device's previous package."""
        remote.back(host, _version(self._package(host)), self._timeout_s, self._log)

    def _package(self, host: Host) -> Path:
        package = self._deb or remote.newest(remote.DIST, host)
        remote.fits(package, host)
        if _own(_version(package)) != self.slug:
            got = f"{package.name}; the rollout is of {self.slug}"
            raise DeployError(65, "another version", where=host.name, got=got)
        self._pin("deb" if self._deb else f"{host.release}_{host.arch}", self._digest(package))
        return package

    def _digest(self, path: Path) -> str:
        if path not in self._digests:
            self._digests[path] = remote.digest(path)
        return self._digests[path]


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
