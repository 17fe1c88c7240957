"""The broker's files, from the ledger: written whole each time, the old or the new at any time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.credentials.ledger import Ledger
from edge import files

if TYPE_CHECKING:
    from deploy.credentials.authority import Authority


def write(ledger: Ledger, authority: Authority | None) -> None:
    """Write `broker/`: passwords in mosquitto's form; the authority and what it has revoked.

    A device that is no longer in the CSV stays: it is at work until it is revoked.
    """
    folder = ledger.folder / "broker"
    folder.mkdir(mode=0o700, exist_ok=True)
    logins = [device.login for device in ledger.devices() if device.login]
    files.replace(folder / "passwords", "".join(logins).encode(), 0o600)
    if authority:
        files.replace(folder / "ca.crt", authority.cert.read_bytes(), 0o600)
        files.replace(folder / "crl.pem", authority.crl.read_bytes(), 0o600)
