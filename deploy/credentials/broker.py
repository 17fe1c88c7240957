"""The broker's files, from the ledger: written whole each time, the old or the new at any time."""

from __future__ import annotations

import os
from pathlib import Path

from deploy.credentials.authority import Authority
from deploy.credentials.ledger import Ledger


def write(ledger: Ledger, authority: Authority | None) -> None:
    """Write `broker/`: passwords in mosquitto's form; the authority and what it has revoked.

    A device that is no longer in the CSV stays: it is at work until it is revoked.
    """
    folder = ledger.folder / "broker"
    folder.mkdir(mode=0o700, exist_ok=True)
    logins = [device.login for device in ledger.devices() if device.login]
    replace(folder / "passwords", "".join(logins))
    if authority:
        replace(folder / "ca.crt", authority.cert.read_text())
        replace(folder / "crl.pem", authority.crl.read_text())


def replace(path: Path, content: str) -> None:
    """Write a file, its owner's alone."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    with open(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    new.replace(path)
