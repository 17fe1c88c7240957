"""Certificates as people make them: which are accepted, and what `edge doctor` says of the others.

OpenSSL makes and serves every one of them; nothing here is a mock.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.broker import PrivateBroker, free_port
from edge import config as configs
from edge.doctor import broker as probe
from edge.doctor import certificates
from edge.doctor.checks import Check
from edge.doctor.service import Unit
from edge.errors import ConfigError
from edge.messages import Broker, Tls
from edge.mqtt import subscribe
from edge.mqtt.access import context
from tests.conftest import ROOT, wait_until

pytestmark = [  # paho leaves the socket of a failed handshake to the garbage collector
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
PAGE = ROOT / "docs" / "certificates.md"
SERVER = "subjectAltName=DNS:localhost,IP:127.0.0.1"


def sh(folder: Path, *lines: str) -> None:
    """Run shell commands in ``folder``."""
    script = "set -eu\n" + "\n".join(lines)
    done = subprocess.run(
        ["bash", "-c", script], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def authority(
    name: str = "ca", more: str = "", key: str = "rsa:2048", subject: str = "Home"
) -> str:
    """Return the command that makes an authority."""
    return (
        f'openssl req -x509 -newkey {key} -nodes -days 30 -subj "/CN={subject}" {more}'
        f" -keyout {name}.key -out {name}.crt"
    )


def signed(
    *lines: str, by: str = "ca", key: str = "rsa:2048", more: str = "", cn: str = "localhost"
) -> str:
    """Return the commands that make broker.key and broker.crt with the extensions ``lines``."""
    extensions = " ".join(f"'{line}'" for line in lines) or "''"
    return (
        f'openssl req -newkey {key} -nodes -subj "/CN={cn}" -keyout broker.key -out broker.csr\n'
        f"printf '%s\\n' {extensions} >broker.ext\n"
        f"openssl x509 -req -in broker.csr -CA {by}.crt -CAkey {by}.key -CAcreateserial -days 30"
        f" {more} -extfile broker.ext -out broker.crt"
    )


MOSQUITTO_TLS = (
    "openssl req -new -x509 -days 30 -extensions v3_ca -nodes -subj '/CN=Home' "
    "-keyout ca.key -out ca.crt",
    "openssl genrsa -out broker.key 2048",
    "openssl req -out broker.csr -key broker.key -new -subj '/CN=localhost'",
    "openssl x509 -req -in broker.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out broker.crt"
    " -days 30",
)
"""The commands of mosquitto-tls(7); the questions that they ask are answered by options."""


@contextlib.contextmanager
def serving(folder: Path, *more: str) -> Iterator[int]:
    """Serve broker.crt, whatever is wrong with it; give the port."""
    port = free_port()
    command = ["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-quiet", "-cert",
               "broker.crt", "-key", "broker.key", "-cipher", "DEFAULT:@SECLEVEL=0"]  # fmt: skip
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen(
        [*command, *more], cwd=folder, stdin=subprocess.PIPE, start_new_session=True, **quiet
    )
    try:

        def listens() -> bool:
            assert server.poll() is None
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), 1).close()
                return True
            return False

        wait_until(listens)
        yield port
    finally:
        server.kill()
        server.wait()


def look(port: int, folder: Path, host: str = "localhost", ca: str = "ca.crt") -> Check:
    """Return what `edge doctor` says of that broker's certificate."""
    mqtt = {"host": host, "port": port, "tls": True, "ca_file": str(folder / ca)}
    return probe.check(configs.load(None, {"device": {"id": "wall"}, "mqtt": mqtt}), Unit())[0]


def test_what_mosquitto_tls_tells_people_to_make_is_accepted(tmp_path: Path) -> None:
    """By name, whatever Python's defaults are; the strict flag is what would refuse it."""
    sh(tmp_path, *MOSQUITTO_TLS)
    tls = Tls(ca_file=str(tmp_path / "ca.crt"))
    files = (f"certfile {tmp_path}/broker.crt", f"keyfile {tmp_path}/broker.key")
    with PrivateBroker(*files, "allow_anonymous true") as broker:
        subscribe(
            Broker("localhost", broker.port, tls=tls), ["#"], lambda *_: None, lambda _: None
        )()
        found = look(broker.port, tmp_path)
        assert found.verdict == "ok", found
        assert "certificate of localhost (no subjectAltName) by Home" in found.line
        strict = context(tls)
        strict.verify_flags |= ssl.VERIFY_X509_STRICT  # as Python 3.13 has it
        with (
            pytest.raises(ssl.SSLCertVerificationError, match="key usage"),
            socket.create_connection(("localhost", broker.port)) as plain,
        ):
            strict.wrap_socket(plain, server_hostname="localhost")


