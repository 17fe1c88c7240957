"""A small certificate authority of the site, made and used by `openssl ca`.

    ca.key     0600; signs, and is needed nowhere else: it is on no SD card and no broker
    ca.crt     for the broker and for the devices
    issued/    every certificate by its serial number; index.txt is OpenSSL's list of them
    crl.pem    the serial numbers that are no longer valid

Keys are P-256. A device's key is made in memory, and is in no file of this folder. The folder is
locked until `close`: `openssl ca` itself loses entries where two write its list. Knows neither the
ledger nor SD cards.
"""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from deploy.runtime.pins import BuildError
from edge import files

BATCH: Final = 200
"""Requests that one `openssl ca` signs: it reads its whole list each time."""
SERVER_DAYS: Final = 825
RENEW_S: Final = 60 * 86_400
"""The broker's certificate is made again when it ends sooner."""
CONFIG: Final = """[ca]
default_ca = site
[site]
database = index.txt
new_certs_dir = issued
certificate = ca.crt
private_key = ca.key
rand_serial = yes
unique_subject = no
crlnumber = crlnumber
default_md = sha256
default_days = 3650
default_crl_days = 3650
policy = names
crl_extensions = crl
[names]
commonName = supplied
[crl]
authorityKeyIdentifier = keyid
[device]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = clientAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""
PEM: Final = re.compile(r"-----BEGIN CERTIFICATE-----\n.+?-----END CERTIFICATE-----\n", re.DOTALL)
HOST: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,252})")
PUBLIC: Final = re.compile(r"-----BEGIN PUBLIC KEY-----\n[A-Za-z0-9+/=\n]+")
SERIAL: Final = re.compile(r"serial=([0-9A-F]{2,40})\n")


class Authority:
    """The authority in ``folder``, made where there is none; locked. Raises BuildError."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cert, self.crl = folder / "ca.crt", folder / "crl.pem"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not self.crl.is_file():
                self._make()
        except BlockingIOError as exc:
            self.close()
            raise BuildError(73, "another run uses it", where=str(folder)) from exc
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give up the lock."""
        os.close(self._lock)

    def _make(self) -> None:
        """Make the authority; nothing that is not of an earlier attempt is written over."""
        index, config = self.folder / "index.txt", self.folder / "openssl.cnf"
        where = str(self.folder)
        if index.exists() and index.stat().st_size:
            hint = "restore a backup"
            raise BuildError(65, "an authority without its crl.pem", where=where, hint=hint)
        ours = config.exists() and config.read_text(errors="replace") == CONFIG
        present = [p.name for p in (config, index, self.folder / "ca.key", self.cert) if p.exists()]
        if present and not ours:
            raise BuildError(
                65,
                "files that `make credentials` has not made",
                where=where,
                expected="an empty folder, or an authority of `make credentials`",
                got=", ".join(present),
                hint="name another: CA=FOLDER",
            )
        files.replace(config, CONFIG.encode(), 0o600)
        (self.folder / "issued").mkdir(mode=0o700, exist_ok=True)
        index.touch(0o600)
        (self.folder / "crlnumber").write_text("01\n")
        # OpenSSL writes the key with the permissions of its owner alone.
        self._openssl(
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-sha256", "-days", "7300", "-subj", f"/CN=edge site {os.urandom(4).hex()}"),
            *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),
            *("-keyout", "ca.key", "-out", "ca.crt"),
        )
        (self.folder / "ca.key").chmod(0o600)
        self._list_revoked()

    def sign(self, names: Sequence[str]) -> Iterator[tuple[str, str]]:
        """Yield (certificate, key) for a client of each name, PEM."""
        for start in range(0, len(names), BATCH):
            batch = names[start : start + BATCH]
            keys = [_key() for _ in batch]
            with tempfile.TemporaryDirectory() as made:
                requests = []
                for number, (name, key) in enumerate(zip(batch, keys, strict=True)):
                    requests.append(Path(made) / str(number))
                    command = ("req", "-new", "-key", "/dev/stdin", "-subj", f"/CN={name}")
                    requests[-1].write_text(self._openssl(*command, given=key))
                # By `-out` OpenSSL 3.0 writes the last one only.
                certs = PEM.findall(self._sign("-extensions", "device", "-infiles", *requests))
            if len(certs) != len(batch):
                raise BuildError(70, "openssl has not signed all", where=str(self.folder))
            yield from zip(certs, keys, strict=True)

    def server(self, host: str, into: Path) -> bool:
        """Make broker.crt and broker.key for ``host`` where necessary; return whether it did."""
        cert, key = into / "broker.crt", into / "broker.key"
        host = host.removeprefix("[").removesuffix("]")
        if not _is_address(host) and not HOST.fullmatch(host):
            raise BuildError(78, "not a host name or address", where="edge.mqtt.host", got=host)
        if cert.exists() and key.exists():
            name = "-verify_ip" if _is_address(host) else "-verify_hostname"
            then = str(int(time.time()) + RENEW_S)
            check = ("verify", "-CAfile", self.cert, name, host, "-attime", then, cert)
            with contextlib.suppress(BuildError):
                openssl(*check)
                return False
        made = _key()
        with tempfile.TemporaryDirectory() as folder:
            request, extension = Path(folder) / "request", Path(folder) / "extension"
            subject = f"/CN={host[:64]}"
            request.write_text(
                self._openssl("req", "-new", "-key", "/dev/stdin", "-subj", subject, given=made)
            )
            extension.write_text(
                f"subjectAltName={'IP' if _is_address(host) else 'DNS'}:{host}\n"
                "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n"
                "extendedKeyUsage=serverAuth\nsubjectKeyIdentifier=hash\n"
                "authorityKeyIdentifier=keyid\n"
            )
            command = ("-extfile", extension, "-days", str(SERVER_DAYS), "-in", request)
            content = self._sign(*command)
        # An end in between leaves no certificate, rather than one of another key.
        cert.unlink(missing_ok=True)
        files.replace(key, made.encode(), 0o600)
        files.replace(cert, content.encode(), 0o600)
        return True

    def revoke(self, serial: str, reason: str) -> None:
        """Make a certificate invalid; one that already is stays so."""
        cert = f"issued/{serial}.pem"
        command = ("ca", "-batch", "-config", "openssl.cnf", "-revoke", cert)
        try:
            self._openssl(*command, "-crl_reason", reason)
        except BuildError as exc:
            if "Already revoked" not in exc.got:
                raise
        self._list_revoked()

    def _list_revoked(self) -> None:
        """Write crl.pem, the old one or the new one at any time."""
        self._openssl("ca", "-config", "openssl.cnf", "-gencrl", "-out", "crl.new")
        (self.folder / "crl.new").replace(self.crl)

    def _sign(self, *arguments: str | Path) -> str:
        # A broker's clock may be behind: valid from yesterday.
        start = time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() - 86_400))
        common = ("ca", "-batch", "-notext", "-config", "openssl.cnf", "-startdate", start)
        return self._openssl(*common, *arguments)

    def _openssl(
        self, *arguments: str | Path, given: str = "", accepted: tuple[int, ...] = (0,)
    ) -> str:
        return openssl(*arguments, given=given, accepted=accepted, folder=self.folder)


def openssl(
    *arguments: str | Path,
    given: str = "",
    accepted: tuple[int, ...] = (0,),
    folder: Path | None = None,
) -> str:
    """Return the output of openssl. Raises BuildError with the line that says why."""
    try:
        done = subprocess.run(
            ["openssl", *map(str, arguments)],
            input=given,
            cwd=folder,
            umask=0o077,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError as exc:
        raise BuildError(69, "needs openssl", hint="apt-get install openssl") from exc
    if done.returncode not in accepted:
        lines = [line for line in done.stderr.splitlines() if "rror" in line] or [done.stderr]
        where = str(folder or "")
        raise BuildError(70, f"openssl {arguments[0]} failed", where=where, got=lines[0][:200])
    return done.stdout


def identity(cert: str) -> tuple[str, str]:
    """Return a certificate's serial number, as `openssl ca` names its file, and public key."""
    text = openssl("x509", "-noout", "-serial", "-pubkey", given=cert)
    serial, public = SERIAL.search(text), PUBLIC.search(text)
    if not serial or not public:
        raise BuildError(70, "a certificate without a serial number or a key")
    return serial[1], public[0]


def _key() -> str:
    return openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
