"""What one run makes of the rows: which devices keep their credential, and which get one."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import msgspec

from deploy.credentials import devices
from deploy.credentials.authority import Authority, serial_of
from deploy.credentials.ledger import Device, Ledger
from deploy.credentials.rows import Row
from deploy.image.config import Site
from deploy.runtime.pins import BuildError
from edge.text import escaped

PASSWORD_BYTES: Final = 24
MADE: Final = "made"
"""In a credential: it was made here, and is kept while the row's cell stays empty."""


class Work:
    """One run.

    auth       `password` or `certificate`
    authority  of the site; None where it is not used
    """

    def __init__(self, ledger: Ledger, site: Site, auth: str, authority: Authority | None) -> None:
        self._ledger, self._site, self._auth, self.authority = ledger, site, auth, authority
        own = authority.cert.read_text() if authority else ""
        self._ca = site.broker.ca_file or own
        text = msgspec.json.encode(site).decode()
        self._base = ledger.checksum(text, auth, self._ca)

    def end(self, name: str, reason: str) -> Device:
        """End the credential of a device at the authority; return the device. Raises BuildError."""
        device = self._ledger.device(name)
        if device is None:
            raise BuildError(66, "no such device", where=str(self._ledger.folder), got=name)
        if device.serial and self.authority:
            self.authority.revoke(device.serial, reason)
        elif not device.login and device.state != "revoked":
            line = f"{name}: its certificate is of another authority: revoke it there"
            print(escaped(f"credentials: {line}"))
        return device

    def devices(self, rows: Sequence[Row], folder: Path, replaced: str) -> list[Device]:
        """Return the devices of all rows. Raises ConfigError before any certificate is signed.

        folder    that files in the rows are relative to
        replaced  name of the device that gets another credential; empty: none
        """
        old = {device.name: device for device in self._ledger.devices()}
        kept: list[Device] = []
        new: list[tuple[Row, dict[str, str]]] = []
        seen: dict[str, Row] = {}
        for row in rows:
            device = old.get(row.name)
            if device and row.name != replaced and self._stays(device, row):
                kept.append(replace(device, number=row.number))
                continue
            if credential := self._given(row, folder):
                first = seen.setdefault(self._mark(credential), row)
                if first is not row:  # under another file's name
                    raise row.fault(f"the same key as in row {first.number}", "cert")
            elif device and row.name != replaced:
                credential = self._made(device)
            new.append((row, credential))
            self._site_of(row, credential)
        return [*kept, *self._completed(new)]

    def _stays(self, device: Device, row: Row) -> bool:
        """Return whether a device stays as it is: its SD card is written, or nothing changed."""
        return device.state != "ready" or device.digest == self._digest(row)

    def _completed(self, new: Sequence[tuple[Row, dict[str, str]]]) -> list[Device]:
        missing = [row.name for row, credential in new if not credential]
        made: dict[str, dict[str, str]] = {}
        if self._auth == "password":
            made = {n: {"password": secrets.token_urlsafe(PASSWORD_BYTES)} for n in missing}
        elif self.authority:
            pairs = zip(missing, self.authority.sign(missing), strict=True)
            made = {name: {"cert": cert, "key": key} for name, (cert, key) in pairs}
        return [
            self._device(row, credential or {**made[row.name], MADE: "yes"})
            for row, credential in new
        ]

    def _device(self, row: Row, credential: dict[str, str]) -> Device:
        password = credential.get("password", "")
        own = MADE in credential and not password
        return Device(
            name=row.name,
            number=row.number,
            host=row.host,
            state="ready",
            digest=self._digest(row),
            credential=json.dumps(credential),
            files=devices.packed(self._site_of(row, credential)),
            login=devices.hashed(row.username, password) if password else "",
            serial=serial_of(credential["cert"]) if own else "",
            mark=self._mark(credential),
        )

    def _given(self, row: Row, folder: Path) -> dict[str, str]:
        """Return the row's own credential, that no device has or had. Raises ConfigError."""
        credential = devices.given(row, folder)
        if not credential:
            return {}
        column = "password" if "password" in credential else "cert"
        if (column == "password") != (self._auth == "password"):
            raise row.fault(f"not with AUTH={self._auth}", column)
        owner = self._ledger.spender(self._mark(credential))
        device = self._ledger.device(owner) if owner else None
        if owner and not (owner == row.name and device and device.state == "ready"):
            raise row.fault(
                f"was the credential of {owner}", column, hint="each is used once: give another"
            )
        return credential

    def _made(self, device: Device) -> dict[str, str]:
        """Return the credential that was made for a device earlier and is on no SD card."""
        credential: dict[str, str] = json.loads(device.credential or "{}")
        usable = ("password" in credential) == (self._auth == "password")
        return credential if MADE in credential and usable else {}

    def _site_of(self, row: Row, credential: dict[str, str]) -> Site:
        return devices.of_row(row, self._site, credential, self._ca)

    def _digest(self, row: Row) -> str:
        return self._ledger.checksum(self._base, json.dumps(row.cells))

    def _mark(self, credential: dict[str, str]) -> str:
        return self._ledger.checksum(credential.get("password") or credential["key"].strip())