def test_the_checks_are_the_same_on_every_python() -> None:
    """Not what this Python's default is, but these; names, dates and signatures are checked."""
    for tls in (Tls(), Tls(accept_any_certificate=True)):
        made = context(tls)
        assert made.verify_flags == ssl.VERIFY_X509_TRUSTED_FIRST | ssl.VERIFY_X509_PARTIAL_CHAIN
        assert made.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context(Tls()).verify_mode == ssl.CERT_REQUIRED
    assert context(Tls()).check_hostname


def test_the_documented_commands_make_good_ones(tmp_path: Path) -> None:
    """docs/certificates.md, run as it stands: good for mosquitto, for us, and by strict rules."""
    block = PAGE.read_text().split("```sh\n")[1].split("```")[0]
    block = block.replace("broker.example", "localhost").replace("192.168.1.10", "127.0.0.1")
    sh(tmp_path, block)
    tls = Tls(ca_file=str(tmp_path / "ca.crt"))
    files = (f"cafile {tmp_path}/ca.crt", f"certfile {tmp_path}/broker.crt")
    with PrivateBroker(*files, f"keyfile {tmp_path}/broker.key", "allow_anonymous true") as broker:
        for host in ("localhost", "127.0.0.1"):
            assert look(broker.port, tmp_path, host).verdict == "ok"
            strict = context(tls)
            strict.verify_flags |= ssl.VERIFY_X509_STRICT
            with (
                socket.create_connection((host, broker.port)) as plain,
                strict.wrap_socket(plain, server_hostname=host) as encrypted,
            ):
                assert encrypted.version() == "TLSv1.3"


