"""``make credentials``: for each device of a CSV its credential and the files of its SD card.

    python -m deploy.credentials.build --csv devices.csv [--config site.toml]
        [--auth password|certificate] [--ca FOLDER] [--replace NAME | --revoke NAME]

The results are in devices.credentials beside the CSV, its owner's alone: the ledger, from which
`make flash CSV=` takes one device after the other, and `broker/`, for the broker. May be repeated:
a device keeps its credential until REPLACE makes another, or REVOKE ends it. CONFIG and AUTH, where
they are not given, are those of the run before.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from deploy.credentials import broker, devices
from deploy.credentials.authority import Authority
from deploy.credentials.ledger import Ledger
from deploy.credentials.rows import SECRETS, Row, load
from deploy.credentials.work import Work
from deploy.image import config as sites
from deploy.image.build import ended
from deploy.image.config import Site
from deploy.runtime.pins import BuildError
from edge.text import escaped

AUTHS: Final = ("password", "certificate")
LISTED: Final = 10
"""Most devices in the report, of each kind."""


def main(arguments: Sequence[str]) -> int:
    """Make them; return the exit status, after one line on an error."""
    parser = argparse.ArgumentParser(prog="make credentials", allow_abbrev=False)
    for option in ("csv", "config", "auth", "ca", "replace", "revoke"):
        parser.add_argument(f"--{option}", default="")
    args = parser.parse_args(arguments)
    return ended("credentials", lambda: make(args))


def make(args: argparse.Namespace) -> None:
    """Do it. Raises BuildError, ConfigError."""
    if not args.csv:
        hint = "CSV=devices.csv; its columns: docs/provisioning.md"
        raise BuildError(64, "no CSV given", hint=hint)
    if args.replace and args.revoke:
        raise BuildError(64, "both REPLACE and REVOKE", expected="one of the two")
    csv = Path(args.csv)
    rows, content = load(csv)
    if args.replace and args.replace not in {row.name for row in rows}:
        hint = f"REVOKE={args.replace} ends its credential"
        raise BuildError(66, "no such row", where=str(csv), got=args.replace, hint=hint)
    site = sites.load(Path(args.config) if args.config else None)
    with Ledger(csv, make=True) as ledger:
        auth = args.auth or ledger.meta("auth") or AUTHS[0]
        if auth not in AUTHS:
            raise BuildError(64, "unknown AUTH", expected=" or ".join(AUTHS), got=auth)
        if not args.config and (before := ledger.meta("config")):
            site = sites.load(Path(before))
        config = args.config or ledger.meta("config")
        devices.check_site(site, config or "defaults", auth)
        work = Work(ledger, site, auth, _authority(args, ledger, site, auth, rows))
        if args.revoke:
            ledger.revoke(work.end(args.revoke, "keyCompromise"))
        made = work.devices(rows, csv.parent, args.replace)
        if args.replace and ledger.device(args.replace):
            work.end(args.replace, "superseded")
        ledger.store(made)
        ledger.meta("auth", auth)
        ledger.meta("config", str(Path(config).resolve()) if config else "")
        ledger.meta("csv", hashlib.sha256(content).hexdigest())
        broker.write(ledger, work.authority)
        for line in _report(ledger, csv, rows):
            print(escaped(f"credentials: {line}"))


def _authority(
    args: argparse.Namespace, ledger: Ledger, site: Site, auth: str, rows: Sequence[Row]
) -> Authority | None:
    """Return the site's authority where it signs anything; the broker's certificate is made too."""
    needed = auth == "certificate" and any("cert" not in row.cells for row in rows)
    known = ledger.meta("ca")
    if not needed and not args.ca and not known:
        return None
    # Relative to the ledger's folder, which may be moved, unless the user has named another.
    place = str(Path(args.ca).resolve()) if args.ca else known or "ca"
    folder = ledger.folder.resolve() / place
    if known and not args.ca and not (folder / "ca.key").is_file():
        raise BuildError(
            66,
            "the authority is not there",
            where=str(folder),
            expected="the one that signed before",
            hint="bring it back, or name where it is: CA=FOLDER",
        )
    authority = Authority(folder)
    ledger.meta("ca", place)
    mqtt = site.edge.get("mqtt", {})
    if mqtt.get("tls") and not site.broker.ca_file:
        into, host = ledger.folder / "broker", str(mqtt.get("host", "localhost"))
        into.mkdir(mode=0o700, exist_ok=True)
        if authority.server(host, into):
            print(escaped(f"credentials: made a certificate for the broker {host}"))
    return authority


def _report(ledger: Ledger, csv: Path, rows: Sequence[Row]) -> Iterator[str]:
    used, ready = ledger.count("used"), ledger.count("ready")
    yield f"{len(rows)} devices in {csv}: {used} written, {ready} to write"
    for device in [*ledger.devices("writing")][:LISTED]:
        yield f"{device.name} is unfinished: make flash AGAIN={device.name}, or REPLACE it"
    for device in [*ledger.devices("revoked")][:LISTED]:
        if device.number >= 0:
            yield f"{device.name} is revoked: REPLACE={device.name} makes another credential"
    gone = [one for one in ledger.devices() if one.number < 0 and one.state != "revoked"]
    for device in gone[:LISTED]:
        yield f"{device.name} is no longer in the CSV, but valid: REVOKE={device.name} ends it"
    if any(row.cells.keys() & SECRETS for row in rows) and csv.stat().st_mode & 0o077:
        yield f"others may read the passwords in {csv}: chmod 600"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
