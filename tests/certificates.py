"""Certificates for the tests, made by openssl: an authority and what it signs."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, PEM files."""

    cert: Path
    key: Path


class Authority:
    """Signs certificates; clients that trust it are given ``cert``."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name
        self.cert, self._key = folder / f"{name}.crt", folder / f"{name}.key"
        _openssl(
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *("-nodes", "-days", "30", "-subj", f"/CN={name}", "-out", self.cert),
            *("-keyout", self._key, "-addext", "keyUsage=critical,keyCertSign,cRLSign"),
        )

    def sign(
        self, name: str, days: int = 30, address: str = "IP:127.0.0.1", key: Path | None = None
    ) -> Pair:
        """Return a certificate for ``address`` that expires in ``days``; below 0: has expired.

        key  an existing one; else a new one is made
        """
        pair = Pair(self._folder / f"{name}.crt", self._folder / f"{name}.key")
        request, extension = self._folder / f"{name}.csr", self._folder / f"{name}.ext"
        extension.write_text(f"subjectAltName={address}\n")
        new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-keyout", pair.key)
        kind: tuple[str | Path, ...] = ("-new", "-key", key) if key else new
        _openssl("req", *kind, "-nodes", "-subj", f"/CN={name}", "-out", request)
        ends = ["-days", str(days)]
        if days < 0 and _knows("-not_after"):  # OpenSSL 3.4, which takes no days below 0
            ends = ["-not_before", "20200101000000Z", "-not_after", "20210101000000Z"]
        command: list[str | Path] = ["x509", "-req", "-in", request, "-CA", self.cert, *ends]
        command += ["-CAkey", self._key, "-CAcreateserial", "-extfile", extension]
        _openssl(*command, "-out", pair.cert)
        return pair


def _knows(option: str) -> bool:
    usage = subprocess.run(
        ["openssl", "x509", "-help"], capture_output=True, text=True, check=False
    )
    return option in usage.stdout + usage.stderr


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