NO_CA = authority(more="-addext basicConstraints=critical,CA:FALSE -config plain.cnf")
PLAIN = "printf '[req]\\ndistinguished_name=dn\\n[dn]\\n' >plain.cnf"
BAD: dict[str, tuple[tuple[str, ...], str, str, str]] = {
    "another authority": (
        (authority(), authority("other", subject="Other"), signed(SERVER, by="other")),
        "localhost",
        "unable to get local issuer certificate",
        "mqtt.ca_file must hold Other; it is ",
    ),
    "the authority made again": (
        (authority(), "cp ca.crt old.crt", authority(), signed(SERVER), "cp old.crt ca.crt"),
        "localhost",
        "unable to get local issuer certificate",
        "another Home than the one in mqtt.ca_file ",
    ),
    "signed by itself": (
        (authority(), authority("broker", f"-addext {SERVER}", subject="Broker")),
        "localhost",
        "self-signed certificate",
        "it is self-signed: mqtt.ca_file must hold that certificate; it is ",
    ),
    "only a common name, and an address": (
        MOSQUITTO_TLS,
        "127.0.0.1",
        "IP address mismatch, certificate is not valid for '127.0.0.1'",
        "set mqtt.host to its common name localhost: without a subjectAltName",
    ),
    "another common name": (
        (authority(), signed(cn="broker.example")),
        "localhost",
        "Hostname mismatch, certificate is not valid for 'localhost'",
        "set mqtt.host to its common name broker.example; or make it again",
    ),
    "other names": (
        (
            authority(),
            signed("subjectAltName=DNS:a.example,dirName:dn,IP:192.0.2.1", "[dn]", "CN=x"),
        ),
        "localhost",
        "Hostname mismatch",
        "set mqtt.host to a name in it: a.example, 192.0.2.1",
    ),
    "no authority": (
        (PLAIN, NO_CA, signed(SERVER)),
        "localhost",
        "invalid CA certificate",
        "its issuer is not an authority (basicConstraints CA:TRUE or keyUsage keyCertSign",
    ),
    "an authority that may not sign": (
        (authority(more="-addext keyUsage=critical,digitalSignature"), signed(SERVER)),
        "localhost",
        "invalid CA certificate",
        "its issuer is not an authority (basicConstraints CA:TRUE or keyUsage keyCertSign",
    ),
    "made for clients": (
        (authority(), signed(SERVER, "extendedKeyUsage=clientAuth")),
        "localhost",
        "unsuitable certificate purpose",
        "it is not made for a server (extendedKeyUsage lacks serverAuth)",
    ),
    "a short key": (
        (authority(), signed(SERVER, key="rsa:1024")),
        "localhost",
        "EE certificate key too weak",
        "its key is too short, RSA needs 2048 bits",
    ),
    "an authority's short key": (
        (authority(key="rsa:1024"), signed(SERVER)),
        "localhost",
        "CA certificate key too weak",
        "its authority's key is too short",
    ),
    "SHA-1": (
        (authority(), signed(SERVER, more="-sha1")),
        "localhost",
        "CA signature digest algorithm too weak",
        "it is signed with MD5 or SHA-1",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_certificate_is_named_as_what_it_is(name: str, tmp_path: Path) -> None:
    """In OpenSSL's words, with what to do; never a cause that is not true."""
    commands, host, words, hint = BAD[name]
    sh(tmp_path, *commands)
    with serving(tmp_path) as port:
        found = look(port, tmp_path, host)
    assert found.verdict == "fault", found
    assert f"its certificate is not accepted: {words}" in found.line
    assert found.hint.startswith(hint)
    if "ca_file" not in hint:
        assert "ca_file" not in found.hint
    assert found.facts["certificate"]["verified"] is False


def test_a_fault_that_is_not_known_is_quoted_and_not_guessed() -> None:
    """By its number; of an expired chain it is said which end of it has expired."""
    facts = {"issuer": "Home", "names": ["a"], "expires_in_days": 30.0}
    unknown = certificates.hint(85, Tls(ca_file="x"), facts, {"Home"})
    assert unknown == "OpenSSL's verify code 85; docs/certificates.md says what a good one has"
    above = certificates.hint(10, Tls(ca_file="x"), facts, {"Home"})
    assert above.startswith("it is good, an authority above it has expired")
    assert certificates.hint(10, Tls(), {**facts, "expires_in_days": -1.0}, set()).startswith(
        "renew"
    )


def test_a_ca_file_as_windows_saves_it(tmp_path: Path) -> None:
    """With a byte order mark, CRLF and a comment; the device's own files too."""
    sh(tmp_path, authority(), signed(SERVER))
    for name in ("ca.crt", "broker.crt", "broker.key"):
        text = (tmp_path / name).read_text()
        text = f"\ufeff# caf\xe9\n{text}" if name == "ca.crt" else f"\ufeff{text}"
        (tmp_path / name).write_bytes(text.replace("\n", "\r\n").encode())
    own = (f"{tmp_path}/broker.crt", f"{tmp_path}/broker.key")
    assert len(context(Tls(f"{tmp_path}/ca.crt", *own)).get_ca_certs()) == 1


@pytest.mark.parametrize("key", ["ca_file", "cert_file", "key_file"])
def test_only_regular_files_are_certificates(key: str, tmp_path: Path) -> None:
    """A pipe would hold the start for ever, an endless device its memory."""
    sh(tmp_path, authority(), signed(SERVER))
    os.mkfifo(tmp_path / "pipe")
    good = Tls(cert_file=str(tmp_path / "broker.crt"), key_file=str(tmp_path / "broker.key"))
    for path, words in ((tmp_path / "pipe", "a named pipe"), (Path("/dev/zero"), "a device")):
        changes: dict[str, Any] = {key: str(path)}
        with pytest.raises(ConfigError, match=f"mqtt.{key} .*cannot be read: is {words}"):
            context(dataclasses.replace(good, **changes))
    (tmp_path / "empty").touch()
    if key == "ca_file":  # an empty one is not "the system's authorities"
        with pytest.raises(ConfigError, match="no certificate in the file"):
            context(Tls(ca_file=str(tmp_path / "empty")))
