"""Checks the broker's certificate: owner, issuer, end date, and why it is not accepted.

OpenSSL returns a certificate's fields only if it accepts it. A refused one is read on a second
connection, which trusts only that one and ignores its dates. Source: ssl; RFC 5280.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from edge.doctor import certificates
from edge.doctor.checks import Findings, lasted
from edge.errors import ConfigError
from edge.messages import Broker, Tls
from edge.mqtt.access import context, reason

Connect = Callable[[], socket.socket]
SOON_S: Final = 21 * 86_400
NO_CHECK_TIME: Final = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME"""
TALK: Final = "does the broker speak TLS there? see mqtt.port and mqtt.tls"
REFUSED: Final = "the broker's log says why; does it need mqtt.cert_file, or TLS older than 1.2?"
NAMES: Final = ("DNS", "IP Address")
"""Kinds of subjectAltName that name a host."""
NAMED: Final = ("commonName", "organizationName")
"""Fields that name an authority."""


def check(findings: Findings, broker: Broker, tls: Tls, connect: Connect) -> bool:
    """Check the certificate; return whether the daemon would connect."""
    try:
        strict = context(tls)
    except ConfigError as exc:
        if isinstance(exc.__cause__, PermissionError):
            findings.wrong("unknown", f"TLS not tried: {exc}", "run it as root: sudo edge doctor")
        else:
            findings.error(exc, "check the paths in [mqtt]")
        return False
    try:
        version, fields = _handshake(strict, broker.host, connect)
    except ssl.SSLCertVerificationError as exc:
        facts = _describe(findings, _refused(tls, broker.host, connect))
        facts["verified"] = False
        known = {_name(one.get("subject", ()), *NAMED) for one in strict.get_ca_certs()}
        hint = certificates.hint(exc.verify_code, tls, facts, known)
        findings.facts["verify_code"] = exc.verify_code
        findings.wrong("fault", reason(exc), hint)
        return False
    except OSError as exc:
        what = reason(exc) if isinstance(exc, ssl.SSLError) else f"TLS: {exc or 'no answer'}"
        alert = "ALERT" in str(getattr(exc, "reason", ""))
        findings.wrong("fault", what, REFUSED if alert else TALK)
        return False
    if tls.accept_any_certificate:
        fields = _refused(tls, broker.host, connect)
        hint = "set mqtt.ca_file instead of accept_any_certificate"
        findings.wrong("warning", "its certificate is not checked", hint)
    facts = _describe(findings, fields)
    facts |= {"version": version, "verified": not tls.accept_any_certificate}
    left_s = facts.get("expires_in_days", 365) * 86_400
    if left_s < SOON_S:
        findings.wrong("warning", f"its certificate ends in {lasted(left_s)}", "renew it")
    findings.say(f"{version}{'' if tls.accept_any_certificate else ', certificate verified'}")
    return True


def _handshake(made: ssl.SSLContext, host: str, connect: Connect) -> tuple[str, dict[str, Any]]:
    with connect() as plain, made.wrap_socket(plain, server_hostname=host) as encrypted:
        return encrypted.version() or "TLS", dict(encrypted.getpeercert() or {})


def _refused(tls: Tls, host: str, connect: Connect) -> dict[str, Any]:
    """Return the fields of a certificate that is not accepted, or need not be."""
    any_of_them = context(replace(tls, ca_file="", accept_any_certificate=True))
    try:
        any_of_them.set_ciphers("DEFAULT:@SECLEVEL=0")  # keys that are too short included
        with connect() as plain, any_of_them.wrap_socket(plain, server_hostname=host) as encrypted:
            certificate = encrypted.getpeercert(True) or b""
        any_of_them.verify_mode = ssl.CERT_REQUIRED
        any_of_them.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VerifyFlags(NO_CHECK_TIME)
        any_of_them.load_verify_locations(cadata=certificate)
        return _handshake(any_of_them, host, connect)[1]
    except (OSError, ValueError):
        return {}


def _describe(findings: Findings, fields: dict[str, Any]) -> dict[str, Any]:
    """Report names, issuer and end date of a certificate."""
    facts: dict[str, Any] = {}
    findings.facts["certificate"] = facts
    if not fields:
        return facts
    named = fields.get("subjectAltName", ())
    names = facts["names"] = [value.strip() for kind, value in named if kind in NAMES]
    facts["common_name"] = _name(fields.get("subject", ()), "commonName")
    facts["issuer"] = _name(fields.get("issuer", ()), *NAMED)
    facts["expires"] = fields["notAfter"]
    left = ""
    with contextlib.suppress(ValueError):  # a date in an unknown form
        ends_s = ssl.cert_time_to_seconds(fields["notAfter"])
        facts["expires_in_days"] = round((ends_s - time.time()) / 86_400, 1)
        left = f", {facts['expires_in_days']:.0f} days left"
    whose = ", ".join(names) or (facts["common_name"] or "no name") + " (no subjectAltName)"
    findings.say(f"certificate of {whose} by {facts['issuer'] or 'an unnamed issuer'}{left}")
    return facts


def _name(parts: Any, *keys: str) -> str:
    """Return the first of ``keys`` that a subject or an issuer has, "" if none."""
    values = {key: value for part in parts for key, value in part}
    return next((values[key] for key in keys if key in values), "")
