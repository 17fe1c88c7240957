"""The package as what a rollout brings: `make deploy HOSTS=FILE`."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

from deploy import remote
from deploy.facts import Facts
from deploy.gates import Wanted
from deploy.host import DeployError, Host
from deploy.subjects import Pin, look


class PackageSubject:
    """The package. deb: one for all, or the newest in build/dist for each kind of device."""

    def __init__(self, deb: str, timeout_s: float, log: remote.Tell) -> None:
        self._deb, self._timeout_s, self._log = Path(deb) if deb else None, timeout_s, log
        self._digests: dict[Path, str] = {}
        self._pin: Pin = lambda kind, digest: None
        path = self._deb or _newest()
        self.version = _version(path)
        self.slug = _own(self.version)
        self.what = f"edge-camera {self.slug}"

    def identity(self) -> dict[str, str]:
        """Return the checksum of a package that was named."""
        return {"deb": self._digest(self._deb)} if self._deb else {}

    def resume(self, identity: dict[str, str], pin: Pin) -> None:
        """Pin what is sent from now on."""
        self._pin = pin

    def look(self, host: Host, seconds: float) -> Facts:
        """Return the device's facts."""
        return look(host, f"facts {seconds:g}")

    def has(self, host: Host, facts: Facts) -> bool:
        """Return whether it runs this package, found healthy when it was installed."""
        return bool(facts.package) and facts.package == self._digest(self._package(host))

    def refused(self, host: Host, facts: Facts) -> bool:
        """Return whether it has tried this package last, and it was not healthy."""
        return bool(facts.refused) and facts.refused == self._digest(self._package(host))

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
            try:
                with path.open("rb") as stream:
                    self._digests[path] = hashlib.file_digest(stream, "sha256").hexdigest()
            except OSError as exc:
                raise DeployError(66, exc.strerror or "cannot be read", where=str(path)) from exc
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
    if not path.is_file():
        raise DeployError(66, "no such package", where=str(path))
    query = ["dpkg-deb", "-f", str(path), "Package", "Version"]
    done = subprocess.run(query, capture_output=True, text=True, check=False)
    found = dict(line.split(": ", 1) for line in done.stdout.splitlines() if ": " in line)
    if found.get("Package") != "edge-camera" or not found.get("Version"):
        raise DeployError(65, "not a package of edge-camera", where=str(path))
    return found["Version"]


def _own(version: str) -> str:
    """Return the version that the daemon publishes, of a package's: without Debian's ends."""
    return version.partition("~")[0].partition("-")[0]
