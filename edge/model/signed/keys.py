"""Keys that are trusted, and signatures: Ed25519, made and verified by OpenSSL's program.

The program is in Debian 12 and 13, and with it every device that has ``ca-certificates``. Keys and
texts go to it as files in memory: nothing can replace them between the check and the use.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import logging
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge import files
from edge.errors import ModelError
from edge.model.signed.archive import SIGNATURE_BYTES

log = logging.getLogger(__name__)
KEYS_MAX: Final = 16
KEY_BYTES: Final = 4096
"""Of a file with a key."""
OPENSSL_S: Final = 20.0
"""Longest time for a signature; it takes 10 ms."""
PATH: Final = "/usr/local/bin:/usr/bin:/bin"
DER: Final = bytes.fromhex("302a300506032b6570032100")
"""Before the 32 bytes of a public key. Source: RFC 8410, 4 and 10.1."""
DER_BYTES: Final = len(DER) + 32
MAKE: Final = "docs/signing.md says how to make one"
_PEM: Final = re.compile(
    r"\s*-----BEGIN PUBLIC KEY-----\s+([A-Za-z0-9+/=\s]{40,200})-----END PUBLIC KEY-----\s*\Z"
)


@dataclass(frozen=True, slots=True)
class Key:
    """A public key. name: of its file; pem: for OpenSSL; id: of error lines and listings."""

    name: str
    pem: bytes
    id: str


def trusted(folder: Path) -> list[Key]:
    """Return the keys in ``folder``, in order of name. Raises ModelError where there is none.

    A file that is no such key is left out, with a warning.
    """
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix == ".pem")
    except FileNotFoundError:
        paths = []
    except OSError as exc:
        raise ModelError(
            f"the trusted keys cannot be read: {exc.strerror}", where=str(folder)
        ) from exc
    if len(paths) > KEYS_MAX:
        raise ModelError(
            "too many trusted keys",
            where=str(folder),
            expected=f"at most {KEYS_MAX}",
            got=str(len(paths)),
        )
    keys = []
    for path in paths:
        try:
            keys.append(_key(path))
        except ModelError as exc:
            log.warning("%s", exc)
    if not keys:
        raise ModelError(
            "no key is trusted on this device",
            where=str(folder),
            expected="a public key, NAME.pem",
            hint=f"copy your public key there; {MAKE}",
        )
    return keys


def verify(content: bytes, signature: bytes, keys: list[Key], where: str) -> Key:
    """Return the key that has signed ``content``. Raises ModelError where none of them has."""
    with contextlib.ExitStack() as stack:
        text, mark = (stack.enter_context(_memory(one)) for one in (content, signature))
        for key in keys:
            with _memory(key.pem) as pem:
                arguments = ("-verify", "-pubin", "-inkey", _path(pem), "-rawin", "-in")
                names = (_path(text), "-sigfile", _path(mark))
                done = _openssl((*arguments, *names), (pem, text, mark), where)
            if done.returncode == 0:
                return key
    raise ModelError(
        "the signature is by no key that is trusted here",
        where=where,
        expected=", ".join(f"{key.name} ({key.id})" for key in keys),
        hint="a changed file, or another key",
    )


def sign(content: bytes, key: Path) -> bytes:
    """Return the signature of ``content``; OpenSSL asks for a passphrase, if the key has one."""
    try:
        os.close(files.open_regular(key))
    except OSError as exc:
        raise ModelError(f"the key cannot be read: {exc.strerror}", where=str(key)) from exc
    with _memory(content) as text, tempfile.NamedTemporaryFile() as out:
        arguments = ("-sign", "-inkey", str(key.resolve()), "-rawin", "-in", _path(text))
        done = _openssl((*arguments, "-out", out.name), (text,), str(key), None)
        signature = Path(out.name).read_bytes()
    if done.returncode or len(signature) != SIGNATURE_BYTES:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        with contextlib.suppress(OSError):
            if b"ENCRYPTED" in files.read(key, KEY_BYTES):
                what = "the key was not opened"
                hint = "a wrong passphrase, or no terminal to ask for it"
                raise ModelError(what, where=str(key), hint=hint)
        raise ModelError(
            "the key signs nothing",
            where=str(key),
            expected="a private key, Ed25519, PEM",
            got="" if not done.returncode else (lines[-1] if lines else "no reason")[:200],
            hint=MAKE,
        )
    return signature


def _key(path: Path) -> Key:
    try:
        text = files.read_text(path, KEY_BYTES)
    except OSError as exc:
        raise ModelError(
            f"is not trusted: cannot be read: {exc.strerror}", where=str(path)
        ) from exc
    match = _PEM.match(text)
    der = b""
    if match:
        with contextlib.suppress(binascii.Error):
            der = base64.b64decode("".join(match[1].split()), validate=True)
    if not der.startswith(DER) or len(der) != DER_BYTES:
        private = "PRIVATE KEY" in text
        raise ModelError(
            "is not trusted: a private key" if private else "is not trusted: no public key",
            where=str(path),
            expected="one public key, Ed25519, PEM",
            hint="remove it from every device, and make a new one" if private else MAKE,
        )
    return Key(path.name, text.encode(), hashlib.sha256(der).hexdigest()[:16])


def _openssl(
    arguments: tuple[str, ...],
    descriptors: tuple[int, ...],
    where: str,
    limit_s: float | None = OPENSSL_S,
) -> subprocess.CompletedProcess[bytes]:
    program = shutil.which("openssl", path=PATH)
    if program is None:
        raise ModelError(
            "the program `openssl` is missing", where=where, hint="sudo apt install openssl"
        )
    try:
        return subprocess.run(
            [program, "pkeyutl", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=limit_s,
            pass_fds=descriptors,
            env={"PATH": PATH, "LC_ALL": "C"},
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it does not end"
        raise ModelError(f"`openssl` cannot be used: {reason}", where=where) from exc


@contextlib.contextmanager
def _memory(content: bytes) -> Iterator[int]:
    """Yield the descriptor of a file in memory: OpenSSL wants the length of what it reads."""
    file = os.memfd_create("signed")
    try:
        with os.fdopen(os.dup(file), "wb") as out:
            out.write(content)
        yield file
    finally:
        os.close(file)


def _path(file: int) -> str:
    return f"/proc/self/fd/{file}"
